//! The admin endpoint end to end: what it counts is what was sent, and nothing it is asked harms the
//! requests of others.

use std::io::Read;

use serde_json::Value;

use crate::support::{Client, Origin, Proxy, Reply, client::Response, eventually, proxy::config};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

fn ask(proxy: &Proxy, target: &str) -> Response {
    Client::connect(proxy.address("admin")).get_with(target, "localhost", "")
}

fn json(proxy: &Proxy, target: &str) -> Value {
    let response = ask(proxy, target);
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("application/json")),
        "{target}"
    );
    serde_json::from_slice(&response.body).unwrap()
}

/// The sum of the samples of a metric whose line has all of these texts.
fn metric(text: &str, name: &str, labels: &[&str]) -> f64 {
    let is_it = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    text.lines().filter(is_it).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn what_is_counted_is_what_was_sent() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/500" => Reply::Text(500, "bug".into()),
        "/503" => Reply::Text(503, "busy".into()),
        _ => Reply::Text(200, "0123456789".into()),
    });
    let other = Origin::named("backup");
    let more = format!(
        "[[upstream.backend]]\nname = \"spare\"\naddress = \"{}\"\nbackup = true\n\
         [upstream.retry]\nattempts = 1\n[upstream.outlier]\nconsecutive_failures = 0\nfailure_percent = 0\n{ADMIN}",
        other.address()
    );
    let proxy = Proxy::start(
        &config(&[origin.address()], &more)
            .replace("name = \"all\"\n", "name = \"all\"\nhosts = [\"test\"]\n"),
    );
    let mut client = proxy.connect();
    for (target, count) in [("/", 70), ("/500", 5), ("/503", 3)] {
        for _ in 0..count {
            client.get(target);
        }
    }
    let mut stranger = proxy.connect();
    for _ in 0..4 {
        assert_eq!(stranger.get_with("/", "stranger.test", "").status, 404);
    }
    let read = || ask(&proxy, "/metrics").text();
    // An exchange is counted when it ends, which may be a moment after its client has the response.
    let total = |text: &str| metric(text, "pointsman_requests_total", &[]) as u64;
    eventually("all are counted", || total(&read()) == 82);
    let text = read();
    for (labels, count) in [
        (&["code=\"200\"", "route=\"all\"", "upstream=\"u\"", "listener=\"web\""][..], 70.0),
        (&["code=\"500\"", "route=\"all\""], 5.0),
        (&["code=\"503\"", "route=\"all\""], 3.0),
        (&["code=\"404\"", "route=\"\"", "upstream=\"\""], 4.0),
    ] {
        assert_eq!(metric(&text, "pointsman_requests_total", labels), count, "{labels:?}");
    }
    let all = ["upstream=\"u\"", "backend=\"b0\""];
    assert_eq!(metric(&text, "pointsman_backend_requests_total", &all), 78.0);
    assert_eq!(metric(&text, "pointsman_backend_requests_total", &["backend=\"spare\""]), 0.0);
    assert_eq!(metric(&text, "pointsman_backend_response_seconds_count", &all), 78.0);
    assert_eq!(metric(&text, "pointsman_request_duration_seconds_count", &["route=\"all\""]), 78.0);
    assert_eq!(metric(&text, "pointsman_backend_up", &all), 1.0);
    assert_eq!(metric(&text, "pointsman_backend_in_flight", &all), 0.0);
    assert_eq!(metric(&text, "pointsman_connections", &["listener=\"web\""]), 2.0);
    assert_eq!(metric(&text, "pointsman_panics_total", &[]), 0.0);
    assert!(metric(&text, "pointsman_bytes_total", &["direction=\"out\""]) >= 700.0);
    // Whatever hosts and paths clients make up, there are series of what is configured only.
    assert!(!text.contains("stranger") && !text.contains("/500"));
    drop((client, stranger));
    eventually("the connections are gone", || metric(&read(), "pointsman_connections", &[]) == 0.0);

    let upstream = json(&proxy, "/api/v1/upstreams/u");
    assert_eq!((upstream["name"].as_str(), upstream["balance"].as_str()), (Some("u"), Some("round-robin")));
    let backend = &upstream["backends"][0];
    assert_eq!((backend["name"].as_str(), backend["state"].as_str()), (Some("b0"), Some("up")));
    assert_eq!(backend["address"], origin.address().to_string());
    assert_eq!((backend["requests"].as_u64(), backend["in_flight"].as_u64()), (Some(78), Some(0)));
    assert_eq!(backend["failures"], 3, "an answer of 500 is the application's own");
    assert!(backend["ewma_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(json(&proxy, "/api/v1/upstreams")["upstreams"][0]["name"], "u");
    let status = json(&proxy, "/api/v1/status");
    assert_eq!((status["generation"].as_u64(), status["pid"].as_u64()), (Some(1), Some(proxy.pid().into())));
    assert_eq!(status["last_reload"]["ok"], true);
    assert_eq!(status["listeners"][0]["address"], proxy.address("web").to_string());
}

#[test]
fn metrics_are_text_that_prometheus_reads() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    assert_eq!(proxy.get("/").status, 200);
    let response = ask(&proxy, "/metrics");
    assert!(response.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let line =
        regex::Regex::new(r#"^[a-z_:][a-z0-9_:]*(\{([a-z_]+="([^"\\]|\\.)*",?)*\})? (\+Inf|[0-9.e+-]+)$"#)
            .unwrap();
    let (mut typed, mut seen) = (Vec::new(), std::collections::HashSet::new());
    for text in response.text().lines() {
        if let Some(rest) = text.strip_prefix("# TYPE ") {
            typed.push(rest.split(' ').next().unwrap().to_owned());
        } else if !text.starts_with('#') {
            assert!(line.is_match(text), "{text}");
            assert!(
                typed.last().is_some_and(|family| text.starts_with(family)),
                "{text} is not of {:?}",
                typed.last()
            );
            assert!(seen.insert(text.rsplit_once(' ').unwrap().0.to_owned()), "twice: {text}");
        }
    }
    assert!(
        typed.len() > 10
            && typed.iter().all(|family| ["pointsman_", "process_"].iter().any(|it| family.starts_with(it)))
    );
}

#[test]
fn the_token_is_asked_for_where_there_is_one() {
    let origin = Origin::named("a");
    let folder = crate::support::proxy::folder();
    std::fs::write(folder.join("token"), "s3cret\n").unwrap();
    let proxy =
        Proxy::start_in(folder, &config(&[origin.address()], &format!("{ADMIN}token_file = \"token\"\n")));
    let with = |target, header| Client::connect(proxy.address("admin")).get_with(target, "any.test", header);
    for target in [
        "/metrics",
        "/api/v1",
        "/api/v1/status",
        "/api/v1/traffic",
        "/api/v1/upstreams",
        "/api/v1/upstreams/u",
        "/nothing",
    ] {
        for bad in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Basic czNjcmV0\r\n",
            "Authorization: Bearer \r\n",
        ] {
            let refused = with(target, bad);
            assert_eq!(refused.status, 401, "{target} {bad}");
            assert!(refused.header("www-authenticate").is_some());
            assert!(!refused.text().contains("s3cret"));
        }
        let expected = if target == "/nothing" { 404 } else { 200 };
        assert_eq!(with(target, "Authorization: Bearer s3cret\r\n").status, expected, "{target}");
    }
    for open in ["/healthz", "/readyz"] {
        assert_eq!(with(open, "").status, 200, "what a load balancer in front asks needs no token");
    }
    let page = with("/", "");
    assert_eq!(page.status, 200, "the page asks for the token, and holds nothing that needs it");
    assert!(!page.text().contains("b0") && !page.text().contains("s3cret"));
}

#[test]
fn traffic_is_what_was_sent_and_errors_say_which_backend() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/500" => Reply::Text(500, "bug".into()),
        _ => Reply::Text(200, "0123456789".into()),
    });
    let more = format!("[upstream.retry]\nattempts = 1\n{ADMIN}");
    let proxy = Proxy::start(&config(&[origin.address()], &more));
    let mut client = proxy.connect();
    for (target, count) in [("/", 30), ("/500", 4)] {
        for _ in 0..count {
            client.get(target);
        }
    }
    client.send("GET /../.. HTTP/1.1\r\nHost: test\r\nHost: other\r\n\r\n");
    assert_eq!(client.response("GET").status, 400);
    let read = || json(&proxy, "/api/v1/traffic");
    eventually("all are counted", || read()["requests"] == 35);
    let traffic = read();
    let classes = serde_json::json!({"1xx": 0, "2xx": 30, "3xx": 0, "4xx": 1, "5xx": 4, "none": 0});
    assert_eq!(traffic["classes"], classes);
    assert!(traffic["bytes_out"].as_u64().unwrap() >= 312);
    let counts = traffic["latency"]["counts"].as_array().unwrap();
    assert_eq!(counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 35);
    let route = &traffic["routes"][0];
    assert_eq!(
        (&route["name"], &route["requests"], &route["errors"]),
        (&"all".into(), &34.into(), &4.into())
    );
    // A backend's own 500 is not an error of the proxy's, and a bad request is its client's.
    assert_eq!(traffic["errors"], Value::Array(Vec::new()));

    let address = origin.address();
    drop(origin);
    // A connection that was open is seen to break first.
    eventually("it cannot be connected to, and that is logged", || {
        proxy.get("/gone/a?key=s3cret").status == 502 && read()["errors"][0]["kind"] == "connect"
    });
    let text = read()["errors"].to_string();
    assert!(!text.contains("s3cret"), "a query may hold secrets: {text}");
    let traffic = read();
    let error = &traffic["errors"][0];
    for (name, value) in [
        ("listener", "web"),
        ("route", "all"),
        ("upstream", "u"),
        ("backend", "b0"),
        ("method", "GET"),
        ("path", "/gone/a"),
        ("kind", "connect"),
    ] {
        assert_eq!(error[name], value, "{error}");
    }
    assert_eq!(error["status"], 502);
    assert!(error["detail"].as_str().unwrap().starts_with("could not connect"), "{address}: {error}");
    let logged = proxy.logged("/gone/a?key=s3cret");
    let ids: Vec<&Value> = traffic["errors"].as_array().unwrap().iter().map(|it| &it["request_id"]).collect();
    assert!(ids.contains(&&logged["request_id"]), "what is listed here is found in the log by its id");
    assert!(error["at"].as_u64() <= traffic["at"].as_u64());
}

#[test]
fn the_dashboard_runs_its_own_script_only() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let page = ask(&proxy, "/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let policy = page.header("content-security-policy").unwrap();
    for directive in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'"]
    {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(policy.contains("script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.text().contains("b0"), "it holds no data");
    assert_eq!(ask(&proxy, "/api/v1").header("content-type"), Some("application/json"));
    let index = json(&proxy, "/api/v1");
    let paths: Vec<&str> =
        index["endpoints"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"/") && paths.contains(&"/api/v1/traffic"), "{paths:?}");
}

#[test]
fn errors_are_json_with_a_hint() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    for (method, target, status, code) in [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/api/v1/upstreams/none", 404, "no_such_upstream"),
        ("GET", "/api/v1/upstreams/u/", 404, "not_found"),
        ("POST", "/metrics", 405, "method_not_allowed"),
        ("DELETE", "/api/v1/status", 405, "method_not_allowed"),
    ] {
        let mut client = Client::connect(proxy.address("admin"));
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"));
        let response = client.response(method);
        assert_eq!(
            (response.status, response.header("content-type")),
            (status, Some("application/json")),
            "{method} {target}"
        );
        let error: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(error["error"]["code"], code);
        assert!(error["error"]["message"].is_string() && error["error"]["hint"].is_string());
        assert_eq!(response.header("allow").is_some(), status == 405);
    }
}

#[test]
fn nothing_that_admin_is_sent_harms_the_data_side() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let mut kept = proxy.connect();
    let mut held = Vec::new();
    for bad in [
        b"\x00\x01\x02\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /api/v1/upstreams/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        [b"GET /".to_vec(), vec![b'a'; 200_000], b" HTTP/1.1\r\n\r\n".to_vec()].concat(),
        [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 200_000], b"\r\n\r\n".to_vec()].concat(),
        b"GET / HTT".to_vec(),
    ] {
        for _ in 0..5 {
            let mut client = Client::connect(proxy.address("admin"));
            let _ = client.try_send(&bad);
            held.push(client);
        }
        assert_eq!(kept.get("/").text(), "a");
    }
    // More connections than admin takes, all silent: the data side does not notice.
    held.extend((0..100).map(|_| Client::connect(proxy.address("admin"))));
    for _ in 0..50 {
        assert_eq!(kept.get("/").text(), "a");
        assert_eq!(proxy.get("/").text(), "a");
    }
    for client in &mut held {
        client.stream.set_nonblocking(true).unwrap();
        let mut bytes = [0; 4096];
        if let Ok(length) = client.stream.read(&mut bytes) {
            assert!(!String::from_utf8_lossy(&bytes[..length]).contains("root:"));
        }
    }
    drop(held);
    eventually("admin answers again", || ask(&proxy, "/healthz").status == 200);
    assert_eq!(kept.get("/").text(), "a");
}
