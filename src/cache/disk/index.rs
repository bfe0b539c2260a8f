//! What is stored, in memory: what is found under a key, what leaves when room is needed, and how many bytes are in
//! use. No io; the store holds it behind one mutex, for a moment at a time.
//!
//! Invariant: the files in the index, those being written and those of a cleared generation that are not deleted yet
//! together cost at most the limit, whoever asks for room.

mod asked;
mod entry;
mod ids;
mod kinds;
mod order;
mod unasked;

use std::collections::{HashMap, HashSet, hash_map};

use slab::Slab;

use self::{
    asked::Asked,
    entry::{Entry, half},
    kinds::Kinds,
    order::{Order, ROOM},
};
use super::layout::Name;
use crate::{cache::conf::Eviction, moment::Moment, rng::scramble};

pub use self::entry::{Came, Found, Id};

/// A file whose object left the index, and the generation that it is of.
pub(super) type Gone = (u32, Name);

/// No slot.
const NONE: u32 = u32::MAX;

/// So many bytes leave at once, at least, where a lower limit has no room for them.
pub(super) const SHRINK_STEP: u64 = 1 << 20;

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    entries: Slab<Entry>,
    /// Half a key → the newest object under keys with that half.
    keys: HashMap<u64, u32>,
    /// What the order of eviction calls an object → the object.
    ranks: HashMap<u64, u32>,
    order: Order,
    eviction: Eviction,
    /// Those in slots below have their place in the order.
    reordered: usize,
    /// At most that of the order.
    limit: u64,
    /// The bytes that files being written have room for.
    pub(super) writing: u64,
    /// The bytes of cleared generations.
    pub(super) leaving: u64,
    /// One more with every clearing.
    pub(super) generation: u32,
    pub(super) next_sequence: u64,
    /// The scan at start is not through.
    pub(super) is_scanning: bool,
    /// Keys that were removed while the scan had not come to them.
    forgotten: HashSet<u128>,
    pub(super) evicted: u64,
    asked: Asked,
    kinds: Kinds,
}

impl Index {
    /// An empty one of a generation of objects that is being scanned.
    pub(super) fn new(eviction: Eviction, limit: u64, generation: u32) -> Self {
        Self {
            entries: Slab::new(),
            keys: HashMap::new(),
            ranks: HashMap::new(),
            order: Order::new(eviction, limit),
            eviction,
            reordered: 0,
            limit,
            writing: 0,
            leaving: 0,
            generation,
            next_sequence: 1,
            is_scanning: true,
            forgotten: HashSet::new(),
            evicted: 0,
            asked: Asked::default(),
            kinds: Kinds::default(),
        }
    }

    /// The objects under a key, the newest first.
    pub(super) fn find(&self, key: u128) -> Vec<Found> {
        let mut found: Vec<_> = self
            .of_key(key)
            .filter(|(slot, _)| !self.asked.is_idle(*slot))
            .map(|(slot, entry)| entry.found(slot))
            .collect();
        found.sort_unstable_by_key(|found| std::cmp::Reverse(found.id.sequence));
        found
    }

    /// Whether an object under a key, or the head of one, came after this moment.
    pub(super) fn came_since(&self, key: u128, moment: Moment) -> bool {
        // Read while nothing can come.
        let now = Moment::now();
        self.of_key(key).any(|(_, entry)| entry.came.is_after(moment, now))
    }

    /// Where an object is now.
    pub(super) fn name(&self, id: Id) -> Option<Name> {
        self.entry(id).map(Entry::name)
    }

    /// An object was asked for.
    pub(super) fn touch(&mut self, id: Id) {
        if let Some(rank) = self.entry(id).map(|entry| entry.rank) {
            self.order.touch(rank);
            self.asked.note(id.slot);
        }
    }

    /// Takes in an object whose file is whole, in the place of others. Nothing where it does not fit.
    pub(super) fn insert(&mut self, name: Name, replaces: &[Id], gone: &mut Vec<Gone>) -> Option<Id> {
        if self.entries.len() >= NONE as usize || !self.make_room(name.size(), gone) {
            return None;
        }
        let mut rank = None;
        for id in replaces {
            let Some(entry) = self.take(*id) else { continue };
            if entry.key == name.key && rank.is_none() {
                // What the order knows of the older object, the newer one keeps.
                rank = Some(entry.rank);
            } else {
                self.order.remove(entry.rank);
            }
            gone.push((self.generation, entry.name()));
        }
        let rank = rank.unwrap_or_else(|| self.free_rank(name.key));
        if !self.order.admit(rank, name.size()) {
            self.order.remove(rank);
            return None;
        }
        self.drop_victims(gone);
        let Name { key, sequence, length, shift, head, block, mark, keyed } = name;
        let next = self.keys.get(&half(key)).copied().unwrap_or(NONE);
        let came = Came::at(Moment::now());
        let entry = Entry { key, sequence, length, rank, shift, head, came, next, block, mark, keyed };
        let slot = self.entries.insert(entry);
        let Ok(slot) = u32::try_from(slot) else {
            self.entries.remove(slot);
            self.order.remove(rank);
            return None;
        };
        self.keys.insert(half(key), slot);
        self.ranks.insert(rank, slot);
        self.asked.note(slot);
        self.kinds.add(keyed);
        Some(Id { sequence, slot })
    }

    /// Takes in a file that the scan came by. False where it is not to stay.
    pub(super) fn adopt(&mut self, name: Name, gone: &mut Vec<Gone>) -> bool {
        self.next_sequence = self.next_sequence.max(name.sequence.saturating_add(1));
        let is_known = self.chain(name.key).any(|(_, entry)| entry.sequence == name.sequence);
        !is_known && !self.forgotten.contains(&name.key) && self.insert(name, &[], gone).is_some()
    }

    /// The scan is through, or will not be.
    pub(super) fn end_scan(&mut self) {
        self.is_scanning = false;
        self.forgotten = HashSet::new();
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, id: Id, gone: &mut Vec<Gone>) -> bool {
        let Some(entry) = self.take(id) else { return false };
        self.order.remove(entry.rank);
        gone.push((self.generation, entry.name()));
        true
    }

    /// Takes out all under a key, also those that the scan has not come to.
    pub(super) fn remove_key(&mut self, key: u128, gone: &mut Vec<Gone>) {
        for id in self.ids_of_key(key) {
            self.remove(id, gone);
        }
        if self.is_scanning {
            self.forgotten.insert(key);
        }
    }

    /// The object's head moved from where it was. False where the object left in the meantime.
    pub(super) fn move_head(&mut self, id: Id, old: Name, new: Name, gone: &mut Vec<Gone>) -> bool {
        if self.name(id) != Some(old) {
            return false;
        }
        let Some(entry) = self.entries.get_mut(id.slot as usize) else { return false };
        (entry.shift, entry.head, entry.mark) = (new.shift, new.head, new.mark);
        entry.came = Came::at(Moment::now());
        if old.size() != new.size() {
            let rank = entry.rank;
            self.order.admit(rank, new.size());
            self.drop_victims(gone);
        }
        true
    }

    /// Keeps room for a file that is being written. False where it cannot be had.
    pub(super) fn reserve(&mut self, bytes: u64, gone: &mut Vec<Gone>) -> bool {
        let has_room = bytes == 0 || self.make_room(bytes, gone);
        if has_room {
            self.writing += bytes;
        }
        has_room
    }

    /// Gives such room back.
    pub(super) fn release(&mut self, bytes: u64) {
        self.writing = self.writing.saturating_sub(bytes);
    }

    /// Empties the index; files of the generation so far are no longer its own. Gives what was there, to be freed without
    /// the index.
    pub(super) fn clear(&mut self) -> Self {
        let bytes = self.order.bytes();
        let next = Self::new(self.eviction, self.limit, self.generation.wrapping_add(1));
        let next = Self {
            writing: self.writing,
            leaving: self.leaving + bytes,
            next_sequence: self.next_sequence,
            evicted: self.evicted,
            is_scanning: false,
            asked: std::mem::take(&mut self.asked),
            ..next
        };
        std::mem::replace(self, next)
    }

    /// Another limit. What is above it leaves in steps of [`Self::shrink`]. A larger one than ever before begins
    /// the order of eviction anew, since an evictor's limit stays; in steps of [`Self::reorder`].
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
        if limit > self.order.limit() {
            self.order.change(self.eviction, limit);
            self.reordered = 0;
        }
    }

    /// Another order of eviction; objects go over into it in steps of [`Self::reorder`].
    pub(super) fn set_eviction(&mut self, eviction: Eviction) {
        if self.eviction != eviction {
            self.eviction = eviction;
            self.order.change(eviction, self.limit);
            self.reordered = 0;
        }
    }

    #[cfg(test)]
    pub(super) fn is_settled(&self) -> bool {
        !self.order.is_changing()
    }

    /// Gives objects in so many slots their place in the order of eviction. True when all have theirs.
    pub(super) fn reorder(&mut self, slots: usize) -> bool {
        if !self.order.is_changing() {
            return true;
        }
        let (from, end) = (self.reordered, self.reordered.saturating_add(slots));
        let is_done = end >= self.entries.capacity();
        for entry in (from..end.min(self.entries.capacity())).filter_map(|slot| self.entries.get(slot)) {
            self.order.take_over(entry.rank, entry.name().size());
        }
        self.reordered = end;
        if is_done {
            self.order.end_change();
        }
        is_done
    }

    /// Evicts up to `bytes` of what is above the limit. True when nothing is.
    pub(super) fn shrink(&mut self, bytes: u64, gone: &mut Vec<Gone>) -> bool {
        let above = self.bytes().saturating_sub(self.limit);
        self.evict_bytes(above.min(bytes), gone);
        above <= bytes || self.entries.is_empty()
    }

    /// Evicts at least so many bytes, where there are as many.
    pub(super) fn evict_bytes(&mut self, bytes: u64, gone: &mut Vec<Gone>) {
        self.order.free(bytes);
        self.drop_victims(gone);
    }

    /// How many objects there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The bytes on disk: of objects, of files being written, and of those being deleted after a clearing.
    pub(super) fn bytes(&self) -> u64 {
        self.order.bytes() + self.writing + self.leaving
    }

    /// The most that [`Self::bytes`] may be.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// The bytes of memory that all this takes.
    pub(super) fn memory(&self) -> usize {
        // A bucket has a byte of control beside it, and an eighth of the buckets stays free.
        let buckets = (self.keys.capacity() + self.ranks.capacity()) * 8 / 7;
        self.entries.capacity() * size_of::<Entry>()
            + buckets * 17
            + self.order.memory()
            + self.asked.memory()
    }

    fn make_room(&mut self, bytes: u64, gone: &mut Vec<Gone>) -> bool {
        let taken = self.writing + self.leaving;
        // What is far above a lower limit leaves in steps, and others have the index in between.
        let is_shrinking = self.bytes().saturating_sub(self.limit) > SHRINK_STEP;
        if is_shrinking || taken.saturating_add(bytes) > self.limit {
            return false;
        }
        let above = (self.order.bytes() + taken + bytes).saturating_sub(self.limit);
        self.evict_bytes(above, gone);
        self.bytes() + bytes <= self.limit
    }

    fn drop_victims(&mut self, gone: &mut Vec<Gone>) {
        for victim in std::mem::take(&mut self.order.victims) {
            let Some(&slot) = self.ranks.get(&victim.key) else { continue };
            let Some(entry) = self.take_slot(slot) else { continue };
            self.evicted += 1;
            gone.push((self.generation, entry.name()));
        }
    }

    fn entry(&self, id: Id) -> Option<&Entry> {
        self.entries.get(id.slot as usize).filter(|entry| entry.sequence == id.sequence)
    }

    fn of_key(&self, key: u128) -> impl Iterator<Item = (u32, &Entry)> {
        self.chain(key).filter(move |(_, entry)| entry.key == key)
    }

    fn chain(&self, key: u128) -> impl Iterator<Item = (u32, &Entry)> {
        let mut slot = self.keys.get(&half(key)).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let entry = self.entries.get(slot as usize)?;
            let at = std::mem::replace(&mut slot, entry.next);
            Some((at, entry))
        })
    }

    /// Out of the index; the order still has it.
    fn take(&mut self, id: Id) -> Option<Entry> {
        self.entry(id)?;
        self.take_slot(id.slot)
    }

    fn take_slot(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.entries.try_remove(slot as usize)?;
        self.ranks.remove(&entry.rank);
        self.kinds.remove(entry.keyed);
        let hash_map::Entry::Occupied(mut first) = self.keys.entry(half(entry.key)) else {
            return Some(entry);
        };
        if *first.get() != slot {
            let mut at = *first.get();
            while let Some(before) = self.entries.get_mut(at as usize) {
                if before.next == slot {
                    before.next = entry.next;
                    break;
                }
                at = before.next;
            }
        } else if entry.next == NONE {
            first.remove();
        } else {
            first.insert(entry.next);
        }
        Some(entry)
    }

    /// A name in the order, the same whenever only one object of the key is stored, so that a policy with a
    /// memory of who left knows it again.
    fn free_rank(&self, key: u128) -> u64 {
        let mut rank = half(key);
        while self.ranks.contains_key(&rank) || rank == ROOM {
            rank = scramble(rank.wrapping_add(1));
        }
        rank
    }
}
