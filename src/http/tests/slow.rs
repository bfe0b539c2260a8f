//! Who waits too long, and who is to blame: by a clock that the test moves.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::stage::{Act, Stage, run};

const ROUTE: &str = "[[route]]\nname = \"all\"\nupstream = \"app\"\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn a_silent_backend_is_given_up_after_response_timeout() {
    run(async || {
        let stage = Stage::new("response_timeout = \"7s\"", ROUTE, &[Act::Wait(Duration::from_secs(3600))]);
        let begun = Instant::now();
        let answer = stage.talk(GET).await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        let took = begun.elapsed();
        // Twice: GET is tried again.
        assert!((Duration::from_secs(14)..Duration::from_secs(15)).contains(&took), "{took:?}");
        stage.assert_all_is_given_back("no answer").await;
    });
}

#[test]
fn route_time_that_ends_in_the_queue_is_a_504() {
    run(async || {
        let routes = "[[route]]\nname = \"slow\"\npaths = [\"/slow\"]\nupstream = \"app\"\n\
            [[route]]\nname = \"all\"\nupstream = \"app\"\ntimeout = \"2s\"\n";
        let script =
            [Act::Wait(Duration::from_secs(5)), Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")];
        let stage = Stage::new("queue = { size = 1, timeout = \"30s\" }", routes, &script);
        let slow = stage.talk(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let waits = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let begun = Instant::now();
            (stage.talk(GET).await, begun.elapsed().as_secs())
        };
        let (first, (waited, took)) = tokio::join!(slow, waits);
        assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
        assert!(waited.starts_with("HTTP/1.1 504 ") && took == 2, "after {took} s: {waited}");
        stage.assert_all_is_given_back("the end of a route's time").await;
    });
}

/// Else it breaks off after the time of other bodies where others might have waited for it.
#[test]
fn event_stream_is_each_clients_own_and_may_be_silent() {
    const EVENTS: &[Act] = &[
        Act::Send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
            9\r\ndata: a\n\n\r\n",
        ),
        Act::Wait(Duration::from_secs(100)),
        Act::Send(b"9\r\ndata: b\n\n\r\n0\r\n\r\n"),
    ];
    let cache = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\ndefault_ttl = \"1m\"\n";
    for routes in [format!("{ROUTE}collapse = true\n"), format!("{cache}{ROUTE}cache = \"pages\"\n")] {
        run(async || {
            let stage = Stage::new("body_timeout = \"20s\"", &routes, EVENTS);
            for asked in 1..=2 {
                let answer = stage.talk(GET).await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                assert!(answer.contains("data: a\n\n") && answer.contains("data: b\n\n"), "{answer}");
                assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
                assert_eq!(stage.backend.requests.borrow().len(), asked);
            }
            stage.assert_all_is_given_back("streams of events").await;
        });
    }
}

#[test]
fn a_stalled_body_breaks_off_and_is_not_ended() {
    run(async || {
        let script = [
            Act::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            Act::Wait(Duration::from_secs(3600)),
        ];
        let stage = Stage::new("body_timeout = \"20s\"", ROUTE, &script);
        let begun = Instant::now();
        let answer = stage.talk(GET).await;
        assert!(answer.ends_with("5\r\nhello\r\n"), "the end must not be marked: {answer}");
        let took = begun.elapsed();
        assert!((Duration::from_secs(20)..Duration::from_secs(21)).contains(&took), "{took:?}");
        stage.assert_all_is_given_back("a body that stands still").await;
    });
}

/// What is waited for may come last, and all before it is progress; a fetch that stands still is none.
#[test]
fn part_far_into_a_fetch_waits_while_that_goes_on() {
    let routes = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n\
        [[route]]\nname = \"cached\"\nupstream = \"app\"\ncache = \"pages\"\n";
    let get = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nRange: bytes=42-44\r\n\r\n";
    let head = Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 50\r\n\r\n");
    // What comes meanwhile wakes nobody: it is looked at when the time is over, and the whole of it begins anew.
    for (pieces, body, longest) in [(5, "234", 61), (2, "", 12 + 12 + 2 * 20)] {
        run(async || {
            let mut script = vec![head.clone()];
            for _ in 0..pieces {
                script.extend([Act::Wait(Duration::from_secs(12)), Act::Send(b"0123456789")]);
            }
            script.push(Act::Wait(Duration::from_secs(3600)));
            let stage = Stage::new("body_timeout = \"20s\"", routes, &script);
            let begun = Instant::now();
            let answer = stage.talk(get).await;
            assert!(answer.starts_with("HTTP/1.1 206 "), "{answer}");
            assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, body, "{pieces} pieces");
            assert!(begun.elapsed() < Duration::from_secs(longest), "{:?}", begun.elapsed());
            stage.assert_all_is_given_back("a part far into a fetch").await;
        });
    }
}

#[test]
fn a_stalled_upload_does_not_count_against_the_backend() {
    run(async || {
        let ejects = "[upstream.outlier]\nconsecutive_failures = 1\n";
        let stage = Stage::new(ejects, ROUTE, &[Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
        let post = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 100\r\n\r\nabc";
        let answer = stage.talk(post).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        let snapshot = stage.worker.snapshot();
        let backend = &snapshot.shared.upstreams[0].backends[0];
        assert!(backend.is_available(crate::moment::Moment::now()));
        stage.assert_all_is_given_back("a slow upload").await;
    });
}

/// The body is here when another attempt begins: nobody waits for a 100, nor gets another.
#[test]
fn another_attempt_asks_for_no_other_100() {
    run(async || {
        let stage = Stage::new("", ROUTE, &[Act::Wait(Duration::from_secs(5)), Act::Close]);
        let (mut client, mut connection) = stage.connect();
        tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        let begun = Instant::now();
        let head = b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        client.write_all(head).await.unwrap();
        let mut room = [0; 4096];
        let length = client.read(&mut room).await.unwrap();
        assert!(room[..length].starts_with(b"HTTP/1.1 100 ") && room[..length].ends_with(b"\r\n\r\n"));
        assert_eq!(begun.elapsed().as_secs(), 1, "the backend says none");
        client.write_all(b"ab").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        // What comes behind the break, which is five seconds after the body.
        stage.script(&[Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(begun.elapsed().as_secs(), 6, "nothing was waited for");
        let requests = stage.backend.requests.borrow();
        assert_eq!(requests.len(), 2);
        assert!(requests.iter().all(|request| request.ends_with("\r\n\r\nab")));
        assert!(!requests[1].to_ascii_lowercase().contains("\r\nexpect:"), "{}", requests[1]);
    });
}

#[test]
fn a_trickled_upload_ends_by_the_least_rate() {
    run(async || {
        let stage = Stage::new("", ROUTE, &[Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
        let (mut client, mut connection) = stage.connect();
        tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        let begun = Instant::now();
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").await.unwrap();
        let (mut reading, mut writing) = client.into_split();
        let trickle = tokio::task::spawn_local(async move {
            // 50 bytes a second: more often than `timeouts.body`, and less than 240 bytes a second.
            while writing.write_all(&[b'x'; 50]).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let mut room = [0; 4096];
        let length = reading.read(&mut room).await.unwrap();
        let answer = String::from_utf8_lossy(&room[..length]);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        let took = begun.elapsed();
        assert!((Duration::from_secs(10)..Duration::from_secs(20)).contains(&took), "{took:?}");
        trickle.abort();
        stage.assert_all_is_given_back("a trickled upload").await;
    });
}

/// A few who trickle would keep all others out for as long as they like.
#[test]
fn trickled_body_keeps_no_place_of_its_route() {
    for (bound, is_refused) in [("max_in_flight = 1\n", true), ("", false)] {
        run(async || {
            let route = format!("{ROUTE}buffer = \"1MiB\"\n{bound}");
            let stage = Stage::new("", &route, &[Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
            let (mut client, mut connection) = stage.connect();
            tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
            client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await.unwrap();
            let (mut reading, mut writing) = client.into_split();
            tokio::task::spawn_local(async move {
                // More often than `timeouts.body`, and less than 240 bytes a second.
                for _ in 0..100 {
                    let _ = writing.write_all(&[b'x'; 10]).await;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            tokio::time::sleep(Duration::from_secs(5)).await;
            let early = stage.talk(GET).await;
            assert_eq!(early.starts_with("HTTP/1.1 503 "), is_refused, "{early}");
            tokio::time::sleep(Duration::from_secs(15)).await;
            let late = stage.talk(GET).await;
            assert!(late.starts_with("HTTP/1.1 200 "), "{bound}: {late}");
            let mut room = [0; 4096];
            let length = reading.read(&mut room).await.unwrap();
            let answer = String::from_utf8_lossy(&room[..length]);
            let expected = if is_refused { "HTTP/1.1 408 " } else { "HTTP/1.1 200 " };
            assert!(answer.starts_with(expected), "{bound}: {answer}");
            stage.assert_all_is_given_back("a trickled body").await;
        });
    }
}

#[test]
fn a_steady_upload_may_take_its_time() {
    run(async || {
        let stage = Stage::new("", ROUTE, &[Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
        let (mut client, mut connection) = stage.connect();
        tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n").await.unwrap();
        for _ in 0..100 {
            client.write_all(&[b'x'; 300]).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let mut room = [0; 4096];
        let length = client.read(&mut room).await.unwrap();
        assert!(room[..length].starts_with(b"HTTP/1.1 200 "));
        stage.assert_all_is_given_back("a steady upload").await;
    });
}

/// A body that is here whole before any of it goes on.
#[test]
fn steady_upload_of_buffered_body_may_take_its_time() {
    run(async || {
        let route = format!("{ROUTE}buffer = \"4MiB\"\n");
        let upstream = "response_timeout = \"7s\"\n[upstream.outlier]\nconsecutive_failures = 1\n";
        let stage =
            Stage::new(upstream, &route, &[Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
        stage.read_slowly(Duration::from_secs(1));
        let begun = Instant::now();
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3000000\r\n\r\n";
        let answer = stage.talk(&[head.as_bytes(), &[b'x'; 3_000_000]].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(begun.elapsed() > Duration::from_secs(30), "{:?}", begun.elapsed());
        let snapshot = stage.worker.snapshot();
        assert!(snapshot.shared.upstreams[0].backends[0].is_healthy(crate::moment::Moment::now()));
        stage.assert_all_is_given_back("a buffered upload").await;
    });
}

#[test]
fn buffered_upload_that_stands_still_is_given_up() {
    run(async || {
        let route = format!("{ROUTE}buffer = \"4MiB\"\n");
        let stage = Stage::new("response_timeout = \"7s\"\nretry = { attempts = 1 }", &route, &[]);
        stage.read_slowly(Duration::from_secs(3600));
        let begun = Instant::now();
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3000000\r\n\r\n";
        let answer = stage.talk(&[head.as_bytes(), &[b'x'; 3_000_000]].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        let took = begun.elapsed();
        assert!((Duration::from_secs(7)..Duration::from_secs(8)).contains(&took), "{took:?}");
        stage.assert_all_is_given_back("a buffered upload that stands still").await;
    });
}

#[test]
fn a_trickling_reader_frees_the_backend_by_the_least_rate() {
    run(async || {
        // More than a socket holds, so that the backend is held for who reads.
        let script =
            [Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n"), Act::Send(&[b'x'; 4_000_000])];
        let stage = Stage::new("", ROUTE, &script);
        let (mut client, mut connection) = stage.connect();
        let served = tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        let begun = Instant::now();
        client.write_all(GET).await.unwrap();
        let trickle = tokio::task::spawn_local(async move {
            let mut room = [0; 100];
            while client.read(&mut room).await.is_ok_and(|length| length > 0) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let _ = served.await.unwrap();
        let took = begun.elapsed();
        assert!((Duration::from_secs(10)..Duration::from_secs(40 * 60)).contains(&took), "{took:?}");
        trickle.abort();
        stage.assert_all_is_given_back("a reader that trickles").await;
    });
}

/// A cache for [`LARGE`].
const LARGE_CACHE: &str = "[[cache]]\nname = \"pages\"\nmemory = \"16MiB\"\nmax_object = \"8MiB\"\n";

/// More than sockets take at once.
const LARGE: [Act; 2] = [
    Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=86400\r\nContent-Length: 4000000\r\n\r\n"),
    Act::Send(&[b'x'; 4_000_000]),
];

/// What is fetched is held for who reads it, also when the backend is done.
#[test]
fn slow_reader_of_a_fetch_is_cut_off() {
    run(async || {
        let route = format!("{LARGE_CACHE}{ROUTE}cache = \"pages\"\nmin_rate = \"64KiB\"\n");
        let stage = Stage::new("", &route, &LARGE);
        let (mut client, mut connection) = stage.connect();
        let served = tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        client.write_all(GET).await.unwrap();
        let reading = tokio::task::spawn_local(async move {
            let (mut room, mut length) = ([0; 8192], 0);
            while let Ok(more @ 1..) = client.read(&mut room).await {
                length += more;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            length
        });
        let _ = served.await.unwrap();
        let length = reading.await.unwrap();
        assert!((8192..4_000_000).contains(&length), "{length} bytes");
        stage.assert_all_is_given_back("a slow reader of what is fetched").await;
    });
}

/// What is stored holds nothing for who takes it slowly.
#[test]
fn trickling_reader_of_a_stored_response_is_not_cut_off() {
    run(async || {
        // Fast enough to be over before `timeouts.idle`, for all that a socket takes at first.
        let route = format!("{LARGE_CACHE}{ROUTE}cache = \"pages\"\nmin_rate = \"64KiB\"\n");
        let stage = Stage::new("", &route, &LARGE);
        let first = stage.talk(GET).await;
        assert!(first.len() > 4_000_000, "it is stored");
        let (mut client, mut connection) = stage.connect();
        let served = tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        client.write_all(GET).await.unwrap();
        let reading = tokio::task::spawn_local(async move {
            let (mut room, mut length) = (vec![0; 100], 0);
            loop {
                // A hundred bytes a second, for a while.
                if length > 6000 {
                    room.resize(65536, 0);
                } else {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                match client.read(&mut room).await {
                    Ok(more) if more > 0 => length += more,
                    _ => return length,
                }
            }
        });
        let _ = served.await.unwrap();
        let length = reading.await.unwrap();
        assert!(length > 4_000_000, "{length} bytes");
        assert_eq!(stage.backend.requests.borrow().len(), 1);
        stage.assert_all_is_given_back("a reader of what is stored").await;
    });
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    run(async || {
        let stage = Stage::new("", ROUTE, &[Act::Wait(Duration::from_secs(3600))]);
        let (mut client, mut connection) = stage.connect();
        let served = tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        client.write_all(GET).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(stage.backend.requests.borrow().len(), 1);
        drop(client);
        let begun = Instant::now();
        let _ = served.await.unwrap();
        // It may have ended its side only: `timeouts.half_closed`.
        assert!(begun.elapsed() < Duration::from_secs(3), "it waits for the backend all the same");
        stage.assert_all_is_given_back("a client that leaves").await;
    });
}

#[test]
fn a_queued_request_gets_a_place_or_503_in_time() {
    run(async || {
        let script =
            [Act::Wait(Duration::from_secs(2)), Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")];
        let stage = Stage::new("queue = { size = 2, timeout = \"3s\" }", ROUTE, &script);
        let begun = Instant::now();
        let (one, two, three, four) =
            tokio::join!(stage.talk(GET), stage.talk(GET), stage.talk(GET), stage.talk(GET));
        let count =
            |status: &str| [&one, &two, &three, &four].iter().filter(|it| it.starts_with(status)).count();
        // One at once, one after 2 s; the third in line waits 3 s for nothing, the fourth finds the queue full.
        assert_eq!((count("HTTP/1.1 200 "), count("HTTP/1.1 503 ")), (2, 2), "{one} {two} {three} {four}");
        assert!(begun.elapsed() >= Duration::from_secs(4));
        stage.assert_all_is_given_back("a queue").await;
    });
}

#[test]
fn an_idle_connection_is_closed_at_its_timeout() {
    run(async || {
        let stage = Stage::new("", ROUTE, &[Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
        let (mut client, mut connection) = stage.connect();
        tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut room = [0; 4096];
        assert!(client.read(&mut room).await.unwrap() > 0);
        let begun = Instant::now();
        assert_eq!(client.read(&mut room).await.unwrap(), 0, "the end");
        let took = begun.elapsed();
        assert!((Duration::from_secs(75)..Duration::from_secs(76)).contains(&took), "{took:?}");
        stage.assert_all_is_given_back("an idle connection").await;
    });
}

#[test]
fn a_shared_fetch_is_given_up_after_body_timeout() {
    run(async || {
        let script = [
            Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nhello"),
            Act::Wait(Duration::from_secs(3600)),
        ];
        let cached = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n\
            [[route]]\nname = \"all\"\nupstream = \"app\"\ncache = \"pages\"\n";
        let stage = Stage::new("body_timeout = \"20s\"", cached, &script);
        let begun = Instant::now();
        let (one, other) = tokio::join!(stage.talk(GET), stage.talk(GET));
        for answer in [one, other] {
            assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
        }
        let took = begun.elapsed();
        assert!((Duration::from_secs(20)..Duration::from_secs(21)).contains(&took), "{took:?}");
        stage.assert_all_is_given_back("a fetch that stands still").await;
    });
}

#[test]
fn a_fetch_that_nobody_reads_must_not_trickle() {
    run(async || {
        // A byte each 15 s is no stall; the whole would take more than an hour.
        let mut script = vec![Act::Send(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 300\r\n\r\nhello",
        )];
        for _ in 0..295 {
            script.extend([Act::Wait(Duration::from_secs(15)), Act::Send(b"x")]);
        }
        let cached = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n\
            [[route]]\nname = \"all\"\nupstream = \"app\"\ncache = \"pages\"\n";
        let stage = Stage::new("", cached, &script);
        let (mut client, mut connection) = stage.connect();
        let served = tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        client.write_all(GET).await.unwrap();
        let mut room = [0; 4096];
        assert!(client.read(&mut room).await.unwrap() > 0);
        drop(client);
        let _ = served.await.unwrap();
        // Far sooner than the whole would be there.
        stage.assert_all_is_given_back("a fetch that trickles for nobody").await;
    });
}

#[test]
fn no_time_to_linger_closes_at_once() {
    run(async || {
        let conf = "[listener.limits]\nbody_bytes = \"1KiB\"\n[listener.linger]\ntime = \"0s\"\n";
        let stage = Stage::new("", &format!("{ROUTE}{conf}"), &[]);
        let (mut client, mut connection) = stage.connect();
        let served = tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n").await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(1), served).await;
        assert!(ended.is_ok(), "who says nothing more is waited for");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        stage.assert_all_is_given_back("no time to linger").await;
    });
}

#[test]
fn no_time_for_half_closed_clients_counts_them_gone() {
    run(async || {
        let conf = "[listener.timeouts]\nhalf_closed = \"0s\"\n";
        let stage = Stage::new("", &format!("{ROUTE}{conf}"), &[Act::Wait(Duration::from_secs(3600))]);
        let (mut client, mut connection) = stage.connect();
        let served = tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        client.write_all(GET).await.unwrap();
        client.shutdown().await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(1), served).await;
        assert!(ended.is_ok(), "it waits for the backend all the same");
        stage.assert_all_is_given_back("a client that is half closed").await;
    });
}
