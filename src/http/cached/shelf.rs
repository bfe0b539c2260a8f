//! What lies on disk for a request: small things come to memory and answer from there, large ones answer from disk.

use std::sync::Arc;

use super::{Asks, now, send};
use crate::{
    cache::{
        control::RequestControl,
        entry::Entry,
        freshness::{Freshness, Verdict},
        key::Key,
        object::Object,
        shelf::Kept,
        status::{CacheStatus, Forward, Outcome},
        store::Cache,
    },
    error::Result,
    exchange::{Downstream, Exchange},
    fields::{Fields, Known},
    http::handle::Served,
    telemetry::served,
};

/// Bodies up to this length come to memory when they are asked for; longer ones are read from disk each time, of which
/// the kernel keeps what is read often.
const PROMOTED: u64 = 1 << 20;

/// What lies on disk for a request.
pub(super) enum Lies {
    /// A whole response that may be served, in memory by now, though not among what is stored there.
    Here(Arc<Object>, Verdict),
    /// The same, to be validated first.
    StaleHere(Arc<Object>),
    /// One that may be served, and stays where it is.
    There(Box<Kept>, Verdict),
    /// The same, to be validated first.
    StaleThere(Box<Kept>),
    /// Nothing.
    Nothing,
}

/// Looks for what answers a request. What turns out to be damaged is not there.
pub(super) async fn look(cache: &Cache, key: &Key, request: &Fields, control: &RequestControl) -> Lies {
    let shelf = &cache.store.shelf;
    if !shelf.may_have(key) {
        return Lies::Nothing;
    }
    let most = cache.conf.max_variants as usize;
    let Some(kept) = shelf.find(key, request, &cache.conf.purge_header, most).await else {
        return Lies::Nothing;
    };
    if kept.length > PROMOTED {
        // There is no refresh of it in the background.
        let verdict = usable(&kept.record.entry.freshness, control);
        let verdict = verdict.filter(|verdict| *verdict != Verdict::StaleWhileRevalidate);
        let kept = Box::new(kept);
        return match verdict {
            Some(verdict) => Lies::There(kept, verdict),
            None => Lies::StaleThere(kept),
        };
    }
    let Some(object) = kept.load().await.map(Arc::new) else { return Lies::Nothing };
    match usable(&object.freshness(), control) {
        Some(verdict) => Lies::Here(object, verdict),
        None => Lies::StaleHere(object),
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
pub(super) enum How {
    /// The origin was not asked.
    Hit(Verdict),
    /// It said that the response holds.
    Validated(Forward),
    /// It failed; this is its status, if it gave one.
    Failed(Option<u16>),
}

impl Asks<'_> {
    /// Serves a response from disk.
    pub(super) async fn send_kept<D: Downstream>(
        &self,
        kept: Box<Kept>,
        how: How,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Served> {
        let entry: &Entry = &kept.record.entry;
        exchange.response.status = entry.head.status;
        exchange.response.fields.copy_from(&entry.head.fields);
        let age = entry.freshness.age(now()).to_string();
        exchange.response.fields.push_known(Known::Age, age.as_bytes());
        let ttl = entry.freshness.ttl(now());
        let forwarded = |why, status| Outcome::Forwarded { why, status, stored: false, collapsed: false };
        let (served, outcome, detail) = match how {
            How::Hit(Verdict::Fresh) => (served::Served::Hit, Outcome::Hit, None),
            How::Hit(_) => (served::Served::Stale, Outcome::Hit, None),
            How::Validated(why) => (served::Served::Revalidated, forwarded(why, Some(304)), None),
            How::Failed(status) => {
                (served::Served::Stale, forwarded(Forward::Stale, status), Some("stale-if-error"))
            }
        };
        exchange.cache = Some(served);
        let status = CacheStatus { outcome, ttl: Some(ttl), key: None, detail };
        let received = entry.received;
        self.send(send::From::Kept(kept, None), received, &status, exchange, client).await
    }
}
