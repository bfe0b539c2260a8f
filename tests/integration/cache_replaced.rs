//! What the origin sends in the place of what is stored is what is found from then on.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::{
    collapse::{Gate, cached, metric},
    support::{Origin, Proxy, Reply, client::Response, eventually},
};

/// With and without something that has a request fetch for itself.
const BOTH: [&str; 2] = ["", "Cookie: a=b\r\n"];

/// A backend that answers the first request with the first of these, and each later one with the second.
fn changing(first: Vec<u8>, second: Vec<u8>) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::start(move |_| {
        Reply::Bytes(if count.fetch_add(1, SeqCst) == 0 { first.clone() } else { second.clone() })
    })
}

fn response(fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
        .into_bytes()
}

fn ask(proxy: &Proxy, fields: &str) -> Response {
    proxy.connect().get_with("/page", "test", &format!("Accept-Encoding: gzip\r\n{fields}"))
}

fn is_hit(response: &Response) -> bool {
    response.header("cache-status").unwrap_or_default().starts_with("pointsman; hit")
}

#[test]
fn an_origin_that_varies_no_more_is_asked_once() {
    for credentials in BOTH {
        let origin = changing(
            response("Vary: Accept-Encoding\r\nETag: \"a\"\r\n", "1"),
            response("ETag: \"b\"\r\n", "2"),
        );
        let proxy = Proxy::start(&cached(&[origin.address()], ""));
        assert_eq!(ask(&proxy, "").text(), "1");
        assert_eq!(ask(&proxy, &format!("Cache-Control: no-cache\r\n{credentials}")).text(), "2");
        for _ in 0..2 {
            let again = ask(&proxy, credentials);
            assert!(is_hit(&again), "{:?}", again.headers);
            assert_eq!(again.text(), "2");
        }
        assert_eq!(origin.requests().len(), 2);
    }
}

#[test]
fn a_body_that_outgrows_the_cache_leaves_nothing_older() {
    for credentials in BOTH {
        let body = "x".repeat(100_000);
        let chunked = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        let origin = changing(response("", "1"), chunked.into_bytes());
        let proxy = Proxy::start(&cached(&[origin.address()], "max_object = \"16KiB\"\n"));
        assert_eq!(ask(&proxy, "").text(), "1");
        for fields in ["Cache-Control: no-cache\r\n", ""] {
            assert_eq!(ask(&proxy, &format!("{fields}{credentials}")).text().len(), body.len());
        }
    }
}

/// A slow body was asked for before something newer came.
#[test]
fn a_slow_body_replaces_nothing_newer() {
    let (gate, count) = (Gate::default(), AtomicUsize::new(0));
    let opened = gate.clone();
    let origin = Origin::start(move |_| {
        let gate = gate.clone();
        if count.fetch_add(1, SeqCst) > 0 {
            return Reply::Bytes(response("", "newer"));
        }
        Reply::Take(Box::new(move |connection| {
            connection
                .send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nhello");
            gate.pass();
            connection.send("world");
        }))
    });
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    let mut slow = proxy.connect();
    slow.send("GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
    slow.until(b"\r\n\r\nhello").expect("the first half comes");
    assert_eq!(ask(&proxy, "Cache-Control: no-cache\r\n").text(), "newer");
    opened.open();
    assert_eq!(slow.exactly(5), b"world");
    // Before its end it could replace nothing.
    eventually("it has ended", || metric(&proxy, "pointsman_cache_fills_in_flight") == 0);
    let again = ask(&proxy, "");
    assert!(is_hit(&again), "{:?}", again.headers);
    assert_eq!(again.text(), "newer");
}
