//! Backends that fail: taken out by checks and by real traffic, and back; none of it seen by clients.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    balancing,
    collapse::metric,
    support::{
        Client, Origin, PATIENCE, Proxy, Reply, eventually, nobody,
        proxy::{config, config_of},
    },
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// The backends of the upstream `u`, as the admin endpoint reports.
pub fn backends(proxy: &Proxy) -> Vec<Value> {
    let response = Client::connect(proxy.address("admin")).get_with("/api/v1/upstreams/u", "localhost", "");
    let upstream: Value = serde_json::from_slice(&response.body).unwrap();
    upstream["backends"].as_array().unwrap().clone()
}

fn state(proxy: &Proxy, index: usize) -> String {
    backends(proxy)[index]["state"].as_str().unwrap().to_owned()
}

/// Whether the log has a line about a backend with all of these words.
fn says(proxy: &Proxy, words: &[&str]) -> bool {
    proxy.log().iter().any(|line| words.iter().all(|word| line.contains(word)))
}

/// A backend whose status is set from outside.
fn switched() -> (Arc<AtomicU16>, Origin) {
    let status = Arc::new(AtomicU16::new(200));
    let shown = status.clone();
    (status, Origin::start(move |_| Reply::Text(shown.load(SeqCst), "switched".into())))
}

#[test]
fn checks_take_a_backend_out_and_in_and_say_why() {
    let (status, first) = switched();
    let second = Origin::named("second");
    let more = "[upstream.health_check]\ninterval = \"20ms\"\nrise = 2\nfall = 3\npath = \"/health\"\nhost = \"check.test\"\n";
    let proxy = Proxy::start(&(config(&[first.address(), second.address()], more) + ADMIN));
    eventually("checks come", || first.requests().len() > 3);
    let check = first.last();
    assert_eq!((check.target.as_str(), check.header("host")), ("/health", Some("check.test")));
    assert_eq!(state(&proxy, 0), "up");
    status.store(404, SeqCst);
    eventually("it is down", || state(&proxy, 0) == "down");
    let why = backends(&proxy)[0]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("3 checks in a row failed") && why.contains("404"), "{why}");
    eventually("the log says so", || says(&proxy, &["backend is down", "404", "\"b0\"", "\"u\"", "WARN"]));
    assert_eq!(state(&proxy, 1), "up");
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "second");
    }
    assert!(first.requests().iter().all(|request| request.target == "/health"), "no request went there");
    status.store(200, SeqCst);
    eventually("it is up", || state(&proxy, 0) == "up");
    eventually("the log says so", || says(&proxy, &["backend is up", "passed 2 checks in a row"]));
    eventually("it serves", || proxy.get("/").text() == "switched");
}

/// No exchange ends there meanwhile, which would call the one that waits; and who comes later is behind it.
#[test]
fn a_queued_request_waits_for_no_backend_that_is_down() {
    let status = Arc::new(AtomicU16::new(200));
    let (release, held) = mpsc::channel::<()>();
    let (shown, held) = (status.clone(), Mutex::new(held));
    let is_held = Arc::new(AtomicBool::new(false));
    let has_come = is_held.clone();
    let origin = Origin::start(move |request| {
        if request.target == "/held" {
            has_come.store(true, SeqCst);
            held.lock().unwrap().recv().unwrap();
        }
        let status = if request.target == "/health" { shown.load(SeqCst) } else { 200 };
        Reply::Text(status, request.target.clone())
    });
    // One that is late on a busy machine has not failed.
    let checks = "[upstream.health_check]\ninterval = \"20ms\"\ntimeout = \"10s\"\nrise = 1\nfall = 1\npath = \"/health\"\n"
        .to_owned();
    let backend = (origin.address(), "max_connections = 1");
    let proxy = Proxy::start(&balancing::config(
        "queue = { size = 3, timeout = \"10s\" }",
        &[backend],
        &(checks + ADMIN),
    ));
    let [mut holds, mut waits] = [proxy.connect(), proxy.connect()];
    holds.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it has the place", || is_held.load(SeqCst));
    waits.send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it waits", || metric(&proxy, "pointsman_queue_length") == 1);
    status.store(500, SeqCst);
    eventually("it is down", || state(&proxy, 0) == "down");
    // As who comes now: `when_all_down` is `fail`.
    let refused = waits.response("GET");
    assert_eq!((refused.status, proxy.get("/now").status), (503, 503));
    assert_eq!(proxy.logged("/waits")["error"], "no_backend");
    release.send(()).unwrap();
    assert_eq!(holds.response("GET").text(), "/held", "what is under way goes on");
    status.store(200, SeqCst);
    eventually("it is up again", || state(&proxy, 0) == "up");
    assert_eq!(waits.get("/later").text(), "/later");
}

#[test]
fn real_failures_eject_a_backend_for_a_while() {
    let (status, first) = switched();
    let second = Origin::named("second");
    let more = "[upstream.outlier]\nconsecutive_failures = 3\nbase_ejection = \"3s\"\n[upstream.retry]\nbudget_min_per_second = 1000\n";
    let proxy = Proxy::start(&(config(&[first.address(), second.address()], more) + ADMIN));
    status.store(503, SeqCst);
    let begun = Instant::now();
    let mut sent = 0;
    while state(&proxy, 0) != "ejected" {
        assert_eq!(proxy.get("/").text(), "second", "a retry hides the failure");
        sent += 1;
        assert!(sent < 50, "never ejected");
    }
    let why = backends(&proxy)[0]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("3 failures in a row") && why.contains("503"), "{why}");
    eventually("the log says so", || says(&proxy, &["backend is ejected", "503", "\"b0\""]));
    assert_eq!(first.requests().len(), 3);
    status.store(200, SeqCst);
    eventually("it serves again", || proxy.get("/").text() == "switched");
    assert!(begun.elapsed() >= Duration::from_millis(2900), "{:?}", begun.elapsed());
    eventually("the log says so", || says(&proxy, &["backend is up", "\"b0\""]));
}

#[test]
fn at_most_half_of_an_upstream_is_ejected() {
    let broken: Vec<Origin> =
        (0..4).map(|_| Origin::start(|_| Reply::Text(500 + 2, String::new()))).collect();
    let addresses: Vec<SocketAddr> = broken.iter().map(Origin::address).collect();
    let more = "[upstream.outlier]\nconsecutive_failures = 2\n[upstream.retry]\nattempts = 1\n";
    let proxy = Proxy::start(&(config(&addresses, more) + ADMIN));
    let mut client = proxy.connect();
    for _ in 0..100 {
        assert_eq!(client.get("/").status, 502, "the backend's own answer, never a 503 of ours");
    }
    let ejected = backends(&proxy).iter().filter(|backend| backend["state"] == "ejected").count();
    assert_eq!(ejected, 2);
}

#[test]
fn an_upstream_that_is_down_refuses_or_fails_open() {
    let origin = Origin::start(|request| {
        Reply::Text(if request.target == "/healthz" { 500 } else { 200 }, "used".into())
    });
    let more = "when_all_down = \"WHAT\"\n---\n[upstream.health_check]\ninterval = \"20ms\"\nfall = 1\n";
    let proxy = Proxy::start(&(config(&[origin.address()], &more.replace("WHAT", "fail")) + ADMIN));
    eventually("it is down", || state(&proxy, 0) == "down");
    let response = proxy.get("/none");
    assert_eq!(response.status, 503);
    assert!(response.header("proxy-status").unwrap().contains("destination_unavailable"));
    assert!(response.header("retry-after").is_some());
    assert!(response.text().contains("no backend is available"));
    let line = proxy.logged("/none");
    assert_eq!((line["error"].as_str(), line["status"].as_u64()), (Some("no_backend"), Some(503)));
    assert!(origin.requests().iter().all(|request| request.target == "/healthz"));
    let proxy = Proxy::start(&(config(&[origin.address()], &more.replace("WHAT", "use-all")) + ADMIN));
    eventually("it is down", || state(&proxy, 0) == "down");
    assert_eq!(proxy.get("/").text(), "used");
}

#[test]
fn an_unresolved_name_harms_nobody() {
    let origin = Origin::named("local");
    let local = format!("localhost:{}", origin.address().port());
    let nowhere = "nowhere.invalid:80".to_owned();
    let retry = "[upstream.outlier]\nconsecutive_failures = 0\nfailure_percent = 0\n[upstream.retry]\nbudget_min_per_second = 1000\n";
    let proxy = Proxy::start(&config_of(&[local, nowhere.clone()], "", retry));
    // From the first request on, which waits for the look-up.
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "local");
    }
    eventually("the log says so", || says(&proxy, &["nowhere.invalid", "does not resolve"]));
    let proxy = Proxy::start(&config_of(&[nowhere], "", retry));
    eventually("the look-up ends", || proxy.get("/").header("proxy-status").unwrap().contains("dns_error"));
    assert_eq!(proxy.get("/").status, 502);
}

/// How long backends are killed and restarted; the soak run sets it to a minute.
fn while_killing() -> Duration {
    let seconds = std::env::var("POINTSMAN_SOAK_SECONDS").ok().and_then(|it| it.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

#[test]
fn a_repeatedly_killed_backend_costs_no_request() {
    // Nobody else is given this port while its backend is gone.
    let address = nobody();
    let (left, right) = (Origin::named("left"), Origin::named("right"));
    let more = "[upstream.health_check]\nkind = \"tcp\"\ninterval = \"100ms\"\nrise = 1\nfall = 1\n\
                [upstream.outlier]\nbase_ejection = \"100ms\"\n";
    let proxy = Proxy::start(&config(&[address, left.address(), right.address()], more));
    let (is_over, served, killed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                while !is_over.load(SeqCst) {
                    let response = client.get("/");
                    if response.status != 200 || !response.is_whole {
                        is_over.store(true, SeqCst);
                        panic!("{response:?}");
                    }
                    served.fetch_add(1, SeqCst);
                }
            });
        }
        scope.spawn(|| {
            let end = Instant::now() + while_killing();
            // On a busy machine three of them may take longer.
            let is_enough = || killed.load(SeqCst) >= 3 || Instant::now() >= end + PATIENCE;
            while !(Instant::now() >= end && is_enough() || is_over.load(SeqCst)) {
                let origin = Origin::start_at(address, |_| Reply::Text(200, "killed".into()));
                let since = Instant::now();
                // It dies once it serves, or after a while in which it was not asked.
                while origin.requests().len() < 50 && since.elapsed() < Duration::from_millis(500) {
                    std::thread::sleep(Duration::from_millis(2));
                }
                if !origin.requests().is_empty() {
                    killed.fetch_add(1, SeqCst);
                }
                drop(origin);
                std::thread::sleep(Duration::from_millis(20));
            }
            is_over.store(true, SeqCst);
        });
    });
    let (served, killed) = (served.load(SeqCst), killed.load(SeqCst));
    assert!(served > 500 && killed >= 3, "{served} served, killed {killed} times");
}
