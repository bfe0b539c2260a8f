//! A proxy that is killed, upgraded and configured anew while it owes writes to an origin that comes and goes.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    cache_writes::{back, put, status_of, waiting},
    collapse::{Gate, metric},
    support::{Client, Origin, PATIENCE, Proxy, Reply, eventually, nobody, proxy},
};

/// What the origin was sent, in the order of its arrival: target, idempotency key, body.
type Seen = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;

const URIS: u64 = 5;
const ROUNDS: u32 = 15;

/// The body follows from the number, so that a whole one can be recognized.
fn body(number: u64) -> String {
    let length = usize::try_from(number.wrapping_mul(2_654_435_761) % 30_000).unwrap();
    format!("{number}:{}", "abcdefghij".repeat(length / 10))
}

/// Writes to its URIs until its connection breaks; gives what was acknowledged.
fn writer(address: SocketAddr, own: u64, next: Arc<AtomicU64>) -> JoinHandle<Vec<(String, u64)>> {
    std::thread::spawn(move || {
        let mut acknowledged = Vec::new();
        // It may have been killed before this thread had its turn.
        let Ok(mut client) = Client::try_connect(address) else { return acknowledged };
        loop {
            let number = next.fetch_add(1, SeqCst);
            // Each URI has one writer, whose writes have an order.
            let target = format!("/{own}-{}", number % URIS);
            let body = body(number);
            let length = body.len();
            let head = format!("PUT {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
            if client.try_send(head + &body).is_err() {
                return acknowledged;
            }
            match client.response("PUT").status {
                202 => acknowledged.push((target, number)),
                0 => return acknowledged,
                status => panic!("{status} to {number}"),
            }
        }
    })
}

fn recording(address: SocketAddr, seen: &Seen) -> Origin {
    let seen = seen.clone();
    Origin::start_at(address, move |request| {
        let (target, key) = (request.target.clone(), request.header("idempotency-key").unwrap().to_owned());
        let length: usize = request.header("content-length").unwrap().parse().unwrap();
        let seen = seen.clone();
        Reply::Take(Box::new(move |connection| {
            let mut body = vec![0; length];
            if std::io::Read::read_exact(&mut connection.reader, &mut body).is_err() {
                return;
            }
            seen.lock().unwrap().push((target, key, body));
            connection.send("HTTP/1.1 204 X\r\nConnection: close\r\n\r\n");
        }))
    })
}

#[test]
fn acknowledged_writes_survive_repeated_kills() {
    let (folder, address) = (proxy::folder(), nobody());
    let text = back(&folder, address, "");
    let (seen, next) = (Seen::default(), Arc::new(AtomicU64::new(1)));
    let mut acknowledged: HashMap<String, Vec<u64>> = HashMap::new();
    let mut origin = None;
    // On a busy machine each round has fewer of them.
    let (begun, mut round, mut total) = (Instant::now(), 0, 0);
    while round < ROUNDS || total <= 100 && begun.elapsed() < 3 * PATIENCE {
        if fastrand::bool() {
            // Dropped first: its address is free then.
            drop(origin.take());
            if fastrand::u8(..3) > 0 {
                origin = Some(recording(address, &seen));
            }
        }
        let mut proxy = Proxy::start(&text);
        let writers: Vec<_> = (0..3).map(|own| writer(proxy.address("web"), own, next.clone())).collect();
        // The moment is what the test is about: anywhere in the work of a journal.
        std::thread::sleep(Duration::from_micros(fastrand::u64(20_000..300_000)));
        proxy.signal("KILL");
        proxy.wait();
        let mut count = 0;
        for writer in writers {
            for (target, number) in writer.join().unwrap() {
                acknowledged.entry(target).or_default().push(number);
                count += 1;
            }
        }
        println!(
            "round {round}: {count} acknowledged, origin {}",
            if origin.is_some() { "up" } else { "down" }
        );
        total += count;
        round += 1;
    }
    drop(origin);
    let _origin = recording(address, &seen);
    let proxy = Proxy::start(&text);
    eventually("everything is delivered", || waiting(&proxy) == 0);
    assert_eq!(metric(&proxy, "pointsman_cache_journal_faults_total{cache=\"pages\",kind=\"damaged\"}"), 0);
    let seen = seen.lock().unwrap();
    assert!(total > 100, "{total} were acknowledged");
    for (target, numbers) in &acknowledged {
        check(target, numbers, &seen);
    }
    println!("{total} acknowledged, {} deliveries", seen.len());
}

/// Each acknowledged write came, whole, under one key, and the first arrivals are in order; so are the last ones, which
/// leave the newest behind.
fn check(target: &str, acknowledged: &[u64], seen: &[(String, String, Vec<u8>)]) {
    let arrived: Vec<(u64, &str)> = seen
        .iter()
        .filter(|(other, ..)| other == target)
        .map(|(_, key, bytes)| {
            let text = std::str::from_utf8(bytes).unwrap();
            let number: u64 = text.split(':').next().unwrap().parse().unwrap();
            assert_eq!(text, body(number), "{target}: {number} is not whole");
            (number, key.as_str())
        })
        .collect();
    let mut keys = HashMap::new();
    for (number, key) in &arrived {
        assert_eq!(keys.entry(number).or_insert(key), &key, "{target}: {number} under two keys");
    }
    assert_eq!(keys.values().collect::<HashSet<_>>().len(), keys.len(), "{target}: a key for two writes");
    for number in acknowledged {
        assert!(keys.contains_key(number), "{target}: {number} was acknowledged, and is lost");
    }
    // A crash between the origin's answer and the sync repeats what was not synced, from its beginning: a repetition
    // may step back, but never over something that was never seen before.
    let mut newest = 0;
    let mut order = Vec::new();
    for (number, _) in &arrived {
        if !order.contains(number) {
            assert!(*number > newest, "{target}: {number} came first after {newest}");
            newest = *number;
            order.push(*number);
        }
    }
    assert_eq!(arrived.last().map(|(number, _)| *number), Some(newest), "{target}: an older one came last");
}

#[test]
fn writes_are_accepted_while_the_next_program_proves_itself() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(&back(&proxy::folder(), origin.address(), ""));
    let begun = Instant::now();
    proxy.signal("USR2");
    loop {
        let status = put(&mut proxy.connect(), "/a", "copy").status;
        let answered = begun.elapsed();
        // Less than the two seconds for which both programs are there. What is answered later may be the next one's answer,
        // which has no journal yet.
        if answered >= Duration::from_millis(1200) {
            break;
        }
        assert_eq!(status, 202, "after {answered:?}");
    }
    proxy.until_upgraded(1);
    eventually("it accepts writes too", || put(&mut proxy.connect(), "/a", "last").status == 202);
}

#[test]
fn the_next_program_takes_the_journal_over() {
    let (folder, gate) = (proxy::folder(), Gate::default());
    let pass = gate.clone();
    let origin = Origin::start(move |request| {
        if request.header("copy") == Some("slow") {
            pass.pass();
        }
        Reply::Bytes(b"HTTP/1.1 204 X\r\n\r\n".to_vec())
    });
    let proxy = Proxy::start(&back(&folder, origin.address(), ""));
    let mut client = proxy.connect();
    assert_eq!(put(&mut client, "/a", "slow").status, 202);
    assert_eq!(put(&mut client, "/a", "behind it").status, 202);
    // The old program stays as long as this one is served.
    let mut held = proxy.connect();
    held.send("GET /held HTTP/1.1\r\nHost: test\r\nCopy: slow\r\n\r\n");
    proxy.signal("USR2");
    proxy.until_upgraded(1);
    // The old one still delivers: the new one has no journal yet.
    eventually("nothing is read from the store while the journal is not there", || {
        status_of(&proxy.get("/a")) == "pointsman; fwd=bypass; detail=journal"
    });
    (0..2).for_each(|_| gate.open());
    assert_eq!(held.response("GET").status, 204);
    eventually("the journal is taken over", || put(&mut proxy.connect(), "/b", "in time").status == 202);
    eventually("all is delivered", || waiting(&proxy) == 0);
    let copies: Vec<_> = origin
        .requests()
        .iter()
        .filter(|it| it.method == "PUT" && it.target == "/a")
        .map(|it| it.header("copy").unwrap().to_owned())
        .collect();
    assert_eq!(copies, ["slow", "behind it"], "each once, and in order");
}

#[test]
fn what_waits_is_delivered_whatever_becomes_of_the_configuration() {
    let (folder, other, gate) = (proxy::folder(), proxy::folder(), Gate::default());
    let pass = gate.clone();
    let origin = Origin::start(move |request| {
        if request.header("copy").is_some() {
            pass.pass();
        }
        Reply::Text(200, "the origin".into())
    });
    let text = back(&folder, origin.address(), "");
    let around = text
        .replace("\"back\"\n", "\"around\"\n")
        .replace("write_back = { networks = [\"127.0.0.0/8\"], serve = \"all\" }\n", "")
        .lines()
        .filter(|it| !it.starts_with("journal"))
        .collect::<Vec<_>>()
        .join("\n");
    let without = around.replace("cache = \"pages\"", "").replace("name = \"all\"", "name = \"renamed\"");
    let without = without.replace("[[cache]]\nname = \"pages\"\nwrite_policy = \"around\"", "");
    let proxy = Proxy::start(&text);
    let loaded = |config: &str, times| {
        proxy.edit(config);
        proxy.until_logged("configuration in force", times);
    };
    let mut client = proxy.connect();
    assert_eq!(put(&mut client, "/a", "first").status, 202);
    assert_eq!(put(&mut client, "/a", "second").status, 202);
    // Another folder: what waits in the first still answers, and goes first.
    loaded(&text.replace(&format!("{folder:?}"), &format!("{other:?}")), 1);
    assert_eq!(client.get("/a").text(), "second");
    assert_eq!(put(&mut client, "/b", "third").status, 202);
    // Another policy: it still answers, and a write for the origin goes behind it.
    loaded(&around, 2);
    assert_eq!(client.get("/a").text(), "second");
    client.send("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    assert!(client.is_silent_for(Duration::from_millis(100)));
    (0..2).for_each(|_| gate.open());
    gate.open();
    assert_eq!(client.response("POST").status, 200);
    // And back: the same folder is had again, and without any cache what waits is delivered by the new route.
    loaded(&text, 3);
    // Its folder is in force a moment after the rest: a write that comes between the two is refused.
    eventually("its journal is in force", || put(&mut client, "/c", "fourth").status == 202);
    assert_eq!(put(&mut client, "/c", "fifth").status, 202);
    loaded(&without, 4);
    (0..2).for_each(|_| gate.open());
    let copies = |target: &str| -> Vec<String> {
        let requests = origin.requests();
        let own = requests.iter().filter(|it| it.target == target && it.method != "GET");
        own.map(|it| it.header("copy").unwrap_or("POST").to_owned()).collect()
    };
    eventually("all is delivered", || copies("/c").len() == 2 && copies("/b").len() == 1);
    assert_eq!(
        (copies("/a"), copies("/b")),
        (vec!["first".into(), "second".into(), "POST".into()], vec!["third".to_owned()])
    );
    assert_eq!(copies("/c"), ["fourth", "fifth"]);
    // What is empty and asked for by nobody is let go of.
    let lock = fs::File::open(folder.join("lock")).unwrap();
    eventually("nobody has the folder any more", || lock.try_lock().is_ok());
}

/// An origin that takes nothing until it is well; what it took then, in order.
fn ailing(is_well: &Arc<AtomicBool>) -> (Origin, Arc<Mutex<Vec<String>>>) {
    let (is_well, taken) = (is_well.clone(), Arc::<Mutex<Vec<String>>>::default());
    let taking = taken.clone();
    let origin = Origin::start(move |request| {
        if !is_well.load(SeqCst) {
            return Reply::Bytes(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n".to_vec());
        }
        if let Some(copy) = request.header("copy") {
            taking.lock().unwrap().push(copy.to_owned());
        }
        Reply::Bytes(b"HTTP/1.1 204 X\r\n\r\n".to_vec())
    });
    (origin, taken)
}

/// The configuration with another folder for the journal, and the one without a cache.
fn without_its_journal(text: &str, folder: &Path) -> [String; 2] {
    let replaced = text.replace(&format!("{folder:?}"), &format!("{:?}", proxy::folder()));
    let of_cache = ["[[cache]]", "name = \"pages\"", "cache = ", "write_policy", "write_back", "journal"];
    let lines = text.lines().filter(|line| !of_cache.iter().any(|start| line.starts_with(start)));
    [replaced, lines.map(|line| format!("{line}\n")).collect()]
}

/// The next program reads a configuration that does not have the folder, and nothing but the one before knows of it.
#[test]
fn what_waits_in_a_former_journal_is_handed_over() {
    for (at, accepted) in [202, 204].into_iter().enumerate() {
        let (folder, is_well) = (proxy::folder(), Arc::<AtomicBool>::default());
        let (origin, taken) = ailing(&is_well);
        let text = back(&folder, origin.address(), "");
        let proxy = Proxy::start(&text);
        assert_eq!(put(&mut proxy.connect(), "/a", "v1").status, 202);
        proxy.edit(&without_its_journal(&text, &folder)[at]);
        proxy.until_logged("configuration in force", 1);
        proxy.signal("USR2");
        proxy.until_upgraded(1);
        // Until then the old program may accept connections too.
        proxy.until_logged("\"drained\"", 1);
        is_well.store(true, SeqCst);
        eventually("the next write is taken", || put(&mut proxy.connect(), "/a", "v2").status == accepted);
        eventually("both have arrived", || taken.lock().unwrap().len() == 2);
        assert_eq!(*taken.lock().unwrap(), ["v1", "v2"]);
    }
}

/// Nobody delivers it until the folder is asked for again.
#[test]
fn what_the_end_leaves_in_a_former_journal_is_told() {
    let (folder, is_well) = (proxy::folder(), Arc::<AtomicBool>::default());
    let (origin, taken) = ailing(&is_well);
    let text = back(&folder, origin.address(), "");
    for (before, other) in (0..).zip(without_its_journal(&text, &folder)) {
        let mut proxy = Proxy::start(&text);
        assert_eq!(put(&mut proxy.connect(), "/a", "v1").status, 202);
        proxy.edit(&other);
        proxy.until_logged("configuration in force", 1);
        // Folders are taken out a moment after the rest is in force, and before the next is.
        proxy.edit(&format!("{other}\n# The same.\n"));
        proxy.until_logged("configuration in force", 2);
        proxy.until_logged("does not ask for any more is not empty", 1);
        let series = format!("pointsman_former_journal_entries{{path={folder:?}}}");
        assert_eq!(metric(&proxy, &series), before + 1);
        proxy.signal("TERM");
        assert!(proxy.wait().success());
        let told: Vec<_> =
            proxy.log().into_iter().filter(|line| line.contains("asks for that folder again")).collect();
        let is_told = |line: &String| line.contains(folder.to_str().unwrap()) && line.contains("\"writes\":");
        assert!(told.len() == 1 && told.iter().all(is_told), "{told:?}");
    }
    is_well.store(true, SeqCst);
    let proxy = Proxy::start(&text);
    eventually("all is delivered", || waiting(&proxy) == 0);
    assert_eq!(*taken.lock().unwrap(), ["v1", "v1"]);
}

/// So long is a segment of the journal.
const SEGMENT: u64 = 16 << 20;

/// A delivery is noted in a segment that is full with it; another one follows before the half second is over in which
/// notes may wait for their sync. The size of a segment is not an option, so this one is filled.
#[test]
fn deliveries_before_a_clean_stop_are_not_repeated() {
    let (folder, gates) = (proxy::folder(), ["/a", "/b"].map(|target| (target, Gate::default())));
    let (pass, is_held) = (gates.clone(), Arc::new(AtomicBool::new(true)));
    let hold = is_held.clone();
    let origin = Origin::start(move |request| {
        match pass.iter().find(|(target, _)| *target == request.target) {
            Some((_, gate)) => gate.pass(),
            None if hold.load(SeqCst) => {
                return Reply::Bytes(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n".to_vec());
            }
            None => {}
        }
        Reply::Bytes(b"HTTP/1.1 204 X\r\n\r\n".to_vec())
    });
    let text = back(&folder, origin.address(), "max_object = \"32MiB\"\n");
    let mut proxy = Proxy::start(&text);
    let mut client = proxy.connect();
    let mut put = |target: &str, length: u64| {
        let body = "x".repeat(usize::try_from(length).unwrap());
        client.send(format!("PUT {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}"));
        assert_eq!(client.response("PUT").status, 202);
    };
    put("/a", 1);
    put("/b", 1);
    let segment = segments(&folder).pop().unwrap();
    let length = || fs::metadata(&segment).unwrap().len();
    let before = length();
    let half = 7_500_000;
    put("/waits-1", half);
    let beside = length() - before - half;
    // The next note that is written fills it.
    put("/waits-2", SEGMENT - length() - beside - 20);
    assert_eq!(length(), SEGMENT - 20, "a write takes other room than the one before it");
    let [(_, a), (_, b)] = &gates;
    a.open();
    eventually("the first is noted", || length() > SEGMENT);
    b.open();
    eventually("both are delivered", || waiting(&proxy) == 2);
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    assert_eq!(proxy.count_logged("\"drained\""), 1);
    is_held.store(false, SeqCst);
    (0..2).for_each(|_| gates.iter().for_each(|(_, gate)| gate.open()));
    let proxy = Proxy::start(&text);
    eventually("the rest is delivered", || waiting(&proxy) == 0);
    for target in ["/a", "/b"] {
        let times = origin.requests().iter().filter(|it| it.target == target).count();
        assert_eq!(times, 1, "{target} is delivered again, over whatever came after it");
    }
}

/// The files of a journal, oldest first.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|it| it == "journal")).collect();
    segments.sort();
    segments
}
