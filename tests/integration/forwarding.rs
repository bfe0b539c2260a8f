//! Requests and responses on their way through: framing, fields, interim and early responses, tunnels.

use std::{
    io::{ErrorKind, Read},
    time::Duration,
};

use crate::{
    admin_api::good,
    support::{
        Origin, Proxy, Reply,
        client::{OPENING, Response},
        eventually,
        origin::Connection,
        proxy::config,
    },
};

fn through(script: impl Fn(&crate::support::Request) -> Reply + Send + Sync + 'static) -> (Origin, Proxy) {
    let origin = Origin::start(script);
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    (origin, proxy)
}

#[test]
fn a_request_names_its_client_and_drops_hop_fields() {
    let (origin, proxy) = through(|_| Reply::Text(200, "hello".into()));
    let mut client = proxy.connect();
    client.send(
        "GET /a?b=c HTTP/1.1\r\nHost: Example.test:8080\r\nX-Kept: 1\r\nConnection: keep-alive, X-Hop\r\n\
         X-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: secret\r\nTE: trailers, deflate\r\n\
         X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\
         X-Request-Id: mine\r\nVia: 1.0 before\r\n\r\n",
    );
    let response = client.response("GET");
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    assert_eq!(response.header("via"), Some("1.1 pointsman"));
    assert!(response.header("date").is_some());
    let request = origin.last();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/a?b=c"));
    for (name, value) in [
        ("host", Some("example.test:8080")),
        ("x-kept", Some("1")),
        ("x-hop", None),
        ("connection", Some("TE")),
        ("keep-alive", None),
        ("proxy-authorization", None),
        ("forwarded", None),
        ("te", Some("trailers")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("example.test:8080")),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    assert!(request.header("via").unwrap().starts_with("1.0 before, 1.1 pointsman-"));
    let id = request.header("x-request-id").unwrap();
    assert_eq!(id.len(), 32, "an untrusted client's id is replaced");
    let line = proxy.logged("/a?b=c");
    assert_eq!(line["request_id"], id);
    assert_eq!(line["route"], "all");
    assert_eq!(line["upstream"], "u");
    assert_eq!(line["backend"], "b0");
    assert_eq!(line["bytes_out"], 5);
}

#[test]
fn what_a_trusted_proxy_says_is_believed_and_extended() {
    let origin = Origin::named("a");
    let listener = "trusted_proxies = [\"127.0.0.0/8\"]";
    let proxy =
        Proxy::start(&crate::support::proxy::config_of(&[origin.address().to_string()], listener, ""));
    let mut client = proxy.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Request-Id: mine\r\n\r\n",
    );
    assert_eq!(client.response("GET").status, 200);
    let request = origin.last();
    assert_eq!(request.header("x-forwarded-for"), Some("6.6.6.6, 127.0.0.1"));
    assert_eq!(request.header("x-forwarded-proto"), Some("https"));
    assert_eq!(request.header("x-request-id"), Some("mine"));
}

#[test]
fn bodies_and_trailers_go_both_ways_in_either_framing() {
    let (origin, proxy) = through(|request| {
        match request.target.as_str() {
        "/chunked" => Reply::Bytes(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n"
                .to_vec(),
        ),
        "/close" => Reply::Close(b"HTTP/1.1 200 OK\r\n\r\nuntil the end".to_vec()),
        _ => Reply::Text(200, "length".into()),
    }
    });
    let mut client = proxy.connect();
    client.send(
        "POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-In: 1\r\n\r\n",
    );
    let response = client.response("POST");
    assert_eq!(response.text(), "abcdefg");
    assert_eq!(response.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    let request = origin.last();
    assert_eq!(request.body, b"hello world");
    assert_eq!(request.trailers, [("x-in".to_owned(), "1".to_owned())]);
    // The connection is kept, and the next request has another framing.
    client.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response("POST").text(), "length");
    assert_eq!(origin.last().body, b"hello");
    let response = client.get("/close");
    assert_eq!((response.text().as_str(), response.is_whole), ("until the end", true));
    assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    assert_eq!(origin.connections(), 1, "one connection served all");
}

#[test]
fn an_http_1_0_client_gets_no_chunks() {
    let (_origin, proxy) = through(|_| {
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec())
    });
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response("GET");
    assert_eq!(response.text(), "abc");
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.header("connection"), Some("close"));
}

#[test]
fn responses_without_a_body_have_none_whatever_they_say() {
    let (_origin, proxy) = through(|request| match request.target.as_str() {
        "/204" => Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        "/304" => {
            Reply::Bytes(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: \"x\"\r\n\r\n".to_vec())
        }
        _ => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_vec()),
    });
    let mut client = proxy.connect();
    assert_eq!(client.get("/204").status, 204);
    let response = client.get("/304");
    assert_eq!((response.status, response.header("content-length")), (304, Some("10")));
    client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response("HEAD");
    assert_eq!((response.status, response.header("content-length")), (200, Some("10")));
    assert_eq!(client.get("/204").status, 204, "the connection goes on");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_origin, proxy) = through(|request| Reply::Text(200, request.target.clone()));
    let mut client = proxy.connect();
    let request = |number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send((0..50).map(request).collect::<String>());
    for number in 0..50 {
        assert_eq!(client.response("GET").text(), format!("/{number}"));
    }
    client.send("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /after HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response("POST").text(), "/body");
    assert_eq!(client.response("GET").text(), "/after");
}

#[test]
fn a_client_gets_its_100_from_the_backend() {
    let (origin, proxy) = through(|request| match request.target.as_str() {
        "/refused" => Reply::Take(Box::new(|connection| {
            connection.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        })),
        _ => Reply::Take(Box::new(|connection| {
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            let mut body = [0; 5];
            connection.reader.read_exact(&mut body).unwrap();
            assert_eq!(&body, b"hello");
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        })),
    });
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.any_response("POST").status, 100);
    client.send("hello");
    assert_eq!(client.response("POST").text(), "ok");
    assert_eq!(origin.last().header("expect"), Some("100-continue"));

    // A backend that is silent for a second does not hold the client: on a busy machine this one may be that late.
    let mut response = Response::default();
    eventually("the backend's answer is the first", || {
        let mut client = proxy.connect();
        client.send("POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        response = client.any_response("POST");
        response.status != 100
    });
    assert_eq!(response.status, 417, "and no 100 before it");
    assert_eq!(response.header("connection"), Some("close"), "since the body was never sent");
}

#[test]
fn a_backend_without_100_does_not_hold_the_client() {
    let (origin, proxy) = through(|_| Reply::Text(200, "ok".into()));
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.any_response("POST").status, 100);
    client.send("hello");
    assert_eq!(client.response("POST").text(), "ok");
    assert_eq!(origin.last().body, b"hello");
}

#[test]
fn interim_responses_are_forwarded_except_to_http10() {
    let (_origin, proxy) = through(|_| {
        Reply::Bytes(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        )
    });
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let hints = client.any_response("GET");
    assert_eq!((hints.status, hints.header("link")), (103, Some("</a.css>")));
    assert_eq!(client.response("GET").text(), "ok");
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.any_response("GET").status, 200);
}

#[test]
fn an_early_response_is_sent_at_once() {
    let (_origin, proxy) = through(|_| {
        Reply::Take(Box::new(|connection: &mut Connection| {
            connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
        }))
    });
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nsome");
    let response = client.response("POST");
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
    assert_eq!(response.header("connection"), Some("close"));
}

#[test]
fn a_stream_flows_as_it_comes() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let (_origin, proxy) = through(move |_| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        Reply::Take(Box::new(move |connection| {
            connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n");
            receiver.recv().unwrap();
            connection.send("data: two\n\n");
        }))
    });
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.until(b"data: one\n\n").is_some(), "before the second event was made");
    sender.send(()).unwrap();
    assert!(client.until(b"data: two\n\n").is_some());
    assert!(client.until(b"0\r\n\r\n").is_some());
}

#[test]
fn a_broken_response_is_seen_as_broken() {
    let (_origin, proxy) = through(|request| match request.target.as_str() {
        "/length" => Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec()),
        _ => Reply::Close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc".to_vec()),
    });
    for target in ["/length", "/chunked"] {
        let Response { status, is_whole, .. } = proxy.get(target);
        assert_eq!((status, is_whole), (200, false), "{target}");
        assert_eq!(proxy.logged(target)["error"], "body_broken");
    }
    // To a client of HTTP/1.0 the end of the connection is that of the response: it gets a reset.
    let mut client = proxy.connect();
    client.send("GET /old HTTP/1.0\r\nHost: a\r\n\r\n");
    let mut answer = Vec::new();
    let end = client.stream.read_to_end(&mut answer);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset, "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn websockets_are_tunnelled_and_other_upgrades_are_dropped() {
    let (origin, proxy) = through(|request| match request.header("upgrade") {
        Some(_) => {
            let head = request.switching();
            Reply::Take(Box::new(move |connection| {
                connection.send(head + "first");
                let mut bytes = [0; 4];
                connection.reader.read_exact(&mut bytes).unwrap();
                connection.send(bytes);
                // The client ends its side; the rest still arrives.
                assert_eq!(connection.reader.read(&mut bytes).unwrap(), 0);
                connection.send("last");
            }))
        }
        None => Reply::Text(200, "plain".into()),
    });
    let mut client = proxy.connect();
    client.send(format!("GET /ws HTTP/1.1\r\nHost: a\r\n{OPENING}\r\n"));
    let response = client.response("GET");
    assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")));
    assert_eq!(client.exactly(5), b"first");
    client.send("ping");
    assert_eq!(client.exactly(4), b"ping");
    client.shut();
    assert_eq!(client.exactly(4), b"last");
    assert!(client.is_closed());
    assert_eq!(proxy.logged("/ws")["status"], 101);

    let mut client = proxy.connect();
    client.send("GET /h2c HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    assert_eq!(client.response("GET").text(), "plain");
    assert_eq!(origin.last().header("upgrade"), None);
}

#[test]
fn connect_is_refused_unless_the_route_allows_it() {
    let (origin, proxy) = through(|_| Reply::Text(200, "never".into()));
    let mut client = proxy.connect();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!(client.response("GET").status, 403);
    assert!(origin.requests().is_empty());

    let origin = Origin::start(|request| {
        assert_eq!(request.target, "a:443");
        Reply::Take(Box::new(|connection| {
            connection.send("HTTP/1.1 200 OK\r\n\r\n");
            let mut bytes = [0; 4];
            connection.reader.read_exact(&mut bytes).unwrap();
            connection.send(bytes);
        }))
    });
    let allowed = config(&[origin.address()], "")
        .replace("upstream = \"u\"\n", "upstream = \"u\"\nupgrade = [\"connect\"]\n");
    let proxy = Proxy::start(&allowed);
    let mut client = proxy.connect();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert!(client.until(b"\r\n\r\n").is_some());
    client.send("ping");
    assert_eq!(client.exactly(4), b"ping");
}

#[test]
fn tunnel_whose_client_takes_nothing_is_reset() {
    let origin = Origin::start(|_| {
        Reply::Take(Box::new(|connection| {
            // More than any socket holds.
            let much = vec![b'x'; 64_000_000];
            connection.send([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &much].concat());
        }))
    });
    let route = "upstream = \"u\"\nupgrade = [\"connect\"]\ntunnel_idle = \"3s\"\n";
    let text = config(&[origin.address()], "").replace("upstream = \"u\"\n", route);
    let proxy = Proxy::start(&text);
    let mut client = proxy.connect();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!(proxy.logged("a:443")["error"], "client_stalled");
    let error = std::io::copy(&mut client.stream, &mut std::io::sink()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn tunnel_that_an_administrator_ends_is_reset_and_logged() {
    let origin = Origin::start(|_| {
        Reply::Take(Box::new(|connection| {
            connection.send("HTTP/1.1 200 OK\r\n\r\nhalf of it");
            let _ = connection.reader.read(&mut [0]);
        }))
    });
    let text = config(&[origin.address()], "[admin]\naddress = \"127.0.0.1:0\"\n")
        .replace("upstream = \"u\"\n", "upstream = \"u\"\nupgrade = [\"connect\"]\n");
    let proxy = Proxy::start(&text);
    let mut client = proxy.connect();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert!(client.until(b"half of it").is_some());
    let listed = good(&proxy, "GET", "/api/v1/connections", "");
    let own = client.stream.local_addr().unwrap().to_string();
    let listed = listed["connections"].as_array().unwrap().iter().find(|it| it["client"] == *own).unwrap();
    good(&proxy, "DELETE", &format!("/api/v1/connections/{}", listed["id"].as_str().unwrap()), "");
    let error = client.stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.logged("a:443")["error"], "ended");
}

#[test]
fn the_head_before_a_tunnel_frames_nothing() {
    for framing in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let origin = Origin::start(move |_| {
            Reply::Take(Box::new(move |connection| {
                connection.send(format!("HTTP/1.1 200 OK\r\nX-End: 1\r\n{framing}\r\nfirst"));
                let mut bytes = [0; 4];
                connection.reader.read_exact(&mut bytes).unwrap();
                connection.send(bytes);
            }))
        });
        let text = config(&[origin.address()], "")
            .replace("upstream = \"u\"\n", "upstream = \"u\"\nupgrade = [\"connect\"]\n");
        let proxy = Proxy::start(&text);
        let mut client = proxy.connect();
        client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
        let head = String::from_utf8(client.until(b"\r\n\r\n").unwrap()).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 ") && head.contains("\r\nx-end: 1\r\n"), "{head}");
        for name in ["transfer-encoding", "content-length", "connection"] {
            assert!(!head.contains(&format!("\r\n{name}:")), "RFC 9110 §9.3.6: {head}");
        }
        assert_eq!(client.exactly(5), b"first", "{framing}");
        client.send("ping");
        assert_eq!(client.exactly(4), b"ping");
    }
}

#[test]
fn nothing_of_ours_is_taken_for_a_tunnel() {
    let text = config(&["127.0.0.1:1".parse().unwrap()], "")
        .replace("upstream = \"u\"\n", "respond = { status = 200, body = \"hello\" }\n");
    let proxy = Proxy::start(&text);
    let mut client = proxy.connect();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!(client.response("CONNECT").status, 403);
    assert!(client.is_closed());
}

#[test]
fn a_slow_reader_slows_the_backend_and_holds_no_memory() {
    let (_origin, proxy) = through(|_| {
        Reply::Take(Box::new(|connection| {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n");
            let block = vec![b'x'; 1_000_000];
            for _ in 0..200 {
                connection.send(&block);
            }
        }))
    });
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.exactly(1000);
    std::thread::sleep(Duration::from_millis(300));
    assert!(proxy.memory() < 64 * 1024 * 1024, "{} bytes", proxy.memory());
}

#[test]
fn who_waits_holds_no_block_of_memory() {
    const CONNECTIONS: usize = 150;
    let origin = Origin::start(|request| match request.target.as_str() {
        "/socket" => {
            let head = request.switching();
            Reply::Take(Box::new(move |connection| {
                connection.send(head);
                let mut bytes = [0; 64];
                while let Ok(length @ 1..) = std::io::Read::read(&mut connection.reader, &mut bytes) {
                    connection.send(&bytes[..length]);
                }
            }))
        }
        "/stream" => Reply::Bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n".into()),
        _ => Reply::Text(200, "warm".into()),
    });
    let text = config(&[origin.address()], "")
        .replace("upstream = \"u\"", "upstream = \"u\"\nupgrade = [\"websocket\"]");
    let proxy = Proxy::start(&text);
    // The worker's own pool is filled before.
    let mut warm: Vec<_> = (0..CONNECTIONS).map(|_| proxy.connect()).collect();
    warm.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "warm"));
    let before = proxy.memory();
    let open = |_| {
        let (mut tunnel, mut stream) = (proxy.connect(), proxy.connect());
        assert_eq!(tunnel.get_with("/socket", "test", OPENING).status, 101);
        tunnel.send("there and back");
        assert_eq!(tunnel.exactly(14), b"there and back");
        stream.send("GET /stream HTTP/1.1\r\nHost: test\r\n\r\n");
        assert!(stream.until(b"x\r\n").is_some());
        (tunnel, stream)
    };
    let open: Vec<_> = (0..CONNECTIONS).map(open).collect();
    let each = proxy.memory().saturating_sub(before) / (2 * open.len() as u64);
    assert!(each < 32 * 1024, "{each} bytes for each that waits");
}
