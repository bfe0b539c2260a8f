//! The kinds of response over HTTP/2: the same responses, in frames.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use h2::client;

use super::{
    kinds::{FRAMINGS, KINDS, expected, routes},
    stage::{Act, Stage, run},
};
use crate::http::h2::serve;

/// Status, fields and body of a response, or that its stream was reset.
async fn ask(stage: &Stage, method: &str, path: &str, body: Option<&'static str>) -> Result<Seen, h2::Error> {
    let (client, connection) = stage.connect();
    tokio::task::spawn_local(serve(connection));
    let (mut send, driver) = client::handshake(client).await.unwrap();
    let driver = tokio::task::spawn_local(driver);
    let uri = format!("http://a.test{path}");
    let request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
    let (response, mut stream) = send.send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        stream.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
    }
    let (head, mut incoming) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = incoming.data().await {
        let data = data?;
        let _ = incoming.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    drop((send, stream, incoming));
    let _ = driver.await;
    Ok(Seen { head, body: String::from_utf8(body).unwrap() })
}

struct Seen {
    head: http::response::Parts,
    body: String,
}

#[test]
fn responses_over_http2_have_the_common_fields() {
    for (name, script) in FRAMINGS {
        for (path, own) in KINDS {
            for method in ["GET", "HEAD", "POST"] {
                run(async || {
                    let stage = Stage::new("", &routes(), script);
                    let what = format!("{name} {method} {path}");
                    let seen = ask(&stage, method, path, (method == "POST").then_some("abc")).await.unwrap();
                    assert_eq!(seen.head.status, expected(name, own), "{what}");
                    let count = |name| seen.head.headers.get_all(name).iter().count();
                    assert_eq!((count("via"), count("date")), (1, 1), "{what}");
                    for name in ["connection", "keep-alive", "transfer-encoding", "x-hop"] {
                        assert_eq!(count(name), 0, "{what}: {name}");
                    }
                    assert_eq!(count("x-edited"), usize::from(path != "/nowhere"), "{what}");
                    let is_whole = seen.head.status == 200 && method != "HEAD";
                    assert!(!is_whole || seen.body == "hello", "{what}: {}", seen.body);
                    assert!(is_whole || seen.head.status.as_u16() >= 300 || seen.body.is_empty(), "{what}");
                    stage.assert_all_is_given_back(&what).await;
                });
            }
        }
    }
}

#[test]
fn a_body_that_breaks_off_resets_its_stream() {
    run(async || {
        let script = [Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), Act::Close];
        let stage = Stage::new("", &routes(), &script);
        let error = ask(&stage, "GET", "/proxied", None).await.err().unwrap();
        assert!(error.is_reset(), "{error}");
        stage.assert_all_is_given_back("a reset").await;
    });
}

#[test]
fn no_time_to_linger_ends_an_answered_stream_at_once() {
    run(async || {
        let conf = "[listener.limits]\nbody_bytes = \"1KiB\"\n[listener.linger]\ntime = \"0s\"\n";
        let stage = Stage::new("", &format!("{}{conf}", routes()), &[]);
        let (client, connection) = stage.connect();
        tokio::task::spawn_local(serve(connection));
        let (mut send, driver) = client::handshake(client).await.unwrap();
        tokio::task::spawn_local(driver);
        let request = http::Request::post("http://a.test/proxied").header("content-length", 2000);
        let (response, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
        assert_eq!(response.await.unwrap().status(), 413);
        let reset = std::future::poll_fn(|cx| body.poll_reset(cx));
        let reset = tokio::time::timeout(Duration::from_secs(1), reset).await;
        assert_eq!(reset.expect("the rest of the body is waited for").unwrap(), h2::Reason::NO_ERROR);
    });
}

/// A connection begins with the preface, or it is none of HTTP/2.
#[test]
fn a_preface_behind_anything_else_is_refused() {
    run(async || {
        let stage = Stage::new("", &routes(), FRAMINGS[0].1);
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for before in ["\r\n", "GET /proxied HTTP/1.1\r\nHost: a.test\r\n\r\n"] {
            let answer = stage.talk(format!("{before}{preface}").as_bytes()).await;
            assert!(answer.contains("HTTP/1.1 400 "), "{before:?}: {answer}");
        }
    });
}

/// Nobody sends the rest of the request then, and what its backend still sends is no reason to keep that.
#[test]
fn stream_that_breaks_off_behind_its_page_frees_its_backend() {
    let page = std::env::temp_dir().join(format!("pointsman-broken-off-{}.txt", std::process::id()));
    std::fs::write(&page, "hello").unwrap();
    run(async || {
        let pages = format!("intercept_errors = true\nerror_pages = {{ 4xx = \"{}\" }}\n", page.display());
        let route = format!("[[route]]\nname = \"all\"\nupstream = \"app\"\n{pages}");
        let stage = Stage::new("", &route, &[]);
        stage.answer_early(b"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nwh", Duration::ZERO);
        let (client, connection) = stage.connect();
        tokio::task::spawn_local(serve(connection));
        let (mut send, driver) = client::handshake(client).await.unwrap();
        tokio::task::spawn_local(driver);
        let request = http::Request::post("http://a.test/").body(()).unwrap();
        let (response, mut body) = send.send_request(request, false).unwrap();
        let (head, mut incoming) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 404);
        assert_eq!(incoming.data().await.unwrap().unwrap(), "hello");
        let begun = tokio::time::Instant::now();
        body.send_reset(h2::Reason::CANCEL);
        let snapshot = stage.worker.snapshot();
        let in_flight = &snapshot.shared.upstreams[0].backends[0].shared.in_flight.0;
        while in_flight.load(SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
        drop((send, body, incoming));
        stage.assert_all_is_given_back("a request that broke off behind a page").await;
    });
    let _ = std::fs::remove_file(page);
}
