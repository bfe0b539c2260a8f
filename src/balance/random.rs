//! At random, in proportion to weight.

use super::candidates::Candidates;

/// Random needs no state of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random;

impl Random {
    #[inline]
    pub(super) fn pick(self, candidates: &Candidates<'_>, rng: &mut fastrand::Rng) -> Option<usize> {
        candidates.random(rng, None)
    }
}
