//! The load bound of the hashing policies: no backend takes more than `c` times its fair share.

use super::{candidates::Candidates, ip_hash::rendezvous};

/// The bound as one pick sees it: `cap_i = ceil(c · (total + 1) · w_i / W)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// `c · (total + 1) / W`; infinite when the bound is off.
    per_weight: f64,
}

impl Bound {
    /// `None` when there is no candidate at all, so that a walk need not find that out by itself.
    #[inline]
    pub(super) fn new(candidates: &Candidates<'_>, balance: f64) -> Option<Self> {
        if balance <= 0.0 {
            candidates.iter().next()?;
            return Some(Self { per_weight: f64::INFINITY });
        }
        let (in_flight, weights) =
            candidates.iter().fold((0_u64, 0_u64), |(in_flight, weights), (_, backend, weight)| {
                let in_flight = in_flight + u64::from(backend.in_flight());
                (in_flight, weights + u64::from(weight))
            });
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
