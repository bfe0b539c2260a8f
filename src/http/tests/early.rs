//! Backends that answer before they have read the whole request.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::stage::{Act, Stage, run};
use crate::http::h1::Become;

const ROUTE: &str = "[[route]]\nname = \"all\"\nupstream = \"app\"\n";
const EARLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";

/// Of every length: the last of it may be in the socket's buffer, in ours, or in both.
#[test]
fn upload_goes_on_to_its_end_beside_the_response() {
    for kib in (0..600).step_by(8) {
        run(async || {
            let stage = Stage::new("body_timeout = \"20s\"", ROUTE, &[Act::Send(b"whole")]);
            stage.answer_early(EARLY, Duration::from_secs(5));
            let body = "x".repeat(kib * 1024 + 1);
            let head = format!(
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let (mut client, mut connection) = stage.connect();
            tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
            client.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let (mut reading, mut writing) = client.split();
            let write = async {
                // Piece by piece, so that each is gathered where the socket takes no more.
                for piece in body.as_bytes().chunks(4096) {
                    writing.write_all(piece).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let read = reading.read_to_string(&mut answer);
            let _ = tokio::join!(write, read);
            assert!(answer.ends_with("\r\n\r\nwhole"), "{kib} KiB: {answer}");
            assert!(stage.backend.requests.borrow()[0].ends_with(&body));
        });
    }
}

#[test]
fn client_that_stalls_beside_a_response_blames_no_backend() {
    run(async || {
        let eject = "body_timeout = \"20s\"\n[upstream.outlier]\nconsecutive_failures = 1\n";
        let stage = Stage::new(eject, ROUTE, &[Act::Send(b"whole")]);
        stage.answer_early(EARLY, Duration::ZERO);
        let begun = Instant::now();
        let answer = stage.talk(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        let took = begun.elapsed();
        assert!((Duration::from_secs(20)..Duration::from_secs(21)).contains(&took), "{took:?}");
        let snapshot = stage.worker.snapshot();
        let backend = &snapshot.shared.upstreams[0].backends[0];
        assert!(backend.is_available(crate::moment::Moment::now()));
        stage.assert_all_is_given_back("an upload that stalls beside its response").await;
    });
}

#[test]
fn upload_that_flows_keeps_its_response_alive() {
    run(async || {
        let stage = Stage::new("body_timeout = \"20s\"", ROUTE, &[Act::Send(b"whole")]);
        stage.answer_early(EARLY, Duration::ZERO);
        let (mut client, mut connection) = stage.connect();
        tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..6 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            client.write_all(&[b'x'; 10_000]).await.unwrap();
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("\r\n\r\nwhole"), "{answer}");
    });
}

#[test]
fn response_that_breaks_off_resets_where_closing_ends_it() {
    let broken =
        [Act::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), Act::Close];
    for (version, is_reset) in [("1.0", true), ("1.1", false)] {
        run(async || {
            let stage = Stage::new("", ROUTE, &broken);
            let (mut client, mut connection) = stage.connect();
            let serving = tokio::task::spawn_local(async move {
                matches!(Box::pin(connection.serve()).await, Become::Reset)
            });
            client.write_all(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let reading = client.read_to_end(&mut answer);
            timeout(Duration::from_secs(60), reading).await.unwrap().unwrap();
            assert_eq!(serving.await.unwrap(), is_reset, "{version}");
        });
    }
}
