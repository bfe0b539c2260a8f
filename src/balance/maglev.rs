//! Maglev hashing (Eisenbud et al.: "Maglev: a fast and reliable software network load balancer",
//! NSDI 2016, §3.4), with bounded loads.
//!
//! Each backend has its own order of preference over the table's slots; in turns, by weight, each takes
//! the next slot of its order that is free. Shares are all but exact and a pick is one look-up. The
//! table is made of the *configured* backends; an unavailable slot is walked past in the same table.

use std::sync::Arc;

use super::{
    bound::{Bound, Totals, accepts},
    candidates::Candidates,
    identity::{identities, mix},
};
use crate::backend::Backend;

/// A table that all workers of a generation share.
#[derive(Clone, Debug)]
pub(super) struct Maglev {
    table: Arc<[u16]>,
    identities: Arc<[u64]>,
    weights: Arc<[u32]>,
    balance: f64,
    totals: Option<Totals>,
}

impl Maglev {
    pub(super) fn build(backends: &[Arc<Backend>], balance: f64) -> Self {
        let identities = identities(backends);
        Self {
            table: fill(backends, &identities),
            weights: backends.iter().map(|b| b.full_weight()).collect(),
            identities,
            balance,
            totals: None,
        }
    }

    #[inline]
    pub(super) fn pick(&mut self, candidates: &Candidates<'_>, key: u64) -> Option<usize> {
        let bound = Bound::new(candidates, self.balance, &mut self.totals)?;
        let start = below(mix(key, 0), SLOTS);
        let onward = self.table.get(start..).unwrap_or_default().iter();
        let walk = onward.chain(self.table.iter()).zip(start..);
        for (index, slot) in walk.take(MOST_STEPS) {
            let index = usize::from(*index);
            let weight = candidates.weight_of(index);
            let full = self.weights.get(index).copied().unwrap_or_default();
            let rank = (mix(slot as u64 % SLOTS as u64, 1) >> 32) as u32;
            if accepts(weight, full, rank) && bound.has_room(candidates, index, weight) {
                return Some(index);
            }
        }
        // Few of many are left, or only backups: the score finds the same one each time, too.
        bound.rendezvous(candidates, &self.identities, key)
    }
}

/// One backend's order of preference, and how far it has come.
#[derive(Debug)]
struct Seeker {
    index: u16,
    slot: usize,
    skip: usize,
    weight: u64,
    /// Weight gained over the turns; a slot costs the largest weight.
    gained: u64,
}

/// Fills the table; empty when no backend has a weight.
fn fill(backends: &[Arc<Backend>], identities: &[u64]) -> Arc<[u16]> {
    let mut seekers: Vec<Seeker> = backends
        .iter()
        .zip(identities)
        .zip(0_u16..)
        // Backups are no part of the table: they would only be walked past.
        .filter(|((backend, _), _)| !backend.backup && backend.full_weight() > 0)
        .map(|((backend, identity), index)| Seeker {
            index,
            slot: below(mix(*identity, 1), SLOTS),
            skip: below(mix(*identity, 2), SLOTS - 1) + 1,
            weight: u64::from(backend.full_weight()),
            gained: 0,
        })
        .collect();
    // The order of turns must not depend on the order in the file, which may differ between nodes.
    seekers.sort_by_key(|seeker| identities.get(usize::from(seeker.index)).copied());
    let price = seekers.iter().map(|seeker| seeker.weight).max();
    let Some(price) = price else {
        return Arc::new([]);
    };
    let mut table = vec![FREE; SLOTS];
    let mut free = SLOTS;
    // In the first turn each gets a slot, whatever its weight.
    seekers.iter_mut().for_each(|seeker| seeker.gained = price - seeker.weight);
    while free > 0 {
        for seeker in &mut seekers {
            seeker.gained += seeker.weight;
            if seeker.gained < price {
                continue;
            }
            seeker.gained -= price;
            if free > 0 && seeker.take(&mut table) {
                free -= 1;
            }
        }
    }
    table.into()
}

impl Seeker {
    /// Takes its next free slot. The table's size is prime, so the order visits every slot.
    fn take(&mut self, table: &mut [u16]) -> bool {
        for _ in 0..SLOTS {
            let slot = self.slot;
            self.slot = (slot + self.skip) % SLOTS;
            if let Some(entry) = table.get_mut(slot).filter(|entry| **entry == FREE) {
                *entry = self.index;
                return true;
            }
        }
        false
    }
}

/// Prime, and large against the number of backends: the paper's choice for shares within 1 %.
pub(super) const SLOTS: usize = 65_537;

const FREE: u16 = u16::MAX;

/// Steps from slot to slot before the walk gives up.
const MOST_STEPS: usize = 512;
/// A number below `most`, of one that is spread evenly.
fn below(number: u64, most: usize) -> usize {
    usize::try_from(number % most as u64).unwrap_or_default()
}
