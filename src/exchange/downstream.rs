//! The client's side of an exchange.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use super::BoundConnection;
use crate::{
    backend::Backend,
    error::Result,
    fields::Fields,
    h1::ResponseHead,
    net::{BodyFrame, Buffer, Waiter},
};

/// What an exchange needs of the client's side.
///
/// Two things carry it: an HTTP/1.1 connection and an HTTP/2 stream. A response is begun, fed and
/// ended without waiting; the `poll_` methods give back-pressure and bring it out.
pub trait Downstream: Waiter {
    /// The next of the request body. After its end, `End` again.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>>;

    /// Whether the request body was read to its end.
    fn is_body_done(&self) -> bool;

    /// Whether some of the request body is here already, so that the client does not wait for a 100.
    fn has_body_bytes(&self) -> bool;

    /// Whether interim responses may be sent (not to HTTP/1.0).
    fn takes_interim(&self) -> bool;

    /// Sends an interim response (RFC 9110 §15.2).
    fn interim(&mut self, head: &ResponseHead);

    /// Begins the response. `length` is the body's, when it is known; with `has_body` false there is
    /// none, whatever the fields say (HEAD, 204, 304).
    fn begin(&mut self, head: &ResponseHead, has_body: bool, length: Option<u64>) -> Result<()>;

    /// Says that what the client sent makes no sense, so that nothing more is read of its connection.
    fn distrust(&mut self);

    /// Has the connection end behind this response: the client is to make another for what it asks for next.
    fn end_connection(&mut self);

    /// Whether the connection ends behind this response, so that it lasts as long as that does.
    fn ends_connection(&self) -> bool {
        false
    }

    /// The place for a backend connection that is this client connection's alone; `None` where there was none yet, and
    /// where requests have no connection of their own (HTTP/2, whose streams may be many clients').
    fn bound(&self) -> Option<&BoundConnection> {
        None
    }

    /// Whether a backend connection is there that is this client connection's alone, and logged in to one of these.
    fn is_logged_in(&self, to: &[Arc<Backend>]) -> bool {
        self.bound().is_some_and(|bound| bound.is_logged_in(to))
    }

    /// The same place, made when it is first needed.
    fn bind(&mut self) -> Option<Rc<BoundConnection>> {
        None
    }

    /// Whether a final response was begun.
    fn is_begun(&self) -> bool;

    /// Takes some of the response body; ready when the whole buffer is taken.
    fn poll_data(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<()>>;

    /// Ends the response body.
    fn end(&mut self, trailers: Option<&Fields>) -> Result<()>;

    /// Brings out what was begun, taken and ended.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;
}
