//! Another attempt where it helps and is safe, and none where it is not.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Origin, Proxy, Reply, nobody, proxy::config};

/// Never ejects, so that each request meets the bad backend.
const NO_EJECTION: &str = "[upstream.outlier]\nconsecutive_failures = 100000\nfailure_percent = 0\n[upstream.retry]\nbudget_min_per_second = 1000\n";

#[test]
fn a_refused_connection_is_tried_elsewhere_whatever_the_method() {
    let origin = Origin::named("alive");
    let proxy = Proxy::start(&config(&[nobody(), origin.address()], NO_EJECTION));
    let mut client = proxy.connect();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "alive");
        client.send("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.response("POST").text(), "alive");
        assert_eq!(origin.last().body, b"hello");
    }
}

#[test]
fn a_reset_is_retried_for_idempotent_methods_only() {
    let bad = Origin::start(|_| Reply::Close(Vec::new()));
    let good = Origin::named("good");
    let proxy = Proxy::start(&config(&[bad.address(), good.address()], NO_EJECTION));
    let mut client = proxy.connect();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "good");
    }
    let statuses: Vec<u16> = (0..10)
        .map(|_| {
            let mut client = proxy.connect();
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
            client.response("POST").status
        })
        .collect();
    let failed = statuses.iter().filter(|status| **status == 502).count();
    assert!((3..=7).contains(&failed), "half of the POSTs met the bad backend: {statuses:?}");
    assert_eq!(
        good.requests().iter().filter(|it| it.method == "POST").count(),
        10 - failed,
        "none was sent twice"
    );
}

#[test]
fn a_503_is_retried_with_its_body_not_a_500() {
    let bad = Origin::start(|request| match request.target.as_str() {
        "/503" => Reply::Text(503, "busy".into()),
        _ => Reply::Text(500, "bug".into()),
    });
    let good =
        Origin::start(|request| Reply::Text(200, String::from_utf8(request.body.clone()).unwrap() + "good"));
    let proxy = Proxy::start(&config(&[bad.address(), good.address()], NO_EJECTION));
    let mut client = proxy.connect();
    for _ in 0..10 {
        client.send(
            "PUT /503 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        );
        assert_eq!(client.response("PUT").text(), "good", "the script looked before the body was there");
        assert_eq!(good.last().body, b"hello");
    }
    let bugs = (0..10).filter(|_| client.get("/500").status == 500).count();
    assert_eq!(bugs, 5);
    let line = proxy.access_log();
    assert!(line.iter().filter(|line| line["target"] == "/503").all(|line| line["status"] == 200));
}

#[test]
fn when_all_attempts_fail_the_last_answer_is_the_answer() {
    let (first, second) = (
        Origin::start(|_| Reply::Text(503, "busy".into())),
        Origin::start(|_| Reply::Text(503, "busy".into())),
    );
    let proxy = Proxy::start(&config(&[first.address(), second.address()], NO_EJECTION));
    let response = proxy.get("/");
    assert_eq!((response.status, response.text().as_str()), (503, "busy"));
    assert_eq!(first.requests().len() + second.requests().len(), 2, "never more than `attempts`");
    let proxy = Proxy::start(&config(&[nobody(), nobody()], NO_EJECTION));
    let response = proxy.get("/refused");
    assert_eq!(response.status, 502);
    assert!(response.header("proxy-status").unwrap().contains("connection_refused"));
    assert_eq!(proxy.logged("/refused")["attempts"], 2);
}

#[test]
fn a_kept_connection_that_was_closed_meanwhile_costs_nothing() {
    static SERVED: AtomicUsize = AtomicUsize::new(0);
    // Closes every connection after its response, without saying so.
    let origin = Origin::start(|_| {
        SERVED.fetch_add(1, Ordering::SeqCst);
        Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())
    });
    let only_one = "[upstream.retry]\nattempts = 1\n";
    let proxy = Proxy::start(&config(&[origin.address()], only_one));
    let mut client = proxy.connect();
    for _ in 0..200 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(SERVED.load(Ordering::SeqCst), 200, "and no request was sent twice");
}
