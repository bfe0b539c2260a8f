//! Requests that are answered together (RFC 9111 §4: "collapsed"), and a write that comes between.

use super::{Stage, stage::Said};
use crate::{
    collapse::{Gate, cached},
    support::{Client, Origin, Proxy, Reply, eventually},
};

/// A proxy before an origin that waits with every answer to a GET.
fn held(headers: &'static str) -> (Gate, Origin, Proxy) {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        if request.method == "GET" {
            held.pass();
        }
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{headers}\r\nhello").into())
    });
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    (gate, origin, proxy)
}

fn asks(proxy: &Proxy, method: &str, lines: &str) -> Client {
    let mut client = proxy.connect();
    client.send(format!("{method} /page HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
    client
}

fn wait_for(proxy: &Proxy, readers: u64) {
    let name = "pointsman_cache_fill_readers";
    eventually("they wait", || crate::collapse::metric(proxy, name) == readers);
}

#[test]
fn each_gets_what_he_asked_for() {
    let (gate, origin, proxy) = held("Cache-Control: max-age=60\r\nETag: \"a\"\r\nAge: 20\r\n");
    let mut leader = asks(&proxy, "GET", "If-None-Match: \"b\"\r\n");
    wait_for(&proxy, 1);
    let mut clients: Vec<_> =
        ["", "If-None-Match: \"a\"\r\n", "Range: bytes=1-2\r\n", "Cache-Control: no-cache\r\n"]
            .iter()
            .map(|lines| asks(&proxy, "GET", lines))
            .collect();
    wait_for(&proxy, 5);
    gate.open();
    let first = leader.response("GET");
    assert_eq!((first.status, first.text().as_str(), first.header("age")), (200, "hello", Some("20")));
    let answers: Vec<_> = clients.iter_mut().map(|client| client.response("GET")).collect();
    for (answer, (status, text)) in
        answers.iter().zip([(200, "hello"), (304, ""), (206, "el"), (200, "hello")])
    {
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, text),
            "RFC 9111 §4.3.2, RFC 9110 §14.2"
        );
        assert!(answer.header("age").is_some_and(|age| age.starts_with('2')), "RFC 9111 §4: {answer:?}");
        let status = answer.header("cache-status").unwrap();
        assert!(status.starts_with("pointsman; fwd=uri-miss; collapsed; ttl="), "RFC 9211 §2.6: {status}");
    }
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(origin.last().header("if-none-match"), None, "what is fetched for all is the whole");
}

#[test]
fn what_was_fetched_before_a_write_is_not_stored() {
    let (gate, origin, proxy) = held("Cache-Control: max-age=60\r\n");
    let mut reader = asks(&proxy, "GET", "");
    eventually("RFC 9111 §4.4: it is on its way", || origin.connections() == 1);
    assert_eq!(asks(&proxy, "POST", "").response("POST").status, 200);
    gate.open();
    assert_eq!(reader.response("GET").text(), "hello");
    gate.open();
    let mut next = asks(&proxy, "GET", "");
    let response = next.response("GET");
    let status = response.header("cache-status").unwrap();
    assert!(status.starts_with("pointsman; fwd=uri-miss; stored"), "RFC 9111 §4.4: {status}");
    assert_eq!(origin.requests().len(), 3, "RFC 9111 §4.4");
}

#[test]
fn private_responses_are_not_for_waiters() {
    for (clause, headers) in [
        ("RFC 9111 §5.2.2.5", "Cache-Control: no-store\r\n"),
        ("RFC 9111 §5.2.2.7", "Cache-Control: private, max-age=60\r\n"),
        ("RFC 9111 §4.1", "Cache-Control: max-age=60\r\nVary: *\r\n"),
        ("RFC 9111 §4.1", "Cache-Control: max-age=60\r\nVary: X-A\r\n"),
    ] {
        let (gate, origin, proxy) = held(headers);
        let mut clients: Vec<_> =
            ["1", "2", "3"].map(|value| asks(&proxy, "GET", &format!("X-A: {value}\r\n"))).into();
        wait_for(&proxy, 3);
        (0..3).for_each(|_| gate.open());
        for client in &mut clients {
            assert_eq!(client.response("GET").text(), "hello");
        }
        assert_eq!(origin.requests().len(), 3, "{clause}: {headers}");
    }
}

#[test]
fn an_http10_client_gets_the_stored_body_until_close() {
    let stage = Stage::new();
    let path = stage.path();
    let bytes = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    stage.say(&path, Said { bytes: bytes.into(), closes: false });
    for _ in 0..2 {
        let mut client = stage.connect();
        client.send(format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n"));
        let response = client.response("GET");
        assert_eq!(response.text(), "hello", "RFC 9112 §6.1");
        assert_eq!(response.header("transfer-encoding"), None, "RFC 9112 §6.1");
    }
    assert_eq!(stage.asked(&path).len(), 1);
}
