//! The spans of a request.

use super::*;

#[test]
fn a_retried_request_has_a_span_per_attempt() {
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
    // The backend goes on where the attempt that reached it is.
    let sent = format!("00-{}-{}-01", answered.trace, answered.id);
    assert!(origin.requests().iter().any(|request| request.all("traceparent") == [&sent]));
    let line = proxy.logged(if server.get("url.path") == "/one" { "/one?secret=1" } else { "/two?secret=1" });
    assert_eq!(line["trace_id"], *server.trace);
    assert_eq!(line["request_id"], *server.get("pointsman.request_id"));
    eventually("all are counted", || counted(&proxy, "exported") == 5);
    assert_eq!((counted(&proxy, "failed"), counted(&proxy, "dropped")), (0, 0));
}

#[test]
fn a_span_names_the_cache_result_hits_without_attempts() {
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
    eventually("three requests are exported", || {
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
fn errors_and_unrouted_requests_have_spans() {
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
