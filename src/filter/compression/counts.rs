//! How much is compressed, for metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::filter::coding::Coding;

/// Counts of one encoding, over all workers.
#[derive(Debug)]
struct Counts {
    bodies: AtomicU64,
    taken: AtomicU64,
    given: AtomicU64,
    kept: AtomicU64,
}

static COUNTS: [Counts; Coding::ALL.len()] = [const {
    Counts {
        bodies: AtomicU64::new(0),
        taken: AtomicU64::new(0),
        given: AtomicU64::new(0),
        kept: AtomicU64::new(0),
    }
}; Coding::ALL.len()];
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Counts a body, with what came of it and what went out. Once for each, when it is over.
pub(super) fn count(coding: Coding, taken: u64, given: u64) {
    if let Some(counts) = COUNTS.get(coding as usize) {
        counts.bodies.fetch_add(1, Relaxed);
        counts.taken.fetch_add(taken, Relaxed);
        counts.given.fetch_add(given, Relaxed);
    }
}

/// Counts a body that was there already, beside what is stored.
pub(super) fn count_kept(coding: Coding) {
    if let Some(counts) = COUNTS.get(coding as usize) {
        counts.kept.fetch_add(1, Relaxed);
    }
}

/// Counts a body that was not compressed, as memory is full (`runtime.memory`).
pub(super) fn refuse() {
    REFUSED.fetch_add(1, Relaxed);
}

/// What was counted of an encoding.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// Bodies that were compressed.
    pub bodies: u64,
    /// Their bytes before.
    pub taken: u64,
    /// Their bytes after.
    pub given: u64,
    /// Bodies that were there already, beside what is stored.
    pub kept: u64,
}

/// What was counted of an encoding.
pub fn counted(coding: Coding) -> Counted {
    let Some(counts) = COUNTS.get(coding as usize) else { return Counted::default() };
    let load = |count: &AtomicU64| count.load(Relaxed);
    Counted {
        bodies: load(&counts.bodies),
        taken: load(&counts.taken),
        given: load(&counts.given),
        kept: load(&counts.kept),
    }
}

/// Bodies that were not compressed, as memory is full.
pub fn refused() -> u64 {
    REFUSED.load(Relaxed)
}
