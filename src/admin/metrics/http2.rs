//! Connections of HTTP/2 to backends, and calls of gRPC.

use super::text::{Kind, Labels, Text};
use crate::{
    exchange::grpc,
    runtime::registry::{Registry, WorkerRegistry},
    telemetry::metrics::{BackendSeries, Counter},
};

/// Of one backend over all workers.
#[derive(Debug, Default)]
pub(super) struct Counts {
    opened: u64,
    closed: u64,
    errors: u64,
    streams: u64,
    resets: u64,
}

impl Counts {
    /// Adds what a worker counted. What is closed is looked at first: it never is more than what was opened.
    pub(super) fn add(&mut self, series: &BackendSeries) {
        self.closed += series.http2_closed.get();
        self.opened += series.http2_opened.get();
        self.errors += series.http2_errors.get();
        self.streams += series.http2_streams.get();
        self.resets += series.http2_resets.get();
    }
}

/// By backend that HTTP/2 was spoken to.
pub(super) fn backends<'a>(rows: impl Iterator<Item = (&'a Labels, &'a Counts)> + Clone, text: &mut Text) {
    let mut family = |name, kind, help, value: fn(&Counts) -> u64| {
        text.family(name, kind, help);
        for (labels, counts) in rows.clone().filter(|(_, counts)| counts.opened > 0) {
            text.sample(labels, value(counts));
        }
    };
    let help = "Open HTTP/2 connections to the backend.";
    family("backend_http2_connections", Kind::Gauge, help, |it| it.opened.saturating_sub(it.closed));
    let help = "HTTP/2 connections closed because the backend broke the protocol, or flooded.";
    family("backend_http2_connections_ended_total", Kind::Counter, help, |it| it.errors);
    let help = "Exchanges sent to the backend as HTTP/2 streams.";
    family("backend_http2_streams_total", Kind::Counter, help, |it| it.streams);
    let help = "Streams that the backend reset.";
    family("backend_http2_resets_total", Kind::Counter, help, |it| it.resets);
}

/// Calls of gRPC by their status, those that came.
pub(super) fn grpc_calls(registry: &Registry, text: &mut Text) {
    text.family("grpc_calls_total", Kind::Counter, "gRPC calls by status.");
    for code in 0..grpc::CODES {
        let of = |worker: &WorkerRegistry| worker.series.grpc.get(code).map_or(0, Counter::get);
        let count: u64 = registry.workers().iter().map(of).sum();
        if count > 0 {
            text.sample(&Labels::of(&[("code", &code.to_string())]), count);
        }
    }
}
