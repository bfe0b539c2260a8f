//! Least bandwidth: fewest bytes per second in both directions, for the weight.
//!
//! An exchange shows in the bytes only when they flow. So that a burst of new ones does not all run to
//! the same backend, each one in flight counts for [`ASSUMED`] from the start; when nothing flows
//! anywhere this is least connections.

use std::sync::Arc;

use super::{backend_stats::Traffic, candidates::Candidates, least_cost, round_robin::RoundRobin};
use crate::backend::Backend;

/// The state of one worker: only the turns among the tied.
#[derive(Clone, Debug)]
pub(super) struct LeastBandwidth {
    pub(super) turns: RoundRobin,
}

impl LeastBandwidth {
    pub(super) fn build(backends: &[Arc<Backend>]) -> Self {
        Self { turns: RoundRobin::build(backends) }
    }

    #[inline]
    pub(super) fn pick(
        &mut self,
        candidates: &Candidates<'_>,
        rng: &mut fastrand::Rng,
        traffic: &Traffic,
    ) -> Option<usize> {
        least_cost::pick(candidates, &mut self.turns, rng, |index, backend, weight| {
            let flowing = traffic.bandwidth(index, candidates.now);
            let assumed = f64::from(backend.in_flight()) * ASSUMED;
            // Less than a byte per second is a backend at rest; all such are tied.
            (flowing + assumed).max(1.0) / f64::from(weight)
        })
    }
}

/// Bytes per second that an exchange in flight is taken for beside what already flows.
const ASSUMED: f64 = 1024.0;
