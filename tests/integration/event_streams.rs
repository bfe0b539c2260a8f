//! Streams of events and hung polls: what ends them, and what does not.

use std::{
    io::Read,
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
};

use crate::support::{Client, Origin, Proxy, Reply, eventually, proxy::config};

/// A backend that sends an event each time it is told to, and says when its client has left.
fn events(head: &'static str) -> (mpsc::Sender<()>, mpsc::Receiver<Instant>, Origin) {
    let (next, wanted) = mpsc::channel::<()>();
    let (left, when_left) = mpsc::channel();
    let wanted = Mutex::new(Some(wanted));
    let origin = Origin::start(move |_| {
        let (wanted, left) = (wanted.lock().unwrap().take(), left.clone());
        Reply::Take(Box::new(move |connection| {
            connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n"));
            let mut stream = connection.stream.try_clone().unwrap();
            std::thread::spawn(move || {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest);
                let _ = left.send(Instant::now());
            });
            for () in wanted.iter().flatten() {
                connection.send("8\r\ndata: x\n\r\n");
            }
            connection.send("0\r\n\r\n");
        }))
    });
    (next, when_left, origin)
}

const HEAD: &str = "Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n";

fn start(origin: &Origin, route: &str) -> Proxy {
    // The head may be late on a busy machine, and none of these tests is about it.
    let upstream = "response_timeout = \"20s\"\nbody_timeout = \"2s\"\n---\n";
    let text = config(&[origin.address()], upstream);
    Proxy::start(&text.replacen("upstream = \"u\"\n", &format!("upstream = \"u\"\n{route}\n"), 1))
}

/// The head of the response, and how long its stream lasted while an event came each 300 ms for three seconds.
fn lasted(head: &'static str, route: &str) -> (usize, Duration) {
    let (next, _left, origin) = events(head);
    let proxy = start(&origin, route);
    let mut client = proxy.connect();
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    client.until(b"\r\n\r\n").unwrap();
    let begun = Instant::now();
    let ticking = std::thread::spawn(move || {
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(300));
            if next.send(()).is_err() {
                return None;
            }
        }
        Some(next)
    });
    let mut events = 0;
    while events < 10 && client.until(b"data: x\n\r\n").is_some() {
        events += 1;
    }
    let took = begun.elapsed();
    drop(ticking.join());
    (events, took)
}

#[test]
fn a_stream_that_flows_outlasts_every_other_limit() {
    let (events, took) = lasted(HEAD, "timeout = \"2s\"");
    assert_eq!(events, 10, "it ended after {took:?}");
    // What is no stream of events is ended by them.
    let other = "Content-Type: text/event-streams\r\nTransfer-Encoding: chunked\r\n";
    let (events, took) = lasted(other, "timeout = \"2s\"");
    assert!(events < 10, "it lasted {took:?}");
}

#[test]
fn a_silent_stream_is_ended_by_its_own_limit() {
    let (next, left, origin) = events(HEAD);
    let proxy = start(&origin, "stream_idle = \"3s\"");
    let mut client = proxy.connect();
    let begun = Instant::now();
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    client.until(b"\r\n\r\n").unwrap();
    assert!(client.is_closed());
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(3), "after {took:?}");
    assert!(left.recv_timeout(crate::support::PATIENCE).is_ok(), "the backend hears of it");
    drop(next);
    assert_eq!(proxy.logged("/events")["error"], "body_broken");
}

#[test]
fn a_client_that_leaves_ends_the_backends_part_at_once() {
    let leave = || {
        let (next, left, origin) = events(HEAD);
        let proxy = start(&origin, "");
        let mut client = Client::connect(proxy.address("web"));
        client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
        client.until(b"\r\n\r\n").unwrap();
        next.send(()).unwrap();
        client.until(b"data: x\n\r\n").unwrap();
        // Not the polite end of one side, which is a client that still listens.
        socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
        let gone = Instant::now();
        drop(client);
        let heard = left.recv_timeout(crate::support::PATIENCE).unwrap();
        eventually("it is logged", || proxy.count_logged("client_gone") == 1);
        heard - gone
    };
    // On a busy machine one may be late by itself; the upstream's own limits would end it after two seconds.
    let times: Vec<Duration> = (0..3).map(|_| leave()).collect();
    assert!(times.iter().any(|time| *time < Duration::from_secs(1)), "{times:?} later");
}
