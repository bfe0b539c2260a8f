//! Admission: which objects may come in at all.
//!
//! `second-request` remembers what was asked for in a Bloom filter (Bloom, "Space/time trade-offs in hash coding with
//! allowable errors", Communications of the ACM 13, 1970), so most of what is asked for once never displaces anything.
//! Two filters take turns: when one has taken as many keys as it is made for, it becomes the old one and the older is
//! emptied. So memory is bounded, a key is remembered for at least as long as [`Doorkeeper::capacity`] other keys take,
//! and forgotten after twice that.

use super::{conf::Admission, evict::Key};
use crate::rng::scramble;

/// The size of an object that filters are made for. Smaller ones are remembered for a shorter time.
const OBJECT: u64 = 4096;

/// The least and the most keys per filter: 4 KiB and 64 MiB for both together.
const CAPACITY: (u64, u64) = (1024, 1 << 24);

/// Bits per key, and how many of them a key sets: 2 in 1,000 strangers pass a full filter.
const BITS_PER_KEY: u64 = 16;
const PROBES: u64 = 4;

/// Decides on objects that are not resident.
#[derive(Debug)]
pub struct Doorkeeper {
    /// None of `always`.
    filters: Option<Filters>,
}

#[derive(Debug)]
struct Filters {
    new: Vec<u64>,
    old: Vec<u64>,
    /// Keys in `new`.
    count: u64,
    capacity: u64,
}

impl Doorkeeper {
    /// A doorkeeper for a cache of `limit` bytes.
    pub fn new(admission: Admission, limit: u64) -> Self {
        let filters = match admission {
            Admission::Always => None,
            Admission::SecondRequest => Some(Filters::new((limit / OBJECT).clamp(CAPACITY.0, CAPACITY.1))),
        };
        Self { filters }
    }

    /// Whether the object may come in now; it was asked for, and is not resident.
    pub fn admits(&mut self, key: Key) -> bool {
        self.filters.as_mut().is_none_or(|filters| filters.knows(key))
    }

    /// How many other keys may come before one is forgotten.
    pub fn capacity(&self) -> Option<u64> {
        self.filters.as_ref().map(|filters| filters.capacity)
    }

    /// The bytes of memory allocated.
    pub fn memory(&self) -> usize {
        self.filters.as_ref().map_or(0, |filters| (filters.new.len() + filters.old.len()) * size_of::<u64>())
    }
}

impl Filters {
    fn new(capacity: u64) -> Self {
        // A power of two, so that a mask finds the bit.
        let words = usize::try_from((capacity * BITS_PER_KEY / 64).next_power_of_two()).unwrap_or(1);
        Self { new: vec![0; words], old: vec![0; words], count: 0, capacity }
    }

    /// Whether the key was there before; it is from now on.
    fn knows(&mut self, key: Key) -> bool {
        let (mut in_new, mut in_old) = (true, true);
        let hash = scramble(key);
        // Two halves of one hash make all probes (Kirsch and Mitzenmacher, "Less hashing, same performance", 2008).
        let (mut at, step) = (hash, (hash >> 32) | 1);
        for _ in 0..PROBES {
            let bit = 1_u64 << (at % 64);
            let word = (at / 64) as usize & (self.new.len() - 1);
            in_old &= self.old.get(word).is_some_and(|word| word & bit != 0);
            if let Some(word) = self.new.get_mut(word) {
                in_new &= *word & bit != 0;
                *word |= bit;
            }
            at = at.wrapping_add(step);
        }
        if !in_new {
            self.count += 1;
            if self.count >= self.capacity {
                std::mem::swap(&mut self.new, &mut self.old);
                self.new.fill(0);
                self.count = 0;
            }
        }
        in_new || in_old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_admits_at_once_and_costs_nothing() {
        let mut door = Doorkeeper::new(Admission::Always, 1 << 30);
        assert!(door.admits(1));
        assert_eq!((door.memory(), door.capacity()), (0, None));
    }

    #[test]
    fn a_second_request_is_always_admitted_within_the_capacity() {
        let mut door = Doorkeeper::new(Admission::SecondRequest, 16 << 20);
        let capacity = door.capacity().unwrap();
        assert_eq!(capacity, 4096);
        // From every phase of the rotation.
        for first in (0..10 * capacity).step_by(777) {
            let key = u64::MAX - first;
            door.admits(key);
            (0..capacity - 1).for_each(|other| {
                door.admits(first * capacity + other);
            });
            assert!(door.admits(key), "{first}");
        }
    }

    #[test]
    fn strangers_seldom_pass_and_what_is_long_ago_is_forgotten() {
        let mut door = Doorkeeper::new(Admission::SecondRequest, 64 << 20);
        let capacity = door.capacity().unwrap();
        let passed = (0..100_000).filter(|&key| door.admits(key)).count();
        assert!(passed < 1000, "{passed} of 100,000 strangers passed");
        assert!(capacity * 3 < 100_000);
        let known = (0..1000).filter(|&key| door.admits(key)).count();
        assert!(known < 20, "{known} of 1,000 were not forgotten");
    }

    #[test]
    fn memory_is_bounded_whatever_the_limit() {
        assert_eq!(Doorkeeper::new(Admission::SecondRequest, 0).memory(), 4096);
        assert_eq!(Doorkeeper::new(Admission::SecondRequest, u64::MAX).memory(), 64 << 20);
        let gibibyte = Doorkeeper::new(Admission::SecondRequest, 1 << 30).memory();
        assert_eq!(gibibyte, 1 << 20);
    }
}
