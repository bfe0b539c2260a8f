//! At random, in proportion to weight.
//!
//! Drawn by rejection: any backend, kept with the probability of its weight against the heaviest. While
//! most of them are available that takes a draw or two, however many there are.

use std::sync::Arc;

use super::candidates::Candidates;
use crate::backend::Backend;

/// Random needs to know only what the weights are measured against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random {
    heaviest: u32,
}

impl Random {
    pub(super) fn build(backends: &[Arc<Backend>]) -> Self {
        let weights = backends.iter().map(|backend| backend.full_weight());
        Self { heaviest: weights.max().unwrap_or_default().max(1) }
    }

    #[inline]
    pub(super) fn pick(&mut self, candidates: &Candidates<'_>, rng: &mut fastrand::Rng) -> Option<usize> {
        self.draw(candidates, rng, None)
    }

    /// A candidate other than `except`.
    #[inline]
    pub(super) fn draw(
        &mut self,
        candidates: &Candidates<'_>,
        rng: &mut fastrand::Rng,
        except: Option<usize>,
    ) -> Option<usize> {
        if candidates.backends.is_empty() {
            return None;
        }
        for _ in 0..MOST_DRAWS {
            let index = rng.usize(0..candidates.backends.len());
            let weight = candidates.weight_of(index);
            // An override made it the heaviest: from here on it is measured against.
            self.heaviest = self.heaviest.max(weight);
            if Some(index) != except && rng.u32(0..self.heaviest) < weight {
                return Some(index);
            }
        }
        // Few of many are left. The walk has the same odds.
        candidates.random(rng, except)
    }
}

/// Draws before all backends are walked.
const MOST_DRAWS: usize = 8;
