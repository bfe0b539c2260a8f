//! The objects of an evictor, by slot and by key: a slab, and an open-addressed table of slot numbers.
//!
//! An object costs its [`Entry`] (24 bytes without a mark) and 5 to 11 bytes of table; a slab that has just grown
//! is half empty. Slots are 32 bits, so there are at most 2³² − 1 objects. Nothing shrinks. A table entry holds only
//! a slot; the key is compared in the slab.

use crate::rng::Rng;

/// Stands for an object: a hash that the caller makes. Two objects of one key are one object here, so the caller compares
/// what it hashed. Clients may choose what is hashed, and so the keys: where one stands in the table they do not know.
pub type Key = u64;

/// No slot. Reading at it gives nothing and writing at it does nothing, so that the ends of a list need no care.
pub(super) const NONE: u32 = u32::MAX;

/// The least number of table entries, a power of two.
const SMALLEST: usize = 16;

/// One object.
#[derive(Debug)]
struct Entry<T> {
    key: Key,
    size: u64,
    /// The next older one in its list.
    older: u32,
    /// The next newer one in its list; of a free slot the next free one.
    newer: u32,
    /// What the policy notes with it.
    mark: T,
}

/// All objects.
#[derive(Debug)]
pub(super) struct Entries<T> {
    slots: Vec<Entry<T>>,
    /// The first free slot.
    free: u32,
    /// Slots by key: linear probing, at most three quarters full; as many as a power of two.
    table: Vec<u32>,
    len: usize,
    /// Odd, and by chance: keys that all begin alike times a number that is known would be one run of the table, and each
    /// search a walk over all of them.
    multiplier: u64,
}

impl<T: Copy + Default> Entries<T> {
    /// None yet. Nothing that can be seen from outside follows from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            table: Vec::new(),
            len: 0,
            multiplier: Rng::new(seed).next_number() | 1,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes allocated.
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Entry<T>>() + self.table.capacity() * size_of::<u32>()
    }

    /// The slot of a key.
    pub(super) fn find(&self, key: Key) -> u32 {
        let mut at = self.home(key);
        loop {
            let slot = self.table_at(at);
            if slot == NONE || self.key(slot) == key {
                return slot;
            }
            at = self.after(at);
        }
    }

    /// A slot for a key that has none; its size is 0. `NONE` when there are as many as can be numbered.
    pub(super) fn insert(&mut self, key: Key) -> u32 {
        if (self.len + 1) * 4 > self.table.len() * 3 {
            self.grow();
        }
        let slot = self.take_free(Entry { key, size: 0, older: NONE, newer: NONE, mark: T::default() });
        if slot != NONE {
            self.enter(key, slot);
            self.len += 1;
        }
        slot
    }

    /// Frees a slot.
    pub(super) fn remove(&mut self, slot: u32) {
        let mut at = self.home(self.key(slot));
        while self.table_at(at) != slot {
            if self.table_at(at) == NONE {
                return;
            }
            at = self.after(at);
        }
        self.close(at);
        let free = self.free;
        self.set_newer(slot, free);
        self.free = slot;
        self.len -= 1;
    }

    /// The key at a slot.
    pub(super) fn key(&self, slot: u32) -> Key {
        self.slots.get(slot as usize).map_or(0, |entry| entry.key)
    }

    /// The size at a slot.
    pub(super) fn size(&self, slot: u32) -> u64 {
        self.slots.get(slot as usize).map_or(0, |entry| entry.size)
    }

    /// The mark at a slot.
    pub(super) fn mark(&self, slot: u32) -> T {
        self.slots.get(slot as usize).map_or_else(T::default, |entry| entry.mark)
    }

    /// The neighbours of a slot in its list, the older one first.
    pub(super) fn neighbours(&self, slot: u32) -> (u32, u32) {
        self.slots.get(slot as usize).map_or((NONE, NONE), |entry| (entry.older, entry.newer))
    }

    /// Notes a size.
    pub(super) fn set_size(&mut self, slot: u32, size: u64) {
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            entry.size = size;
        }
    }

    /// Notes a mark.
    pub(super) fn set_mark(&mut self, slot: u32, mark: T) {
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            entry.mark = mark;
        }
    }

    /// Notes the older neighbour.
    pub(super) fn set_older(&mut self, slot: u32, older: u32) {
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            entry.older = older;
        }
    }

    /// Notes the newer neighbour.
    pub(super) fn set_newer(&mut self, slot: u32, newer: u32) {
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            entry.newer = newer;
        }
    }

    fn take_free(&mut self, entry: Entry<T>) -> u32 {
        let slot = self.free;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            self.free = place.newer;
            *place = entry;
            return slot;
        }
        match u32::try_from(self.slots.len()) {
            Ok(slot) if slot != NONE => {
                self.slots.push(entry);
                slot
            }
            _ => NONE,
        }
    }

    /// Where a key's table entry would like to be: multiplicative hashing (Dietzfelbinger, Hagerup, Katajainen and
    /// Penttonen, "A reliable randomized algorithm for the closest-pair problem", 1997), whose upper bits are the good ones.
    fn home(&self, key: Key) -> usize {
        let bits = self.table.len().trailing_zeros();
        let mixed = key.wrapping_mul(self.multiplier);
        // Of an empty table there is no entry to find.
        usize::try_from(mixed.checked_shr(64 - bits).unwrap_or_default()).unwrap_or_default()
    }

    fn table_at(&self, at: usize) -> u32 {
        self.table.get(at).copied().unwrap_or(NONE)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.table.len().wrapping_sub(1))
    }

    fn set_table(&mut self, at: usize, slot: u32) {
        if let Some(entry) = self.table.get_mut(at) {
            *entry = slot;
        }
    }

    fn enter(&mut self, key: Key, slot: u32) {
        let mut at = self.home(key);
        while self.table_at(at) != NONE {
            at = self.after(at);
        }
        self.set_table(at, slot);
    }

    fn grow(&mut self) {
        let larger = vec![NONE; (self.table.len() * 2).max(SMALLEST)];
        let before = std::mem::replace(&mut self.table, larger);
        for slot in before.into_iter().filter(|&slot| slot != NONE) {
            self.enter(self.key(slot), slot);
        }
    }

    /// Takes a table entry out and moves up those behind it that a search would no longer reach.
    fn close(&mut self, mut hole: usize) {
        let mask = self.table.len().wrapping_sub(1);
        let mut at = hole;
        loop {
            at = self.after(at);
            let slot = self.table_at(at);
            if slot == NONE {
                break;
            }
            let from_home = at.wrapping_sub(self.home(self.key(slot))) & mask;
            if from_home >= (at.wrapping_sub(hole) & mask) {
                self.set_table(hole, slot);
                hole = at;
            }
        }
        self.set_table(hole, NONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table entries that are looked at to find each of these keys, on average.
    fn probes(entries: &Entries<()>, keys: &[Key]) -> f64 {
        let walk = |key: &Key| {
            let (mut at, mut steps) = (entries.home(*key), 1_u64);
            while entries.key(entries.table_at(at)) != *key {
                (at, steps) = (entries.after(at), steps + 1);
            }
            steps
        };
        keys.iter().map(walk).sum::<u64>() as f64 / keys.len() as f64
    }

    /// Clients choose URLs by their hashes, which they can work out as well as we can.
    #[test]
    fn keys_that_are_chosen_are_found_as_fast_as_others() {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        // Newton's method: each step doubles the bits that are right.
        let inverse = (0..6).fold(GOLDEN, |inverse: u64, _| {
            inverse.wrapping_mul(2_u64.wrapping_sub(GOLDEN.wrapping_mul(inverse)))
        });
        let mut chance = Rng::new(1);
        let random: Vec<Key> = (0..20_000).map(|_| chance.next_number()).collect();
        let alike = random.iter().map(|number| (number >> 20).wrapping_mul(inverse)).collect();
        for seed in 0..10 {
            for keys in [&random, &alike, &(0..20_000).collect(), &(0..20_000).map(|key| key << 40).collect()]
            {
                let mut entries = Entries::new(seed);
                keys.iter().for_each(|key| {
                    entries.insert(*key);
                });
                let average = probes(&entries, keys);
                assert!(average < 10.0, "{average} with seed {seed}");
            }
        }
    }
}
