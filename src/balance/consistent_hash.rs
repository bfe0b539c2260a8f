//! Consistent hashing on a ring of virtual nodes, with bounded loads (Karger et al., 1997; Mirrokni,
//! Thorup, Zadimoghaddam: "Consistent hashing with bounded loads", 2018).
//!
//! The ring is made of the *configured* backends and changes only with them: rebuilding it at each
//! change of health would let a flapping backend burn every worker's time. An unavailable point is
//! walked past.

use std::sync::Arc;

use super::{
    candidates::Candidates,
    identity::{identities, mix},
};
use crate::{
    backend::{Backend, WEIGHT_UNIT},
    balance::bound::{Bound, Totals, accepts},
};

/// A ring that all workers of a generation share.
#[derive(Clone, Debug)]
pub(super) struct ConsistentHash {
    ring: Arc<[Point]>,
    identities: Arc<[u64]>,
    weights: Arc<[u32]>,
    balance: f64,
    totals: Option<Totals>,
}

/// A virtual node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    place: u64,
    index: u32,
    /// Its number among the backend's points over their count, in 2³² parts. A backend whose weight is
    /// lowered for now (slow start, override) gives up its last points first.
    rank: u32,
}

impl ConsistentHash {
    pub(super) fn build(backends: &[Arc<Backend>], balance: f64) -> Self {
        let identities = identities(backends);
        let weights: Arc<[u32]> = backends.iter().map(|b| b.full_weight()).collect();
        let per_unit = points_per_unit(backends);
        let mut ring = Vec::new();
        for (index, backend) in backends.iter().enumerate() {
            let (Some(identity), Ok(id)) = (identities.get(index), u32::try_from(index)) else {
                continue;
            };
            // Backups are no part of the ring: they would only be walked past.
            let weight = match backend.backup {
                true => 0,
                false => u64::from(backend.full_weight() / WEIGHT_UNIT),
            };
            let count = weight.saturating_mul(per_unit) >> FRACTION;
            let count = count.max(u64::from(weight > 0));
            ring.extend((0..count).map(|number| Point {
                place: mix(*identity, number + 1),
                index: id,
                // A number below the count: the quotient is below 2³².
                rank: u32::try_from((number << 32) / count).unwrap_or(u32::MAX),
            }));
        }
        ring.sort_unstable();
        Self { ring: ring.into(), identities, weights, balance, totals: None }
    }

    #[inline]
    pub(super) fn pick(&mut self, candidates: &Candidates<'_>, key: u64) -> Option<usize> {
        let bound = Bound::new(candidates, self.balance, &mut self.totals)?;
        let place = mix(key, 0);
        let start = self.ring.partition_point(|point| point.place < place);
        let onward = self.ring.get(start..).unwrap_or_default().iter();
        for point in onward.chain(self.ring.iter()).take(MOST_STEPS) {
            let index = point.index as usize;
            let weight = candidates.weight_of(index);
            let full = self.weights.get(index).copied().unwrap_or_default();
            if accepts(weight, full, point.rank) && bound.has_room(candidates, index, weight) {
                return Some(index);
            }
        }
        // Few of many are left, or only backups: the score finds the same one each time, too.
        bound.rendezvous(candidates, &self.identities, key)
    }
}

/// Points per unit of weight in 2⁻¹⁶ parts: 160 while the ring stays small, else halved until it does.
/// Halving, and no exact division, keeps the points of the others in place when a backend is added.
fn points_per_unit(backends: &[Arc<Backend>]) -> u64 {
    let total: u64 = backends.iter().map(|backend| u64::from(backend.full_weight() / WEIGHT_UNIT)).sum();
    let mut per_unit = POINTS << FRACTION;
    while (total.saturating_mul(per_unit) >> FRACTION) > MOST_POINTS && per_unit > 1 {
        per_unit /= 2;
    }
    per_unit
}

const FRACTION: u32 = 16;

/// Virtual nodes per unit of weight: shares then differ from the weights by about 8 %.
const POINTS: u64 = 160;

/// Points of a whole ring, 4 MiB.
const MOST_POINTS: u64 = 1 << 18;

/// Steps from point to point before the walk gives up.
const MOST_STEPS: usize = 512;
