//! What two parsers could read in two ways is refused, the connection is closed, and nothing of it
//! reaches a backend.

use crate::support::{Origin, Proxy, Reply, proxy::config};

#[test]
fn doubtful_requests_get_400_and_the_connection_ends() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    for bad in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET /../secret HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        "nonsense\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
    ] {
        let mut client = proxy.connect();
        client.send(bad);
        let response = client.response("GET");
        assert_eq!(response.status, 400, "{bad:?}");
        assert_eq!(response.header("connection"), Some("close"), "{bad:?}");
        assert!(response.header("proxy-status").unwrap().starts_with("pointsman; error="), "{bad:?}");
        client.shut();
        assert!(client.is_closed(), "{bad:?}");
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
}

#[test]
fn a_malformed_chunk_ends_the_connection_without_second_request() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    for bad in
        ["5\nhello\r\n0\r\n\r\n", "zz\r\n", "11111111111111111\r\n", "5\r\nhelloGET /x HTTP/1.1\r\n\r\n"]
    {
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{bad}"));
        assert_eq!(client.response("POST").status, 400, "{bad:?}");
        client.shut();
        assert!(client.is_closed());
    }
    assert!(!origin.requests().iter().any(|request| request.target == "/x"));
}

#[test]
fn a_backend_that_answers_doubtfully_is_not_believed() {
    let origin = Origin::start(|request| {
        Reply::Close(match request.target.as_str() {
            "/both" => {
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc".to_vec()
            }
            "/twice" => b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc".to_vec(),
            "/lf" => b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc".to_vec(),
            "/space" => b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc".to_vec(),
            "/coding" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc".to_vec(),
            "/nonsense" => b"hello\r\n\r\n".to_vec(),
            _ => b"HTTP/1.1 101 Switching\r\n\r\n".to_vec(),
        })
    });
    let proxy = Proxy::start(&config(
        &[origin.address()],
        "[upstream.outlier]\nconsecutive_failures = 1000\nfailure_percent = 0\n",
    ));
    for target in ["/both", "/twice", "/lf", "/space", "/coding", "/nonsense", "/101"] {
        let response = proxy.get(target);
        assert_eq!(response.status, 502, "{target}");
        assert!(response.header("proxy-status").unwrap().contains("http_protocol_error"));
        assert_eq!(proxy.logged(target)["error"], "bad_response");
    }
}

#[test]
fn bytes_behind_a_response_never_begin_the_next() {
    let origin = Origin::start(|request| {
        match request.target.as_str() {
        "/first" => Reply::Bytes(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged".to_vec(),
        ),
        _ => Reply::Text(200, "true".into()),
    }
    });
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    let mut client = proxy.connect();
    assert_eq!(client.get("/first").text(), "abc");
    for _ in 0..10 {
        assert_eq!(client.get("/second").text(), "true");
    }
}
