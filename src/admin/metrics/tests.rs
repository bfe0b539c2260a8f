use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use super::{
    super::{
        access::Access,
        tests::{CONFIG, admin},
    },
    *,
};
use crate::telemetry::metrics::Outcome;

/// The samples of a text by name and labels, after a look at each line.
fn parse(text: &str) -> HashMap<String, f64> {
    let mut samples = HashMap::new();
    let mut families = HashSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(families.insert(name), "{name} comes twice");
            let is_known = name.starts_with("pointsman_") || name.starts_with("process_");
            assert!(!help.is_empty() && is_known, "{name}");
            family = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert!(["counter", "gauge", "histogram"].contains(&kind));
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffix = name.strip_prefix(family).unwrap();
            assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
            if let Some((_, labels)) = series.split_once('{') {
                check_labels(labels.strip_suffix('}').unwrap());
            }
            let before = samples.insert(series.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "{series} comes twice");
        }
    }
    samples
}

/// `a="b",c="d"`, with what has to be escaped escaped.
fn check_labels(mut rest: &str) {
    loop {
        let (name, after) = rest.split_once("=\"").unwrap();
        assert!(name.chars().all(|it| it.is_ascii_lowercase() || it == '_'), "{name}");
        let mut signs = after.char_indices();
        let end = loop {
            match signs.next().unwrap() {
                (_, '\\') => assert!("\\\"n".contains(signs.next().unwrap().1)),
                (at, '"') => break at,
                (_, other) => assert_ne!(other, '\n'),
            }
        };
        match after[end + 1..].strip_prefix(',') {
            Some(next) => rest = next,
            None => return assert_eq!(&after[end + 1..], ""),
        }
    }
}

#[test]
fn workers_are_summed_under_the_contracts_names() {
    let admin = admin(CONFIG, Access::Anyone);
    let registry = &admin.shared.registry;
    let (listener, upstream) = (registry.name("web"), registry.name("app"));
    for worker in registry.workers() {
        let key = RequestKey { listener, upstream, status: 200 };
        worker.route(&"all".into()).record(key, Duration::from_millis(3));
        let key = RequestKey { listener, upstream: crate::telemetry::metrics::NO_NAME, status: 404 };
        worker.route(&"".into()).record(key, Duration::from_secs(20));
        let backend = worker.backend("app", "127.0.0.1:1");
        backend.series.record(Outcome::Status2xx);
        backend.series.response.record(Duration::from_millis(2));
        worker.series.bytes_in.add(100);
        worker.series.retries.add(1);
        worker.series.errors.count("connect");
        // Of an upstream that is not configured (any more).
        worker.backend("retired", "127.0.0.1:9").series.record(Outcome::Connect);
        worker.route(&"retired".into()).record(key, Duration::from_secs(1));
        // Of a route that is there, for an upstream and by a listener that are not (any more).
        let (gone, left) = (registry.name("retired-upstream"), registry.name("retired-listener"));
        worker
            .route(&"all".into())
            .record(RequestKey { listener, upstream: gone, status: 200 }, Duration::ZERO);
        worker
            .route(&"all".into())
            .record(RequestKey { listener: left, upstream, status: 200 }, Duration::ZERO);
    }
    let snapshot = admin.shared.snapshot.load_full();
    let counts = &snapshot.upstreams[0].backends[0].shared.health_counts;
    counts.passed.store(3, Relaxed);
    counts.ejected.store(2, Relaxed);
    let text = render(&admin, Moment::now());
    assert!(!text.contains("retired"));
    let samples = parse(&text);
    let expected = [
        (r#"requests_total{listener="web",route="all",upstream="app",code="200"}"#, 2.0),
        (r#"requests_total{listener="web",route="",upstream="",code="404"}"#, 2.0),
        // Two of them came by a listener that is gone: durations are not counted by listener.
        (r#"request_duration_seconds_bucket{route="all",upstream="app",le="0.0025"}"#, 2.0),
        (r#"request_duration_seconds_bucket{route="all",upstream="app",le="0.005"}"#, 4.0),
        (r#"request_duration_seconds_bucket{route="all",upstream="app",le="10"}"#, 4.0),
        (r#"request_duration_seconds_bucket{route="",upstream="",le="10"}"#, 0.0),
        (r#"request_duration_seconds_bucket{route="",upstream="",le="+Inf"}"#, 2.0),
        (r#"request_duration_seconds_sum{route="all",upstream="app"}"#, 0.006),
        (r#"request_duration_seconds_count{route="all",upstream="app"}"#, 4.0),
        (r#"backend_up{upstream="app",backend="a"}"#, 1.0),
        (r#"backend_in_flight{upstream="app",backend="a"}"#, 0.0),
        (r#"backend_requests_total{upstream="app",backend="a",outcome="2xx"}"#, 2.0),
        (r#"backend_requests_total{upstream="app",backend="b",outcome="connect"}"#, 0.0),
        (r#"backend_response_seconds_count{upstream="app",backend="a"}"#, 2.0),
        (r#"backend_up{upstream="größer",backend="unix:/run/app.sock"}"#, 1.0),
        (r#"health_checks_total{upstream="app",backend="a",result="passed"}"#, 3.0),
        (r#"health_checks_total{upstream="app",backend="a",result="failed"}"#, 0.0),
        (r#"backend_ejections_total{upstream="app",backend="a"}"#, 2.0),
        (r#"queue_length{upstream="app"}"#, 0.0),
        (r#"errors_total{kind="connect"}"#, 2.0),
        (r#"connections{listener="web"}"#, 0.0),
        (r#"connections_accepted_total{listener="web"}"#, 0.0),
        (r#"connections_refused_total{listener="web"}"#, 0.0),
        (r#"plain_http_total{listener="web"}"#, 0.0),
        (r#"bytes_total{direction="in"}"#, 200.0),
        (r#"bytes_total{direction="out"}"#, 0.0),
        (r#"backend_connections_total{kind="reused"}"#, 0.0),
        (r#"backend_connections_total{kind="dialled"}"#, 0.0),
        ("retries_total", 2.0),
        ("retries_refused_total", 0.0),
        ("access_log_dropped_total", 0.0),
        ("log_dropped_total", 0.0),
        ("panics_total", 0.0),
        ("config_generation", 1.0),
        ("config_last_reload_success", 1.0),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(&format!("pointsman_{series}")), Some(&value), "{series}\n{text}");
    }
    assert!(samples["pointsman_config_last_reload_timestamp_seconds"] > 1.7e9);
    assert!(text.contains("\npointsman_build_info{version=\""));
}

/// A certificate that is listed may be in the folder too, or be listed twice; `parse` refuses a series that comes twice.
#[test]
fn a_certificate_has_one_series_however_often_it_is_named() {
    let folder = std::env::temp_dir().join(format!("pointsman-series-{}", std::process::id()));
    crate::tls::demo::demo_certificates(&folder).unwrap();
    let pair = format!("{{ chain = \"{0}/demo.pem\", key = \"{0}/demo.key\" }}", folder.display());
    let listener = format!(
        "[[listener]]\nname = \"safe\"\naddress = \"127.0.0.1:0\"\nprotocol = \"https\"\n\
         certificate = [{pair}, {pair}]\ncertificates = \"{}\"\n",
        folder.display()
    );
    let admin = admin(&format!("{CONFIG}{listener}"), Access::Anyone);
    let samples = parse(&render(&admin, Moment::now()));
    let chain = format!("chain=\"{}/demo.pem\"", folder.display());
    assert_eq!(samples.keys().filter(|series| series.contains(&chain)).count(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn label_values_are_escaped() {
    let mut text = Text::new();
    text.family("connections", Kind::Gauge, "help");
    text.sample(&Labels::of(&[("listener", "a\"b\\c\nd"), ("route", "")]), 1);
    let text = text.finish();
    assert!(text.ends_with("pointsman_connections{listener=\"a\\\"b\\\\c\\nd\",route=\"\"} 1\n"), "{text}");
    parse(&text);
}

#[test]
fn a_thousand_backends_have_their_series_each() {
    let backends: Vec<String> =
        (1..=1000).map(|port| format!("{{ address = \"127.0.0.1:{port}\" }}")).collect();
    let many = format!("[[upstream]]\nname = \"many\"\nbackend = [{}]\n", backends.join(","));
    let admin = admin(&format!("{CONFIG}{many}"), Access::Anyone);
    let begun = std::time::Instant::now();
    let text = render(&admin, Moment::now());
    println!("{} bytes in {:?}", text.len(), begun.elapsed());
    let samples = parse(&text);
    let of_many = samples.keys().filter(|series| series.contains("upstream=\"many\"")).count();
    // Up, in flight, checks by verdict, ejections, outcomes; buckets with the one above all bounds, sum and count.
    let of_one = 5 + Outcome::ALL.len() + crate::telemetry::metrics::BOUNDS.len() + 3;
    // And the queue.
    assert_eq!(of_many, 1000 * of_one + 1);
}
