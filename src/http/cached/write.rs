//! A request that changes something: it goes to the origin, and what is stored of what it changes is not served any
//! more (RFC 9111 §4.4).

use std::sync::Arc;

use super::key_for;
use crate::{
    cache::{
        invalidate::invalidated,
        status::{CacheStatus, Forward},
        store::Cache,
    },
    error::Result,
    exchange::{Downstream, Exchange},
    http::{
        handle::{Running, Served},
        headers,
        pass::{self, Onward, Way},
    },
    telemetry::served,
};

/// Passes a write on. Once the origin has answered that it was done, and before the client hears so, what is stored of
/// it is taken out.
pub(super) async fn serve<D: Downstream>(
    way: &Way<'_>,
    cache: &Arc<Cache>,
    onward: Onward,
    exchange: &mut Running,
    client: &mut D,
) -> Result<Served> {
    exchange.cache = Some(served::Served::Bypass);
    let (live, sticky) = pass::ask(way, onward, exchange, client).await?;
    headers::pass_response(&mut exchange.response, false);
    invalidate(way, cache, exchange);
    CacheStatus::forwarded(Forward::Method).add_to(&mut exchange.response.fields);
    pass::deliver(way, live, sticky, exchange, client).await
}

fn invalidate(way: &Way<'_>, cache: &Cache, exchange: &Exchange) {
    let targets = invalidated(
        &exchange.request.method,
        exchange.response.status,
        exchange.scheme(),
        &exchange.authority,
        &exchange.request.target,
        &exchange.response.fields,
    );
    for target in targets {
        let key = key_for(way.route, cache, exchange, &target);
        if let Some(purging) = cache.forget(&key) {
            drop(tokio::task::spawn_blocking(|| purging.run()));
        }
    }
}
