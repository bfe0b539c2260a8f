//! Requests whose credentials are those of their connection.
//!
//! Whoever logs in by NTLM or Negotiate says so once, and the backend takes all that comes over the connection after that as
//! theirs. A PROXY header says once, too, that the client has shown a certificate, or whose endpoint of a cloud it came by. So
//! these are requests with credentials (RFC 9111 §3.5), whatever their fields say: what they get is not stored and not shared,
//! what is stored is not for them, and whether their writes are done is the backend's to say. Those of a login need the
//! connection besides, which a fetch for many does not have, nor a delivery.

use super::context::RouteContext;
use crate::{
    exchange::{Downstream, Exchange, logs_in},
    upstream::announce,
};

/// Whether the client of a request is known to the backend by the connection that it comes over.
pub(super) fn has_connection_credentials<D: Downstream>(
    context: &RouteContext<'_>,
    exchange: &Exchange,
    client: &D,
) -> bool {
    let upstream = &context.worker_upstream.upstream;
    client.is_logged_in(&upstream.backends)
        || begins_login(exchange)
        || announce::tells_client(&upstream.conf, &exchange.facts)
}

/// Whether a request logs its connection in, or takes a step towards that. One over HTTP/2 has no connection of its own for
/// it.
pub(crate) fn begins_login(exchange: &Exchange) -> bool {
    !exchange.version.has_streams() && logs_in(&exchange.request.fields)
}
