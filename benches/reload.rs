//! What a new generation costs: building it, away from every event loop, and taking it over on a worker.
//! `cargo bench --bench reload`. Prints, and judges nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "the inputs are written here")]

use std::{
    fmt::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use pointsman::{
    config,
    moment::Moment,
    runtime::{
        Snapshot, Worker,
        build::{Builder, build},
        drain::Drain,
        registry::Registry,
        worker::Shared,
    },
    telemetry::access_log::{AccessLog, Sink},
    tls::tickets::Tickets,
};

const GENERATIONS: u64 = 40;

fn main() {
    for (routes, upstreams, backends) in [(10, 10, 2), (10_000, 10, 2), (10_000, 10_000, 1), (10, 1, 1_000)] {
        measure(routes, upstreams, backends);
    }
}

/// A file whose route `probe` differs from edit to edit, and one of its upstreams too.
fn text(routes: usize, upstreams: usize, backends: usize, edit: u64) -> String {
    let mut text = format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"probe\"\n\
         paths = [\"/probe\"]\nrespond = {{ status = 200, body = \"{edit}\" }}\n"
    );
    for number in 0..routes {
        let upstream = number % upstreams;
        let _ = write!(
            text,
            "[[route]]\nname = \"r{number}\"\nhosts = [\"h{number}.test\"]\nupstream = \"u{upstream}\"\n"
        );
    }
    for number in 0..upstreams {
        let _ = write!(text, "[[upstream]]\nname = \"u{number}\"\n");
        for backend in 0..backends {
            let weight = if number == 0 && backend == 0 { 1 + edit % 7 } else { 1 };
            let address = format!("10.{}.{}.{}:80", number / 250, number % 250, backend % 250);
            let port = 80 + backend / 250;
            let address = address.replace(":80", &format!(":{port}"));
            let _ = write!(text, "[[upstream.backend]]\naddress = \"{address}\"\nweight = {weight}\n");
        }
    }
    text
}

fn measure(routes: usize, upstreams: usize, backends: usize) {
    let registry = Registry::new(2);
    let tickets = Tickets::new(Moment::now()).unwrap();
    let parse = |edit| config::parse(&text(routes, upstreams, backends, edit), Path::new("x.toml")).unwrap();
    let first = build(parse(0), 1, &registry, &tickets).unwrap();
    let shared = Arc::new(Shared {
        snapshot: ArcSwap::from_pointee(first),
        registry,
        drain: Drain::default(),
        flows: Arc::default(),
    });
    let log = AccessLog::start(Sink::Off).unwrap();
    let worker = Worker::new(0, shared.clone(), log.for_worker());
    let used = |worker: &Worker| {
        // A busy worker: everything is in use.
        let snapshot = worker.snapshot();
        (0..upstreams).for_each(|index| drop(snapshot.upstream(index).cloned()));
    };
    used(&worker);
    let mut times: [Vec<Duration>; 4] = Default::default();
    let mut old: Vec<Arc<Snapshot>> = Vec::new();
    for edit in 1..=GENERATIONS {
        let took = |begun: Instant| begun.elapsed();
        let begun = Instant::now();
        let config = parse(edit);
        times[0].push(took(begun));
        let begun = Instant::now();
        let before = shared.snapshot.load_full();
        let builder = Builder {
            generation: edit + 1,
            registry: &shared.registry,
            tickets: &tickets,
            before: Some(&before),
        };
        let next = builder.build(config).unwrap();
        times[1].push(took(begun));
        old.push(before);
        shared.snapshot.store(Arc::new(next));
        let begun = Instant::now();
        let snapshot = worker.snapshot();
        times[2].push(took(begun));
        let begun = Instant::now();
        drop(snapshot.upstream(0).cloned());
        times[3].push(took(begun));
        drop(snapshot);
        used(&worker);
        old.truncate(1);
    }
    log.finish();
    println!("{routes} routes, {upstreams} upstreams of {backends} backends:");
    let names = [
        "control: parse the file",
        "control: build",
        "worker: take over",
        "worker: first use of an upstream that changed",
    ];
    for (name, mut times) in names.into_iter().zip(times) {
        times.sort();
        let at = |percent: usize| {
            times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
        };
        println!("  {name:<46} median {:>10.1?}   longest {:>10.1?}", at(50), at(100));
    }
}
