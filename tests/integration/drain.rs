//! Stopping: what is under way ends well, and in bounded time.

use std::{
    net::TcpStream,
    sync::{Arc, Mutex, mpsc::channel},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Client, Origin, Proxy, Reply, UPGRADE, eventually, eventually_within, proxy::config};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

fn with_runtime(text: &str, options: &str) -> String {
    text.replace("[runtime]\n", &format!("[runtime]\n{options}\n"))
}

fn is_draining(proxy: &Proxy) -> bool {
    proxy.log().iter().any(|line| line.contains("\"draining\""))
}

fn is_refused(proxy: &Proxy) -> bool {
    TcpStream::connect(proxy.address("web")).is_err()
}

/// A request that the backend holds.
fn held(proxy: &Proxy, origin: &Origin) -> Client {
    let (mut client, before) = (proxy.connect(), origin.heads());
    client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is held", || origin.heads() > before);
    client
}

/// The grace of kept connections. Who had no processor for so long may find them closed, and tries again.
const GRACE: Duration = Duration::from_secs(1);

#[test]
fn sigterm_finishes_exchanges_and_accepts_nothing_new() {
    assert!((0..5).any(|_| is_finished_and_nothing_new_accepted()), "it was always late");
}

#[test]
fn client_told_of_a_kept_connection_may_ask_once_more() {
    assert!((0..5).any(|_| is_answered_once_more()), "it was always late");
}

/// False where this was late.
fn is_answered_once_more() -> bool {
    let (release, rest) = channel::<()>();
    let rest = Arc::new(Mutex::new(rest));
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/long" => {
            let rest = rest.clone();
            Reply::Take(Box::new(move |connection| {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwho");
                let _ = rest.lock().unwrap().recv();
                connection.send("le");
            }))
        }
        _ => Reply::Text(200, "more".into()),
    });
    let mut proxy = Proxy::start(&config(&[origin.address()], ""));
    let mut client = proxy.connect();
    client.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.until(b"who").unwrap();
    assert!(!String::from_utf8(head).unwrap().to_ascii_lowercase().contains("connection: close"));
    proxy.signal("TERM");
    eventually("new connections are refused", || is_refused(&proxy));
    let begun = Instant::now();
    release.send(()).unwrap();
    assert_eq!(client.exactly(2), b"le");
    let response = client.get("/more");
    if response.status == 0 && begun.elapsed() >= Duration::from_millis(300) {
        return false;
    }
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
    assert_eq!(proxy.wait().code(), Some(0));
    true
}

/// False where this was late.
fn is_finished_and_nothing_new_accepted() -> bool {
    let (release, origin) = Origin::holding();
    let mut proxy = Proxy::start(&config(&[origin.address()], ""));
    let mut idle = proxy.connect();
    assert_eq!(idle.get("/").status, 200);
    let mut late = proxy.connect();
    assert_eq!(late.get("/").status, 200);
    let mut client = held(&proxy, &origin);
    // Without a program for it, which takes its time to start: the grace of kept connections is a second.
    let pid = Pid::from_raw(i32::try_from(proxy.pid()).unwrap()).unwrap();
    let begun = Instant::now();
    kill_process(pid, Signal::TERM).unwrap();
    eventually("new connections are refused", || is_refused(&proxy));
    // A kept connection has a grace: a request that was on its way is served, and marked as the last.
    let response = late.get("/late");
    if response.status == 0 && begun.elapsed() >= GRACE {
        return false;
    }
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(late.is_closed());
    assert!(idle.is_closed(), "after the grace");
    assert!(proxy.is_running(), "while a request is under way");
    release.send(()).unwrap();
    let response = client.response("GET");
    assert_eq!((response.status, response.text().as_str()), (200, "whole"));
    assert_eq!(response.header("connection"), Some("close"));
    assert!(client.is_closed());
    assert_eq!(proxy.wait().code(), Some(0));
    assert_eq!(proxy.logged("/held")["status"], 200);
    assert_eq!(proxy.logged("/late")["status"], 200);
    true
}

#[test]
fn during_the_delay_it_is_unready_and_still_serves() {
    let (_release, origin) = Origin::holding();
    let text = with_runtime(&config(&[origin.address()], ADMIN), "drain_delay = \"10s\"");
    let mut proxy = Proxy::start(&text);
    let ready =
        |proxy: &Proxy| Client::connect(proxy.address("admin")).get_with("/readyz", "localhost", "").status;
    assert_eq!(ready(&proxy), 200);
    let begun = Instant::now();
    proxy.signal("TERM");
    eventually("it is unready", || ready(&proxy) == 503);
    let mut kept = proxy.connect();
    let response = kept.get("/");
    assert_eq!((response.status, response.header("connection")), (200, None), "new connections, kept");
    assert_eq!(kept.get("/").status, 200);
    assert!(begun.elapsed() < Duration::from_millis(9900), "too slow a machine to tell");
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(10));
}

#[test]
fn what_does_not_end_in_time_is_closed() {
    let (_release, origin) = Origin::holding();
    let mut proxy =
        Proxy::start(&with_runtime(&config(&[origin.address()], ""), "drain_timeout = \"500ms\""));
    let mut client = held(&proxy, &origin);
    let begun = Instant::now();
    proxy.signal("TERM");
    let status = proxy.wait();
    assert!(begun.elapsed() >= Duration::from_millis(450) && begun.elapsed() < Duration::from_secs(20));
    assert_eq!(status.code(), Some(0));
    assert_eq!(client.response("GET").status, 0);
    // It ends behind the last time that anybody flushes the log.
    assert_eq!(proxy.logged("/held")["status"], 499);
    eventually("the log says so", || proxy.log().iter().any(|line| line.contains("closing what is left")));
}

#[test]
fn a_second_signal_stops_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let (_release, origin) = Origin::holding();
        let mut proxy = Proxy::start(&config(&[origin.address()], ""));
        let _client = held(&proxy, &origin);
        let begun = Instant::now();
        proxy.signal(first);
        eventually("it drains", || is_draining(&proxy));
        assert!(proxy.is_running());
        proxy.signal(second);
        assert_eq!(proxy.wait().code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(20), "the time to drain is 30 s");
    }
}

#[test]
fn with_nothing_open_it_stops_at_once() {
    let (_release, origin) = Origin::holding();
    let mut proxy = Proxy::start(&config(&[origin.address()], ""));
    assert_eq!(proxy.get("/").status, 200);
    let begun = Instant::now();
    proxy.signal("INT");
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20), "the time to drain is 30 s");
}

#[test]
fn other_signals_do_not_end_it() {
    let (_release, origin) = Origin::holding();
    let mut proxy = Proxy::start(&config(&[origin.address()], ""));
    let mut kept = proxy.connect();
    for signal in ["HUP", "USR1", "HUP"] {
        proxy.signal(signal);
        assert_eq!(kept.get("/").status, 200, "{signal}");
    }
    eventually("SIGHUP is logged", || proxy.log().iter().any(|line| line.contains("unchanged")));
    assert_eq!(kept.get("/").status, 200);
    assert!(proxy.is_running());
    // An upgrade: where this is late, another program has taken over.
    proxy.signal("USR2");
    let is_sent = kept.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok();
    let is_served = is_sent && kept.response("GET").status == 200 && proxy.is_running();
    eventually_within(UPGRADE, "it goes on, or another does", || is_served || !proxy.upgraded().is_empty());
}
