//! What is on disk for a request: small objects come to memory and answer from there, large ones answer from disk. And
//! what becomes of it once something newer is known.

use std::sync::Arc;

use super::request::usable;
use crate::{
    cache::{
        cache_control::RequestControl, freshness::Verdict, key::Key, store::Cache, stored::Stored,
        stored_response::StoredResponse,
    },
    fields::Fields,
    moment::Moment,
};

/// Bodies up to this length come to memory when they are asked for; longer ones are read from disk each time, of which
/// the kernel keeps what is read often.
const PROMOTED: u64 = 1 << 20;

/// What is on disk for a request: whole, and in memory by now where it is small, though not among what is stored
/// there.
pub(super) struct DiskLookup {
    pub(super) stored: Stored,
    /// How it may be served; `None` when it must be validated first.
    pub(super) verdict: Option<Verdict>,
}

/// Looks for what answers a request. What turns out to be damaged is not there.
pub(super) async fn find(
    cache: &Cache,
    key: &Key,
    request: &Fields,
    control: &RequestControl,
) -> Option<DiskLookup> {
    let disk = &cache.store.disk;
    if !disk.may_have(key) {
        return None;
    }
    let (most, begun) = (cache.conf.max_variants as usize, Moment::now());
    let object = disk.find(key, request, most).await?;
    if object.length > PROMOTED {
        // There is no refresh of it in the background.
        let verdict = usable(&object.record.entry.freshness, control);
        let verdict = verdict.filter(|verdict| *verdict != Verdict::StaleWhileRevalidate);
        return Some(DiskLookup { stored: Stored::Disk(Box::new(object)), verdict });
    }
    // What comes to memory while this is read is more recent.
    let response = Arc::new(object.load().await?.begun_at(begun));
    let verdict = usable(&response.freshness(), control);
    Some(DiskLookup { stored: Stored::Memory(response), verdict })
}

/// Gives the object on disk in the place of `response` its head, or takes it out; soon.
pub(super) fn renew(cache: &Arc<Cache>, response: &Arc<StoredResponse>, stays: bool, begun: u64) {
    if cache.store.disk.may_have(&response.key) {
        let (cache, response) = (cache.clone(), response.clone());
        tokio::task::spawn_local(async move { cache.store.disk.renew(&response, stays, begun).await });
    }
}

/// Takes what is on disk in the place of `response` out; soon.
pub(super) fn remove(cache: &Arc<Cache>, response: &Arc<StoredResponse>) {
    cache.store.disk.remove(response);
    // Which of those that vary it is, their heads say.
    if !response.variant.text().is_empty() {
        renew(cache, response, false, 0);
    }
}
