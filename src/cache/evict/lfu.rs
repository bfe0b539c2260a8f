//! Least frequently used, with ageing: the object with the lowest count of requests leaves; of several the one that
//! has had that count longest. A list per count makes every step constant.
//!
//! Ageing: after [`PERIOD`] requests per resident object all counts are halved, so that a favourite of yesterday
//! leaves (the way of TinyLFU; Einziger, Friedman and Manes, ACM Transactions on Storage 13, 2017). Halving joins the
//! lists 2c and 2c + 1 into c, end to end; an object's own count is halved when it is next looked at, by the number of
//! halvings since. Counts stop at 255, which tells favourites from the rest, and not among themselves.

use super::{
    entries::{Entries, NONE},
    list::List,
    order::Order,
};

/// Requests per resident object until counts are halved.
const PERIOD: u64 = 40;

/// So few objects count as this many, so that a halving is paid for by the requests before it.
const FEW: u64 = 32;

/// Counts from 0 to 255.
const COUNTS: usize = 256;

/// What is known of one object.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    /// How many halvings there had been when `count` was true.
    halvings: u32,
    count: u8,
}

/// Objects by count.
#[derive(Debug)]
pub(super) struct Lfu {
    lists: Vec<List>,
    /// A bit for each list that has something in it.
    occupied: [u64; COUNTS / 64],
    halvings: u32,
    /// Requests since the last halving.
    requests: u64,
}

impl Default for Lfu {
    fn default() -> Self {
        let lists = std::iter::repeat_with(List::default).take(COUNTS).collect();
        Self { lists, occupied: [0; COUNTS / 64], halvings: 0, requests: 0 }
    }
}

impl Lfu {
    /// The count that an object has now.
    fn count(&self, entries: &Entries<Count>, slot: u32) -> u8 {
        let Count { halvings, count } = entries.mark(slot);
        count.checked_shr(self.halvings.wrapping_sub(halvings)).unwrap_or(0)
    }

    fn note_occupied(&mut self, count: usize) {
        let is_empty = self.lists.get(count).is_none_or(List::is_empty);
        if let Some(word) = self.occupied.get_mut(count / 64) {
            let bit = 1 << (count % 64);
            *word = if is_empty { *word & !bit } else { *word | bit };
        }
    }

    fn age(&mut self, entries: &mut Entries<Count>) {
        self.requests += 1;
        if self.requests < PERIOD * (entries.len() as u64).max(FEW) {
            return;
        }
        self.requests = 0;
        self.halvings = self.halvings.wrapping_add(1);
        for half in 0..COUNTS / 2 {
            let mut take = |count| self.lists.get_mut(count).map(std::mem::take).unwrap_or_default();
            let (mut joined, upper) = (take(2 * half), take(2 * half + 1));
            joined.append(entries, upper);
            if let Some(list) = self.lists.get_mut(half) {
                *list = joined;
            }
        }
        (0..COUNTS).for_each(|count| self.note_occupied(count));
    }
}

impl Order for Lfu {
    type Mark = Count;

    fn place(&mut self, entries: &mut Entries<Count>, slot: u32) {
        let count = self.count(entries, slot).saturating_add(1);
        entries.set_mark(slot, Count { halvings: self.halvings, count });
        if let Some(list) = self.lists.get_mut(usize::from(count)) {
            list.push(entries, slot);
        }
        self.note_occupied(usize::from(count));
        self.age(entries);
    }

    fn displace(&mut self, entries: &mut Entries<Count>, slot: u32) {
        let count = usize::from(self.count(entries, slot));
        if let Some(list) = self.lists.get_mut(count) {
            list.remove(entries, slot);
        }
        self.note_occupied(count);
    }

    fn touch(&mut self, entries: &mut Entries<Count>, slot: u32) {
        self.displace(entries, slot);
        self.place(entries, slot);
    }

    fn victim(&mut self, _: &mut Entries<Count>) -> u32 {
        let lowest = self.occupied.iter().enumerate().find(|(_, word)| **word != 0);
        let Some((at, word)) = lowest else { return NONE };
        self.lists.get(at * 64 + word.trailing_zeros() as usize).map_or(NONE, List::oldest)
    }

    fn memory(&self) -> usize {
        self.lists.capacity() * size_of::<List>()
    }
}
