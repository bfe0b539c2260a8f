//! A request that changes something, by the write policy of its cache.
//!
//! `around`: it goes to the origin, and what is stored of what it changes is not served any more (RFC 9111 §4.4).
//! `through` stores what a PUT left, where the response says what that is. `accept` acknowledges a PUT or DELETE
//! once it is durable here.
//!
//! Whatever the policy: a write goes to the origin behind those of its URI that were accepted before it.

mod accept;
pub mod deliver;
mod invalidate;
pub(super) mod pending;
mod place;
mod through;

use std::sync::Arc;

use invalidate::invalidate;

use crate::{
    cache::{
        conf::WritePolicy,
        status::{CacheStatus, Forward},
        store::Cache,
    },
    error::Result,
    exchange::{Downstream, Exchange},
    h1::Method,
    http::{
        active::ActiveExchange,
        context::{RequestPlan, RouteContext},
        proxy,
    },
    runtime::{Route, Snapshot},
    telemetry::cache_result::CacheResult,
    writeback::counters::Result as Counted,
};

/// Whether a request that changes something is acknowledged here, before the origin has it.
pub(crate) fn is_accepted(on: (&Snapshot, &Route), cache: &Cache, exchange: &Exchange) -> bool {
    cache.conf.write_policy == WritePolicy::Back && accept::may_accept(on, cache, exchange)
}

/// Serves a request that changes something.
pub(in crate::http) async fn serve<D: Downstream>(
    context: &RouteContext<'_>,
    cache: &Arc<Cache>,
    plan: RequestPlan,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    exchange.cache = Some(CacheResult::Bypass);
    let policy = cache.conf.write_policy;
    if is_accepted((&context.snapshot.shared, context.route), cache, exchange) {
        return accept::accept(context, cache, plan, exchange, client).await;
    }
    accept::take_turn(context, cache, exchange).await?;
    match policy {
        WritePolicy::Through if exchange.request.method == Method::Put && cache.is_storing => {
            through::serve(context, cache, plan, exchange, client).await
        }
        WritePolicy::Around | WritePolicy::Through | WritePolicy::Back => {
            around(context, cache, plan, exchange, client).await
        }
    }
}

/// Passes a write on. Once the origin has answered that it was done, and before the client hears so, what is stored of
/// it is taken out.
async fn around<D: Downstream>(
    context: &RouteContext<'_>,
    cache: &Arc<Cache>,
    plan: RequestPlan,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    let answer = proxy::ask(context, plan, exchange, client).await?;
    let counted =
        if invalidate(context.route, cache, exchange) > 0 { Counted::Invalidated } else { Counted::Passed };
    cache.store.writes.count(cache.conf.write_policy, counted);
    let status = CacheStatus::forwarded(Forward::Method);
    proxy::deliver(context, answer, Some(status), exchange, client).await
}
