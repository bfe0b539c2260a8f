//! The order in which a cache is asked.

use std::{future::poll_fn, sync::Arc, task::Poll};

use super::{
    collapse::{self, Step},
    disk_lookup::{self, DiskLookup},
    hit::hit,
    request::{CacheRequest, ServedFrom},
    send::send_stored,
    uncollapsed,
};
use crate::{
    boxed,
    cache::{
        cache_control::RequestControl,
        key::Use,
        status::{CacheStatus, Forward, StatusOutcome},
        store::Cache,
        stored::Stored,
    },
    error::{Kind, Result},
    exchange::{Downstream, Exchange},
    fields::Known,
    h1::{Method, ResponseHead},
    http::{
        active::ActiveExchange,
        cache_key::key,
        connection_credentials::has_connection_credentials,
        context::{RequestPlan, RouteContext},
        proxy,
        respond::{self, Reply},
        writeback::{self, pending::PendingWrite},
    },
    telemetry::cache_result::CacheResult,
};

/// Serves a request on a route that has a cache. Each way to the backend is boxed, so that a hit, whose future is moved as
/// a whole, does not carry the room that they need.
pub(in crate::http) async fn serve<D: Downstream>(
    context: &RouteContext<'_>,
    cache: &Arc<Cache>,
    plan: RequestPlan,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    match Use::of(&exchange.request, plan.framing) {
        Use::Pass => {
            let why = match exchange.request.method {
                Method::Get | Method::Head => Forward::Bypass,
                _ => Forward::Method,
            };
            boxed::pin(|| bypass(context, plan, CacheStatus::forwarded(why), exchange, client)).await
        }
        Use::Invalidate => boxed::pin(|| writeback::serve(context, cache, plan, exchange, client)).await,
        Use::Read | Use::ReadAndStore
            if cache.no_store.hold(exchange) || has_connection_credentials(context, exchange, client) =>
        {
            let status = CacheStatus::forwarded(Forward::Bypass);
            boxed::pin(|| bypass(context, plan, status, exchange, client)).await
        }
        usage @ (Use::Read | Use::ReadAndStore) => {
            let mut control = RequestControl::of(&exchange.request.fields);
            control.no_cache |= cache.bypass.hold(exchange);
            let key = key(context.route, cache, exchange);
            let request = CacheRequest { context, cache, key, control, is_head: usage == Use::Read };
            match writeback::pending::find(context, cache, &request.key, exchange) {
                PendingWrite::Nothing if is_left_behind(cache, exchange) => {
                    let status = CacheStatus::forwarded(Forward::Bypass);
                    boxed::pin(|| bypass(context, plan, status, exchange, client)).await
                }
                PendingWrite::Nothing => read(&request, exchange, client).await,
                PendingWrite::Unknown => {
                    let outcome = CacheStatus::forwarded(Forward::Bypass).outcome;
                    boxed::pin(|| bypass(context, plan, CacheStatus::journal(outcome), exchange, client))
                        .await
                }
                PendingWrite::Deleted => send_deleted(context, exchange, client).await,
                PendingWrite::Written(response) => {
                    let stored = Stored::Memory(response);
                    send_stored(&request, stored, ServedFrom::Journal, exchange, client).await
                }
            }
        }
    }
}

/// Whether the next program has taken this one's place, while this one drains: what is purged there, or written to, is not
/// heard of here, and neither what is stored nor what is under way may be given to who asks after that
/// (`docs/decisions/049-changes-during-upgrades.md`).
fn is_left_behind(cache: &Cache, exchange: &ActiveExchange) -> bool {
    cache.is_storing && exchange.worker().shared.registry.changes.are_left()
}

/// Passes a request on that has no use for the cache.
async fn bypass<D: Downstream>(
    context: &RouteContext<'_>,
    plan: RequestPlan,
    status: CacheStatus,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    exchange.cache = Some(CacheResult::Bypass);
    if let StatusOutcome::Forwarded { why, .. } = status.outcome {
        exchange.forwarded = Some(why.name());
    }
    let answer = proxy::ask(context, plan, exchange, client).await?;
    proxy::deliver(context, answer, Some(status), exchange, client).await
}

/// Answers a request for what was deleted, though the origin does not know yet.
async fn send_deleted<D: Downstream>(
    context: &RouteContext<'_>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    exchange.cache = Some(CacheResult::Journal);
    respond::own_head(404, exchange);
    exchange.response.fields.push_known(Known::ContentType, b"text/plain; charset=utf-8");
    exchange.response.fields.push_known(Known::CacheControl, b"no-store");
    let reply =
        Reply::on(context.listener, context.route).with_status(CacheStatus::journal(StatusOutcome::Hit));
    respond::send_own(reply, "404: it was deleted\n".into(), exchange, client).await
}

/// How often a request may find that what it waited for is not for it. Each variant takes a fetch of its own, and
/// those who want the same one wait for that.
const MOST_TURNS: u32 = 4;

/// Tells a peer that its question takes a while (102, RFC 2518 §10.1): it waits then, and does not ask the origin itself.
async fn say_under_way<D: Downstream>(client: &mut D) {
    client.interim(&ResponseHead { status: 102, ..ResponseHead::default() });
    poll_fn(|cx| {
        // What cannot be sent yet goes with what follows.
        let _ = client.poll_flush(cx);
        Poll::Ready(())
    })
    .await;
}

async fn read<D: Downstream>(
    request: &CacheRequest<'_>,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    let mut turn = 0;
    loop {
        let miss = match request.find(exchange) {
            Ok((stored, verdict)) => return hit(request, stored, verdict, exchange, client).await,
            Err(miss) => miss,
        };
        exchange.forwarded = Some(miss.why.name());
        if turn == 0 && exchange.is_for_peer() {
            say_under_way(client).await;
        }
        if request.control.only_if_cached {
            let fields = &exchange.request.fields;
            let found = disk_lookup::find(request.cache, &request.key, fields, &request.control);
            let found = Box::pin(found).await;
            if let Some(DiskLookup { stored, verdict: Some(verdict) }) = found {
                return hit(request, stored, verdict, exchange, client).await;
            }
            exchange.cache = Some(CacheResult::NotCached);
            return Err(Kind::NotCached.into());
        }
        if turn < MOST_TURNS && request.may_collapse(exchange) {
            match collapse::join(request, &miss, exchange, client).await? {
                Step::Served => return Ok(()),
                Step::Again => {
                    turn += 1;
                    continue;
                }
                Step::Alone => {}
            }
        }
        return boxed::pin(|| uncollapsed::fetch(request, miss, exchange, client)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::detached::Detached;

    /// The size of a function's future.
    fn size_of_future<'a, F: Future>(
        _: impl FnOnce(
            &'a RouteContext<'a>,
            &'a Arc<Cache>,
            RequestPlan,
            &'a mut ActiveExchange,
            &'a mut Detached<'a>,
        ) -> F,
    ) -> usize {
        size_of::<F>()
    }

    #[test]
    fn hit_carries_little_of_what_others_need() {
        let size = size_of_future(serve);
        assert!(size <= 2560, "{size} bytes");
    }
}
