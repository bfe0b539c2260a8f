//! What the journal's thread and everybody else have in common.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use super::{entry::Entry, index::Index, stats::Counters};

/// What the journal's thread and everybody else have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) index: Mutex<Index>,
    /// How many writes the index holds, for those who only want to know that there is none.
    pub(super) entries: AtomicUsize,
    /// Those who deliver wait for it.
    pub(super) changed: Notify,
    /// Those who wait for a write's delivery do.
    pub(super) completed: Notify,
    /// As [`super::Options::limit`]; another configuration may have another.
    pub(super) limit: AtomicU64,
    /// Segments take more room than they may, since a refused write is in one of them only: no write is accepted.
    pub(super) is_overfull: AtomicBool,
    pub(super) counters: Counters,
}

impl Shared {
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest write of a URI that the origin does not have yet.
    pub(super) fn latest(&self, uri: &[u8]) -> Option<Arc<Entry>> {
        if self.is_empty() { None } else { self.index().latest(uri) }
    }

    /// Whether nothing is to be read or delivered now.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.load(Ordering::Acquire) == 0
    }

    /// Keeps `entries` true; called with the lock held.
    pub(super) fn note_entries(&self, index: &Index) {
        // Released before an append resolves, and acquired by `latest`: who got 202 finds their write.
        self.entries.store(index.len(), Ordering::Release);
    }
}
