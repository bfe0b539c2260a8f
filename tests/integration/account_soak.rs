//! Random aborts, floods, reloads, purges and backends that come and go; then every account is at zero.
//!
//! A few seconds in every run; `tests/soak/accounts` takes ten minutes, or as many as it is told.

use std::{
    fs,
    io::Read,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::{
    collapse::metric,
    support::{Client, Origin, Proxy, Reply, Request, eventually, nobody},
};

const CLIENTS: u64 = 12;

fn seconds() -> u64 {
    std::env::var("POINTSMAN_SOAK_SECONDS").ok().map_or(5, |value| value.parse().expect("a number"))
}

fn text(backends: [SocketAddr; 2], edit: usize) -> String {
    let backends = backends.map(|address| format!("[[upstream.backend]]\naddress = \"{address}\"\n"));
    format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\naccess = \"off\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         timeouts = {{ header = \"300ms\", body = \"300ms\", idle = \"300ms\" }}\n\
         [[route]]\nname = \"cached\"\npaths = [\"/c/*\"]\nupstream = \"u\"\ncache = \"pages\"\n\
         [[route]]\nname = \"all\"\nupstream = \"u\"\n[route.request_headers]\nset = {{ x-edit = \"{edit}\" }}\n\
         [[cache]]\nname = \"pages\"\nmemory = \"4MiB\"\n\
         [[upstream]]\nname = \"u\"\nidle_timeout = \"500ms\"\nresponse_timeout = \"2s\"\nbody_timeout = \"500ms\"\n\
         queue = {{ size = 20, timeout = \"500ms\" }}\noutlier = {{ consecutive_failures = 0, failure_percent = 0 }}\n{}",
        backends.concat().replace("address", "max_connections = 5\naddress")
    )
}

/// A backend of whims.
fn backend(address: SocketAddr) -> Origin {
    Origin::start_at(address, |request: &Request| {
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\n";
        let body = "x".repeat(fastrand::usize(..200_000));
        match fastrand::u8(..10) {
            0 => Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec()),
            1 => Reply::Close(b"garbage".to_vec()),
            2 => Reply::Close(Vec::new()),
            3 => {
                std::thread::sleep(Duration::from_millis(fastrand::u64(..50)));
                Reply::Text(200, request.target.clone())
            }
            4 => Reply::Bytes(
                format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").into_bytes(),
            ),
            _ => Reply::Bytes(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()),
        }
    })
}

/// One client's visit.
fn visit(address: SocketAddr, rng: &mut Rng) {
    let Ok(mut client) = Client::try_connect(address) else { return };
    let target = if rng.bool() { format!("/c/{}", rng.u8(..20)) } else { "/x".to_owned() };
    for _ in 0..rng.usize(1..5) {
        let sent = match rng.u8(..8) {
            0 => format!("GET {target} HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(rng.usize(..20_000))),
            1 => format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc"),
            2 => format!(
                "PUT {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            ),
            3 => "GET / HTTP/1.1\r\n\r\n".to_owned(),
            4 => format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(10),
            _ => format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
        };
        if client.try_send(sent).is_err() {
            return;
        }
        match rng.u8(..4) {
            // It leaves at any moment.
            0 => return,
            1 => {
                let mut some = vec![0; rng.usize(1..5000)];
                let _ = client.stream.read(&mut some);
                return;
            }
            _ => {
                client.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                let mut some = [0; 64 * 1024];
                while client.stream.read(&mut some).is_ok_and(|length| length > 0) {}
            }
        }
    }
}

fn descriptors(proxy: &Proxy) -> usize {
    fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count()
}

/// What is under way, by every account that there is.
fn under_way(proxy: &Proxy) -> Vec<(String, u64)> {
    let metrics = Client::connect(proxy.address("admin")).get_with("/metrics", "localhost", "").text();
    let accounts = [
        "pointsman_connections{",
        "pointsman_backend_in_flight{",
        "pointsman_queue_length{",
        "pointsman_cache_fills_in_flight{",
        "pointsman_cache_fill_readers{",
        "pointsman_memory_bytes{",
    ];
    for account in accounts {
        assert!(metrics.lines().any(|line| line.starts_with(account)), "no {account}: {metrics}");
    }
    let lines = metrics.lines().filter(|line| accounts.iter().any(|account| line.starts_with(account)));
    lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .filter(|(_, value)| *value > 0)
        .collect()
}

#[test]
fn every_account_is_at_zero_after_random_abuse() {
    let addresses = [nobody(), nobody()];
    let backends = Arc::new(Mutex::new(addresses.map(|address| Some(backend(address)))));
    let proxy = Proxy::start(&text(addresses, 0));
    let web = proxy.address("web");
    let abuse = |seconds: u64| {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for seed in 0..CLIENTS {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(seed);
                    while !is_over.load(Relaxed) {
                        visit(web, &mut rng);
                    }
                });
            }
            let end = Instant::now() + Duration::from_secs(seconds);
            let mut edit = 0;
            while Instant::now() < end {
                edit += 1;
                std::thread::sleep(Duration::from_millis(fastrand::u64(20..200)));
                match fastrand::u8(..4) {
                    0 => {
                        let which = fastrand::usize(..2);
                        let mut backends = backends.lock().unwrap();
                        // Its address is free once it is dropped.
                        drop(backends[which].take());
                        std::thread::sleep(Duration::from_millis(fastrand::u64(..100)));
                        backends[which] = Some(backend(addresses[which]));
                    }
                    1 => {
                        let mut admin = Client::connect(proxy.address("admin"));
                        admin.send(
                            "POST /api/v1/caches/pages/purge HTTP/1.1\r\nHost: localhost\r\n\
                             Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"all\":true}",
                        );
                        let _ = admin.response("POST");
                    }
                    _ => proxy.edit(&text(addresses, edit)),
                }
            }
            is_over.store(true, Relaxed);
        });
    };
    // Once for what is made when it is first needed.
    abuse(2);
    eventually("all accounts are at zero", || under_way(&proxy).is_empty());
    let (memory, open) = (proxy.memory(), descriptors(&proxy));
    abuse(seconds());
    eventually("all accounts are at zero again", || {
        let left = under_way(&proxy);
        left.is_empty() || {
            println!("{left:?}");
            false
        }
    });
    eventually("no descriptor is left", || descriptors(&proxy) <= open + 4);
    let after = proxy.memory();
    // The cache, which is not filled at once, and what an allocator keeps.
    let room = memory / 10 + (16 << 20);
    assert!(after <= memory + room, "{} KiB before, {} KiB after", memory >> 10, after >> 10);
    assert_eq!(metric(&proxy, "pointsman_panics_total"), 0);
}
