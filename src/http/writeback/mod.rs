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
    boxed,
    cache::{
        conf::WritePolicy,
        key::Use,
        status::{CacheStatus, Forward},
        store::Cache,
    },
    error::Result,
    exchange::{Downstream, Exchange},
    h1::Method,
    http::{
        active::ActiveExchange,
        answer::Answer,
        connection_credentials::has_connection_credentials,
        context::{RequestPlan, RouteContext},
        proxy,
        whole_body::Gathered,
    },
    runtime::{Route, Snapshot},
    telemetry::cache_result::CacheResult,
    upstream::UpstreamResponse,
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
    let is_for_backend = has_connection_credentials(context, exchange, client);
    if !is_for_backend && is_accepted((&context.snapshot.shared, context.route), cache, exchange) {
        return match accept::accept(context, cache, plan, exchange, client).await? {
            None => Ok(()),
            Some(body) => boxed::pin(|| around_with(context, cache, (plan, body), exchange, client)).await,
        };
    }
    accept::take_turn(context, cache, exchange).await?;
    match policy {
        WritePolicy::Through
            if exchange.request.method == Method::Put && cache.is_storing && !is_for_backend =>
        {
            through::serve(context, cache, plan, exchange, client).await
        }
        WritePolicy::Around | WritePolicy::Through | WritePolicy::Back => {
            around(context, cache, plan, exchange, client).await
        }
    }
}

/// Whether a request changes something.
pub(in crate::http) fn is_write(plan: RequestPlan, exchange: &Exchange) -> bool {
    Use::of(&exchange.request, plan.framing) == Use::Invalidate
}

/// Whether a request on a route without a cache changes something while writes of some cache wait: one of its URI may be
/// among them, if its route had a cache before.
#[inline]
pub(in crate::http) fn has_to_wait(route: &Route, plan: RequestPlan, exchange: &ActiveExchange) -> bool {
    // Nearly all only read.
    let reads = matches!(exchange.request.method, Method::Get | Method::Head);
    !reads
        && route.cache.is_none()
        && is_write(plan, exchange)
        && exchange.worker().shared.registry.journals.is_owing()
}

/// Has such a request, on a route without a cache, wait for those.
pub(in crate::http) async fn take_turn(context: &RouteContext<'_>, exchange: &ActiveExchange) -> Result<()> {
    accept::take_turn_uncached(context, exchange).await
}

/// Serves a request that changes something, and asks for a tunnel besides; gives the response where it became one. A
/// backend may ignore what is asked (RFC 9110 §7.8), and has a write then as any other. It is not acknowledged here:
/// whether there is a tunnel is the origin's to say.
pub(in crate::http) async fn serve_upgrade<D: Downstream>(
    context: &RouteContext<'_>,
    cache: &Arc<Cache>,
    plan: RequestPlan,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Option<UpstreamResponse>> {
    exchange.cache = Some(CacheResult::Bypass);
    accept::take_turn(context, cache, exchange).await?;
    let answer = proxy::ask(context, plan, exchange, client).await?;
    if answer.response.is_tunnel() {
        return proxy::begin_tunnel(context, answer, exchange, client).map(Some);
    }
    conclude(context, cache, answer, exchange, client).await.map(|()| None)
}

/// Passes a write on.
async fn around<D: Downstream>(
    context: &RouteContext<'_>,
    cache: &Arc<Cache>,
    plan: RequestPlan,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    let answer = proxy::ask(context, plan, exchange, client).await?;
    conclude(context, cache, answer, exchange, client).await
}

/// Passes on a write whose body is here.
async fn around_with<D: Downstream>(
    context: &RouteContext<'_>,
    cache: &Arc<Cache>,
    (plan, body): (RequestPlan, Gathered),
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    accept::take_turn_after_all(context, cache, exchange).await?;
    let answer = proxy::ask_whole(context, (plan, body), exchange, client).await?;
    conclude(context, cache, answer, exchange, client).await
}

/// Once the origin has answered that a write was done, and before the client hears so, what is stored of it is taken out.
async fn conclude<D: Downstream>(
    context: &RouteContext<'_>,
    cache: &Arc<Cache>,
    answer: Answer,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    let counted = match invalidate(context, cache, exchange).targets.is_empty() {
        true => Counted::Passed,
        false => Counted::Invalidated,
    };
    cache.store.writes.count(cache.conf.write_policy, counted);
    let status = CacheStatus::forwarded(Forward::Method);
    proxy::deliver(context, answer, Some(status), exchange, client).await
}
