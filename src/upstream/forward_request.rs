//! What of a request goes upstream.

use std::time::Duration;

use super::{acquire::Acquire, request_head::UpstreamHead, upload::Upload};
use crate::{h1::trailers::Withheld, moment::Moment, net::LeastRate};

/// How long who is asked may take to begin to answer: to say anything, be it an interim response, and then to have the head.
#[derive(Clone, Copy, Debug)]
pub struct FirstSign {
    /// Until the first sign.
    pub first: Duration,
    /// From there to the response head.
    pub then: Duration,
}

/// What an attempt has waited for its client, whose body was to come: that is no time of the backend's.
#[derive(Clone, Copy, Debug, Default)]
pub enum ClientPart {
    /// It was not waited for.
    #[default]
    None,
    /// It is.
    Awaited,
    /// What it was waited for was here then.
    Came(Moment),
}

/// What of a request goes upstream, and by which rules a backend is chosen for it.
#[derive(Debug)]
pub struct ForwardRequest<'a> {
    /// The upstream, and how a backend of it is chosen.
    pub target: Acquire<'a>,
    /// The head.
    pub head: UpstreamHead<'a>,
    /// The body.
    pub upload: Upload,
    /// How long the client may pause in its body.
    pub body_timeout: Duration,
    /// How long a backend may take from the request's end to its response head.
    pub response_timeout: Duration,
    /// The least rate at which it may come.
    pub rate: LeastRate,
    /// Backends that failed already.
    pub tried: Vec<usize>,
    /// Whether an interim response went to the client, after which nothing is tried again.
    pub is_interim_sent: bool,
    /// Names that interim responses may not have for the client, as trailers of the response may not.
    pub withheld: Option<&'a Withheld>,
    /// Bytes of interim responses that came.
    pub interim_bytes: usize,
    /// How long it may take, where what is said is another for the first sign.
    pub patience: Option<FirstSign>,
    /// What the present attempt has waited for its client.
    pub client_part: ClientPart,
}
