//! Least connections: the smallest `in_flight / weight`, counted over all workers from the pick.
//!
//! Ties go to smooth weighted round robin, so that an idle upstream is not all served by its first
//! backend.

use std::sync::Arc;

use super::{candidates::Candidates, round_robin::RoundRobin};
use crate::backend::Backend;

/// The state of one worker: only the turns among the tied.
#[derive(Clone, Debug)]
pub(super) struct LeastConnections {
    pub(super) turns: RoundRobin,
}

impl LeastConnections {
    pub(super) fn build(backends: &[Arc<Backend>]) -> Self {
        Self { turns: RoundRobin::build(backends) }
    }

    #[inline]
    pub(super) fn pick(&mut self, candidates: &Candidates<'_>) -> Option<usize> {
        let mut least = None;
        for (_, backend, weight) in candidates.iter() {
            let load = Load::of(backend, weight);
            if least.is_none_or(|least| load.is_below(least)) {
                least = Some(load);
            }
        }
        let least = least?;
        let tied =
            candidates.iter().filter(|(_, backend, weight)| !least.is_below(Load::of(backend, *weight)));
        self.turns
            .take(tied.map(|(index, _, weight)| (index, weight)))
            // Another worker's count can move between the two walks; then any candidate will do.
            .or_else(|| self.turns.pick(candidates))
    }
}

/// Exchanges in flight per weight, compared by cross-multiplication.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    in_flight: u64,
    weight: u64,
}

impl Load {
    #[inline]
    pub(super) fn of(backend: &Backend, weight: u32) -> Self {
        Self { in_flight: u64::from(backend.in_flight()), weight: u64::from(weight) }
    }

    #[inline]
    pub(super) fn is_below(self, other: Self) -> bool {
        self.in_flight * other.weight < other.in_flight * self.weight
    }
}
