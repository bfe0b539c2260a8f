//! `GET /metrics`: every counter as Prometheus text, summed over workers.
//!
//! Only what is configured has series: those of what a reload took away are gone from the answer. The
//! counters hang on the snapshot, so no lock is taken and no name looked up for a backend. A thousand of
//! them are some 2 MB, made on a thread beside the control loop.

mod backends;
mod caches;
mod cluster;
mod http2;
mod listeners;
mod process;
mod text;
mod writes;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use http::StatusCode;

use self::text::{Kind, Labels, Text};
use super::{
    Admin, Params,
    reply::{Reply, make},
    spec::{ResponseSpec, Spec},
};
use crate::{
    account::{self, Owner},
    filter::{coding::Coding, compression},
    moment::Moment,
    runtime::{
        Snapshot,
        registry::{Registry, WorkerRegistry},
    },
    telemetry::{
        access_log,
        datagrams::{DatagramSeries, Dropped},
        metrics::{Counter, HistogramSum, NO_NAME, NameId, RequestKey, RouteSeries, TunnelKey, WorkerSeries},
        program_log,
    },
};

/// What it gives.
pub(super) const ABOUT: Spec = Spec {
    gives: &[ResponseSpec::text(200, "the metrics", "text/plain; version=0.0.4; charset=utf-8")],
    ..Spec::PLAIN
};

pub(super) fn get(admin: &Admin, _: &Params) -> Reply {
    let body = render(admin, Moment::now());
    make(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body.into())
}

fn render(admin: &Admin, now: Moment) -> String {
    let snapshot = admin.shared.snapshot.load();
    let registry = &admin.shared.registry;
    let mut text = Text::new();
    requests(&snapshot, registry, &mut text);
    backends::backends(&snapshot, now, &mut text);
    backends::queues(&snapshot, &mut text);
    listeners::listeners(&snapshot, &mut text);
    listeners::handshakes(&snapshot, &mut text);
    listeners::certificates(admin, &snapshot, &mut text);
    caches::caches(&snapshot, &mut text);
    writes::former(&registry.journals, &mut text);
    workers(registry, &mut text);
    traces(registry, &mut text);
    configuration(admin, &snapshot, &mut text);
    cluster::cluster(admin, &mut text);
    process::process(&mut text);
    text.finish()
}

/// By route: what clients asked and got.
fn requests(snapshot: &Snapshot, registry: &Registry, text: &mut Text) {
    let routes = snapshot.routes.iter().map(|route| (&*route.name, &route.series));
    let routes = routes.chain([(UNROUTED, &snapshot.no_route)]);
    let live = Live::of(snapshot);
    let totals: Vec<(&str, RouteTotal)> =
        routes.map(|(route, series)| (route, RouteTotal::over(series, &live))).collect();
    let help = "Requests, by the status the client got; code 0 means the client left before it got one.";
    text.family("requests_total", Kind::Counter, help);
    for (route, total) in &totals {
        for (key, count) in &total.requests {
            let labels = Labels::of(&[
                ("listener", &registry.text(key.listener)),
                ("route", route),
                ("upstream", &registry.text(key.upstream)),
                ("code", &key.status.to_string()),
            ]);
            text.sample(&labels, count);
        }
    }
    tunnels(&totals, registry, text);
    mirrors(snapshot, text);
    let help = "Time from the first byte of a request to the end of its response.";
    text.family("request_duration_seconds", Kind::Histogram, help);
    for (route, total) in &totals {
        for (upstream, sum) in &total.durations {
            let labels = Labels::of(&[("route", route), ("upstream", &registry.text(*upstream))]);
            text.histogram(&labels, sum);
        }
    }
}

/// By route: copies of requests for other upstreams.
fn mirrors(snapshot: &Snapshot, text: &mut Text) {
    let help = "Requests selected for mirroring, by the outcome of the copy.";
    text.family("mirrored_requests_total", Kind::Counter, help);
    for route in &snapshot.routes {
        let Some(mirror) = &route.mirror else { continue };
        let counts = &mirror.counts;
        for (result, count) in [
            ("answered", &counts.answered),
            ("failed", &counts.failed),
            ("too_many", &counts.full),
            ("too_large", &counts.too_large),
            ("cut_off", &counts.cut_off),
        ] {
            let labels = Labels::of(&[("route", &route.name), ("result", result)]);
            text.sample(&labels, count.load(Relaxed));
        }
    }
}

/// By route: connections that were passed on and have ended.
fn tunnels(totals: &[(&str, RouteTotal)], registry: &Registry, text: &mut Text) {
    let help = "Duration of forwarded connections (TCP, TLS) and UDP sessions, by what ended them.";
    text.family("tunnel_duration_seconds", Kind::Histogram, help);
    for (route, total) in totals {
        for (key, sum) in &total.tunnels {
            let labels = Labels::of(&[
                ("listener", &registry.text(key.listener)),
                ("route", route),
                ("upstream", &registry.text(key.upstream)),
                ("result", key.result),
            ]);
            text.histogram(&labels, sum);
        }
    }
}

/// Names that are configured: a route remembers listeners and upstreams that are not any more.
struct Live<'s> {
    snapshot: &'s Snapshot,
    listeners: HashSet<NameId>,
}

impl<'s> Live<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        Self { snapshot, listeners: snapshot.listeners.iter().map(|listener| listener.name).collect() }
    }

    fn has_upstream(&self, name: NameId) -> bool {
        name == NO_NAME || self.snapshot.upstream(name).is_some()
    }

    fn has(&self, key: &RequestKey) -> bool {
        self.listeners.contains(&key.listener) && self.has_upstream(key.upstream)
    }
}

/// One route over all workers.
#[derive(Default)]
struct RouteTotal {
    requests: BTreeMap<RequestKey, u64>,
    durations: BTreeMap<NameId, HistogramSum>,
    tunnels: BTreeMap<TunnelKey, HistogramSum>,
}

impl RouteTotal {
    fn over(workers: &[Arc<RouteSeries>], live: &Live<'_>) -> Self {
        let mut total = Self::default();
        for series in workers {
            for (key, count) in series.requests().filter(|(key, _)| live.has(key)) {
                *total.requests.entry(key).or_default() += count;
            }
            let is_live =
                |key: &TunnelKey| live.listeners.contains(&key.listener) && live.has_upstream(key.upstream);
            for (key, histogram) in series.tunnels().filter(|(key, _)| is_live(key)) {
                histogram.add_to(total.tunnels.entry(key).or_default());
            }
            for (upstream, histogram) in series.durations().filter(|(name, _)| live.has_upstream(*name)) {
                histogram.add_to(total.durations.entry(upstream).or_default());
            }
        }
        total
    }
}

/// Of the whole process.
fn workers(registry: &Registry, text: &mut Text) {
    let sum = |count: fn(&WorkerSeries) -> &Counter| -> u64 {
        let of = |worker: &WorkerRegistry| count(&worker.series).get();
        registry.workers().iter().map(of).sum()
    };
    text.family("bytes_total", Kind::Counter, "Bytes received from clients (in) and sent to them (out).");
    text.sample(&Labels::of(&[("direction", "in")]), sum(|it| &it.bytes_in));
    text.sample(&Labels::of(&[("direction", "out")]), sum(|it| &it.bytes_out));
    let help = "Backend connections taken from a pool (reused) or newly opened (dialled).";
    text.family("backend_connections_total", Kind::Counter, help);
    text.sample(&Labels::of(&[("kind", "reused")]), sum(|it| &it.pool_reused));
    text.sample(&Labels::of(&[("kind", "dialled")]), sum(|it| &it.pool_dialled));
    let help = "HTTP/2 client connections closed because the client broke the protocol (error) or flooded it with \
                frames that request nothing (flood).";
    text.family("http2_connections_ended_total", Kind::Counter, help);
    text.sample(&Labels::of(&[("reason", "error")]), sum(|it| &it.http2_errors));
    text.sample(&Labels::of(&[("reason", "flood")]), sum(|it| &it.http2_floods));
    let mut errors = BTreeMap::new();
    registry.workers().iter().for_each(|worker| worker.series.errors.add_to(&mut errors));
    let help = "Requests and connections that ended in an error, by kind, as `error` in the access log.";
    text.family("errors_total", Kind::Counter, help);
    for (kind, count) in errors {
        text.sample(&Labels::of(&[("kind", kind)]), count);
    }
    let help = "Memory used by traffic in progress, by owner; runtime.memory limits the sum.";
    text.family("memory_bytes", Kind::Gauge, help);
    for owner in Owner::ALL {
        text.sample(&Labels::of(&[("owner", owner.name())]), account::held(owner));
    }
    text.family("memory_limit_bytes", Kind::Gauge, "The limit of the sum of memory_bytes.");
    text.sample(&Labels::default(), account::limit());
    http2::grpc_calls(registry, text);
    datagrams(registry, text);
    compressed(text);
    let mut single = |name, help, value| {
        text.family(name, Kind::Counter, help);
        text.sample(&Labels::default(), value);
    };
    single("retries_total", "Attempts beyond the first.", sum(|it| &it.retries));
    let help = "Client connections closed through the admin API.";
    single("connections_ended_total", help, sum(|it| &it.ended));
    let help = "Retries refused by the retry budget.";
    single("retries_refused_total", help, sum(|it| &it.retries_refused));
    let help = "Requests relayed through a peer because this node could not connect to any backend.";
    single("relayed_total", help, sum(|it| &it.relayed));
    let help = "Requests that no peer could relay to a backend either.";
    single("relays_failed_total", help, sum(|it| &it.relays_failed));
    let help = "HTTP/2 streams refused because the client was at its limit of open streams.";
    single("http2_streams_refused_total", help, sum(|it| &it.http2_refused));
    let help = "Access log lines dropped because the writer fell behind, or that could not be written.";
    single("access_log_dropped_total", help, sum(|it| &it.log_dropped) + access_log::unwritten());
    single(
        "memory_refused_total",
        "Requests refused because memory_bytes was at its limit.",
        account::refused(),
    );
    let help = "Lines of the program's own log dropped because they were not read fast enough, or could not be written.";
    single("log_dropped_total", help, program_log::dropped());
    single("panics_total", "Connections that ended in a panic: each one is a bug.", sum(|it| &it.panics));
}

/// Bodies that were compressed.
fn compressed(text: &mut Text) {
    let of = |coding: Coding, source: &str| Labels::of(&[("encoding", coding.name()), ("source", source)]);
    let help = "Compressed responses sent to clients: compressed for this response (made), or taken from the cache (kept).";
    text.family("compressed_responses_total", Kind::Counter, help);
    for (coding, ..) in Coding::ALL {
        let counted = compression::counted(*coding);
        text.sample(&of(*coding, "made"), counted.bodies);
        text.sample(&of(*coding, "kept"), counted.kept);
    }
    let help = "Bytes before (in) and after (out) compression.";
    text.family("compression_bytes_total", Kind::Counter, help);
    for (coding, ..) in Coding::ALL {
        let counted = compression::counted(*coding);
        for (direction, bytes) in [("in", counted.taken), ("out", counted.given)] {
            text.sample(&Labels::of(&[("encoding", coding.name()), ("direction", direction)]), bytes);
        }
    }
    let help = "Responses left uncompressed because memory_bytes was at its limit.";
    text.family("compression_refused_total", Kind::Counter, help);
    text.sample(&Labels::default(), compression::refused());
}

/// Datagrams that were passed on, and that were not.
fn datagrams(registry: &Registry, text: &mut Text) {
    let sum = |count: &dyn Fn(&DatagramSeries) -> u64| -> u64 {
        registry.workers().iter().map(|worker| count(&worker.series.datagrams)).sum()
    };
    let help = "Datagrams received from clients (in) and sent to them (out).";
    text.family("udp_datagrams_total", Kind::Counter, help);
    text.sample(&Labels::of(&[("direction", "in")]), sum(&|it| it.received.get()));
    text.sample(&Labels::of(&[("direction", "out")]), sum(&|it| it.sent.get()));
    let help = "Datagrams dropped in either direction, by reason.";
    text.family("udp_datagrams_dropped_total", Kind::Counter, help);
    for why in Dropped::ALL {
        text.sample(&Labels::of(&[("reason", why.label())]), sum(&|it| it.dropped(why)));
    }
}

/// What became of the spans of sampled requests.
fn traces(registry: &Registry, text: &mut Text) {
    let traces = &registry.traces;
    let by_workers: u64 = registry.workers().iter().map(|worker| worker.series.spans_dropped.get()).sum();
    let help = "Spans accepted by the collector (exported), refused by it or not delivered (failed), or discarded \
                because the buffer was full (dropped).";
    text.family("trace_spans_total", Kind::Counter, help);
    let dropped = by_workers + traces.dropped.get();
    let outcomes =
        [("exported", traces.exported.get()), ("failed", traces.failed.get()), ("dropped", dropped)];
    for (outcome, count) in outcomes {
        text.sample(&Labels::of(&[("outcome", outcome)]), count);
    }
}

/// What runs, and from which configuration.
fn configuration(admin: &Admin, snapshot: &Snapshot, text: &mut Text) {
    let none = Labels::default();
    let help = "Number of the configuration in use; each reload adds one.";
    text.family("config_generation", Kind::Gauge, help);
    text.sample(&none, snapshot.generation);
    let help = "1 if the last reload succeeded, 0 if it failed.";
    text.family("config_last_reload_success", Kind::Gauge, help);
    text.sample(&none, u8::from(admin.reloader.last().ok));
    let (succeeded, failed) = admin.reloader.counts();
    text.family("config_reloads_total", Kind::Counter, "Reloads, by result.");
    text.sample(&Labels::of(&[("result", "success")]), succeeded);
    text.sample(&Labels::of(&[("result", "failure")]), failed);
    let help = "Configuration generations made because backends' host names resolved to other addresses.";
    text.family("backend_address_changes_total", Kind::Counter, help);
    text.sample(&none, admin.reloader.names_followed());
    let help = "Addresses of backends' host names left out because a name has more than 64.";
    text.family("backend_addresses_left_out", Kind::Gauge, help);
    text.sample(&none, admin.reloader.in_force().names.left_out());
    let help = "Unix time at which the configuration was last read.";
    text.family("config_last_reload_timestamp_seconds", Kind::Gauge, help);
    text.sample(&none, admin.reloader.last().at_unix);
    text.family("build_info", Kind::Gauge, "1, with the version as a label.");
    text.sample(&Labels::of(&[("version", env!("CARGO_PKG_VERSION"))]), 1);
}

/// The route of requests that no route took.
const UNROUTED: &str = "";

#[cfg(test)]
mod tests;
