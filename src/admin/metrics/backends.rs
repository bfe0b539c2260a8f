//! What upstreams and their backends do.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    super::upstreams::State,
    http2,
    text::{Kind, Labels, Text},
};
use crate::{
    backend::Backend,
    moment::Moment,
    runtime::Snapshot,
    telemetry::metrics::{HistogramSum, Outcome},
    upstream::{BackendCounters, Upstream},
};

/// By backend: its state, and how exchanges with it went.
pub(super) fn backends(snapshot: &Snapshot, now: Moment, text: &mut Text) {
    let all = snapshot.upstreams.iter().flat_map(|upstream| {
        let backends = upstream.backends.iter().enumerate();
        backends.map(move |(index, backend)| BackendTotal::over(upstream, index, backend))
    });
    let rows: Vec<BackendTotal<'_>> = all.collect();
    let help = "1 while the backend takes new requests: not down, ejected, draining or disabled.";
    text.family("backend_up", Kind::Gauge, help);
    for row in &rows {
        text.sample(&row.labels, u8::from(State::of(row.backend, now) == State::Up));
    }
    text.family("backend_in_flight", Kind::Gauge, "Requests in flight at the backend.");
    for row in &rows {
        text.sample(&row.labels, row.backend.in_flight());
    }
    let help = "Active health checks of the backend, by result.";
    text.family("health_checks_total", Kind::Counter, help);
    for row in &rows {
        let counts = &row.backend.shared.health_counts;
        for (result, count) in [("passed", &counts.passed), ("failed", &counts.failed)] {
            text.sample(&row.labels.with("result", result), count.load(Relaxed));
        }
    }
    let help = "Times the backend was ejected because real requests to it failed (outlier detection).";
    text.family("backend_ejections_total", Kind::Counter, help);
    for row in &rows {
        text.sample(&row.labels, row.backend.shared.health_counts.ejected.load(Relaxed));
    }
    let help = "Attempts sent to the backend, by outcome, counted when they are over.";
    text.family("backend_requests_total", Kind::Counter, help);
    for row in &rows {
        for (outcome, count) in Outcome::ALL.into_iter().zip(row.outcomes) {
            text.sample(&row.labels.with("outcome", outcome.label()), count);
        }
    }
    let help = "Time from picking the backend to receiving its response head.";
    text.family("backend_response_seconds", Kind::Histogram, help);
    for row in &rows {
        text.histogram(&row.labels, &row.response);
    }
    http2::backends(rows.iter().map(|row| (&row.labels, &row.http2)), text);
}

/// One backend over all workers.
struct BackendTotal<'a> {
    backend: &'a Backend,
    labels: Labels,
    outcomes: [u64; Outcome::ALL.len()],
    response: HistogramSum,
    http2: http2::Counts,
}

impl<'a> BackendTotal<'a> {
    fn over(upstream: &Upstream, index: usize, backend: &'a Backend) -> Self {
        let labels = Labels::of(&[("upstream", &upstream.conf.name), ("backend", &backend.name)]);
        let mut total = Self {
            backend,
            labels,
            outcomes: Default::default(),
            response: Default::default(),
            http2: Default::default(),
        };
        for BackendCounters { series, .. } in upstream.own.iter().filter_map(|own| own.get(index)) {
            for (sum, (_, count)) in total.outcomes.iter_mut().zip(series.outcomes()) {
                *sum += count;
            }
            series.response.add_to(&mut total.response);
            total.http2.add(series);
        }
        total
    }
}

/// By upstream: who waits for a place at a backend.
pub(super) fn queues(snapshot: &Snapshot, text: &mut Text) {
    text.family("queue_length", Kind::Gauge, "Requests waiting in the queue for a backend.");
    for upstream in &snapshot.upstreams {
        text.sample(&Labels::of(&[("upstream", &upstream.conf.name)]), upstream.queue.len());
    }
}
