//! The collector: what is sent to it, and that one which is of no use costs nothing.

use super::*;
use crate::support::PATIENCE;

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
fn a_busy_collector_is_retried_without_duplicates() {
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
    eventually("it is logged", || warnings(&proxy, "spans do not reach the collector") > 0);
    assert_eq!(warnings(&proxy, "spans do not reach the collector"), 1);
    eventually("it is logged", || warnings(&proxy, "spans reach the collector again") == 1);
    assert_eq!(collector.origin.connections(), 1, "the connection is kept");
}

#[test]
fn a_refusing_collector_is_logged_once_and_not_retried() {
    let collector = Collector::start();
    let origin = Origin::named("hello");
    collector.answer(500);
    let proxy = proxy(&[origin.address()], &collector.conf("sample = 1"));
    for number in 1..=3 {
        proxy.get("/");
        eventually("it is counted", || counted(&proxy, "failed") == 2 * number);
    }
    assert_eq!(collector.origin.requests().len(), 3);
    eventually("it is logged", || warnings(&proxy, "spans do not reach the collector") > 0);
    assert_eq!(warnings(&proxy, "spans do not reach the collector"), 1);
    assert_eq!(counted(&proxy, "exported"), 0);
}

/// Requests while a collector is of no use: none fails, the slowest is not slow, memory stays.
fn unharmed(proxy: &mut Proxy) {
    let mut client = proxy.connect();
    let (mut slowest, mut late) = (Duration::ZERO, 0);
    // Long paths fill the buffers soon.
    let path = format!("/{}", "x".repeat(1500));
    let mut ask = |client: &mut Client, count| {
        for _ in 0..count {
            let begun = Instant::now();
            assert_eq!(client.get(&path).status, 200);
            let took = begun.elapsed();
            slowest = slowest.max(took);
            late += usize::from(took > Duration::from_millis(900));
        }
    };
    // 2 kB a request: the queue (2 MiB) and what waits (4 MiB) are full after 3000.
    ask(&mut client, 4000);
    // What is sent meanwhile, and fails, makes room again.
    eventually("some are dropped", || {
        ask(&mut client, 200);
        counted(proxy, "dropped") > 0
    });
    let before = proxy.memory();
    ask(&mut client, 4000);
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 4 * 1024 * 1024, "grew by {grown} bytes");
    // A busy machine may be late now and then; a collector that was waited for had cost a second of each batch.
    assert!(slowest < PATIENCE / 2 && late <= 8, "{slowest:?}, and {late} are late");
    assert_eq!(counted(proxy, "exported"), 0);
    // The requests may be through before the collector's time is over.
    eventually("it is logged", || warnings(proxy, "spans do not reach the collector") > 0);
    assert_eq!(warnings(proxy, "spans do not reach the collector"), 1);
    drop(client);
    let begun = Instant::now();
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    assert!(begun.elapsed() < PATIENCE / 2, "the end waits for the collector: {:?}", begun.elapsed());
}

#[test]
fn an_absent_collector_costs_no_request_and_bounded_memory() {
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
fn a_collector_gets_its_headers_and_logs_never_do() {
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
fn a_collector_with_tls_must_prove_its_name() {
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
    eventually("it is logged", || warnings(&doubting, "spans do not reach the collector") == 1);
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
