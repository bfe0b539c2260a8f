//! HTTP/2 with clients (RFC 9113), over TLS and with prior knowledge, in front of HTTP/1.1 backends.

mod abuse;
mod conformance;
mod limits;
mod messages;
mod streams;
mod targets;

use crate::collapse::metric;
use crate::support::{
    InTime, Origin, PATIENCE, Proxy, Reply, Request, eventually, frames,
    h2::{Http2, request, run, whole},
    proxy::{config, config_of},
    tls::{self, Manner, SECURE, TlsClient},
};
use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};
use std::{
    io::Read,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};
use tokio::net::TcpStream;

fn through(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Origin, Proxy) {
    let origin = Origin::start(script);
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    (origin, proxy)
}

/// What is added to a configuration so that [`metric`] can be asked for.
const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

fn echo(request: &Request) -> Reply {
    // Known only when the head came: the body is read by `Reply::Text` and kept by the backend.
    Reply::Text(200, request.target.clone())
}

async fn exchange(client: &Http2) {
    assert_eq!(client.get("/get?a=b").await.unwrap(), (200, b"/get?a=b".to_vec()));
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, mut body) = send.send_request(request("POST", "/post"), false).unwrap();
    body.send_data(Bytes::from_static(b"hello "), false).unwrap();
    body.send_data(Bytes::from_static(b"world"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-in", HeaderValue::from_static("1"));
    body.send_trailers(trailers).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["via"], "1.1 pointsman");
    assert!(!response.headers().contains_key("connection"));
    let mut body = response.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "/post");
}

fn check_exchange(origin: &Origin, proxy: &Proxy, scheme: &str) {
    let requests = origin.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert_eq!(request.header("host"), Some("localhost"));
        assert_eq!(request.header("x-forwarded-proto"), Some(scheme));
        assert!(request.header("via").unwrap().starts_with("2 pointsman-"), "as the request was received");
        assert!(request.head.contains(" HTTP/1.1\r\n") && !request.head.contains("\r\n:"));
    }
    assert_eq!(requests[0].header("transfer-encoding"), None, "a GET has no body");
    assert_eq!(requests[1].body, b"hello world");
    assert_eq!(requests[1].header("transfer-encoding"), Some("chunked"), "the length was not said");
    assert_eq!(requests[1].trailers, [("x-in".to_owned(), "1".to_owned())]);
    assert_eq!(proxy.logged("/post")["status"], 200);
}

#[test]
fn requests_go_through_over_tls() {
    let origin = Origin::start(echo);
    let proxy = Proxy::start_in(tls::folder(), &config_of(&[origin.address().to_string()], SECURE, ""));
    run(async { exchange(&Http2::connect_tls(&proxy).await).await });
    check_exchange(&origin, &proxy, "https");
}

/// RFC 9113 §3.2: over TLS, by ALPN. Else `alpn` could not turn it off.
#[test]
fn over_tls_it_is_spoken_by_agreement_only() {
    let origin = Origin::start(echo);
    let preface = String::from_utf8(frames::PREFACE.to_vec()).unwrap();
    for listener in [SECURE.to_owned(), format!("alpn = [\"http/1.1\"]\n{SECURE}")] {
        let proxy =
            Proxy::start_in(tls::folder(), &config_of(&[origin.address().to_string()], &listener, ""));
        for alpn in [&["http/1.1"][..], &[]] {
            let config = Manner { alpn, ..Manner::default() }.config(proxy.folder());
            let connect = || TlsClient::connect(proxy.address("web"), "localhost", &config).unwrap();
            assert_eq!(connect().status("localhost", "/plain"), 200);
            let answer = connect().last(&preface).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{alpn:?}: {answer}");
        }
    }
}

#[test]
fn requests_go_through_with_prior_knowledge() {
    let (origin, proxy) = through(echo);
    run(async { exchange(&Http2::connect(&proxy).await).await });
    check_exchange(&origin, &proxy, "http");
}

#[test]
fn curl_and_h2load_get_what_they_ask_for() {
    let origin = Origin::named("hello");
    let proxy = Proxy::start_in(tls::folder(), &config_of(&[origin.address().to_string()], SECURE, ""));
    let url = format!("https://127.0.0.1:{}/tool", proxy.address("web").port());
    let tool = |name: &str, arguments: &[&str]| match Command::new(name).args(arguments).arg(&url).in_time() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) => {
            crate::support::skipped(name);
            None
        }
    };
    let ca = proxy.folder().join("ca.pem");
    let arguments = ["-sS", "--max-time", "20", "--http2", "-w", " %{http_version}", "-d", "a=b", "--cacert"];
    if let Some(output) = tool("curl", &[&arguments[..], &[ca.to_str().unwrap()]].concat()) {
        assert_eq!(output, "hello 2");
        assert_eq!(origin.last().body, b"a=b");
        assert_eq!(origin.last().header("content-length"), Some("3"));
    }
    let before = origin.requests().len();
    if let Some(output) = tool("h2load", &["-n", "2000", "-c", "4", "-m", "50"]) {
        assert!(output.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{output}");
        assert!(output.contains("Application protocol: h2"), "{output}");
        assert_eq!(origin.requests().len() - before, 2000);
    }
}
