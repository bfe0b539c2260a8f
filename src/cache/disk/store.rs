//! The store as its callers have it. What is read, written, updated and visited is beside it, in the files of that name.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    index::{Found, Id},
    queue::Job,
    scan,
    shared::Shared,
    stats::Stats,
};
use crate::{cache::conf::Eviction, moment::Moment};

/// The store. Its threads end, and its folder is free for another, soon after the last `Arc` is dropped; what was
/// finished before is written first.
#[derive(Debug)]
pub struct Disk {
    pub(super) shared: Arc<Shared>,
}

impl Disk {
    /// What is stored under a key, the newest first; from memory. Several are there where several were stored and
    /// none replaced the other, also where a kill came between an object and the deletion of the one that it
    /// replaced: so of two that fit, take the first.
    pub fn find(&self, key: u128) -> Vec<Found> {
        self.shared.lock_index().find(key)
    }

    /// Whether something under a key came, or its newest `meta` did, after this moment; from memory.
    pub fn came_since(&self, key: u128, moment: Moment) -> bool {
        self.shared.lock_index().came_since(key, moment)
    }

    /// What was given as `meta` when the object was written or updated. Nothing where it is gone or damaged, which
    /// removes it.
    pub async fn head(&self, id: Id) -> Option<Vec<u8>> {
        self.shared.lock_index().name(id)?;
        if let Some(meta) = self.shared.waiting_head(id) {
            return Some(meta);
        }
        let (reply, meta) = oneshot::channel();
        self.shared.queue.push(Job::Head(id, reply));
        meta.await.ok().flatten()
    }

    /// Removes an object: it is not found from now on, and its file is deleted soon.
    pub fn remove(&self, id: Id) {
        self.shared.remove(id);
    }

    /// Removes all under a key, also what the scan at start has not come by yet.
    pub fn remove_key(&self, key: u128) {
        let mut gone = Vec::new();
        self.shared.lock_index().remove_key(key, &mut gone);
        self.shared.unlink(gone);
    }

    /// The object was asked for, which may let it stay longer.
    pub fn touch(&self, id: Id) {
        self.shared.lock_index().touch(id);
    }

    /// Removes everything, also what is being written now. When this returns, nothing of it comes back, whatever
    /// becomes of the process; the files are deleted in the background, and until then take room. Makes a folder, or where
    /// that cannot be made deletes the files itself, so call it where waiting for the disk is allowed.
    pub fn clear(&self) {
        let (before, generation) = {
            let mut index = self.shared.lock_index();
            (index.clear(), index.generation)
        };
        drop(before);
        self.shared.forget_heads();
        if let Err(error) = self.shared.folder.make_generation(generation) {
            self.shared.failed("the new folder after a clearing cannot be created", &error);
            // The next start would take the last generation for the one in force. With its files gone there may be room, too.
            scan::delete_old_generations(&self.shared, || false);
            let _ = self.shared.folder.make_generation(generation);
        }
        self.shared.scanned.notify_all();
        self.shared.queue.sweep();
    }

    /// Sets another limit; what is above it leaves in the background.
    pub fn set_limit(&self, limit: u64) {
        self.shared.lock_index().set_limit(limit);
        self.shared.queue.push(Job::Settle);
    }

    /// Sets another order in which objects leave; those that are there go over into it in the background.
    pub fn set_eviction(&self, eviction: Eviction) {
        self.shared.lock_index().set_eviction(eviction);
        self.shared.queue.push(Job::Settle);
    }

    /// What is there, and what happened so far.
    pub fn stats(&self) -> Stats {
        self.shared.counts.stats(&self.shared.lock_index(), self.shared.places_taken.load(Relaxed))
    }

    /// Takes no more and finds no more, though somebody still holds the store: its folder is free for another soon,
    /// as for a program that takes over. What was finished is written first, what is being read breaks off.
    pub fn close(&self) {
        self.shared.queue.close();
    }

    /// Whether all objects have their place in the order in which they leave.
    #[cfg(test)]
    pub fn is_settled(&self) -> bool {
        self.shared.lock_index().is_settled()
    }

    /// Whether it takes no more: what looks through its objects from then on may not see all.
    pub fn is_closed(&self) -> bool {
        self.shared.queue.is_closed()
    }

    /// What is left to do when it is closed, for who does not keep it open.
    pub fn ending(&self) -> Ending {
        Ending(self.shared.clone())
    }
}

/// What a store has still to do, whether it is closed or not.
#[derive(Debug)]
pub struct Ending(Arc<Shared>);

impl Ending {
    /// Closes the store and waits, though not longer than `patience`, until what was finished is written and what was
    /// removed is deleted. For the end of the program, which would cut that off: what was removed would be there again.
    pub fn finish(&self, patience: Duration) {
        self.0.queue.close();
        self.0.queue.wait_for_end(patience);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}
