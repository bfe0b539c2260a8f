//! The less loaded of two distinct backends at random (Mitzenmacher: "The power of two choices in
//! randomized load balancing", 2001).
//!
//! Both are drawn in proportion to weight and a tie goes to the first *drawn*, so that an idle upstream
//! is shared exactly by weight.

use super::{candidates::Candidates, least_connections::Load};

/// Two choices need no state of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct PowerOfTwo;

impl PowerOfTwo {
    #[inline]
    pub(super) fn pick(self, candidates: &Candidates<'_>, rng: &mut fastrand::Rng) -> Option<usize> {
        let first = candidates.random(rng, None)?;
        let Some(second) = candidates.random(rng, Some(first)) else {
            return Some(first);
        };
        let load = |index: usize| {
            let backend = candidates.backends.get(index)?;
            Some(Load::of(backend, candidates.weight(index, backend).max(1)))
        };
        match (load(first), load(second)) {
            (Some(a), Some(b)) if b.is_below(a) => Some(second),
            _ => Some(first),
        }
    }
}
