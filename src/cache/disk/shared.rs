//! What the io threads and the callers have in common, and what both do with it.

use std::{
    fmt, io,
    num::NonZeroU8,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use super::{
    folder::Folder,
    heads::Heads,
    index::{Gone, Id, Index, SHRINK_STEP},
    queue::{Job, Queue},
    stats::Counts,
};

/// As many slots are looked at in one step of another order of eviction.
const REORDER_STEP: usize = 1024;

/// What the threads share with the callers.
pub(super) struct Shared {
    pub(super) folder: Folder,
    pub(super) index: Mutex<Index>,
    /// The scan at start is through.
    pub(super) scanned: Condvar,
    pub(super) queue: Queue,
    /// Heads that wait to be written.
    pub(super) heads: Mutex<Heads>,
    /// One of them was written, or will not be.
    pub(super) put: Condvar,
    /// Held by an io thread from when it gives a file its newer name until the index has that too: only who holds it
    /// knows that what is not where the index says is gone. It is taken before the index.
    pub(super) moving: Mutex<()>,
    /// Held by io threads, side by side, from when a whole object is judged until it is found. No event loop takes it.
    pub(super) placing: RwLock<()>,
    /// Held by who deletes old generations. No event loop takes it.
    pub(super) deleting: Mutex<()>,
    /// The bytes that wait to be written, and the most that may.
    pub(super) places_taken: AtomicUsize,
    pub(super) places: usize,
    pub(super) block: NonZeroU8,
    pub(super) counts: Counts,
}

impl Shared {
    pub(super) fn lock_index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_moving(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A whole object is about to be judged, and found then.
    pub(super) fn begin_placing(&self) -> RwLockReadGuard<'_, ()> {
        self.placing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until those are found that are judged already: by one who did not know what the caller does.
    pub(super) fn wait_for_placing(&self) {
        drop(self.placing.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn block_size(&self) -> usize {
        1 << self.block.get()
    }

    /// Lets `bytes` more wait to be written, if they may.
    pub(super) fn take_place(&self, bytes: usize) -> bool {
        let add = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.places);
        self.places_taken.fetch_update(Release, Acquire, add).is_ok()
    }

    pub(super) fn give_place(&self, bytes: usize) {
        self.places_taken.fetch_sub(bytes, Release);
    }

    pub(super) fn remove(&self, id: Id) {
        let mut gone = Vec::new();
        self.lock_index().remove(id, &mut gone);
        self.unlink(gone);
    }

    /// Takes an object out, and deletes its file now, so that it does not come back however soon the process is killed. Waits
    /// for the disk.
    pub(super) fn remove_now(&self, id: Id) {
        let mut gone = Vec::new();
        // No update gives it another name between the two.
        let _moving = self.lock_moving();
        self.lock_index().remove(id, &mut gone);
        self.unlink_now(&gone);
    }

    /// Has files deleted.
    pub(super) fn unlink(&self, gone: Vec<Gone>) {
        if !gone.is_empty() {
            self.queue.push(Job::Unlink(gone));
        }
    }

    /// Deletes files; waits for the disk.
    pub(super) fn unlink_now(&self, gone: &[Gone]) {
        for (generation, name) in gone {
            if let Err(error) = self.folder.remove_object(*generation, name) {
                self.failed("a file of the disk cache cannot be deleted", &error);
            }
        }
    }

    /// Gives objects their place in another order of eviction, and evicts what a lower limit has no room for; in steps, so that
    /// the index is free in between.
    pub(super) fn settle(&self) {
        while !self.lock_index().reorder(REORDER_STEP) {
            std::thread::yield_now();
        }
        loop {
            let mut gone = Vec::new();
            let is_done = self.lock_index().shrink(SHRINK_STEP, &mut gone);
            self.unlink_now(&gone);
            if is_done {
                return;
            }
        }
    }

    /// The scan is through, or will not be: writing begins.
    pub(super) fn end_scan(&self) {
        self.lock_index().end_scan();
        self.scanned.notify_all();
        self.queue.begin_writing();
    }

    /// An error of the disk.
    pub(super) fn failed(&self, what: &str, error: &io::Error) {
        self.counts.io_errors.fetch_add(1, Relaxed);
        self.complain(what, error);
    }

    /// Logs, but not more than once in a while.
    pub(super) fn complain(&self, what: &str, error: &dyn fmt::Display) {
        if let Some(unsaid) = self.counts.may_complain() {
            tracing::warn!(unsaid, "{what}: {error}");
        }
    }

    pub(super) fn lock_heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head that waits for an object.
    pub(super) fn waiting_head(&self, id: Id) -> Option<Vec<u8>> {
        self.lock_heads().get(&id).map(|head| head.meta.clone())
    }

    /// No head waits any more.
    pub(super) fn forget_heads(&self) {
        self.lock_heads().drain().for_each(|(_, head)| self.give_place(head.meta.len()));
        self.put.notify_all();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("folder", &self.folder).finish_non_exhaustive()
    }
}
