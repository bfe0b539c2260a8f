//! A list of objects from the oldest to the newest, linked through their entries.

use super::entries::{Entries, NONE};

/// Its ends, and the bytes of what is in it.
#[derive(Debug)]
pub(super) struct List {
    oldest: u32,
    newest: u32,
    bytes: u64,
}

impl Default for List {
    fn default() -> Self {
        Self { oldest: NONE, newest: NONE, bytes: 0 }
    }
}

impl List {
    /// The one at the old end, or `NONE`.
    pub(super) fn oldest(&self) -> u32 {
        self.oldest
    }

    /// The one at the new end, or `NONE`.
    pub(super) fn newest(&self) -> u32 {
        self.newest
    }

    /// The sizes of all in it.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.oldest == NONE
    }

    /// Puts one that is in no list at the new end.
    pub(super) fn push<T: Copy + Default>(&mut self, entries: &mut Entries<T>, slot: u32) {
        entries.set_older(slot, self.newest);
        entries.set_newer(slot, NONE);
        entries.set_newer(self.newest, slot);
        if self.is_empty() {
            self.oldest = slot;
        }
        self.newest = slot;
        self.bytes += entries.size(slot);
    }

    /// Takes one of this list out of it.
    pub(super) fn remove<T: Copy + Default>(&mut self, entries: &mut Entries<T>, slot: u32) {
        let (older, newer) = entries.neighbours(slot);
        entries.set_newer(older, newer);
        entries.set_older(newer, older);
        if self.oldest == slot {
            self.oldest = newer;
        }
        if self.newest == slot {
            self.newest = older;
        }
        self.bytes -= entries.size(slot);
    }

    /// Makes one of this list its newest.
    pub(super) fn renew<T: Copy + Default>(&mut self, entries: &mut Entries<T>, slot: u32) {
        if self.newest != slot {
            self.remove(entries, slot);
            self.push(entries, slot);
        }
    }

    /// Puts all of another list behind the new end, in their order.
    pub(super) fn append<T: Copy + Default>(&mut self, entries: &mut Entries<T>, other: Self) {
        if other.is_empty() {
            return;
        }
        entries.set_newer(self.newest, other.oldest);
        entries.set_older(other.oldest, self.newest);
        if self.is_empty() {
            self.oldest = other.oldest;
        }
        self.newest = other.newest;
        self.bytes += other.bytes;
    }
}
