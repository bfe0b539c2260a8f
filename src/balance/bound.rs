//! The load bound of the hashing policies: no backend takes more than `c` times its fair share.

use std::time::Duration;

use super::{
    candidates::{Candidates, Tier},
    ip_hash::rendezvous,
    schedule::MANY,
};
use crate::moment::Moment;

/// The bound as one pick sees it: `cap_i = ceil(c · (total + 1) · w_i / W)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// `c · (total + 1) / W`; infinite when the bound is off.
    per_weight: f64,
}

/// What all candidates have in flight and what they weigh together, which a walk over all of them finds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    taken: Moment,
    in_flight: u64,
    weights: u64,
}

impl Totals {
    fn of(candidates: &Candidates<'_>) -> Self {
        let (in_flight, weights) =
            candidates.iter().fold((0_u64, 0_u64), |(in_flight, weights), (_, backend, weight)| {
                let in_flight = in_flight + u64::from(backend.in_flight());
                (in_flight, weights + u64::from(weight))
            });
        Self { taken: candidates.now, in_flight, weights }
    }

    /// Those of many backends for a while, which is longer the more there are: walks then take a small part of the
    /// time, whatever comes. What is picked meanwhile is counted as in flight.
    fn of_many(candidates: &Candidates<'_>, known: &mut Option<Self>) -> Self {
        let age = AGE_PER_BACKEND * u32::try_from(candidates.backends.len()).unwrap_or(u32::MAX);
        let is_known = |it: &&mut Self| candidates.now.since(it.taken) < age && it.weights > 0;
        if let Some(known) = known.as_mut().filter(is_known) {
            known.in_flight += 1;
            return *known;
        }
        *known.insert(Self::of(candidates))
    }
}

/// A walk takes some ten nanoseconds for each.
const AGE_PER_BACKEND: Duration = Duration::from_micros(1);

impl Bound {
    /// `None` when there is no candidate at all, so that a walk need not find that out by itself.
    #[inline]
    pub(super) fn new(candidates: &Candidates<'_>, balance: f64, known: &mut Option<Totals>) -> Option<Self> {
        if balance <= 0.0 {
            candidates.iter().next()?;
            return Some(Self { per_weight: f64::INFINITY });
        }
        let is_many = candidates.backends.len() > MANY && candidates.tier == Tier::Primary;
        let Totals { in_flight, weights, .. } = match is_many {
            true => Totals::of_many(candidates, known),
            false => Totals::of(candidates),
        };
        (weights > 0).then(|| Self { per_weight: balance * (in_flight as f64 + 1.0) / weights as f64 })
    }

    /// The candidate with the best score for `key` that has room.
    #[cold]
    pub(super) fn rendezvous(
        self,
        candidates: &Candidates<'_>,
        identities: &[u64],
        key: u64,
    ) -> Option<usize> {
        let has_room = |index, weight| self.has_room(candidates, index, weight);
        // One always has, but for what other workers count meanwhile.
        rendezvous(candidates, identities, key, has_room)
            .or_else(|| rendezvous(candidates, identities, key, |_, _| true))
    }

    /// Whether one more exchange at the candidate stays within its cap.
    #[inline]
    pub(super) fn has_room(self, candidates: &Candidates<'_>, index: usize, weight: u32) -> bool {
        candidates.backends.get(index).is_some_and(|backend| {
            // A whole number may come out a rounding error above itself.
            let cap = (self.per_weight * f64::from(weight) - 1e-6).ceil();
            f64::from(backend.in_flight()) < cap
        })
    }
}

/// Whether an entry of a ring or table that was made for the weight `full` still counts at `weight`:
/// `rank`, in 2³² parts, says which part of the backend's entries it belongs to. So slow start and
/// lowered weights need no other table.
#[inline]
pub(super) fn accepts(weight: u32, full: u32, rank: u32) -> bool {
    weight >= full && weight > 0 || (u64::from(rank) * u64::from(full)) >> 32 < u64::from(weight)
}
