//! Random: any object leaves, with the same chance for all.

use super::{
    entries::{Entries, NONE},
    order::Order,
};
use crate::rng::Rng;

/// All objects, in no order; each one's mark says where it is here.
#[derive(Debug)]
pub(super) struct Random {
    placed: Vec<u32>,
    chance: Rng,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { placed: Vec::new(), chance: Rng::new(seed) }
    }
}

impl Order for Random {
    type Mark = u32;

    fn place(&mut self, entries: &mut Entries<u32>, slot: u32) {
        // There are no more objects than slots, which are 32 bits.
        entries.set_mark(slot, u32::try_from(self.placed.len()).unwrap_or(NONE));
        self.placed.push(slot);
    }

    fn displace(&mut self, entries: &mut Entries<u32>, slot: u32) {
        let at = entries.mark(slot);
        if self.placed.get(at as usize) == Some(&slot) {
            self.placed.swap_remove(at as usize);
            if let Some(&moved) = self.placed.get(at as usize) {
                entries.set_mark(moved, at);
            }
        }
    }

    fn touch(&mut self, _: &mut Entries<u32>, _: u32) {}

    fn victim(&mut self, _: &mut Entries<u32>) -> u32 {
        let at = self.chance.below(self.placed.len() as u64);
        usize::try_from(at).ok().and_then(|at| self.placed.get(at)).copied().unwrap_or(NONE)
    }

    fn memory(&self) -> usize {
        self.placed.capacity() * size_of::<u32>()
    }
}
