//! Where a filter may act: what it does not do, it leaves out.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;

use super::{answer::Answer, coding::Coding, encoded_head::EncodedHead, stage::Stage};
use crate::{backend::Backend, error::Result, exchange::Exchange, template::Place};

/// A filter, as the path of a request sees it. What one takes for the time of an exchange is given back when that is
/// dropped, however it ends.
pub(super) trait Hooks: std::fmt::Debug {
    /// Whether it does anything with requests; false lets one go past it without being asked. Who has `on_request` or
    /// `on_forward` leaves it as it is.
    fn acts_on_requests(&self) -> bool {
        true
    }

    /// Judges a connection, or a session of datagrams, that is passed on by its route.
    ///
    /// # Errors
    ///
    /// Refuses it.
    fn on_connect(&self, _: IpAddr) -> Result<()> {
        Ok(())
    }

    /// Judges a request whose route is found, before anything is done for it.
    ///
    /// # Errors
    ///
    /// Refuses it; the client gets the answer to that error.
    fn on_request(&self, _: &Exchange, _: Place<'_>) -> Result<Verdict> {
        Ok(Verdict::Continue)
    }

    /// Changes the request that goes on: to the cache, where there is one, and to a backend. Not called for one that a
    /// peer has sent on, whose route has done it.
    fn on_forward(&self, _: &mut Exchange, _: Place<'_>) {}

    /// Changes the head in `exchange.response`, when all else that Pointsman says of a response is in it and nothing of it
    /// went out. Called once for each response, 101 included, and not for interim responses that a backend sends before
    /// it.
    fn on_response(&self, _: &mut Exchange, _: &ResponseFacts<'_>) -> Body {
        Body::Kept
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// It is answered with this, and goes no further.
    Respond(Box<Answer>),
    /// It goes to this upstream, by index, instead of where its route leads.
    Upstream(usize),
}

/// What a filter may know of a response beside the exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseFacts<'a> {
    /// Where the request came and went.
    pub place: Place<'a>,
    /// The backends of the upstream that it is of: which of them made it is not known of what is stored.
    pub backends: &'a [Arc<Backend>],
    /// Bytes of its body, where that is known.
    pub length: Option<u64>,
    /// Whether Pointsman made it.
    pub is_own: bool,
    /// Whether it is the answer to an error.
    pub is_error: bool,
    /// Whether no other filter has changed its head.
    pub is_alone: bool,
    /// Its body in other encodings, where those are kept.
    pub kept: Option<&'a dyn Kept>,
}

/// The body of a stored response in other encodings, as far as they were made before, and what that makes of its head.
pub trait Kept: std::fmt::Debug {
    /// The body in this encoding.
    fn find(&self, coding: Coding) -> Option<Bytes>;

    /// What becomes of the head, once that is kept.
    fn head(&self, coding: Coding) -> Option<&EncodedHead>;

    /// Keeps what becomes of the head; the first stays.
    fn keep_head(&self, coding: Coding, head: EncodedHead);
}

/// What becomes of the body of a response.
#[derive(Debug)]
pub(super) enum Body {
    /// It goes out as it is.
    Kept,
    /// This goes out in its place.
    Replaced(Bytes),
    /// It goes through this, block by block.
    Through(Box<dyn Stage>),
}
