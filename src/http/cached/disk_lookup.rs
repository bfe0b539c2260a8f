//! What lies on disk for a request: small things come to memory and answer from there, large ones answer from disk.

use std::sync::Arc;

use super::{CacheRequest, now, send};
use crate::{
    cache::{
        cache_control::RequestControl,
        disk_tier::DiskObject,
        freshness::{Freshness, Verdict},
        key::Key,
        status::{CacheStatus, Forward, StatusOutcome},
        store::Cache,
        stored_head::StoredHead,
        stored_response::StoredResponse,
    },
    error::Result,
    exchange::{Downstream, Exchange},
    fields::{Fields, Known},
    http::handle::Outcome,
    telemetry::cache_result::CacheResult,
};

/// Bodies up to this length come to memory when they are asked for; longer ones are read from disk each time, of which
/// the kernel keeps what is read often.
const PROMOTED: u64 = 1 << 20;

/// What lies on disk for a request.
pub(super) enum DiskLookup {
    /// A whole response that may be served, in memory by now, though not among what is stored there.
    Here(Arc<StoredResponse>, Verdict),
    /// The same, to be validated first.
    StaleHere(Arc<StoredResponse>),
    /// One that may be served, and stays where it is.
    There(Box<DiskObject>, Verdict),
    /// The same, to be validated first.
    StaleThere(Box<DiskObject>),
    /// Nothing.
    Nothing,
}

/// Looks for what answers a request. What turns out to be damaged is not there.
pub(super) async fn look(cache: &Cache, key: &Key, request: &Fields, control: &RequestControl) -> DiskLookup {
    let disk = &cache.store.disk;
    if !disk.may_have(key) {
        return DiskLookup::Nothing;
    }
    let most = cache.conf.max_variants as usize;
    let Some(kept) = disk.find(key, request, &cache.conf.purge_header, most).await else {
        return DiskLookup::Nothing;
    };
    if kept.length > PROMOTED {
        // There is no refresh of it in the background.
        let verdict = usable(&kept.record.entry.freshness, control);
        let verdict = verdict.filter(|verdict| *verdict != Verdict::StaleWhileRevalidate);
        let kept = Box::new(kept);
        return match verdict {
            Some(verdict) => DiskLookup::There(kept, verdict),
            None => DiskLookup::StaleThere(kept),
        };
    }
    let Some(object) = kept.load().await.map(Arc::new) else { return DiskLookup::Nothing };
    match usable(&object.freshness(), control) {
        Some(verdict) => DiskLookup::Here(object, verdict),
        None => DiskLookup::StaleHere(object),
    }
}

/// How it may be served without a question to the origin, if it may.
pub(super) fn usable(freshness: &Freshness, control: &RequestControl) -> Option<Verdict> {
    match freshness.verdict(control, now()) {
        verdict @ (Verdict::Fresh | Verdict::Stale | Verdict::StaleWhileRevalidate) => Some(verdict),
        Verdict::Validate(_) | Verdict::GatewayTimeout => None,
    }
}

/// How a response on disk came to be the answer.
pub(super) enum ServedFrom {
    /// The origin was not asked.
    Hit(Verdict),
    /// It said that the response holds.
    Validated(Forward),
    /// It failed; this is its status, if it gave one.
    Failed(Option<u16>),
}

impl CacheRequest<'_> {
    /// Serves a response from disk.
    pub(super) async fn send_kept<D: Downstream>(
        &self,
        kept: Box<DiskObject>,
        how: ServedFrom,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Outcome> {
        let entry: &StoredHead = &kept.record.entry;
        exchange.response.status = entry.head.status;
        exchange.response.fields.copy_from(&entry.head.fields);
        let age = entry.freshness.age(now()).to_string();
        exchange.response.fields.push_known(Known::Age, age.as_bytes());
        let ttl = entry.freshness.ttl(now());
        let forwarded =
            |why, status| StatusOutcome::Forwarded { why, status, stored: false, collapsed: false };
        let (served, outcome, detail) = match how {
            ServedFrom::Hit(Verdict::Fresh) => (CacheResult::Hit, StatusOutcome::Hit, None),
            ServedFrom::Hit(_) => (CacheResult::Stale, StatusOutcome::Hit, None),
            ServedFrom::Validated(why) => (CacheResult::Revalidated, forwarded(why, Some(304)), None),
            ServedFrom::Failed(status) => {
                (CacheResult::Stale, forwarded(Forward::Stale, status), Some("stale-if-error"))
            }
        };
        exchange.cache = Some(served);
        let status = CacheStatus { outcome, ttl: Some(ttl), key: None, detail };
        let received = entry.received;
        self.send(send::From::DiskObject(kept, None), received, &status, exchange, client).await
    }
}
