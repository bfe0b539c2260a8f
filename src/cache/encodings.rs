//! The body of a stored response in other encodings, beside it: made once, by the first client that would have it so, and
//! gone with it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    filter::{EncodedHead, coding::Coding},
    moment::Moment,
};

/// What there is of a body in other encodings. Copies of a body share it.
#[derive(Debug, Default)]
pub struct Encodings {
    bodies: OnceLock<Arc<[OnceLock<Bytes>; Coding::ALL.len()]>>,
    /// By encoding. Of each copy of a body for itself: there are few.
    collected: [Collector; Coding::ALL.len()],
}

/// The one who collects a body.
#[derive(Debug, Default)]
struct Collector {
    /// When it began; 0 where there is none.
    begun: AtomicU64,
    /// How much it has.
    bytes: AtomicU64,
}

/// Who has collected for so long may be one who reads slowly, and then leaves it to the next one.
const PATIENCE: Duration = Duration::from_secs(1);
/// Who gets less in a second than this reads slowly.
const LEAST_RATE: u64 = 32 * 1024;

impl Clone for Encodings {
    fn clone(&self) -> Self {
        Self { bodies: self.bodies.clone(), ..Self::default() }
    }
}

impl Encodings {
    /// Lets one collect the body in this encoding, from `now` until [`Self::end_collecting`], or until another is let who
    /// comes when this one has been slow for a while; false where another does, or where it is there. So what is
    /// collected is no more than a body in each encoding, however many clients ask for it.
    pub fn begin_collecting(&self, coding: Coding, now: Moment) -> bool {
        let begin = |collector: &Collector| {
            let before = collector.begun.load(Relaxed);
            let is_slow = || {
                let took = now.since(Moment(before));
                took >= PATIENCE && collector.bytes.load(Relaxed) < LEAST_RATE * took.as_secs()
            };
            let may_begin = (before == 0 || is_slow())
                && collector.begun.compare_exchange(before, now.0, Relaxed, Relaxed).is_ok();
            if may_begin {
                collector.bytes.store(0, Relaxed);
            }
            may_begin
        };
        self.find(coding).is_none() && self.collected.get(coding as usize).is_some_and(begin)
    }

    /// The one who began then has so much by now; false where it is another by now who collects it.
    pub fn go_on_collecting(&self, coding: Coding, begun: Moment, bytes: u64) -> bool {
        let Some(collector) = self.collected.get(coding as usize) else { return false };
        let is_own = collector.begun.load(Relaxed) == begun.0;
        if is_own {
            collector.bytes.store(bytes, Relaxed);
        }
        is_own
    }

    /// Lets another collect it, if it is still the one who began then who does.
    pub fn end_collecting(&self, coding: Coding, begun: Moment) {
        if let Some(it) = self.collected.get(coding as usize) {
            let _ = it.begun.compare_exchange(begun.0, 0, Relaxed, Relaxed);
        }
    }

    /// Keeps the body in this encoding; the first one stays.
    pub fn keep(&self, coding: Coding, body: Bytes) {
        let slots = self.bodies.get_or_init(Arc::default);
        if let Some(slot) = slots.get(coding as usize) {
            let _ = slot.set(body);
        }
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> u64 {
        let Some(slots) = self.bodies.get() else { return 0 };
        let own = size_of_val(&**slots) as u64;
        own + slots.iter().filter_map(OnceLock::get).map(|body| body.len() as u64 + HEAD).sum::<u64>()
    }

    /// The body in this encoding.
    pub(super) fn find(&self, coding: Coding) -> Option<Bytes> {
        self.bodies.get()?.get(coding as usize)?.get().cloned()
    }
}

/// What a head that is kept counts for, in bytes: three fields and where they are.
const HEAD: u64 = 384;

/// What becomes of the head of a stored response with its body in other encodings. Purposefully not `Clone`: it is of one
/// head, and goes with it.
#[derive(Debug, Default)]
pub(super) struct EncodedHeads(OnceLock<Box<[OnceLock<EncodedHead>; Coding::ALL.len()]>>);

impl EncodedHeads {
    pub(super) fn find(&self, coding: Coding) -> Option<&EncodedHead> {
        self.0.get()?.get(coding as usize)?.get()
    }

    /// Keeps it; the first one stays.
    pub(super) fn keep(&self, coding: Coding, head: EncodedHead) {
        if let Some(slot) = self.0.get_or_init(Box::default).get(coding as usize) {
            let _ = slot.set(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_of_each_encoding_stays() {
        let encodings = Encodings::default();
        assert_eq!((encodings.find(Coding::Br), encodings.held()), (None, 0));
        encodings.keep(Coding::Br, Bytes::from_static(b"one"));
        let copy = encodings.clone();
        copy.keep(Coding::Br, Bytes::from_static(b"another"));
        copy.keep(Coding::Gzip, Bytes::from_static(b"four"));
        assert_eq!(encodings.find(Coding::Br).as_deref(), Some(&b"one"[..]));
        assert_eq!(encodings.find(Coding::Gzip).as_deref(), Some(&b"four"[..]));
        assert_eq!(encodings.find(Coding::Zstd), None);
        assert!(encodings.held() > 7);
    }

    #[test]
    fn one_at_a_time_collects_what_is_not_there() {
        let encodings = Encodings::default();
        let now = Moment::now();
        let begin = |encodings: &Encodings, coding| encodings.begin_collecting(coding, now);
        assert!(begin(&encodings, Coding::Br) && begin(&encodings, Coding::Gzip));
        assert!(!begin(&encodings, Coding::Br));
        encodings.end_collecting(Coding::Br, now);
        assert!(begin(&encodings, Coding::Br));
        encodings.keep(Coding::Br, Bytes::from_static(b"one"));
        encodings.end_collecting(Coding::Br, now);
        assert!(!begin(&encodings, Coding::Br), "it is there");
        let copy = encodings.clone();
        assert!(begin(&copy, Coding::Gzip), "of each copy of the body for itself");
        assert!(!begin(&encodings, Coding::Gzip));
    }

    #[test]
    fn another_takes_over_from_one_who_collects_for_long() {
        let encodings = Encodings::default();
        let first = Moment::now();
        let next = first.plus(PATIENCE);
        assert!(encodings.begin_collecting(Coding::Br, first));
        assert!(!encodings.begin_collecting(Coding::Br, Moment(next.0 - 1)));
        assert!(encodings.begin_collecting(Coding::Br, next));
        assert!(
            !encodings.go_on_collecting(Coding::Br, first, 1)
                && encodings.go_on_collecting(Coding::Br, next, 1)
        );
        encodings.end_collecting(Coding::Br, first);
        assert!(!encodings.begin_collecting(Coding::Br, next), "the first has nothing to say any more");
        encodings.end_collecting(Coding::Br, next);
        assert!(encodings.begin_collecting(Coding::Br, next));
    }
}
