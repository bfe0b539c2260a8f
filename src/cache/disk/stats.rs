//! What a store counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::index::Index;
use crate::moment::Moment;

/// Microseconds between two complaints.
const SELDOM: u64 = 10_000_000;

/// What is there, and what happened since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Objects that can be found.
    pub objects: u64,
    /// Bytes that the files cost, with those being written and those of a clearing that are not deleted yet.
    pub bytes: u64,
    /// The most that they may cost.
    pub limit: u64,
    /// Bytes of memory that the index takes.
    pub memory: u64,
    /// Bytes that wait to be written.
    pub waiting: u64,
    /// The scan at start is not through: more may be there than can be found.
    pub is_scanning: bool,
    /// Heads that were read from disk.
    pub reads: u64,
    /// Objects that were written.
    pub writes: u64,
    /// Objects that were begun, or were to be, and not stored.
    pub given_up: u64,
    /// Objects that left to make room.
    pub evicted: u64,
    /// Objects that were not as they had been written.
    pub damaged: u64,
    /// Calls to the file system that failed.
    pub io_errors: u64,
}

/// The counters behind it; each has many writers, all of them beside io.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) reads: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) given_up: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) io_errors: AtomicU64,
    /// When the last complaint was made, and how many were not since.
    complained: AtomicU64,
    unsaid: AtomicU64,
}

impl Counts {
    /// All in one.
    pub(super) fn stats(&self, index: &Index, waiting: usize) -> Stats {
        Stats {
            objects: index.len() as u64,
            bytes: index.bytes(),
            limit: index.limit(),
            memory: index.memory() as u64,
            waiting: waiting as u64,
            is_scanning: index.is_scanning,
            reads: self.reads.load(Relaxed),
            writes: self.writes.load(Relaxed),
            given_up: self.given_up.load(Relaxed),
            evicted: index.evicted,
            damaged: self.damaged.load(Relaxed),
            io_errors: self.io_errors.load(Relaxed),
        }
    }

    /// Whether it is time for a complaint, and how many were not made since the last.
    pub(super) fn may_complain(&self) -> Option<u64> {
        let (now, last) = (Moment::now().0, self.complained.load(Relaxed));
        let is_time = last == 0 || now.saturating_sub(last) >= SELDOM;
        // Of two that come at once, one is made.
        if is_time && self.complained.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            return Some(self.unsaid.swap(0, Relaxed));
        }
        self.unsaid.fetch_add(1, Relaxed);
        None
    }
}
