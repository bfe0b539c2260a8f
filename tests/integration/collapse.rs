//! One fetch for all who ask for the same at the same time; and nobody gets what is not for him, or waits for it.

use std::{
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::support::{
    Client, Origin, PATIENCE, Proxy, Reply, Request, client::Response, eventually, proxy::config,
};

/// Something that responses wait for.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<usize>, Condvar)>);

impl Gate {
    /// Lets one more through.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }

    pub fn pass(&self) {
        let passes = self.0.0.lock().unwrap();
        let (mut passes, _) = self.0.1.wait_timeout_while(passes, PATIENCE, |passes| *passes == 0).unwrap();
        *passes = passes.saturating_sub(1);
    }
}

const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// A configuration with a cache.
pub fn cached(backends: &[SocketAddr], cache: &str) -> String {
    config(backends, &format!("[[cache]]\nname = \"pages\"\n{cache}\n[admin]\naddress = \"127.0.0.1:0\"\n"))
        .replace("upstream = \"u\"", "upstream = \"u\"\ncache = \"pages\"")
}

/// The same without storing.
fn collapsing(backends: &[SocketAddr]) -> String {
    config(backends, "[admin]\naddress = \"127.0.0.1:0\"\n")
        .replace("upstream = \"u\"", "upstream = \"u\"\ncollapse = true")
}

/// A number of the metrics.
pub fn metric(proxy: &Proxy, name: &str) -> u64 {
    let text = Client::connect(proxy.address("admin")).get_with("/metrics", "localhost", "").text();
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn readers(proxy: &Proxy) -> u64 {
    metric(proxy, "pointsman_cache_fill_readers")
}

/// Requests of their own connections, each on a thread; all of them are on their way when this returns.
fn ask_all(proxy: &Proxy, count: usize, headers: &str) -> Vec<JoinHandle<Response>> {
    let before = readers(proxy);
    let asking: Vec<_> = (0..count).map(|_| ask(proxy, headers)).collect();
    eventually("all wait", || readers(proxy) == before + count as u64);
    asking
}

fn ask(proxy: &Proxy, headers: &str) -> JoinHandle<Response> {
    let (mut client, headers) = (proxy.connect(), headers.to_owned());
    std::thread::spawn(move || client.get_with("/page", "test", &headers))
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

/// A backend whose every response waits for the gate.
fn gated(gate: &Gate, reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| {
        gate.pass();
        reply(request)
    })
}

fn status_of(response: &Response) -> &str {
    response.header("cache-status").unwrap_or_default()
}

/// Else who takes a backend away since it does not answer has new requests wait for it all the same, and its answer kept.
#[test]
fn nobody_waits_for_a_backend_of_before_a_reload() {
    for (config, is_cached) in
        [(collapsing as fn(&[SocketAddr]) -> String, false), (|backends| cached(backends, ""), true)]
    {
        let gate = Gate::default();
        let former = gated(&gate, |_| Reply::Bytes(response("200 OK", FRESH, "former")));
        let origin = Origin::start(|_| Reply::Bytes(response("200 OK", FRESH, "of now")));
        let proxy = Proxy::start(&config(&[former.address()]));
        let waits = ask_all(&proxy, 2, "");
        proxy.edit(&config(&[origin.address()]));
        proxy.until_logged("configuration in force", 1);
        assert_eq!(ask(&proxy, "").join().unwrap().text(), "of now");
        gate.open();
        for waits in waits {
            assert_eq!(waits.join().unwrap().text(), "former", "they asked before");
        }
        assert_eq!(proxy.get("/page").text(), "of now");
        assert_eq!((former.requests().len(), origin.requests().len()), (1, if is_cached { 1 } else { 2 }));
    }
}

#[test]
fn a_hundred_ask_at_once_and_the_origin_hears_one() {
    let gate = Gate::default();
    let origin = gated(&gate, |_| Reply::Bytes(response("200 OK", FRESH, "hello")));
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    let asking = ask_all(&proxy, 100, "");
    gate.open();
    let responses: Vec<_> = asking.into_iter().map(|it| it.join().unwrap()).collect();
    assert!(responses.iter().all(|it| it.status == 200 && it.text() == "hello"));
    let leaders =
        responses.iter().filter(|it| status_of(it).starts_with("pointsman; fwd=uri-miss; stored; ttl="));
    assert_eq!(leaders.count(), 1);
    let waiters =
        responses.iter().filter(|it| status_of(it).starts_with("pointsman; fwd=uri-miss; collapsed; ttl="));
    assert_eq!(waiters.count(), 99);
    assert_eq!(origin.requests().len(), 1);
    let hit = proxy.get("/page");
    assert!(
        hit.text() == "hello" && status_of(&hit).starts_with("pointsman; hit; ttl="),
        "{}",
        status_of(&hit)
    );
    assert_eq!(origin.requests().len(), 1);
    // An exchange is counted once its response has gone out.
    let counts = || {
        let hits = metric(&proxy, "pointsman_cache_requests_total{cache=\"pages\",result=\"hit\"}");
        (metric(&proxy, "pointsman_collapsed_total"), hits)
    };
    eventually("all are counted", || counts() == (99, 1));
}

#[test]
fn requests_before_the_head_share_without_a_cache() {
    let gate = Gate::default();
    let origin = gated(&gate, |_| Reply::Bytes(response("200 OK", "", "hello")));
    let proxy = Proxy::start(&collapsing(&[origin.address()]));
    let asking = ask_all(&proxy, 20, "");
    gate.open();
    for response in asking {
        assert_eq!(response.join().unwrap().text(), "hello");
    }
    assert_eq!(origin.requests().len(), 1);
    let next = ask(&proxy, "");
    gate.open();
    assert_eq!(next.join().unwrap().text(), "hello");
    assert_eq!(origin.requests().len(), 2, "nothing was stored");
}

#[test]
fn a_private_response_releases_all_and_nobody_waits_again() {
    let forbidding = [
        ("200 OK", "Cache-Control: no-store\r\n"),
        ("200 OK", "Cache-Control: private\r\n"),
        ("200 OK", "Cache-Control: max-age=60\r\nSet-Cookie: a=1\r\n"),
        ("200 OK", "Cache-Control: max-age=60\r\nVary: *\r\n"),
        ("500 Oops", ""),
    ];
    for is_storing in [true, false] {
        for (status, headers) in forbidding {
            let gate = Gate::default();
            let origin = gated(&gate, move |_| Reply::Bytes(response(status, headers, "own")));
            let backends = [origin.address()];
            let text = if is_storing { cached(&backends, "") } else { collapsing(&backends) };
            let proxy = Proxy::start(&text);
            let asking = ask_all(&proxy, 5, "");
            gate.open();
            // All who were released ask now, at the same time, although none of them has an answer.
            eventually("everyone asks", || origin.connections() == 5);
            (0..4).for_each(|_| gate.open());
            for response in asking {
                assert_eq!(response.join().unwrap().text(), "own", "{status} {headers}");
            }
            assert_eq!(origin.requests().len(), 5);
            let fills = metric(&proxy, "pointsman_cache_fills_total");
            gate.open();
            assert_eq!(proxy.get("/page").text(), "own");
            assert_eq!(metric(&proxy, "pointsman_cache_fills_total"), fills, "nobody waits for it again");
        }
    }
}

#[test]
fn another_variant_is_fetched_once_for_all_who_want_it() {
    let gate = Gate::default();
    let origin = gated(&gate, |request| {
        let language = request.header("accept-language").unwrap_or("none").to_owned();
        Reply::Bytes(response("200 OK", &format!("{FRESH}Vary: Accept-Language\r\n"), &language))
    });
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    let mut asking = ask_all(&proxy, 10, "Accept-Language: de\r\n");
    asking.extend(ask_all(&proxy, 10, "Accept-Language: fr\r\n"));
    gate.open();
    gate.open();
    let texts: Vec<_> = asking.into_iter().map(|it| it.join().unwrap().text()).collect();
    assert!(texts[..10].iter().all(|it| it == "de") && texts[10..].iter().all(|it| it == "fr"), "{texts:?}");
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn first_bytes_reach_all_at_once_and_newcomers_join() {
    let (first, second) = (Gate::default(), Gate::default());
    let gates = (first.clone(), second.clone());
    let origin = Origin::start(move |_| {
        let (first, second) = gates.clone();
        Reply::Take(Box::new(move |connection| {
            first.pass();
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{FRESH}\r\nhello"));
            second.pass();
            connection.send("world");
        }))
    });
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    let mut clients: Vec<Client> = (0..10).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send("GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    eventually("all wait", || readers(&proxy) == 10);
    first.open();
    clients.push(proxy.connect());
    clients.last_mut().unwrap().send("GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
    for client in &mut clients {
        // The head and half of the body, while the other half is not there yet.
        client.until(b"\r\n\r\nhello").expect("the first half comes");
    }
    second.open();
    for client in &mut clients {
        assert_eq!(client.exactly(5), b"world");
    }
    assert_eq!(origin.requests().len(), 1);
    assert!(status_of(&proxy.get("/page")).starts_with("pointsman; hit; ttl="));
}

#[test]
fn a_leader_that_leaves_takes_nothing_from_those_who_wait() {
    let gate = Gate::default();
    let origin = gated(&gate, |_| Reply::Bytes(response("200 OK", FRESH, "hello")));
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    let mut leader = proxy.connect();
    leader.send("GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("it leads", || readers(&proxy) == 1);
    let asking = ask_all(&proxy, 5, "");
    drop(leader);
    eventually("it has left", || readers(&proxy) == 5);
    gate.open();
    for response in asking {
        assert_eq!(response.join().unwrap().text(), "hello");
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_fetch_for_which_nobody_waits_any_more_ends() {
    let gate = Gate::default();
    let origin = gated(&gate, |_| Reply::Bytes(response("200 OK", FRESH, "hello")));
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    let mut leader = proxy.connect();
    leader.send("GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("it leads", || readers(&proxy) == 1 && origin.connections() == 1);
    drop(leader);
    eventually("the fetch ends", || metric(&proxy, "pointsman_cache_fills_in_flight") == 0);
    gate.open();
}

#[test]
fn an_origin_that_dies_early_is_asked_once_more() {
    let gate = Gate::default();
    let origin = gated(&gate, |_| Reply::Close(Vec::new()));
    let text = cached(&[origin.address()], "")
        + "[upstream.outlier]\nconsecutive_failures = 1000\nfailure_percent = 0\n[upstream.retry]\nattempts = 1\n";
    // The upstream's tables must be before others begin.
    let (tables, rest) = text.split_once("[[cache]]").unwrap();
    let (cache, outlier) = rest.split_once("[upstream.outlier]").unwrap();
    let proxy = Proxy::start(&format!("{tables}[upstream.outlier]{outlier}[[cache]]{cache}"));
    let asking = ask_all(&proxy, 10, "");
    gate.open();
    eventually("one who waited asks again", || origin.requests().len() + origin.connections() >= 3);
    gate.open();
    for response in asking {
        assert_eq!(response.join().unwrap().status, 502);
    }
    assert_eq!(origin.requests().len(), 2);
    assert_eq!(metric(&proxy, "pointsman_cache_fills_taken_over_total"), 1);
}

#[test]
fn an_origin_that_dies_midway_breaks_every_body_unstored() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        if request.target == "/page" {
            let held = held.clone();
            return Reply::Take(Box::new(move |connection| {
                held.pass();
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{FRESH}\r\nhello"));
            }));
        }
        Reply::Text(200, "other".into())
    });
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    let asking = ask_all(&proxy, 5, "");
    gate.open();
    for response in asking {
        let response = response.join().unwrap();
        assert_eq!((response.text().as_str(), response.is_whole), ("hello", false));
    }
    let again = ask(&proxy, "");
    gate.open();
    assert!(!again.join().unwrap().is_whole);
    assert_eq!(origin.requests().len(), 2, "it was not stored");
    assert_eq!(metric(&proxy, "pointsman_cache_objects"), 0);
}

#[test]
fn a_slow_reader_slows_nobody() {
    const LENGTH: usize = 8 << 20;
    let gate = Gate::default();
    let origin = gated(&gate, |_| Reply::Bytes(response("200 OK", FRESH, &"x".repeat(LENGTH))));
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    let mut slow = proxy.connect();
    slow.send("GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("it leads", || readers(&proxy) == 1);
    let asking = ask_all(&proxy, 3, "");
    gate.open();
    for response in asking {
        assert_eq!(response.join().unwrap().body.len(), LENGTH);
    }
    // It has not read a byte yet, and still gets all of them.
    assert_eq!(slow.response("GET").body.len(), LENGTH);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn requests_with_credentials_ask_for_themselves_unless_configured_otherwise() {
    for (cache, requests) in [("", 3), ("[cache.collapse]\ncredentials = true", 1)] {
        let gate = Gate::default();
        let origin = gated(&gate, |_| Reply::Bytes(response("200 OK", FRESH, "hello")));
        let proxy = Proxy::start(&cached(&[origin.address()], cache));
        let asking: Vec<_> = (0..3).map(|_| ask(&proxy, "Cookie: a=1\r\n")).collect();
        if requests == 1 {
            eventually("all wait", || readers(&proxy) == 3);
        }
        eventually("they ask", || origin.connections() == requests);
        (0..requests).for_each(|_| gate.open());
        for response in asking {
            assert_eq!(response.join().unwrap().text(), "hello");
        }
        assert_eq!(origin.requests().len(), requests);
    }
}

#[test]
fn who_has_waited_long_enough_asks_for_himself() {
    let gate = Gate::default();
    let origin = gated(&gate, |_| Reply::Bytes(response("200 OK", FRESH, "hello")));
    let proxy = Proxy::start(&cached(&[origin.address()], "[cache.collapse]\ntimeout = \"50ms\""));
    let begun = Instant::now();
    let asking: Vec<_> = (0..2).map(|_| ask(&proxy, "")).collect();
    eventually("both ask", || origin.connections() == 2);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    gate.open();
    gate.open();
    for response in asking {
        assert_eq!(response.join().unwrap().text(), "hello");
    }
}

#[test]
fn head_waits_for_get_and_get_never_for_head() {
    let gate = Gate::default();
    let origin = gated(&gate, |_| Reply::Bytes(response("200 OK", FRESH, "hello")));
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    let asking = ask_all(&proxy, 1, "");
    let mut head = proxy.connect();
    head.send("HEAD /page HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually("it waits", || readers(&proxy) == 2);
    gate.open();
    let answer = head.response("HEAD");
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")));
    assert_eq!(asking.into_iter().next().unwrap().join().unwrap().text(), "hello");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_part_is_served_from_the_whole_that_was_fetched() {
    let gate = Gate::default();
    let origin = gated(&gate, |_| Reply::Bytes(response("200 OK", FRESH, "hello world")));
    let proxy = Proxy::start(&cached(&[origin.address()], ""));
    let asking = ask_all(&proxy, 1, "Range: bytes=6-\r\n");
    let others = ask_all(&proxy, 1, "Range: bytes=0-4\r\n");
    gate.open();
    let parts: Vec<_> = asking.into_iter().chain(others).map(|it| it.join().unwrap()).collect();
    assert_eq!((parts[0].status, parts[0].text().as_str()), (206, "world"));
    assert_eq!((parts[1].status, parts[1].text().as_str()), (206, "hello"));
    assert_eq!(parts[0].header("content-range"), Some("bytes 6-10/11"));
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(origin.last().header("range"), None, "the whole was asked for");
}

#[test]
fn a_stop_waits_for_a_fetch_that_is_read_elsewhere() {
    // In each round the two are on one worker or on two, as the kernel has it.
    for _ in 0..4 {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            let held = held.clone();
            Reply::Take(Box::new(move |connection| {
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{FRESH}\r\nhello"));
                held.pass();
                connection.send("world");
            }))
        });
        let mut proxy = Proxy::start(&cached(&[origin.address()], ""));
        let (mut leader, mut reader) = (proxy.connect(), proxy.connect());
        for client in [&mut leader, &mut reader] {
            client.send("GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
            client.until(b"\r\n\r\nhello").expect("the first half comes");
        }
        drop(leader);
        eventually("it has left", || readers(&proxy) == 1);
        proxy.signal("TERM");
        proxy.until_logged("draining", 1);
        assert!(reader.is_silent_for(Duration::from_millis(100)), "nothing ends it");
        gate.open();
        assert_eq!(reader.exactly(5), b"world");
        assert!(proxy.wait().success());
        assert_eq!(origin.requests().len(), 1);
    }
}
