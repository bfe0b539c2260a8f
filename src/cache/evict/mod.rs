//! Eviction: which object leaves when room is needed. The contract ([`Evict`]), and what all policies share; a file
//! per policy says only in which order objects leave (`Order`).
//!
//! Invariants, held here for every policy: the sizes of resident objects sum to [`Evict::bytes`], which is never
//! above the limit; an object larger than the limit is refused and evicts nothing; an object never evicts itself.
//! Every operation takes constant time on average over many. The same calls with the same seed do the same.

mod entries;
mod fifo;
mod lfu;
mod lifo;
mod list;
mod lru;
mod mru;
mod order;
mod random;
mod s3_fifo;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Debug;

pub use entries::Key;
use entries::{Entries, NONE};
use order::Order;

use super::conf::Eviction;

/// An object that had to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Which.
    pub key: Key,
    /// The bytes that it gave back.
    pub size: u64,
}

/// Which objects are resident, and which leaves next. Sizes are in bytes and count what the caller counts.
pub trait Evict: Debug + Send {
    /// Takes an object in, or gives a resident one another size, which is as good as a touch. Whoever had to leave
    /// is added to `victims`. False when it is larger than the limit: nothing has changed then, and an older state
    /// of the object stays until it is removed.
    fn admit(&mut self, key: Key, size: u64, victims: &mut Vec<Victim>) -> bool;

    /// The object was asked for. False when it is not resident.
    fn touch(&mut self, key: Key) -> bool;

    /// Takes the object out; gives its size where it was resident.
    fn remove(&mut self, key: Key) -> Option<u64>;

    /// The size of the object where it is resident; no touch.
    fn size(&self, key: Key) -> Option<u64>;

    /// How many objects are resident.
    fn len(&self) -> usize;

    /// Whether none is.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of all resident objects.
    fn bytes(&self) -> u64;

    /// The most that [`Self::bytes`] can be.
    fn limit(&self) -> u64;

    /// The bytes of memory that the bookkeeping itself has allocated.
    fn memory(&self) -> usize;
}

impl Eviction {
    /// An empty one of `limit` bytes. What is random in it follows from `seed`.
    pub fn start(self, limit: u64, seed: u64) -> Box<dyn Evict> {
        match self {
            Self::S3Fifo => Box::new(Evictor::new(s3_fifo::S3Fifo::new(limit, seed), limit, seed)),
            Self::Fifo => Box::new(Evictor::new(fifo::Fifo::default(), limit, seed)),
            Self::Lifo => Box::new(Evictor::new(lifo::Lifo::default(), limit, seed)),
            Self::Lru => Box::new(Evictor::new(lru::Lru::default(), limit, seed)),
            Self::Mru => Box::new(Evictor::new(mru::Mru::default(), limit, seed)),
            Self::Lfu => Box::new(Evictor::new(lfu::Lfu::default(), limit, seed)),
            Self::Random => Box::new(Evictor::new(random::Random::new(seed), limit, seed)),
        }
    }
}

/// A policy with the objects that it orders.
#[derive(Debug)]
struct Evictor<O: Order> {
    entries: Entries<O::Mark>,
    order: O,
    bytes: u64,
    limit: u64,
}

impl<O: Order> Evictor<O> {
    fn new(order: O, limit: u64, seed: u64) -> Self {
        Self { entries: Entries::new(seed), order, bytes: 0, limit }
    }

    /// Lets objects go until `size` fits. False when it cannot, which only a broken order could bring about.
    fn make_room(&mut self, size: u64, victims: &mut Vec<Victim>) -> bool {
        while self.bytes > self.limit.saturating_sub(size) {
            let slot = self.order.victim(&mut self.entries);
            debug_assert!(slot != NONE, "bytes are counted, but nobody holds them");
            if slot == NONE {
                return false;
            }
            let victim = self.release(slot);
            victims.push(victim);
        }
        true
    }

    fn release(&mut self, slot: u32) -> Victim {
        self.order.displace(&mut self.entries, slot);
        let victim = Victim { key: self.entries.key(slot), size: self.entries.size(slot) };
        self.bytes -= victim.size;
        self.entries.remove(slot);
        victim
    }
}

impl<O: Order> Evict for Evictor<O> {
    fn admit(&mut self, key: Key, size: u64, victims: &mut Vec<Victim>) -> bool {
        if size > self.limit {
            return false;
        }
        let mut slot = self.entries.find(key);
        if slot != NONE {
            // Without a place it cannot be its own victim.
            self.order.displace(&mut self.entries, slot);
            self.bytes -= self.entries.size(slot);
            self.entries.set_size(slot, 0);
        }
        let has_room = self.make_room(size, victims);
        if slot == NONE && has_room {
            slot = self.entries.insert(key);
        }
        if slot == NONE {
            return false;
        }
        let size = if has_room { size } else { 0 };
        self.entries.set_size(slot, size);
        self.bytes += size;
        self.order.place(&mut self.entries, slot);
        true
    }

    fn touch(&mut self, key: Key) -> bool {
        let slot = self.entries.find(key);
        if slot == NONE {
            return false;
        }
        self.order.touch(&mut self.entries, slot);
        true
    }

    fn remove(&mut self, key: Key) -> Option<u64> {
        let slot = self.entries.find(key);
        (slot != NONE).then(|| self.release(slot).size)
    }

    fn size(&self, key: Key) -> Option<u64> {
        let slot = self.entries.find(key);
        (slot != NONE).then(|| self.entries.size(slot))
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn limit(&self) -> u64 {
        self.limit
    }

    fn memory(&self) -> usize {
        self.entries.memory() + self.order.memory()
    }
}
