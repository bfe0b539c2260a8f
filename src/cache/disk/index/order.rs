//! The order in which objects leave. Another one, of another limit, takes them over by and by: the index is held by who does
//! that, and event loops wait for it.

use crate::cache::{
    conf::Eviction,
    evict::{Evict, Victim},
};

/// Is for bytes that are to be free, and is never resident beyond a call. Should a rank be the same, its object
/// is only evicted early.
pub(super) const ROOM: u64 = 0x7265_7365_7276_6564;

/// The order in which objects leave, by their ranks. Each has its place in one of these.
#[derive(Debug)]
pub(super) struct Order {
    now: Box<dyn Evict>,
    /// Those that were in force before, with what was not taken over yet.
    before: Vec<Box<dyn Evict>>,
    /// Who had to leave, and is in the index still.
    pub(super) victims: Vec<Victim>,
}

impl Order {
    /// One without objects.
    pub(super) fn new(eviction: Eviction, limit: u64) -> Self {
        Self { now: eviction.start(limit, fastrand::u64(..)), before: Vec::new(), victims: Vec::new() }
    }

    /// Begins another one, which takes objects over with [`Self::take_over`]. Until all are, those that are not go first.
    pub(super) fn change(&mut self, eviction: Eviction, limit: u64) {
        let next = eviction.start(limit.max(self.bytes()), fastrand::u64(..));
        let last = std::mem::replace(&mut self.now, next);
        self.before.push(last);
    }

    /// Whether objects are still to be taken over.
    pub(super) fn is_changing(&self) -> bool {
        !self.before.is_empty()
    }

    /// Takes an object over, where that is still to be done.
    pub(super) fn take_over(&mut self, rank: u64, size: u64) {
        if self.before.iter_mut().any(|before| before.remove(rank).is_some()) {
            self.now.admit(rank, size, &mut self.victims);
        }
    }

    /// All are taken over.
    pub(super) fn end_change(&mut self) {
        self.before.clear();
    }

    /// As [`Evict::admit`].
    pub(super) fn admit(&mut self, rank: u64, size: u64) -> bool {
        let fits = size <= self.now.limit();
        if fits {
            let _ = self.before.iter_mut().any(|before| before.remove(rank).is_some());
        }
        fits && self.now.admit(rank, size, &mut self.victims)
    }

    /// As [`Evict::touch`].
    pub(super) fn touch(&mut self, rank: u64) {
        let _ = self.now.touch(rank) || self.before.iter_mut().any(|before| before.touch(rank));
    }

    /// As [`Evict::remove`].
    pub(super) fn remove(&mut self, rank: u64) {
        let _ = self.now.remove(rank).is_some()
            || self.before.iter_mut().any(|before| before.remove(rank).is_some());
    }

    /// Has at least so many bytes leave, where there are as many.
    pub(super) fn free(&mut self, bytes: u64) {
        let mut left = bytes;
        for evict in self.before.iter_mut().chain([&mut self.now]) {
            let there = evict.bytes();
            let room = evict.limit() - there.saturating_sub(left);
            if left > 0 && evict.admit(ROOM, room, &mut self.victims) {
                evict.remove(ROOM);
            }
            left = left.saturating_sub(there - evict.bytes());
        }
    }

    /// The bytes of all.
    pub(super) fn bytes(&self) -> u64 {
        self.now.bytes() + self.before.iter().map(|before| before.bytes()).sum::<u64>()
    }

    /// The most that these may be.
    pub(super) fn limit(&self) -> u64 {
        self.now.limit()
    }

    /// The bytes of memory that it takes.
    pub(super) fn memory(&self) -> usize {
        self.now.memory() + self.before.iter().map(|before| before.memory()).sum::<usize>()
    }
}
