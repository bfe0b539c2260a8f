//! S3-FIFO (Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023).
//!
//! A small queue of a tenth of the bytes takes what is new, a main queue what proved itself, a ghost queue remembers
//! the keys of what left the small queue. What reaches the end of the small queue moves to the main queue where it was
//! asked for more than once since it came, with its count cleared; else it leaves and becomes a ghost. A ghost that is
//! asked for again goes to the main queue at once. What reaches the end of the main queue goes round again with one off
//! its count (0 to 3), or leaves at 0.
//!
//! Two things that the paper leaves open with sizes in bytes: ghosts together stand for as many bytes as the main queue
//! may have (nine tenths), and the main queue has no limit of its own, since whatever is above it makes the next
//! victims come from there.

use super::{
    entries::{Entries, Key, NONE},
    list::List,
    order::Order,
};

/// The small queue's part of the limit: one in this many.
const SMALL_PART: u64 = 10;

/// Counts stop here: two bits.
const MOST: u8 = 3;

/// An object asked for more often than this in the small queue moves to the main queue.
const ENOUGH: u8 = 1;

/// Where an object is.
#[derive(Clone, Copy, Debug, Default)]
enum Queue {
    /// Nowhere yet.
    #[default]
    New,
    Small,
    Main,
}

/// What is known of one object.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    queue: Queue,
    /// How often it was asked for, up to [`MOST`].
    count: u8,
}

/// The queues.
#[derive(Debug)]
pub(super) struct S3Fifo {
    small: List,
    main: List,
    ghosts: Ghosts,
    /// At this many bytes the small queue gives the next victim.
    small_limit: u64,
}

impl S3Fifo {
    pub(super) fn new(limit: u64, seed: u64) -> Self {
        let small_limit = limit / SMALL_PART;
        let (entries, order) = (Entries::new(seed), List::default());
        let ghosts = Ghosts { entries, order, limit: limit - small_limit };
        Self { small: List::default(), main: List::default(), ghosts, small_limit }
    }

    /// The first at the end of the small queue that has not proved itself; those before it move to the main queue.
    fn small_victim(&mut self, entries: &mut Entries<Mark>) -> Option<u32> {
        while !self.small.is_empty() {
            let slot = self.small.oldest();
            if entries.mark(slot).count <= ENOUGH {
                self.ghosts.remember(entries.key(slot), entries.size(slot));
                return Some(slot);
            }
            self.small.remove(entries, slot);
            entries.set_mark(slot, Mark { queue: Queue::Main, count: 0 });
            self.main.push(entries, slot);
        }
        None
    }

    /// The first at the end of the main queue whose count is used up. Each round takes one off every count, and every
    /// one of them was paid for by a touch.
    fn main_victim(&mut self, entries: &mut Entries<Mark>) -> u32 {
        loop {
            let slot = self.main.oldest();
            let mark = entries.mark(slot);
            if slot == NONE || mark.count == 0 {
                return slot;
            }
            entries.set_mark(slot, Mark { count: mark.count - 1, ..mark });
            self.main.renew(entries, slot);
        }
    }
}

impl Order for S3Fifo {
    type Mark = Mark;

    fn place(&mut self, entries: &mut Entries<Mark>, slot: u32) {
        let mark = entries.mark(slot);
        let mark = match mark.queue {
            Queue::New if self.ghosts.forget(entries.key(slot)) => Mark { queue: Queue::Main, count: 0 },
            Queue::New => Mark { queue: Queue::Small, count: 0 },
            Queue::Small | Queue::Main => Mark { count: (mark.count + 1).min(MOST), ..mark },
        };
        entries.set_mark(slot, mark);
        match mark.queue {
            Queue::New | Queue::Small => self.small.push(entries, slot),
            Queue::Main => self.main.push(entries, slot),
        }
    }

    fn displace(&mut self, entries: &mut Entries<Mark>, slot: u32) {
        match entries.mark(slot).queue {
            Queue::New | Queue::Small => self.small.remove(entries, slot),
            Queue::Main => self.main.remove(entries, slot),
        }
    }

    fn touch(&mut self, entries: &mut Entries<Mark>, slot: u32) {
        let mark = entries.mark(slot);
        entries.set_mark(slot, Mark { count: (mark.count + 1).min(MOST), ..mark });
    }

    fn victim(&mut self, entries: &mut Entries<Mark>) -> u32 {
        let is_small_full = self.small.bytes() >= self.small_limit || self.main.is_empty();
        let victim = if is_small_full { self.small_victim(entries) } else { None };
        if let Some(slot) = victim {
            return slot;
        }
        self.main_victim(entries)
    }

    fn memory(&self) -> usize {
        self.ghosts.entries.memory()
    }
}

/// The keys of objects that left, from the one that left first.
#[derive(Debug)]
struct Ghosts {
    entries: Entries<()>,
    order: List,
    /// The most bytes that they may stand for.
    limit: u64,
}

impl Ghosts {
    fn remember(&mut self, key: Key, size: u64) {
        // Objects of no size must not be remembered without end.
        let size = size.max(1);
        while !self.order.is_empty() && self.order.bytes() + size > self.limit {
            self.forget(self.entries.key(self.order.oldest()));
        }
        if size > self.limit {
            return;
        }
        let slot = self.entries.insert(key);
        if slot != NONE {
            self.entries.set_size(slot, size);
            self.order.push(&mut self.entries, slot);
        }
    }

    /// False when it was not remembered.
    fn forget(&mut self, key: Key) -> bool {
        let slot = self.entries.find(key);
        if slot == NONE {
            return false;
        }
        self.order.remove(&mut self.entries, slot);
        self.entries.remove(slot);
        true
    }
}
