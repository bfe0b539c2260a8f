//! Least response time: peak EWMA × (in flight + 1) / weight.
//!
//! After Finagle's Peak EWMA: a slower sample counts at once, a faster one by and by, and the average
//! decays while a backend is idle, so that a punished one is tried again. The averages are in
//! [`Traffic`].

use std::{cell::Cell, sync::Arc};

use super::{backend_stats::Traffic, candidates::Candidates, least_cost, round_robin::RoundRobin};
use crate::backend::Backend;

/// The state of one worker: only the turns among the tied.
#[derive(Clone, Debug)]
pub(super) struct LeastResponseTime {
    pub(super) turns: RoundRobin,
}

impl LeastResponseTime {
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
        // Found only when some candidate has no sample, and then once.
        let mean = Cell::new(None);
        least_cost::pick(candidates, &mut self.turns, rng, |index, backend, weight| {
            let average = traffic.response_seconds(index, candidates.now).unwrap_or_else(|| {
                let known = mean.get().unwrap_or_else(|| mean_of(candidates, traffic));
                mean.set(Some(known));
                known
            });
            average * (f64::from(backend.in_flight()) + 1.0) / f64::from(weight)
        })
    }
}

/// The mean of those candidates that have samples; what a backend without one is taken for.
fn mean_of(candidates: &Candidates<'_>, traffic: &Traffic) -> f64 {
    let (sum, count) = candidates
        .iter()
        .filter_map(|(index, ..)| traffic.response_seconds(index, candidates.now))
        .fold((0.0, 0.0), |(sum, count), it| (sum + it, count + 1.0));
    if count > 0.0 { sum / count } else { START }
}

/// Seconds that all backends are taken for before there is any sample.
const START: f64 = 0.03;
