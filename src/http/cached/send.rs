//! From store or fill to the client: what is said of it, and which part of it goes out.

use std::mem;

use super::{
    request::{CacheRequest, ServedFrom},
    selection::select,
};
use crate::{
    cache::{
        fill::{self, Reader},
        freshness::Verdict,
        status::{CacheStatus, Forward, StatusOutcome},
        stored::Stored,
        stored_head::StoredHead,
        validate::add_own,
    },
    error::Result,
    exchange::{Downstream, Exchange, PeerHop},
    http::{
        cache_key::now,
        respond::{self, Source},
    },
    telemetry::cache_result::CacheResult,
};

/// Serves a stored response.
pub(super) async fn send_stored<D: Downstream>(
    request: &CacheRequest<'_>,
    stored: Stored,
    from: ServedFrom,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    let (result, status) = describe(&stored, from);
    exchange.cache = Some(result);
    let head = stored.head();
    // The 304 of this very request.
    let is_own = matches!(from, ServedFrom::Validated { is_collapsed: false, .. });
    let not_modified = is_own.then(|| mem::take(&mut exchange.response.fields));
    copy_head(head, exchange);
    if let Some(not_modified) = not_modified {
        add_own(&mut exchange.response.fields, &not_modified, &request.cache.policy);
    }
    let (age, received) = (head.freshness.age(now()), head.received);
    let part = select(exchange, Some(stored.length()), (received, true));
    let source = Source::Stored(part, stored, None);
    // What is said of the representation would let caches on the way keep this error for it.
    let age = (exchange.response.status != 416).then_some(age);
    send(request, source, status, age, exchange, client).await
}

/// What the log and Cache-Status say of a stored response that is served.
fn describe(stored: &Stored, from: ServedFrom) -> (CacheResult, CacheStatus) {
    let ttl = Some(stored.freshness().ttl(now()));
    let forwarded =
        |why, status, collapsed| StatusOutcome::Forwarded { why, status, stored: false, collapsed };
    let (result, outcome, detail) = match from {
        ServedFrom::Hit(Verdict::Fresh) => (CacheResult::Hit, StatusOutcome::Hit, None),
        ServedFrom::Hit(_) => (CacheResult::Stale, StatusOutcome::Hit, None),
        ServedFrom::Validated { why, is_collapsed: false } => {
            (CacheResult::Revalidated, forwarded(why, Some(304), false), None)
        }
        ServedFrom::Validated { why, is_collapsed: true } => {
            (CacheResult::Collapsed, forwarded(why, None, true), None)
        }
        ServedFrom::Failed(status) => {
            (CacheResult::Stale, forwarded(Forward::Stale, status, false), Some("stale-if-error"))
        }
        ServedFrom::Journal => return (CacheResult::Journal, CacheStatus::journal(StatusOutcome::Hit)),
    };
    (result, CacheStatus { outcome, ttl, key: None, detail })
}

/// Serves what another request fetched.
pub(super) async fn send_collapsed<D: Downstream>(
    request: &CacheRequest<'_>,
    (head, reader): (&fill::Answer, Reader),
    why: Forward,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    exchange.cache = Some(CacheResult::Collapsed);
    copy_head(&head.entry, exchange);
    let age = head.entry.freshness.age(now());
    let outcome = StatusOutcome::Forwarded { why, status: None, stored: false, collapsed: true };
    let ttl = head.is_open.then(|| head.entry.freshness.ttl(now()));
    let status = CacheStatus { outcome, ttl, key: None, detail: None };
    send_fill(request, (head, reader), status, Some(age), exchange, client).await
}

/// Serves what this request fetched; the head is in `exchange.response` as it came.
pub(super) async fn send_fetched<D: Downstream>(
    request: &CacheRequest<'_>,
    (head, reader): (&fill::Answer, Reader),
    why: Forward,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    exchange.cache = Some(fetched(exchange));
    let stored = head.is_open;
    let outcome = StatusOutcome::Forwarded { why, status: None, stored, collapsed: false };
    let ttl = stored.then(|| head.entry.freshness.ttl(now()));
    let status = CacheStatus { outcome, ttl, key: None, detail: None };
    send_fill(request, (head, reader), status, None, exchange, client).await
}

/// Who served what was fetched for this request.
pub(super) fn fetched(exchange: &Exchange) -> CacheResult {
    match exchange.hop {
        Some(PeerHop::By(_)) => CacheResult::Peer,
        Some(PeerHop::For { .. } | PeerHop::Through(_)) | None => CacheResult::Miss,
    }
}

async fn send_fill<D: Downstream>(
    request: &CacheRequest<'_>,
    (head, reader): (&fill::Answer, Reader),
    status: CacheStatus,
    age: Option<u64>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    let part = select(exchange, head.length, (head.entry.received, head.is_open));
    let age = age.filter(|_| exchange.response.status != 416);
    send(request, Source::Fill(part, reader), status, age, exchange, client).await
}

async fn send<D: Downstream>(
    request: &CacheRequest<'_>,
    source: Source,
    status: CacheStatus,
    age: Option<u64>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    // Set in its place: a reply is large, and each one that is made of another is another copy.
    let mut reply = request.context.reply();
    (reply.cache_status, reply.age) = (Some(status), age);
    let mut patience = request.context.patience(exchange);
    if matches!(source, Source::Stored(..)) {
        // It comes from no backend: only a place of the route may be held for who takes it slowly. Readers of a fill are
        // held to the rate also when the backend is done, for what they have yet to read counts as the fill's memory.
        patience.min_rate = request.context.route.min_rate_of_place();
    }
    respond::send(&reply, source, patience, exchange, client).await
}

fn copy_head(head: &StoredHead, exchange: &mut Exchange) {
    exchange.response.status = head.head.status;
    exchange.response.version = head.head.version;
    exchange.response.fields.copy_from(&head.head.fields);
}
