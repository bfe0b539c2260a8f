//! A backend's answer, on its way from `http::proxy` or a peer to who asked for it.

use crate::{exchange::Exchange, fields::Known, upstream::UpstreamResponse};

/// A backend's answer to a request: its head is in the exchange.
#[derive(Debug)]
pub(super) struct Answer {
    /// What is to come of it.
    pub(super) response: UpstreamResponse,
    /// The Set-Cookie that binds the client to the backend that answered, where it is not bound to that one already.
    pub(super) affinity: Option<String>,
}

/// Whether a client waits for a 100 before it sends its body (RFC 9110 §10.1.1).
pub(crate) fn expects_continue(exchange: &Exchange) -> bool {
    exchange.request.fields.all_known(Known::Expect).any(|value| value.eq_ignore_ascii_case(b"100-continue"))
}
