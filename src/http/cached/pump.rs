//! The body of a response on its way into a fill, and into the store at its end.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::{
    cache::{
        disk_tier::DiskWrite,
        fill::{Answer, Source},
        key::Key,
        purge::Rule,
        store::Cache,
        stored_response::{Body, StoredResponse},
    },
    error::Kind,
    http::body,
    moment::Moment,
    net::{BodyFrame, Deadline},
    upstream::forward::UpstreamResponse,
};

/// Brings a body to its end, at the origin's pace, however slow those are who read it, and has it stored when it is
/// whole. A body that stands still for `idle` is broken.
pub(super) async fn pump(
    cache: Arc<Cache>,
    answer: Arc<Answer>,
    live: UpstreamResponse,
    mut source: Source,
    idle: Duration,
) {
    let deadline = Deadline::new();
    deadline.after(idle);
    let facts = (answer.length, source.begun());
    let keep = || cache.store.disk.begin(source.key(), &answer.variant, &answer.entry, facts);
    let keeping = if answer.is_open { keep() } else { None };
    source.set_kept(keeping.is_some());
    let mut pump = Pump { live, source, keeping, deadline, idle };
    match poll_fn(|cx| pump.poll(cx)).await {
        Ended::Whole => {
            let Pump { live, source, keeping, .. } = pump;
            body::release(live);
            let key = source.key().clone();
            source.finish(|body, rules| store(&cache, key, &answer, (body, keeping), rules));
        }
        // The source is dropped: whoever reads sees that the rest is missing.
        Ended::Broken => body::observe(&pump.live, Kind::BodyBroken),
        Ended::Unwanted => {}
    }
}

/// Stores an answer whose body is whole, in memory if all of it is there still, and on disk.
fn store(
    cache: &Cache,
    key: Key,
    answer: &Answer,
    (body, keeping): (Option<Body>, Option<DiskWrite>),
    rules: &[Rule],
) {
    if !answer.is_open || !cache.survives(&key, &answer.entry.head.fields, rules) {
        return;
    }
    let is_admitted = body.is_none_or(|body| {
        let mut entry = answer.entry.clone();
        entry.head.fields = entry.head.fields.compact();
        cache.put(Arc::new(StoredResponse::assembled(key, answer.variant.clone(), entry, body)))
    });
    if let Some(keeping) = keeping.filter(|_| is_admitted) {
        keeping.finish();
    }
}

struct Pump {
    live: UpstreamResponse,
    source: Source,
    /// Its way to disk.
    keeping: Option<DiskWrite>,
    deadline: Deadline,
    idle: Duration,
}

enum Ended {
    Whole,
    Broken,
    Unwanted,
}

impl Pump {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if !ready!(self.source.poll_room(cx)) {
                return Poll::Ready(Ended::Unwanted);
            }
            // What does not fit into memory is stored on disk only, and waits for it.
            if let Some(keeping) = self.keeping.as_mut().filter(|_| !self.source.is_whole_kept()) {
                ready!(keeping.poll_room(cx));
            }
            match self.live.wire.poll_body(cx, &mut self.live.incoming) {
                Poll::Ready(Ok(BodyFrame::Data(block))) => {
                    self.live.permit.count_bytes(block.len() as u64);
                    let chunk = block.to_shared();
                    if let Some(keeping) = &mut self.keeping {
                        keeping.push(chunk.clone());
                        self.keeping = self.keeping.take().filter(DiskWrite::is_on);
                        self.source.set_kept(self.keeping.is_some());
                    }
                    self.source.push(chunk);
                    self.deadline.at(Moment::now().plus(self.idle));
                }
                // Trailers are for the one who asked, and not stored.
                Poll::Ready(Ok(BodyFrame::End(_))) => return Poll::Ready(Ended::Whole),
                Poll::Ready(Err(_)) => return Poll::Ready(Ended::Broken),
                Poll::Pending => {
                    ready!(self.deadline.poll_elapsed(cx));
                    return Poll::Ready(Ended::Broken);
                }
            }
        }
    }
}
