//! The disk tier of a cache: it outlives the process, holds more than memory does, and never gives out what is
//! damaged or purged.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use serde_json::json;

use crate::{
    caches::{admin, purge},
    collapse::{Gate, cached, metric},
    support::{Client, InTime, Origin, Proxy, Reply, client::Response, eventually, proxy},
};

const OBJECTS: &str = "pointsman_cache_disk_objects";

/// With the disk tier in a folder, which must not be that of a proxy: those end with it.
fn config(folder: &Path, backend: SocketAddr, more: &str) -> String {
    cached(&[backend], &format!("disk = {{ path = {folder:?}, size = \"1GiB\" }}\n{more}"))
}

fn fresh(body: &str, headers: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nCache-Control: max-age=60\r\n{headers}\r\n{body}"
        )
        .into_bytes(),
    )
}

fn kill(mut proxy: Proxy) {
    proxy.signal("KILL");
    proxy.wait();
}

fn status_of(response: &Response) -> String {
    response.header("cache-status").unwrap_or_default().to_owned()
}

/// It was stale, the origin said that it holds, and it is fresh for a minute but for the seconds that this took.
fn is_validated(response: &Response) {
    let status = status_of(response);
    let ttl = status.strip_prefix("pointsman; fwd=stale; fwd-status=304; ttl=");
    assert!(ttl.is_some_and(|ttl| (30..=60).contains(&ttl.parse::<u32>().unwrap())), "{status}");
}

/// Starts it with what is in a folder already, and waits until that is known.
fn start_again(text: &str, objects: u64) -> Proxy {
    let proxy = Proxy::start(text);
    eventually("the disk is looked through", || metric(&proxy, OBJECTS) == objects);
    proxy
}

/// The files of objects in a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if fs::metadata(&path).is_ok_and(|it| it.len() > 50) {
            // One that has gone meanwhile is none.
            files.push(path);
        }
    }
    files
}

#[test]
fn stored_responses_survive_a_kill_and_return_to_memory() {
    let origin = Origin::start(|request| fresh(&format!("this is {}", request.target), ""));
    let folder = proxy::folder();
    let text = config(&folder, origin.address(), "");
    let proxy = Proxy::start(&text);
    for target in ["/a", "/b"] {
        assert_eq!(proxy.get(target).text(), format!("this is {target}"));
    }
    eventually("both are on disk", || metric(&proxy, OBJECTS) == 2);
    kill(proxy);
    let proxy = start_again(&text, 2);
    for (turn, promoted) in [1, 1].into_iter().enumerate() {
        let response = proxy.get("/a");
        assert_eq!(response.text(), "this is /a");
        assert!(status_of(&response).starts_with("pointsman; hit; ttl="), "{turn}: {response:?}");
        assert_eq!(metric(&proxy, "pointsman_cache_promotions_total"), promoted);
    }
    assert_eq!(origin.requests().len(), 2, "nothing was asked for twice");
}

#[test]
fn bodies_larger_than_memory_are_served_from_disk() {
    const LENGTH: usize = 20 << 20;
    let body: String = (0..LENGTH).map(|at| char::from(b'a' + (at / 1000 % 26) as u8)).collect();
    let sent = body.clone();
    let origin = Origin::start(move |_| fresh(&sent, ""));
    let folder = proxy::folder();
    let text = config(&folder, origin.address(), "memory = \"1MiB\"\nmax_object = \"64MiB\"");
    let proxy = Proxy::start(&text);
    assert!(proxy.get("/large").body == body.as_bytes());
    eventually("it is on disk", || metric(&proxy, OBJECTS) == 1);
    let again = proxy.get("/large");
    assert!(again.body == body.as_bytes());
    assert!(status_of(&again).starts_with("pointsman; hit"), "{}", status_of(&again));
    let part = proxy.connect().get_with("/large", "test", "Range: bytes=15000000-15000099\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &body.as_bytes()[15_000_000..15_000_100]));
    kill(proxy);
    let proxy = start_again(&text, 1);
    let part = proxy.connect().get_with("/large", "test", "Range: bytes=-10\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &body.as_bytes()[LENGTH - 10..]));
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(metric(&proxy, "pointsman_cache_objects"), 0, "it does not fit into memory");
}

#[test]
fn what_is_stale_on_disk_is_validated_and_fresh_again() {
    for length in [10, 3 << 20] {
        let body = "x".repeat(length);
        let sent = body.clone();
        let origin = Origin::start(move |request| match request.header("if-none-match") {
            Some("\"1\"") => Reply::Bytes(
                b"HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: \"1\"\r\n\r\n".to_vec(),
            ),
            _ => fresh(&sent, "ETag: \"1\"\r\nAge: 100\r\n"),
        });
        let folder = proxy::folder();
        let text = config(&folder, origin.address(), "");
        let proxy = Proxy::start(&text);
        assert!(proxy.get("/a").body == body.as_bytes());
        eventually("it is on disk", || metric(&proxy, OBJECTS) == 1);
        kill(proxy);
        let proxy = start_again(&text, 1);
        let response = proxy.get("/a");
        assert!(response.body == body.as_bytes(), "{length}: {} bytes", response.body.len());
        is_validated(&response);
        eventually("the newer head is kept", || status_of(&proxy.get("/a")).starts_with("pointsman; hit"));
        assert_eq!(origin.requests().len(), 2, "{length}");
        if length == 10 {
            // In memory it is fresh before it is on disk, and nothing says when it is there too.
            continue;
        }
        eventually("it is on disk too", || metric(&proxy, "pointsman_cache_disk_waiting_bytes") == 0);
        kill(proxy);
        let proxy = start_again(&text, 1);
        assert!(status_of(&proxy.get("/a")).starts_with("pointsman; hit"));
        assert_eq!(origin.requests().len(), 2);
    }
}

#[test]
fn what_is_damaged_is_asked_for_again_and_never_served() {
    let body = "x".repeat(100_000);
    let sent = body.clone();
    let origin = Origin::start(move |_| fresh(&sent, ""));
    let folder = proxy::folder();
    let text = config(&folder, origin.address(), "");
    let proxy = Proxy::start(&text);
    proxy.get("/a");
    eventually("it is on disk", || metric(&proxy, OBJECTS) == 1);
    kill(proxy);
    let file = files(&folder).into_iter().max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[70_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    let proxy = start_again(&text, 1);
    let response = proxy.get("/a");
    assert!(response.body == body.as_bytes() && response.is_whole);
    assert_eq!(origin.requests().len(), 2);
    assert_eq!(metric(&proxy, "pointsman_cache_disk_events_total{cache=\"pages\",event=\"damaged\"}"), 1);
}

#[test]
fn what_was_written_to_is_gone_from_disk_too() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "GET" => fresh("old", ""),
        _ => Reply::Text(200, "done".into()),
    });
    for headers in ["", "key = { headers = [\"x-tenant\"] }"] {
        let folder = proxy::folder();
        let text = config(&folder, origin.address(), headers);
        let proxy = Proxy::start(&text);
        for target in ["/a", "/b"] {
            proxy.connect().get_with(target, "test", "X-Tenant: one\r\n");
        }
        eventually("both are on disk", || metric(&proxy, OBJECTS) == 2);
        kill(proxy);
        let proxy = start_again(&text, 2);
        let before = origin.requests().len();
        let mut client = proxy.connect();
        client.send("PUT /a HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nnew");
        assert_eq!(client.response("PUT").text(), "done");
        assert_eq!(client.get_with("/b", "test", "X-Tenant: one\r\n").text(), "old");
        assert_eq!(origin.requests().len(), before + 1, "its neighbour is still there");
        client.get_with("/a", "test", "X-Tenant: one\r\n");
        assert_eq!(origin.requests().len(), before + 2, "it was asked for again");
    }
}

/// Purges while others ask: at each, something is whole and waits to be written. It comes to disk behind the purge, and
/// nobody asks for it until the next start, when nobody knows of the purge any more.
#[test]
fn what_waits_for_the_disk_is_purged_despite_a_kill() {
    const ROUNDS: usize = 30;
    let purged = Arc::new(AtomicUsize::new(0));
    let has_begun = purged.clone();
    let origin = Origin::start(move |request| {
        let round = request.target.split('/').nth(1).unwrap().parse::<usize>().unwrap();
        // What is asked for behind a purge is not meant by it.
        fresh(if round < has_begun.load(SeqCst) { "late" } else { "before the purge" }, "")
    });
    let folder = proxy::folder();
    let proxy = Proxy::start(&config(&folder, origin.address(), ""));
    let asked = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                while purged.load(SeqCst) < ROUNDS {
                    let target = format!("/{}/{}", purged.load(SeqCst), asked.fetch_add(1, SeqCst));
                    assert_eq!(client.get(&target).status, 200);
                }
            });
        }
        for round in 0..ROUNDS {
            let before = asked.load(SeqCst);
            eventually("some more are asked for", || asked.load(SeqCst) > before + 40);
            purged.store(round + 1, SeqCst);
            purge(&proxy, &json!({"prefix": format!("http://test/{round}/")}));
        }
    });
    eventually("nothing waits", || metric(&proxy, "pointsman_cache_disk_waiting_bytes") == 0);
    kill(proxy);
    let is_old = |file: &PathBuf| fs::read(file).unwrap().starts_with(b"before the purge");
    let old = files(&folder).into_iter().filter(|file| !file.starts_with(folder.join("new")) && is_old(file));
    assert_eq!(old.count(), 0);
}

#[test]
fn a_second_program_reports_that_the_folder_is_taken() {
    let origin = Origin::named("one");
    let folder = proxy::folder();
    let text = config(&folder, origin.address(), "");
    let first = Proxy::start(&text);
    let folder = first.folder().to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["run", "--config"])
        .arg(folder.join("pointsman.toml"))
        .stdin(Stdio::null())
        .in_time()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot open the disk of cache `pages`"), "{said}");
    assert_eq!(first.get("/").text(), "one");
}

#[test]
fn a_disk_follows_the_configuration_unless_it_is_bad() {
    let origin = Origin::start(|_| fresh("hello", ""));
    let folder = proxy::folder();
    let without = cached(&[origin.address()], "");
    let with = config(&folder, origin.address(), "");
    let proxy = Proxy::start(&without);
    proxy.edit(&with);
    proxy.until_logged("configuration in force", 1);
    proxy.get("/a");
    eventually("it is on disk", || metric(&proxy, OBJECTS) == 1);
    let occupied = proxy.folder().join("occupied");
    fs::write(&occupied, "a file").unwrap();
    let bad = with.replace(&format!("{folder:?}"), &format!("{:?}", occupied.join("below")));
    proxy.edit(&bad);
    eventually("it is refused", || metric(&proxy, "pointsman_config_last_reload_success") == 0);
    assert_eq!(metric(&proxy, OBJECTS), 1);
    assert!(status_of(&proxy.get("/a")).starts_with("pointsman; hit"));
}

#[test]
fn the_next_program_takes_the_disk_over() {
    let origin = Origin::start(|_| fresh("hello", ""));
    let folder = proxy::folder();
    let text = config(&folder, origin.address(), "");
    let proxy = Proxy::start(&text);
    proxy.get("/a");
    eventually("it is on disk", || metric(&proxy, OBJECTS) == 1);
    proxy.signal("USR2");
    proxy.until_upgraded(1);
    proxy.until_logged("took over the disk of the cache", 1);
    eventually("it is known", || metric(&proxy, OBJECTS) == 1);
    assert!(status_of(&proxy.get("/a")).starts_with("pointsman; hit"));
    assert_eq!(origin.requests().len(), 1);
}

/// A client reads from it for as long as it likes, and the next program has its own reloads and purges.
#[test]
fn what_comes_while_the_program_before_has_the_disk_holds() {
    let body = "x".repeat(20 << 20);
    let origin = Origin::start(move |_| fresh(&body, ""));
    let folder = proxy::folder();
    let text = config(&folder, origin.address(), "memory = \"1MiB\"\nmax_object = \"64MiB\"");
    let proxy = Proxy::start(&text);
    proxy.get("/large");
    eventually("it is on disk", || metric(&proxy, OBJECTS) == 1);
    let mut slow = proxy.connect();
    slow.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(slow.until(b"\r\n\r\n").is_some());
    proxy.signal("USR2");
    proxy.until_upgraded(1);
    proxy.until_logged("draining", 1);
    let generation = || metric(&proxy, "pointsman_config_generation");
    let before = generation();
    proxy.edit(&format!("{text}\n# The same.\n"));
    eventually("it is in force", || generation() > before);
    purge(&proxy, &json!({"url": "http://test/large"}));
    assert_eq!(proxy.count_logged("took over the disk of the cache"), 0);
    drop(slow);
    proxy.until_logged("took over the disk of the cache", 1);
    eventually("it is gone", || metric(&proxy, OBJECTS) == 0);
    let status = status_of(&proxy.get("/large"));
    assert!(status.contains("fwd=uri-miss"), "{status}");
}

#[test]
fn a_purge_removes_from_disk_and_spares_neighbours() {
    let origin = Origin::start(|request| {
        fresh("hello", &format!("Surrogate-Key: {}\r\n", request.target.trim_start_matches('/')))
    });
    for body in [json!({"url": "http://test/a"}), json!({"prefix": "http://test/a"}), json!({"tag": "a"})] {
        let folder = proxy::folder();
        let text = config(&folder, origin.address(), "");
        let proxy = Proxy::start(&text);
        for target in ["/a", "/b"] {
            assert_eq!(proxy.connect().get_with(target, "test", "").text(), "hello");
        }
        let disk = || admin(&proxy, "/api/v1/caches")["caches"][0]["stored"]["disk"].clone();
        // What is written is counted a moment after it is there.
        eventually("both are on disk", || metric(&proxy, OBJECTS) == 2 && disk()["written"] == 2);
        assert_eq!(purge(&proxy, &body), 1, "{body}");
        let disk = disk();
        assert_eq!((&disk["objects"], &disk["written"]), (&json!(1), &json!(2)), "{disk}");
        kill(proxy);
        let proxy = start_again(&text, 1);
        let explained = admin(&proxy, "/api/v1/explain?url=http://test/b");
        let cache = &explained["listeners"][0]["action"]["forward"]["cache"];
        assert_eq!(cache["stored"]["result"], "on-disk", "{cache}");
        let status = |target| status_of(&proxy.connect().get_with(target, "test", ""));
        assert!(
            status("/b").starts_with("pointsman; hit") && status("/a").contains("fwd=uri-miss"),
            "{body}"
        );
        drop(proxy);
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn a_purge_during_a_validation_reaches_the_disk() {
    for (length, is_killed) in [(10, false), (3 << 20, false), (10, true), (3 << 20, true)] {
        let (gate, body) = (Gate::default(), "x".repeat(length));
        let (held, sent) = (gate.clone(), body.clone());
        let origin = Origin::start(move |request| match request.header("if-none-match") {
            Some("\"1\"") => {
                held.pass();
                Reply::Bytes(b"HTTP/1.1 304 X\r\nCache-Control: max-age=60\r\nETag: \"1\"\r\n\r\n".to_vec())
            }
            _ => fresh(&sent, "ETag: \"1\"\r\nAge: 100\r\n"),
        });
        let folder = proxy::folder();
        let text = config(&folder, origin.address(), "");
        let proxy = Proxy::start(&text);
        proxy.get("/a");
        eventually("it is on disk", || metric(&proxy, OBJECTS) == 1);
        kill(proxy);
        let mut proxy = start_again(&text, 1);
        let mut client = proxy.connect();
        client.send("GET /a HTTP/1.1\r\nHost: test\r\n\r\n");
        eventually("the origin is asked", || origin.connections() == 2);
        crate::caches::purge(&proxy, &serde_json::json!({"all": true, "soft": true}));
        gate.open();
        assert!(client.response("GET").body == body.as_bytes());
        eventually("all is written", || metric(&proxy, "pointsman_cache_disk_waiting_bytes") == 0);
        if is_killed {
            // Nobody knows of the purge any more, but by what is on disk.
            kill(proxy);
            proxy = start_again(&text, 1);
        }
        gate.open();
        is_validated(&proxy.get("/a"));
        assert_eq!(origin.requests().len(), 3, "{length}");
    }
}

#[test]
fn what_nobody_asks_for_leaves_memory_and_disk() {
    let origin = Origin::start(|request| fresh(&format!("this is {}", request.target), ""));
    let folder = proxy::folder();
    let proxy = Proxy::start(&config(&folder, origin.address(), "inactive = \"5s\"\n"));
    let mut client = proxy.connect();
    for target in ["/asked", "/left"] {
        assert_eq!(client.get(target).status, 200);
    }
    eventually("both are on disk", || metric(&proxy, OBJECTS) == 2);
    // Hits in memory keep what is on disk, too; whatever is waited for may take longer than it is kept without.
    let keep = |client: &mut Client| {
        assert!(status_of(&client.get("/asked")).starts_with("pointsman; hit"));
    };
    eventually("one has left the disk", || {
        keep(&mut client);
        metric(&proxy, OBJECTS) == 1
    });
    let evicted = |tier| {
        metric(
            &proxy,
            &format!(
                "pointsman_cache_evictions_total{{cache=\"pages\",tier=\"{tier}\",reason=\"inactive\"}}"
            ),
        )
    };
    eventually("both are counted", || {
        keep(&mut client);
        (evicted("memory"), evicted("disk")) == (1, 1)
    });
    eventually("its file is deleted", || {
        keep(&mut client);
        files(&folder).len() == 1
    });
    assert_eq!(origin.requests().len(), 2);
    assert!(status_of(&client.get("/left")).starts_with("pointsman; fwd=uri-miss; stored"));
    keep(&mut client);
    // It is killed: what has not been written yet would be gone.
    eventually("both are on disk again", || {
        keep(&mut client);
        client.get("/left");
        metric(&proxy, OBJECTS) == 2 && metric(&proxy, "pointsman_cache_disk_waiting_bytes") == 0
    });
    drop(proxy);
    let proxy = start_again(&config(&folder, origin.address(), "inactive = \"5s\"\n"), 2);
    eventually("after a start they leave, too", || metric(&proxy, OBJECTS) == 0);
}

/// The next program has no disk, and nobody tells it that the folder is to hear of its writes.
#[test]
fn a_folder_out_at_an_upgrade_comes_back_empty() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "GET" => fresh("hello", ""),
        _ => Reply::Bytes(b"HTTP/1.1 204 X\r\n\r\n".to_vec()),
    });
    let folder = proxy::folder();
    let text = config(&folder, origin.address(), "");
    let without: String =
        text.lines().filter(|line| !line.starts_with("disk")).map(|line| format!("{line}\n")).collect();
    let proxy = Proxy::start(&text);
    proxy.get("/a");
    eventually("it is on disk", || metric(&proxy, OBJECTS) == 1);
    proxy.edit(&without);
    proxy.until_logged("configuration in force", 1);
    let is_marked = || {
        let mut names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.any(|name| name.to_string_lossy().starts_with("missed-"))
    };
    // Folders are taken out a moment after the rest is in force.
    eventually("the folder is out", is_marked);
    proxy.signal("USR2");
    proxy.until_upgraded(1);
    // Until then the old program may accept connections too.
    proxy.until_logged("drained", 1);
    let mut client = proxy.connect();
    client.send("PUT /a HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response("PUT").status, 204);
    proxy.edit(&text);
    proxy.until_logged("configuration in force", 2);
    eventually("the folder is in force", || {
        let metrics = Client::connect(proxy.address("admin")).get_with("/metrics", "localhost", "").text();
        metrics.contains(OBJECTS)
    });
    assert!(!is_marked());
    let status = status_of(&proxy.get("/a"));
    assert!(status.contains("fwd=uri-miss"), "{status}");
}
