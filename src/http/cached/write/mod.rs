//! A request that changes something, by the write policy of its cache.
//!
//! `around`: it goes to the origin, and what is stored of what it changes is not served any more (RFC 9111 §4.4).
//! [`through`] stores what a PUT left, where the response says what that is. [`back`] acknowledges a PUT or DELETE
//! once it is durable here.
//!
//! Whatever the policy: a write goes to the origin behind those of its URI that were accepted before it.

mod back;
mod tee;
mod through;

use std::sync::Arc;

use super::key_for;
use crate::{
    cache::{
        conf::WritePolicy,
        invalidate::invalidated,
        status::{CacheStatus, Forward},
        store::Cache,
    },
    error::Result,
    exchange::{Downstream, Exchange},
    h1::Method,
    http::{
        handle::{ActiveExchange, Outcome},
        headers,
        proxy::{self, RequestPlan, RouteContext},
    },
    telemetry::cache_result::CacheResult,
    writeback::counters::Result as Counted,
};

/// Serves a request that changes something.
pub(super) async fn serve<D: Downstream>(
    way: &RouteContext<'_>,
    cache: &Arc<Cache>,
    onward: RequestPlan,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Outcome> {
    exchange.cache = Some(CacheResult::Bypass);
    let policy = cache.conf.write_policy;
    if policy == WritePolicy::Back && back::may_accept(exchange) {
        return back::serve(way, cache, onward, exchange, client).await;
    }
    back::take_turn(way, cache, exchange).await?;
    match policy {
        WritePolicy::Through if exchange.request.method == Method::Put && cache.is_storing => {
            through::serve(way, cache, onward, exchange, client).await
        }
        WritePolicy::Around | WritePolicy::Through | WritePolicy::Back => {
            around(way, cache, onward, exchange, client).await
        }
    }
}

/// Passes a write on. Once the origin has answered that it was done, and before the client hears so, what is stored of
/// it is taken out.
async fn around<D: Downstream>(
    way: &RouteContext<'_>,
    cache: &Arc<Cache>,
    onward: RequestPlan,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Outcome> {
    let (live, sticky) = proxy::ask(way, onward, exchange, client).await?;
    headers::pass_response(&mut exchange.response, false);
    let counted = if invalidate(way, cache, exchange) > 0 { Counted::Invalidated } else { Counted::Passed };
    cache.store.writes.count(cache.conf.write_policy, counted);
    CacheStatus::forwarded(Forward::Method).add_to(&mut exchange.response.fields);
    proxy::deliver(way, live, sticky, exchange, client).await
}

/// Forgets what a write changed, if it did; gives of how many URIs.
pub(super) fn invalidate(way: &RouteContext<'_>, cache: &Cache, exchange: &Exchange) -> usize {
    let targets = invalidated(
        &exchange.request.method,
        exchange.response.status,
        exchange.scheme(),
        &exchange.authority,
        &exchange.request.target,
        &exchange.response.fields,
    );
    targets.iter().for_each(|target| forget(way, cache, exchange, target));
    targets.len()
}

/// Forgets what is stored of a target on the host of a request.
fn forget(way: &RouteContext<'_>, cache: &Cache, exchange: &Exchange, target: &str) {
    let key = key_for(way.route, cache, exchange, target);
    if let Some(purging) = cache.forget(&key) {
        drop(tokio::task::spawn_blocking(|| purging.run()));
    }
}
