//! The write policy `through`: what a PUT left at the origin is stored, where the response says what that is.
//!
//! Order: everything of the URI is forgotten first, which also keeps fetches under way from being stored; then the
//! representation is stored, unless another write of the URI ended, or a purge came, since this one began. Of two
//! writes that overlap neither is stored: in which order the origin took them, nobody here knows.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;

use super::invalidate;
use crate::{
    cache::{
        disk_tier::now_millis,
        freshness::Times,
        key::Key,
        memory::Rejected,
        purge::Rule,
        status::{CacheStatus, Forward, StatusOutcome},
        store::Cache,
        stored_head::StoredHead,
        stored_response::{Body, StoredResponse},
        through::{
            overlap::Watch,
            representation::{self as written, Unkept},
        },
    },
    error::Result,
    exchange::{Downstream, Exchange},
    http::{
        active::ActiveExchange,
        cache_key::{key, now},
        context::{RequestPlan, RouteContext},
        misleading::is_misleading,
        proxy,
        tee::Tee,
    },
    writeback::counters::Result as Counted,
};

/// Passes a PUT on, and stores what it left.
pub(super) async fn serve<D: Downstream>(
    context: &RouteContext<'_>,
    cache: &Arc<Cache>,
    plan: RequestPlan,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    let watch = cache.store.watches.begin();
    let requested = now();
    let mut tee = Tee::new(client, cache.longest());
    let answer = proxy::ask(context, plan, exchange, &mut tee).await?;
    let (body, _held) = tee.body().unzip();
    let times = Times { requested, received: now() };
    let changed = invalidate(context, cache, exchange);
    let mut status = CacheStatus::forwarded(Forward::Method);
    let counted = if changed.targets.is_empty() {
        Counted::Passed
    } else {
        match keep(context, cache, exchange, (body, changed.names_another), (times, watch)) {
            Ok(ttl) => {
                status.outcome = StatusOutcome::Forwarded {
                    why: Forward::Method,
                    status: None,
                    stored: true,
                    collapsed: false,
                };
                status.ttl = Some(ttl);
                Counted::Stored
            }
            Err(unkept) => {
                status.detail = Some(unkept.name());
                Counted::Invalidated
            }
        }
    };
    cache.store.writes.count(cache.conf.write_policy, counted);
    proxy::deliver(context, answer, Some(status), exchange, client).await
}

/// Stores what a PUT left, whose URI was forgotten a moment ago, and whose response may name another; gives for how long it
/// is fresh.
fn keep(
    context: &RouteContext<'_>,
    cache: &Arc<Cache>,
    exchange: &Exchange,
    (body, names_another): (Option<Bytes>, bool),
    (times, watch): (Times, Watch),
) -> Result<i64, Unkept> {
    let names_another = names_another || is_misleading(&exchange.request.fields);
    let about = (cache.conf.purge_header.as_str(), names_another);
    let entry = written::representation(&exchange.request, &exchange.response, about, &cache.policy, times)?;
    let body = body.ok_or(Unkept::Body)?;
    let ttl = entry.freshness.ttl(times.received);
    let key = key(context.route, cache, exchange);
    let object =
        StoredResponse::new(key, &exchange.request.fields, entry, Body::of([body])).ok_or(Unkept::Vary)?;
    let object = Arc::new(object);
    let is_stored = watch.store(|rules| {
        let is_first = is_undisturbed(cache, &object.key, &object.entry, rules);
        is_first.then(|| cache.put(object.clone()))
    });
    match is_stored {
        Some(Ok(())) => tokio::task::spawn_local(keep_on_disk(cache.clone(), object, watch)),
        Some(Err(Rejected::NotAdmitted | Rejected::TooLarge)) => return Err(Unkept::NotAdmitted),
        Some(Err(Rejected::Older)) | None => return Err(Unkept::Overtaken),
    };
    Ok(ttl)
}

/// Whether the one rule about it is that of its own write.
fn is_undisturbed(cache: &Cache, key: &Key, entry: &StoredHead, rules: Option<&[Rule]>) -> bool {
    let tags = &cache.conf.purge_header;
    let Some(rules) = rules else { return false };
    rules.iter().filter(|rule| rule.matches(key, &entry.head.fields, tags)).count() <= 1
}

/// Stores it on disk too, where there is a disk tier.
async fn keep_on_disk(cache: Arc<Cache>, object: Arc<StoredResponse>, watch: Watch) {
    let disk = &cache.store.disk;
    if !disk.is_open() {
        return;
    }
    // What began in the millisecond in which its URI was forgotten counts as older than that.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let begun = now_millis();
    let facts = (Some(object.body.length), begun);
    let Some(mut keeping) = disk.begin(&object.key, &object.variant, &object.entry, facts) else { return };
    for chunk in object.body.chunks() {
        poll_fn(|cx| keeping.poll_room(cx)).await;
        keeping.push(chunk.clone());
    }
    // What was fetched since the write is at least as new.
    let place = (&object.key, &object.variant);
    if disk.has_more_recent(place, object.entry.date, (object.begun(), begun)).await {
        return;
    }
    watch.store(|rules| {
        if is_undisturbed(&cache, &object.key, &object.entry, rules) {
            keeping.finish();
        }
    });
}
