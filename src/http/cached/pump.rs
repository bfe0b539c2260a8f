//! The body of a response on its way into a fill, and into the store at its end.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::{
    cache::{
        fill::{Answer, Source},
        key::Key,
        object::{Body, Object},
        purge::Rule,
    },
    error::Kind,
    http::body,
    moment::Moment,
    net::{Deadline, Piece},
    upstream::forward::Live,
};

/// Brings a body to its end, at the origin's pace, however slow those are who read it. `store` is given it when it is
/// whole. A body that stands still for `idle` is broken.
pub(super) async fn pump(live: Live, source: Source, idle: Duration, store: impl FnOnce(Key, Body, &[Rule])) {
    let deadline = Deadline::new();
    deadline.after(idle);
    let mut pump = Pump { live, source, deadline, idle };
    match poll_fn(|cx| pump.poll(cx)).await {
        Ended::Whole => {
            let Pump { live, source, .. } = pump;
            body::release(live);
            let key = source.key().clone();
            source.finish(|body, rules| store(key, body, rules));
        }
        // The source is dropped: whoever reads sees that the rest is missing.
        Ended::Broken => body::observe(&pump.live, Kind::BodyBroken),
        Ended::Unwanted => {}
    }
}

/// What is stored of an answer whose body is whole.
pub(super) fn object(key: Key, answer: &Arc<Answer>, body: Body) -> Object {
    let mut entry = answer.entry.clone();
    entry.head.fields = entry.head.fields.compact();
    Object::assembled(key, answer.variant.clone(), entry, body)
}

struct Pump {
    live: Live,
    source: Source,
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
            match self.live.wire.poll_body(cx, &mut self.live.incoming) {
                Poll::Ready(Ok(Piece::Data(block))) => {
                    self.live.permit.count_bytes(block.len() as u64);
                    self.source.push(block.to_shared());
                    self.deadline.at(Moment::now().plus(self.idle));
                }
                // Trailers are for the one who asked, and not stored.
                Poll::Ready(Ok(Piece::End(_))) => return Poll::Ready(Ended::Whole),
                Poll::Ready(Err(_)) => return Poll::Ready(Ended::Broken),
                Poll::Pending => {
                    ready!(self.deadline.poll_elapsed(cx));
                    return Poll::Ready(Ended::Broken);
                }
            }
        }
    }
}
