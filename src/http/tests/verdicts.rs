//! What is held against a backend and what is not, and what is done where all are down.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use h2::client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use super::stage::{Act, Stage, run};
use crate::{
    backend::Probed,
    http::{h1::Become, h2::serve},
    moment::Moment,
    telemetry::metrics::Outcome,
};

const ROUTE: &str = "[[route]]\nname = \"all\"\nupstream = \"app\"\n";
const EJECTS: &str = "[upstream.outlier]\nconsecutive_failures = 1\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const ATTACH: &[u8] =
    b"POST /attach HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 5\r\n";

fn is_healthy(stage: &Stage) -> bool {
    stage.worker.snapshot().shared.upstreams[0].backends[0].is_healthy(Moment::now())
}

/// As `docker exec` does it, but for a body that comes late.
#[test]
fn early_switch_waits_for_the_rest_of_its_request() {
    for expects in [false, true] {
        run(async || {
            let upgrade = format!("{ROUTE}upgrade = [\"tcp\"]\n");
            let stage = Stage::new(EJECTS, &upgrade, &[Act::Send(b"attached")]);
            stage.answer_early(SWITCHED, Duration::ZERO);
            let (mut client, mut connection) = stage.connect();
            let serving = tokio::task::spawn_local(async move {
                matches!(Box::pin(connection.serve()).await, Become::Tunnel(_))
            });
            let fields: &[u8] = if expects { b"Expect: 100-continue\r\n\r\n" } else { b"\r\n" };
            client.write_all(&[ATTACH, fields].concat()).await.unwrap();
            sleep(Duration::from_secs(2)).await;
            assert!(!serving.is_finished(), "its body is to come");
            if expects {
                let mut room = [0; 1024];
                let length = client.read(&mut room).await.unwrap();
                let answer = String::from_utf8_lossy(&room[..length]);
                assert!(
                    answer.starts_with("HTTP/1.1 100 ") && answer.ends_with("100 Continue\r\n\r\n"),
                    "{answer}"
                );
            }
            client.write_all(b"hello").await.unwrap();
            assert!(serving.await.unwrap(), "it becomes a tunnel");
            assert!(is_healthy(&stage));
            sleep(Duration::from_secs(1)).await;
            assert!(stage.backend.requests.borrow()[0].ends_with("\r\n\r\nhello"));
        });
    }
}

#[test]
fn client_that_holds_back_behind_a_switch_blames_no_backend() {
    run(async || {
        let upgrade = format!("{ROUTE}upgrade = [\"*\"]\n");
        let stage = Stage::new(EJECTS, &upgrade, &[]);
        stage.answer_early(SWITCHED, Duration::ZERO);
        let answer = stage.talk(&[ATTACH, b"\r\nab"].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(is_healthy(&stage));
        stage.assert_all_is_given_back("a body that is held back").await;
    });
}

#[test]
fn deadline_in_trailers_counts_unless_the_client_chose_it() {
    let answers =
        [(Act::Send(b"4\r\n\r\n"), 4), (Act::Send(b"14\r\n\r\n"), 14), (Act::Send(b"0\r\n\r\n"), 0)];
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n\
        1\r\nx\r\n0\r\ngrpc-status: ";
    for (answer, code) in answers {
        for has_deadline in [false, true] {
            run(async || {
                let stage = Stage::new(EJECTS, ROUTE, &[Act::Send(head), answer.clone()]);
                let (client, connection) = stage.connect();
                tokio::task::spawn_local(serve(connection));
                let (mut send, driver) = client::handshake(client).await.unwrap();
                tokio::task::spawn_local(driver);
                let request = http::Request::post("http://a.test/a.Service/Call");
                let mut request = request.header("content-type", "application/grpc").header("te", "trailers");
                if has_deadline {
                    request = request.header("grpc-timeout", "10S");
                }
                let (response, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
                let mut body = response.await.unwrap().into_body();
                while let Some(data) = body.data().await {
                    data.unwrap();
                }
                let trailers = body.trailers().await.unwrap().unwrap();
                assert_eq!(trailers["grpc-status"].to_str().unwrap(), code.to_string());
                let expected = code == 0 || code == 4 && has_deadline;
                assert_eq!(is_healthy(&stage), expected, "{code}, {has_deadline}");
            });
        }
    }
}

/// One after the other, as many as failures of other kinds; and each attempt is counted once.
#[test]
fn bodies_that_break_off_eject_and_count_once() {
    run(async || {
        let broken = [Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), Act::Close];
        let stage = Stage::new("[upstream.outlier]\nconsecutive_failures = 3\n", ROUTE, &broken);
        for number in 1..4 {
            assert!(is_healthy(&stage), "{number}");
            let answer = stage.talk(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
        }
        assert!(!is_healthy(&stage));
        stage.assert_all_is_given_back("broken bodies").await;
        let series = &stage.worker.snapshot().shared.upstreams[0].own[0][0].series;
        for (outcome, count) in series.outcomes() {
            assert_eq!(count, if outcome == Outcome::Broken { 3 } else { 0 }, "{outcome:?}");
        }
    });
}

/// A server gives up a response that nobody takes, and a stranger may have several given up at once.
#[test]
fn body_held_up_by_its_client_blames_nobody() {
    let piece: &[u8] = vec![b'x'; 1 << 20].leak();
    for is_slow in [false, true] {
        run(async || {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n";
            let script = [Act::Send(head), Act::Send(piece), Act::Close];
            let stage = Stage::new(EJECTS, &format!("{ROUTE}min_rate = 0\n"), &script);
            let (mut client, mut connection) = stage.connect();
            tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            if is_slow {
                sleep(Duration::from_secs(10)).await;
            }
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await;
            assert!(answer.len() > piece.len(), "{}", answer.len());
            assert_eq!(is_healthy(&stage), is_slow);
        });
    }
}

/// As servers of gRPC do it, which are told how long their client waits.
#[test]
fn end_that_comes_with_the_deadline_blames_nobody() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    // Deadlines are looked at every ten milliseconds.
    let late = [Act::Wait(Duration::from_micros(1_000_500)), Act::Close];
    for (script, is_late) in [
        (late.to_vec(), true),
        ([&[Act::Send(head)][..], &late].concat(), true),
        (vec![Act::Wait(Duration::from_millis(990)), Act::Close], false),
        (vec![Act::Send(head), Act::Wait(Duration::from_millis(990)), Act::Close], false),
    ] {
        run(async || {
            let stage = Stage::new(EJECTS, &format!("{ROUTE}timeout = \"1s\"\n"), &script);
            let answer = stage.talk(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            assert_eq!(is_healthy(&stage), is_late, "{answer}");
        });
    }
}

/// How long the backend seems to take for a response.
fn average(stage: &Stage) -> Duration {
    stage.worker.snapshot().shared.upstreams[0].own[0][0].row.average(Moment::now()).unwrap()
}

#[test]
fn client_that_sends_slowly_makes_no_backend_look_slow() {
    for (begin, rest) in [(&b"ab"[..], &b"cde"[..]), (b"", b"abcde"), (b"abcde", b"")] {
        run(async || {
            let answer = [Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")];
            let stage = Stage::new("", &format!("{ROUTE}min_rate = 0\n"), &answer);
            let (mut client, mut connection) = stage.connect();
            tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
            let head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
            client.write_all(&[head, begin].concat()).await.unwrap();
            sleep(Duration::from_secs(20)).await;
            client.write_all(rest).await.unwrap();
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await;
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
            assert!(average(&stage) < Duration::from_secs(1), "{:?}", average(&stage));
        });
    }
}

/// From the backend's 100 on it is the client's turn, which has its own time.
#[test]
fn client_told_to_go_on_may_take_its_time() {
    run(async || {
        let answer = [Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")];
        let stage = Stage::new("", &format!("{ROUTE}min_rate = 0\n"), &answer);
        stage.answer_early(b"HTTP/1.1 100 Continue\r\n\r\n", Duration::ZERO);
        let (mut client, mut connection) = stage.connect();
        tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        client.write_all(head).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        client.write_all(b"whole").await.unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 100 ") && text.contains("HTTP/1.1 200 "), "{text}");
        assert!(average(&stage) < Duration::from_secs(1), "{:?}", average(&stage));
    });
}

#[test]
fn use_all_holds_while_only_one_without_weight_is_healthy() {
    run(async || {
        let weightless = "[[upstream.backend]]\naddress = \"127.0.0.1:1\"\nweight = 0\n";
        let answer = [Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")];
        let stage = Stage::new("when_all_down = \"use-all\"", &format!("{weightless}{ROUTE}"), &answer);
        let snapshot = stage.worker.snapshot();
        snapshot.shared.upstreams[0].backends[0].shared.probed.store(Probed::Down as u8, Relaxed);
        let answer = stage.talk(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

/// What a backend sends, and whether it is blamed for its silence behind that.
const SILENT: [(&[u8], bool); 4] = [
    (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", false),
    (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        false,
    ),
    (b"HTTP/1.0 200 OK\r\n\r\n", false),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", true),
];

/// A watch or a stream of events may be quiet for longer than we keep it open.
#[test]
fn silence_is_held_against_who_owes_more() {
    for (head, is_blamed) in SILENT {
        run(async || {
            let script = [Act::Send(head), Act::Wait(Duration::from_secs(60))];
            let timeouts = format!("body_timeout = \"1s\"\n{EJECTS}");
            let stage = Stage::new(&timeouts, &format!("{ROUTE}stream_idle = \"1s\"\n"), &script);
            let answer = stage.talk(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert_eq!(is_healthy(&stage), !is_blamed, "{answer}");
        });
    }
}
