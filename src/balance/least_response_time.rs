//! Least response time: peak EWMA × (in flight + 1) / weight.
//!
//! After Finagle's Peak EWMA: a slower sample counts at once, a faster one by and by, and the average
//! decays while a backend is idle, so that a punished one is tried again. The averages are in
//! [`Traffic`].

use std::{cell::Cell, sync::Arc, time::Duration};

use super::{
    backend_stats::Traffic, candidates::Candidates, least_cost, round_robin::RoundRobin, schedule::MANY,
};
use crate::{backend::Backend, moment::Moment};

/// The state of one worker: the turns among the tied.
#[derive(Clone, Debug)]
pub(super) struct LeastResponseTime {
    pub(super) turns: RoundRobin,
    /// The mean of many backends, and when it was taken.
    mean: Option<(Moment, f64)>,
}

impl LeastResponseTime {
    pub(super) fn build(backends: &[Arc<Backend>]) -> Self {
        Self { turns: RoundRobin::build(backends), mean: None }
    }

    #[inline]
    pub(super) fn pick(
        &mut self,
        candidates: &Candidates<'_>,
        rng: &mut fastrand::Rng,
        traffic: &Traffic,
    ) -> Option<usize> {
        // Found only when some candidate has no sample, and then once.
        let now = candidates.now;
        let is_fresh = |(taken, _): &(Moment, f64)| now.since(*taken) < MEAN_AGE;
        let mean = Cell::new(self.mean.filter(is_fresh).map(|(_, mean)| mean));
        let is_taken = mean.get().is_none();
        let picked = least_cost::pick(candidates, &mut self.turns, rng, |index, backend, weight| {
            let average = traffic.response_seconds(index, candidates.now).unwrap_or_else(|| {
                let known = mean.get().unwrap_or_else(|| mean_of(candidates, traffic));
                mean.set(Some(known));
                known
            });
            average * (f64::from(backend.in_flight()) + 1.0) / f64::from(weight)
        });
        if is_taken && candidates.backends.len() > MANY {
            self.mean = mean.get().map(|mean| (now, mean));
        }
        picked
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

/// How long the mean of many backends is as good as a new one: taking it walks them all.
const MEAN_AGE: Duration = Duration::from_millis(250);

/// Seconds that all backends are taken for before there is any sample.
const START: f64 = 0.03;
