//! The less loaded of two distinct backends at random (Mitzenmacher: "The power of two choices in
//! randomized load balancing", 2001).
//!
//! Both are drawn in proportion to weight and a tie goes to the first *drawn*, so that an idle upstream
//! is shared exactly by weight.

use std::sync::Arc;

use super::{candidates::Candidates, least_connections::Load, random::Random};
use crate::backend::Backend;

/// Two choices, each as [`Random`] makes them.
#[derive(Clone, Copy, Debug)]
pub(super) struct PowerOfTwo {
    random: Random,
}

impl PowerOfTwo {
    pub(super) fn build(backends: &[Arc<Backend>]) -> Self {
        Self { random: Random::build(backends) }
    }

    #[inline]
    pub(super) fn pick(&mut self, candidates: &Candidates<'_>, rng: &mut fastrand::Rng) -> Option<usize> {
        let first = self.random.draw(candidates, rng, None)?;
        let Some(second) = self.random.draw(candidates, rng, Some(first)) else {
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
