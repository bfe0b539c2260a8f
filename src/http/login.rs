//! Requests of connections that are logged in (NTLM, Negotiate).
//!
//! Whoever logs in says so once, and the backend takes all that comes over the connection after that as theirs. So these
//! are requests with credentials (RFC 9111 §3.5), whatever their fields say: what they get is not stored and not shared,
//! what is stored is not for them, and whether their writes are done is the backend's to say. They need the connection
//! besides, which a fetch for many does not have, nor a delivery.

use crate::exchange::{Downstream, Exchange, logs_in};

/// Whether a request is of a connection that is logged in, or logs it in. One of HTTP/2 has no connection of its own.
pub(super) fn is_of_login<D: Downstream>(exchange: &Exchange, client: &D) -> bool {
    client.is_logged_in() || (!exchange.version.has_streams() && logs_in(&exchange.request.fields))
}
