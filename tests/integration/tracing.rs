//! Traces: which spans a request has, how they hang together, and that a collector never costs a request.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    collapse::cached,
    support::{
        Client, Origin, Proxy, Reply, eventually, h2, nobody,
        otlp::{Collector, Span},
        proxy::{config, config_of},
        skipped, tls,
    },
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// A listener that believes 127.0.0.2.
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.2/32\"]";

fn proxy(backends: &[SocketAddr], trace: &str) -> Proxy {
    let backends: Vec<_> = backends.iter().map(ToString::to_string).collect();
    let more = "[upstream.outlier]\nconsecutive_failures = 100000\nfailure_percent = 0\n[admin]\naddress = \"127.0.0.1:0\"\n";
    Proxy::start(&config_of(&backends, TRUSTED, &format!("{more}{trace}")))
}

fn trusted(proxy: &Proxy) -> Client {
    Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), proxy.address("web"))
}

fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

/// How many spans came to this, by the metrics.
fn counted(proxy: &Proxy, outcome: &str) -> u64 {
    let text = Client::connect(proxy.address("admin")).get_with("/metrics", "localhost", "").text();
    let name = format!("pointsman_trace_spans_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

fn warnings(proxy: &Proxy, text: &str) -> usize {
    proxy.log().iter().filter(|line| line.contains(text)).count()
}

#[test]
fn a_request_with_a_retry_has_a_span_for_itself_and_for_each_attempt() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let bad = nobody();
    let proxy = proxy(&[bad, origin.address()], &collector.conf("sample = 1\nservice_name = \"edge\""));
    let mut client = proxy.connect();
    // Round robin meets the bad one in one of the two.
    for path in ["/one?secret=1", "/two?secret=1"] {
        client.get_with(path, "shop.test:8080", "User-Agent: me/1.0\r\n");
    }
    let traces = [collector.trace_of("/one"), collector.trace_of("/two")];
    let spans = traces.iter().find(|spans| spans.len() == 3).expect("one of them was tried twice");
    let [server, failed, answered] = &spans[..] else { panic!("{spans:?}") };
    let port = |address: SocketAddr| address.port().to_string();
    for (span, expected) in [
        (
            server,
            &[
                ("http.request.method", "GET"),
                ("url.scheme", "http"),
                ("server.address", "shop.test"),
                ("client.address", "127.0.0.1"),
                ("http.response.status_code", "200"),
                ("http.response.body.size", "5"),
                ("http.route", "all"),
                ("network.protocol.version", "1.1"),
                ("user_agent.original", "me/1.0"),
                ("pointsman.listener", "web"),
                ("pointsman.upstream", "u"),
                ("pointsman.backend", "b1"),
                ("error.type", ""),
            ][..],
        ),
        (
            failed,
            &[
                ("server.address", "127.0.0.1"),
                ("server.port", &port(bad)),
                ("pointsman.backend", "b0"),
                ("error.type", "connect"),
                ("http.response.status_code", ""),
                ("http.request.resend_count", ""),
            ],
        ),
        (
            answered,
            &[
                ("server.port", &port(origin.address())),
                ("pointsman.backend", "b1"),
                ("pointsman.upstream", "u"),
                ("http.response.status_code", "200"),
                ("http.request.resend_count", "1"),
                ("error.type", ""),
            ],
        ),
    ] {
        for (key, value) in expected {
            assert_eq!(span.get(key), *value, "{key} of {span:?}");
        }
        assert!(!format!("{span:?}").contains("secret"), "a query is nobody's business");
    }
    assert_eq!((server.name.as_str(), failed.name.as_str()), ("GET all", "GET"));
    assert_eq!((server.kind, failed.kind, answered.kind), (2, 3, 3));
    assert_eq!(server.parent, "");
    assert_eq!((&failed.parent, &answered.parent), (&server.id, &server.id));
    assert_ne!(failed.id, answered.id);
    assert!(failed.error.as_ref().is_some_and(|why| why.contains("connect")));
    assert_eq!((&server.error, &answered.error), (&None, &None));
    assert!(server.start <= failed.start && failed.end <= answered.start && answered.end <= server.end);
    assert_eq!(server.resource["service.name"], "edge");
    assert_eq!(server.resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert!(!server.resource["host.name"].is_empty());
    // The backend goes on where the attempt that reached it stands.
    let sent = format!("00-{}-{}-01", answered.trace, answered.id);
    assert!(origin.requests().iter().any(|request| request.all("traceparent") == [&sent]));
    let line = proxy.logged(if server.get("url.path") == "/one" { "/one?secret=1" } else { "/two?secret=1" });
    assert_eq!(line["trace_id"], *server.trace);
    assert_eq!(line["request_id"], *server.get("pointsman.request_id"));
    eventually("all are counted", || counted(&proxy, "exported") == 5);
    assert_eq!((counted(&proxy, "failed"), counted(&proxy, "dropped")), (0, 0));
}

#[test]
fn a_request_says_what_the_cache_did_and_a_hit_has_no_attempt() {
    let collector = Collector::start();
    let origin = Origin::start(|_| {
        Reply::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok".into())
    });
    let text = cached(&[origin.address()], "") + &collector.conf("sample = 1");
    let proxy = Proxy::start(&text);
    let mut client = proxy.connect();
    for _ in 0..3 {
        client.get_with("/page", "test", "");
    }
    eventually("three requests are told of", || {
        collector.spans().iter().filter(|span| span.kind == 2).count() == 3
    });
    let spans = collector.spans();
    let results: Vec<&str> =
        spans.iter().filter(|span| span.kind == 2).map(|span| span.get("pointsman.cache.result")).collect();
    assert_eq!(results, ["miss", "hit", "hit"]);
    assert!(spans.iter().filter(|span| span.kind == 2).all(|span| span.get("pointsman.cache") == "pages"));
    assert_eq!(spans.iter().filter(|span| span.kind == 3).count(), 1, "only the fetch was an attempt");
}

#[test]
fn the_trace_of_a_trusted_client_goes_on_as_it_decided() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let proxy = proxy(&[origin.address()], &collector.conf("sample = 0"));
    let mut client = trusted(&proxy);
    client.get_with("/unsampled", "a", &traceparent("00"));
    let unsampled = origin.last();
    client.get_with("/sampled", "a", &(traceparent("01") + "tracestate: one=1\r\ntracestate: two=2\r\n"));
    let spans = collector.trace_of("/sampled");
    let [server, attempt] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((server.trace.as_str(), server.parent.as_str()), (TRACE, PARENT));
    assert_eq!((server.state.as_str(), server.flags, attempt.flags), ("one=1,two=2", 0x301, 0x101));
    let sampled = origin.last();
    assert_eq!(sampled.all("traceparent"), [format!("00-{TRACE}-{}-01", attempt.id)]);
    assert_eq!(sampled.all("tracestate"), ["one=1", "two=2"]);
    let sent = unsampled.header("traceparent").unwrap();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
    assert!(!sent.contains(PARENT), "the flag may be another, so the parent is");
    // One batch later it would be here.
    assert!(collector.spans().iter().all(|span| span.get("url.path") != "/unsampled"));
    assert_eq!(proxy.logged("/unsampled")["trace_id"], TRACE);
}

#[test]
fn a_stranger_goes_on_with_its_trace_and_decides_nothing() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let never = proxy(&[origin.address()], &collector.conf("sample = 0"));
    never.connect().get_with("/asks", "a", &traceparent("01"));
    let sent = origin.last().header("traceparent").unwrap().to_owned();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
    let always = proxy(&[origin.address()], &collector.conf("sample = 1"));
    always.connect().get_with("/hides", "a", &traceparent("00"));
    let spans = collector.trace_of("/hides");
    assert_eq!((spans[0].trace.as_str(), spans[0].parent.as_str()), (TRACE, PARENT));
    assert!(origin.last().header("traceparent").unwrap().ends_with("-01"));
    trusted(&never).get_with("/marker", "a", &traceparent("01"));
    collector.trace_of("/marker");
    assert!(collector.spans().iter().all(|span| span.get("url.path") != "/asks"));
}

#[test]
fn a_malformed_traceparent_is_replaced_and_its_state_with_it() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let proxy = proxy(&[origin.address()], &collector.conf("sample = 1"));
    let mut client = trusted(&proxy);
    let doubled = traceparent("01") + &traceparent("01");
    for (path, headers) in [
        ("/short", "traceparent: 00-1-2-01\r\ntracestate: a=1\r\n"),
        ("/zero", "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01\r\n"),
        ("/bytes", "traceparent: \u{fc}\u{fc}\r\n"),
        ("/doubled", doubled.as_str()),
    ] {
        assert_eq!(client.get_with(path, "a", headers).status, 200);
        let spans = collector.trace_of(path);
        assert_eq!((spans[0].parent.as_str(), spans.len()), ("", 2));
        assert_ne!(spans[0].trace, TRACE);
        let sent = origin.last();
        assert_eq!(sent.all("traceparent"), [format!("00-{}-{}-01", spans[0].trace, spans[1].id)]);
        assert_eq!(sent.all("tracestate"), [""; 0]);
    }
}

#[test]
fn off_sends_nothing_and_passes_on_what_came() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let off = proxy(&[origin.address()], "[trace]\nsample = 1\n");
    let odd = "traceparent: nonsense\r\ntracestate: a=1\r\n";
    trusted(&off).get_with("/", "a", odd);
    assert_eq!(origin.last().all("traceparent"), ["nonsense"]);
    assert_eq!(origin.last().all("tracestate"), ["a=1"]);
    off.get("/none");
    assert_eq!(origin.last().all("traceparent"), [""; 0]);
    assert!(off.logged("/none").get("trace_id").is_none());

    let mut none = proxy(&[origin.address()], &collector.conf("sample = 0"));
    for number in 0..100 {
        none.get(&format!("/{number}"));
    }
    assert!(none.logged("/99")["trace_id"].is_string());
    // What was gathered would be sent before the end.
    none.signal("TERM");
    assert!(none.wait().success());
    assert_eq!(collector.origin.connections(), 0);
}

#[test]
fn what_is_left_is_sent_before_the_end() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let mut proxy = proxy(&[origin.address()], &collector.conf("sample = 1"));
    for number in 0..50 {
        proxy.get(&format!("/{number}"));
    }
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    let spans = collector.spans();
    let paths = (0..50).map(|number| format!("/{number}"));
    for path in paths {
        assert_eq!(spans.iter().filter(|span| span.get("url.path") == path).count(), 1, "{path}");
    }
    assert_eq!(spans.len(), 100);
    // Batches, and not a request per span.
    assert!(collector.origin.requests().len() < 10, "{}", collector.origin.requests().len());
}

#[test]
fn errors_are_told_and_so_are_requests_that_no_route_or_backend_took() {
    let collector = Collector::start();
    let origin = Origin::start(|request| match request.target.as_str() {
        "/500" => Reply::Text(500, "bug".into()),
        "/broken" => Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort".to_vec()),
        "/404" => Reply::Text(404, "none".into()),
        _ => Reply::Take(Box::new(|connection| drop(connection.reader.read_to_end(&mut Vec::new())))),
    });
    let text = config(
        &[origin.address()],
        &format!(
            "{}[upstream.outlier]\nconsecutive_failures = 100000\nfailure_percent = 0\n",
            collector.conf("sample = 1")
        ),
    );
    let proxy = Proxy::start(&text.replace("name = \"all\"\n", "name = \"all\"\nhosts = [\"test\"]\n"));
    for path in ["/500", "/broken", "/404"] {
        proxy.get(path);
    }
    proxy.connect().get_with("/nowhere", "other.test", "");
    let mut leaves = proxy.connect();
    leaves.send("GET /left HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("the request is there", || origin.requests().iter().any(|it| it.target == "/left"));
    drop(leaves);
    let mut odd = proxy.connect();
    odd.send("BREW /pot HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("the request is there", || origin.requests().iter().any(|it| it.target == "/pot"));
    drop(odd);

    let bug = collector.trace_of("/500");
    for span in &bug {
        assert_eq!((span.error.as_deref(), span.get("error.type")), (Some(""), "500"));
    }
    let broken = collector.trace_of("/broken");
    for span in &broken {
        assert_eq!(span.get("error.type"), "body_broken");
        assert!(span.error.as_ref().is_some_and(|why| why.contains("ended too early")), "{span:?}");
    }
    assert_eq!(broken[0].get("http.response.status_code"), "200");
    let none = collector.trace_of("/404");
    assert!(none.iter().all(|span| span.error.is_none() && span.get("error.type").is_empty()));
    let nowhere = collector.trace_of("/nowhere");
    assert_eq!((nowhere.len(), nowhere[0].name.as_str()), (1, "GET"));
    assert_eq!(nowhere[0].get("error.type"), "no_route");
    assert_eq!((nowhere[0].get("http.response.status_code"), &nowhere[0].error), ("404", &None));
    let left = collector.trace_of("/left");
    assert_eq!(left.len(), 2);
    for span in &left {
        assert_eq!((span.get("error.type"), &span.error), ("client_gone", &None));
        assert_eq!(span.get("http.response.status_code"), "", "it got none");
    }
    let odd = collector.trace_of("/pot");
    assert_eq!((odd[0].name.as_str(), odd[0].get("http.request.method")), ("HTTP all", "_OTHER"));
    assert_eq!(odd[0].get("http.request.method_original"), "BREW");
}

#[test]
fn the_first_request_of_a_connection_has_its_handshake() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let folder = tls::folder();
    let text = config_of(&[origin.address().to_string()], tls::SECURE, &collector.conf("sample = 1"));
    let proxy = Proxy::start_in(folder.clone(), &text);
    let config = tls::Manner::default().config(&folder);
    for (paths, resumed) in [(["/a", "/b"], "false"), (["/c", "/d"], "true")] {
        let mut client = tls::TlsClient::connect(proxy.address("web"), "localhost", &config).unwrap();
        paths.iter().for_each(|path| drop(client.get("localhost", path).unwrap()));
        let spans = collector.trace_of(paths[0]);
        let [server, handshake, _] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((handshake.name.as_str(), handshake.kind), ("TLS handshake", 1));
        assert_eq!(handshake.parent, server.id);
        assert_eq!(handshake.get("tls.protocol.version"), "1.3");
        assert_eq!(handshake.get("tls.client.server_name"), "localhost");
        assert_eq!(handshake.get("tls.resumed"), resumed);
        assert!(handshake.end <= server.start);
        assert_eq!(server.get("url.scheme"), "https");
        assert_eq!(collector.trace_of(paths[1]).len(), 2, "and no other request has");
    }
}

#[test]
fn http2_is_traced_alike() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let proxy = proxy(&[origin.address()], &collector.conf("sample = 1"));
    h2::run(async {
        let client = h2::Http2::connect(&proxy).await;
        assert_eq!(client.get("/h2").await.unwrap().0, 200);
    });
    let spans = collector.trace_of("/h2");
    assert_eq!((spans.len(), spans[0].get("network.protocol.version")), (2, "2"));
}

#[test]
fn a_collector_that_is_busy_is_tried_again_and_nothing_comes_twice() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    collector.answer(503);
    let proxy = proxy(&[origin.address()], &collector.conf("sample = 1"));
    proxy.get("/busy");
    eventually("it was asked", || !collector.origin.requests().is_empty());
    collector.answer(200);
    eventually("the spans are there", || counted(&proxy, "exported") == 2);
    let requests = collector.origin.requests();
    assert!(requests.len() >= 2 && requests.windows(2).all(|two| two[0].body == two[1].body));
    assert_eq!(counted(&proxy, "failed"), 0);
    assert_eq!(warnings(&proxy, "spans do not reach the collector"), 1);
    eventually("it is told", || warnings(&proxy, "spans reach the collector again") == 1);
    assert_eq!(collector.origin.connections(), 1, "the connection is kept");
}

#[test]
fn a_collector_that_refuses_is_told_of_once_and_not_asked_again() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    collector.answer(500);
    let proxy = proxy(&[origin.address()], &collector.conf("sample = 1"));
    for number in 1..=3 {
        proxy.get("/");
        eventually("it is counted", || counted(&proxy, "failed") == 2 * number);
    }
    assert_eq!(collector.origin.requests().len(), 3);
    assert_eq!(warnings(&proxy, "spans do not reach the collector"), 1);
    assert_eq!(counted(&proxy, "exported"), 0);
}

/// Requests while a collector is of no use: none fails, the slowest is not slow, memory stays.
fn unharmed(proxy: &mut Proxy) {
    let mut client = proxy.connect();
    let mut slowest = Duration::ZERO;
    // Long paths fill the buffers soon.
    let path = format!("/{}", "x".repeat(1500));
    let mut ask = |client: &mut Client, count| {
        for _ in 0..count {
            let begun = Instant::now();
            assert_eq!(client.get(&path).status, 200);
            slowest = slowest.max(begun.elapsed());
        }
    };
    // 2 kB a request: the queue (2 MiB) and what waits (4 MiB) are full after 3000.
    ask(&mut client, 4000);
    eventually("some are dropped", || counted(proxy, "dropped") > 0);
    let before = proxy.memory();
    ask(&mut client, 4000);
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 4 * 1024 * 1024, "grew by {grown} bytes");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert_eq!(counted(proxy, "exported"), 0);
    // The requests may be through before the collector's time is over.
    eventually("it is told of", || warnings(proxy, "spans do not reach the collector") > 0);
    assert_eq!(warnings(proxy, "spans do not reach the collector"), 1);
    drop(client);
    let begun = Instant::now();
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "the end waits for the collector: {:?}",
        begun.elapsed()
    );
}

#[test]
fn a_collector_that_is_away_costs_no_request_and_bounded_memory() {
    let origin = Origin::named("hello");
    let trace = format!("[trace]\notlp = \"http://{}\"\nsample = 1\n", nobody());
    unharmed(&mut proxy(&[origin.address()], &trace));
}

#[test]
fn a_collector_that_hangs_costs_no_request_and_bounded_memory() {
    let origin = Origin::named("hello");
    let hangs = Origin::start(|_| {
        Reply::Take(Box::new(|connection| drop(connection.reader.read_to_end(&mut Vec::new()))))
    });
    let trace = format!("[trace]\notlp = \"http://{}\"\nsample = 1\ntimeout = \"1s\"\n", hangs.address());
    unharmed(&mut proxy(&[origin.address()], &trace));
}

#[test]
fn a_collector_gets_the_fields_it_asks_for_and_the_log_never_has_them() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let folder = crate::support::proxy::folder();
    fs::write(folder.join("token"), "Bearer top-secret\n").unwrap();
    let headers = "headers = { authorization = \"file:token\", x-tenant = \"me\" }";
    let text = config(&[origin.address()], &collector.conf(&format!("sample = 1\n{headers}")))
        .replace("[log]\n", "[log]\nlevel = \"trace\"\n");
    let proxy = Proxy::start_in(folder, &text);
    proxy.get("/");
    collector.trace_of("/");
    let request = collector.origin.last();
    assert_eq!(request.header("authorization"), Some("Bearer top-secret"));
    assert_eq!(request.header("x-tenant"), Some("me"));
    assert!(proxy.log().iter().all(|line| !line.contains("top-secret")));
}

/// Behind TLS, which another Pointsman ends here.
#[test]
fn a_collector_may_speak_tls_and_must_then_be_who_it_says() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let folder = tls::folder();
    let end = Proxy::start_in(folder, &config_of(&[collector.origin.address().to_string()], tls::SECURE, ""));
    let address = format!("https://localhost:{}", end.address("web").port());
    let ca = end.folder().join("ca.pem");
    let trace = format!("[trace]\notlp = \"{address}\"\nsample = 1\n");
    let believing = proxy(&[origin.address()], &format!("{trace}[trace.tls]\nca = \"{}\"\n", ca.display()));
    believing.get("/tls");
    assert_eq!(collector.trace_of("/tls").len(), 2);
    assert_eq!(end.logged("/v1/traces")["status"], 200);
    let doubting = proxy(&[origin.address()], &trace);
    doubting.get("/no");
    eventually("it is told", || warnings(&doubting, "spans do not reach the collector") == 1);
    let why = doubting.log().into_iter().find(|line| line.contains("spans do not reach")).unwrap();
    assert!(why.contains("certificate") || why.contains("root"), "{why}");
    assert!(collector.spans().iter().all(|span| span.get("url.path") != "/no"));
}

/// `tests/run` installs them; the decoder of these tests shares no code with the encoder either, but was
/// written beside it.
#[test]
fn the_definitions_that_opentelemetry_publishes_read_the_same() {
    let Some(packages) = std::env::var_os("POINTSMAN_PYTHON").filter(|it| Path::new(it).is_dir()) else {
        return skipped("opentelemetry-proto");
    };
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let proxy = proxy(&[nobody(), origin.address()], &collector.conf("sample = 1"));
    let mut client = trusted(&proxy);
    for path in ["/one", "/two"] {
        client.get_with(path, "a", &(traceparent("01") + "tracestate: a=1\r\n"));
    }
    let all = || collector.spans();
    eventually("all are there", || all().len() == 5);
    let mut read = Vec::new();
    for request in collector.origin.requests() {
        let mut python = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/support/otlp.py"))
            .env("PYTHONPATH", &packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        python.stdin.take().unwrap().write_all(&request.body).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success());
        let spans: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        read.extend(spans);
    }
    assert_eq!(read, all().iter().map(Span::json).collect::<Vec<_>>());
}

#[test]
fn no_two_spans_are_the_same() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    let mut proxy = proxy(&[origin.address()], &collector.conf("sample = 1"));
    let mut client = proxy.connect();
    for _ in 0..300 {
        client.get("/");
    }
    drop(client);
    proxy.signal("TERM");
    proxy.wait();
    let spans: Vec<Span> = collector.spans();
    let ids: std::collections::HashSet<_> = spans.iter().map(|span| &span.id).collect();
    let traces: std::collections::HashSet<_> = spans.iter().map(|span| &span.trace).collect();
    assert_eq!((spans.len(), ids.len(), traces.len()), (600, 600, 300));
}

#[test]
fn a_reload_turns_it_on_and_off_and_leads_elsewhere() {
    let (one, two) = (Collector::start(), Collector::start());
    let origin = Origin::named("hello");
    let text = |trace: &str| config(&[origin.address()], trace);
    let proxy = Proxy::start(&text(""));
    let mut client = proxy.connect();
    client.get("/off");
    assert_eq!(origin.last().header("traceparent"), None);
    for (path, collector) in [("/one", &one), ("/two", &two)] {
        proxy.edit(&text(&collector.conf("sample = 1")));
        eventually("it is traced", || {
            client.get(path);
            collector.spans().iter().any(|span| span.get("url.path") == path)
        });
    }
    assert!(one.spans().iter().all(|span| span.get("url.path") != "/off"));
    proxy.edit(&text(""));
    eventually("it is off", || {
        client.get("/off-again");
        origin.last().header("traceparent").is_none()
    });
    client.get("/last");
    assert!(proxy.logged("/last").get("trace_id").is_none());
    let last = |collector: &Collector| collector.spans().iter().any(|span| span.get("url.path") == "/last");
    assert!(!last(&one) && !last(&two));
}
