//! Idle connections without a task: they serve on, and end as others do.

use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::support::{
    Client, Origin, Proxy, eventually,
    proxy::{config, config_of},
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// Sockets that the program waits for by an epoll instance within that of an event loop: those that are parked.
fn parked(proxy: &Proxy) -> usize {
    instances(proxy).unwrap_or_default()
}

fn instances(proxy: &Proxy) -> io::Result<usize> {
    let of = PathBuf::from(format!("/proc/{}", proxy.pid()));
    let mut watched = Vec::new();
    for entry in fs::read_dir(of.join("fd"))? {
        let entry = entry?;
        if fs::read_link(entry.path()).is_ok_and(|it| it.as_os_str() == "anon_inode:[eventpoll]") {
            let number = entry.file_name().to_string_lossy().into_owned();
            let lines = fs::read_to_string(of.join("fdinfo").join(&number))?;
            let sockets =
                lines.lines().filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next());
            watched.push((number, sockets.map(str::to_owned).collect::<Vec<_>>()));
        }
    }
    let is_inner = |number: &String| watched.iter().any(|(_, sockets)| sockets.contains(number));
    Ok(watched.iter().filter(|(number, _)| is_inner(number)).map(|(_, sockets)| sockets.len()).sum())
}

fn until_parked(proxy: &Proxy, count: usize) {
    eventually("they are parked", || parked(proxy) == count);
}

fn connection_count(proxy: &Proxy) -> u64 {
    let mut admin = Client::connect(proxy.address("admin"));
    let answer = admin.get_with("/api/v1/connections", "localhost", "");
    serde_json::from_str::<serde_json::Value>(&answer.text()).unwrap()["total"].as_u64().unwrap()
}

#[test]
fn a_parked_connection_serves_on_and_is_parked_again() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let mut clients: Vec<Client> = (0..300).map(|_| proxy.connect()).collect();
    for _ in 0..2 {
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
        until_parked(&proxy, 300);
        assert_eq!(connection_count(&proxy), 300);
    }
    // All at once, and in pieces.
    clients.iter_mut().for_each(|client| client.send("GET / HT"));
    clients.iter_mut().for_each(|client| client.send("TP/1.1\r\nHost: a\r\n\r\n"));
    clients.iter_mut().for_each(|client| assert_eq!(client.response("GET").status, 200));
    until_parked(&proxy, 300);
    drop(clients);
    until_parked(&proxy, 0);
    eventually("all have ended", || connection_count(&proxy) == 0);
}

#[test]
fn a_parked_connection_ends_when_its_time_is_over() {
    let origin = Origin::named("a");
    let text = config_of(&[origin.address().to_string()], "timeouts = { idle = \"6s\" }", "");
    let proxy = Proxy::start(&text);
    let mut client = proxy.connect();
    let begun = Instant::now();
    assert_eq!(client.get("/").status, 200);
    until_parked(&proxy, 1);
    assert!(client.is_closed());
    assert!(begun.elapsed() > Duration::from_millis(5900), "{:?}", begun.elapsed());
    until_parked(&proxy, 0);
}

#[test]
fn a_parked_connection_has_its_grace_when_the_program_stops() {
    assert!((0..5).any(|_| has_its_grace_when_the_program_stops()), "it was always late");
}

/// False where this was late: the grace is a second.
fn has_its_grace_when_the_program_stops() -> bool {
    let origin = Origin::named("a");
    let mut proxy = Proxy::start(&config(&[origin.address()], ""));
    let (mut idle, mut late) = (proxy.connect(), proxy.connect());
    assert_eq!((idle.get("/").status, late.get("/").status), (200, 200));
    until_parked(&proxy, 2);
    let begun = Instant::now();
    proxy.signal("TERM");
    eventually("it drains", || proxy.log().iter().any(|line| line.contains("\"draining\"")));
    let mut is_late = false;
    // A worker hears of it a moment after it is logged, and serves on until then.
    eventually("it is told to go", || {
        let response = late.get("/late");
        is_late = response.status == 0 && begun.elapsed() >= Duration::from_secs(1);
        assert!(response.status == 200 || is_late, "{}", response.status);
        is_late || response.header("connection") == Some("close")
    });
    assert!(late.is_closed());
    assert!(idle.is_closed(), "after the grace");
    assert_eq!(proxy.wait().code(), Some(0));
    !is_late
}

#[test]
fn a_parked_connection_can_be_ended_by_its_id() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status, 200);
    until_parked(&proxy, 1);
    let mut admin = Client::connect(proxy.address("admin"));
    let answer = admin.get_with("/api/v1/connections", "localhost", "");
    let answer: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    let listed = &answer["connections"][0];
    assert_eq!(listed["protocol"], "http/1.1");
    assert!(listed["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{listed}");
    let id = listed["id"].as_str().unwrap();
    admin.send(format!("DELETE /api/v1/connections/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(admin.response("DELETE").status, 200);
    assert!(client.is_closed());
    assert_eq!((connection_count(&proxy), parked(&proxy)), (0, 0));
}
