//! The body of a response on its way into a fill, and into the store at its end.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::disk_lookup;
use crate::{
    cache::{
        disk_tier::DiskWrite,
        fill::{Answer, Source},
        key::Key,
        memory::Rejected,
        purge::Rule,
        store::Cache,
        stored_response::{Body, StoredResponse},
    },
    error::{Kind, Result},
    http::respond::{self, Patience, Sink},
    moment::Moment,
    net::{Buffer, Deadline, LeastRate},
    upstream::UpstreamResponse,
};

/// Brings a body to its end, at the origin's pace, however slow those are who read it, and has it stored when it is
/// whole. `before` is what was stored for the request that brings it. A body that stalls for `idle` is broken.
pub(super) async fn fill(
    cache: Arc<Cache>,
    (head, before): (Arc<Answer>, Option<Arc<StoredResponse>>),
    response: UpstreamResponse,
    mut source: Source,
    idle: Duration,
) {
    let facts = (head.length, source.begun());
    let begin = || cache.store.disk.begin(source.key(), &head.variant, &head.entry, facts);
    let disk = if head.is_open { begin() } else { None };
    source.set_kept(disk.is_some());
    let rate = LeastRate::new(RATE_FOR_NOBODY);
    let mut sink = FillSink { source, rate, disk, bytes: 0, deadline: Deadline::new() };
    let patience = Patience { backend: idle, client: None, min_rate: 0, holds_place: false, end: None };
    // Where it breaks off the source is dropped: whoever reads sees that the rest is missing.
    if respond::pump(respond::Source::Upstream(response), patience, &mut sink).await.is_ok() {
        let FillSink { source, disk, .. } = sink;
        end(&cache, (&head, before.as_ref()), source, disk).await;
    }
}

/// The body is whole: it is stored, unless something more recent came to disk meanwhile, which memory may not have any more.
async fn end(
    cache: &Arc<Cache>,
    (head, before): (&Answer, Option<&Arc<StoredResponse>>),
    source: Source,
    disk: Option<DiskWrite>,
) {
    let (key, since) = (source.key().clone(), source.since());
    let (place, began) = ((&key, &head.variant), (since, source.begun()));
    if cache.store.disk.has_more_recent(place, head.entry.date, began).await {
        source.finish(|_, _| {});
        return;
    }
    source.finish(|body, rules| store(cache, key, (head, before), (body, disk), (since, rules)));
}

/// Stores an answer whose body is whole, in memory if all of it is there still, and on disk. Nothing that it replaces
/// stays anywhere, or that would be found in its place: not what has its place, nor what was stored for its request. It was
/// asked for at `since`; `rules` are the purges since then.
fn store(
    cache: &Arc<Cache>,
    key: Key,
    (head, before): (&Answer, Option<&Arc<StoredResponse>>),
    (body, disk): (Option<Body>, Option<DiskWrite>),
    (since, rules): (Moment, &[Rule]),
) {
    if !head.is_open || !cache.survives(&key, &head.entry.head.fields, rules) {
        return;
    }
    let mut entry = head.entry.clone();
    entry.head.fields = entry.head.fields.compact();
    let is_whole = body.is_some();
    let body = body.unwrap_or_else(|| Body::of([]));
    let object = StoredResponse::assembled(key, head.variant.clone(), entry, body).begun_at(since);
    let object = Arc::new(object);
    let put = if is_whole { cache.put(object.clone()) } else { cache.pass_by(&object) };
    if put == Err(Rejected::Older) {
        return;
    }
    // One with Vary comes before one without: where the origin changed its mind it would be asked about for ever.
    if let Some(before) = before.filter(|before| before.id() != object.id()) {
        if let Some(memory) = &cache.store.memory {
            memory.remove(before);
        }
        disk_lookup::remove(cache, before);
    }
    let is_kept = disk.filter(|_| put.is_ok()).is_some_and(DiskWrite::finish);
    if !is_kept {
        disk_lookup::remove(cache, &object);
    }
}

/// Bytes per second that must come of a body which nobody reads and which is fetched for the cache alone: by average over
/// the time without readers, beyond the first ten seconds. Who trickles holds a place at the backend for nobody.
const RATE_FOR_NOBODY: u64 = 240;

struct FillSink {
    source: Source,
    /// The pace while nobody reads.
    rate: LeastRate,
    /// Its way to disk.
    disk: Option<DiskWrite>,
    bytes: u64,
    deadline: Deadline,
}

impl Sink for FillSink {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !ready!(self.source.poll_room(cx)) {
            return Poll::Ready(Err(Kind::ClientGone.into()));
        }
        // What does not fit into memory is stored on disk only, and waits for it.
        match self.disk.as_mut().filter(|_| !self.source.is_whole_kept()) {
            Some(disk) => disk.poll_room(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_data(&mut self, _: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<()>> {
        let chunk = buffer.to_shared();
        *buffer = Buffer::default();
        self.bytes += chunk.len() as u64;
        let now = Moment::now();
        if self.source.is_read() {
            self.rate.end(now);
        } else if self.rate.begin(self.bytes, now).is_some_and(|end| end <= now) {
            return Poll::Ready(Err(Kind::ClientGone.into()));
        }
        if let Some(disk) = &mut self.disk {
            disk.push(chunk.clone());
            self.disk = self.disk.take().filter(DiskWrite::is_on);
            self.source.set_kept(self.disk.is_some());
        }
        self.source.push(chunk);
        Poll::Ready(Ok(()))
    }

    fn sent(&self) -> u64 {
        self.bytes
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}

#[cfg(test)]
mod tests;
