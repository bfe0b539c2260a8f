//! Backends of HTTP/2, and the connections to them that a reload closes, or that are too few.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use super::stage::{Stage, run};

const ROUTE: &str = "[[route]]\nname = \"all\"\nupstream = \"app\"\nbuffer = \"64KiB\"\n";
const HTTP2: &str = "protocol = \"h2\"\n";
const OTHER: &str = "protocol = \"h2\"\nhttp2 = { ping_interval = \"7s\" }\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// It knows the upstream of before, and has no stream yet when the connections of that are closed.
#[test]
fn request_of_before_a_reload_goes_through() {
    for is_cold in [false, true] {
        run(async || {
            let stage = Stage::new(HTTP2, ROUTE, &[]);
            stage.speak_http2(100);
            let before = usize::from(!is_cold);
            if !is_cold {
                let answer = stage.talk(GET).await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
            assert_eq!(stage.backend.connections.get(), before);
            let (mut client, mut connection) = stage.connect();
            tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
            let head = b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nab";
            client.write_all(head).await.unwrap();
            sleep(Duration::from_millis(100)).await;
            stage.reload(OTHER, ROUTE);
            // The worker takes the other generation over, with connections of its own.
            let answer = stage.talk(GET).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert_eq!(stage.backend.connections.get(), before + 1);
            client.write_all(b"cd").await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert_eq!(stage.backend.connections.get(), before + 2, "one for the request of before");
            stage.assert_all_is_given_back("a reload").await;
        });
    }
}

/// A connection that is being made when its pool is closed is for those who wait for it, and ends with their streams.
#[test]
fn who_waits_for_a_connection_keeps_it() {
    run(async || {
        let stage = Stage::new(HTTP2, &format!("max_connections = 10\n{ROUTE}"), &[]);
        stage.speak_http2(100);
        let worker_upstream = stage.worker.snapshot().upstream(0).unwrap().clone();
        let asked = tokio::join!(stage.talk(GET), stage.talk(GET), async {
            // Both have asked, and the backend has not answered.
            for _ in 0..1_000 {
                match worker_upstream.upstream.backends[0].in_flight() {
                    2 => break,
                    _ => tokio::task::yield_now().await,
                }
            }
            worker_upstream.close();
        });
        assert!(asked.0.starts_with("HTTP/1.1 200 "), "{}", asked.0);
        assert!(asked.1.starts_with("HTTP/1.1 200 "), "{}", asked.1);
        assert_eq!(stage.backend.connections.get(), 1);
    });
}

/// Each connection takes one at a time, which nobody knows before the first is there.
#[test]
fn burst_to_a_cold_backend_of_few_streams_is_served() {
    run(async || {
        let route = format!("max_connections = 0\n{ROUTE}");
        let stage = Rc::new(Stage::new(HTTP2, &route, &[]));
        stage.speak_http2(1);
        let ask = |_| {
            let stage = stage.clone();
            tokio::task::spawn_local(async move { stage.talk(GET).await })
        };
        let asked: Vec<_> = (0..40).map(ask).collect();
        for answer in asked {
            let answer = answer.await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    });
}
