//! A hit: what is stored is served at once, and refreshed in the background where it is stale by now.

use super::{
    fetch,
    request::{CacheRequest, ServedFrom},
    send::send_stored,
};
use crate::{
    cache::{freshness::Verdict, stored::Stored},
    error::Result,
    exchange::Downstream,
    http::active::ActiveExchange,
};

/// Serves what is stored without a question to the origin.
pub(super) async fn hit<D: Downstream>(
    request: &CacheRequest<'_>,
    stored: Stored,
    verdict: Verdict,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    if let (Verdict::StaleWhileRevalidate, Some(response)) = (verdict, stored.in_memory()) {
        fetch::refresh(request, response, exchange);
    }
    send_stored(request, stored, ServedFrom::Hit(verdict), exchange, client).await
}
