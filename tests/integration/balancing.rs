//! Which backend a request goes to: every policy over two workers, limits and the queue, sticky clients.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, Instant},
};

use crate::{
    collapse::{Gate, metric},
    support::{Client, Origin, PATIENCE, Proxy, Reply, eventually, nobody},
};

/// A configuration with one upstream: its options, each backend with its own, then tables.
pub fn config(options: &str, backends: &[(SocketAddr, &str)], tables: &str) -> String {
    let mut text = format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n\
         [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nname = \"all\"\nupstream = \"u\"\n[[upstream]]\nname = \"u\"\n{options}\n"
    );
    for (number, (address, options)) in backends.iter().enumerate() {
        text.push_str(&format!(
            "[[upstream.backend]]\nname = \"b{number}\"\naddress = \"{address}\"\n{options}\n"
        ));
    }
    text + tables
}

/// Failures are retried elsewhere as often as they come, and never eject.
const NO_EJECTION: &str = "[upstream.outlier]\nconsecutive_failures = 0\nfailure_percent = 0\n[upstream.retry]\nbudget_min_per_second = 1000\n";

struct Fleet {
    origins: Vec<Option<Origin>>,
    proxy: Proxy,
}

impl Fleet {
    /// Three backends `a`, `b`, `c` with these options.
    fn start(options: &str, backends: [&str; 3]) -> Self {
        let origins = ["a", "b", "c"].map(Origin::named);
        let all: Vec<_> =
            origins.iter().zip(backends).map(|(origin, options)| (origin.address(), options)).collect();
        let proxy = Proxy::start(&config(options, &all, NO_EJECTION));
        Self { origins: origins.into_iter().map(Some).collect(), proxy }
    }

    /// So many requests over twenty connections, which both workers have some of; by who answered.
    fn spread(&self, count: usize) -> [usize; 3] {
        let mut clients: Vec<Client> = (0..20).map(|_| self.proxy.connect()).collect();
        for number in 0..count {
            assert_eq!(clients[number % 20].get("/").status, 200);
        }
        self.counts()
    }

    fn counts(&self) -> [usize; 3] {
        let count = |index: usize| self.origins[index].as_ref().map_or(0, |it| it.requests().len());
        [count(0), count(1), count(2)]
    }
}

fn within(counts: [usize; 3], least: usize, most: usize) {
    assert!(counts.iter().all(|count| (least..=most).contains(count)), "{counts:?}");
}

#[test]
fn round_robin_is_even_over_all_workers() {
    within(Fleet::start("", [""; 3]).spread(600), 196, 204);
    within(Fleet::start("balance = \"weighted-round-robin\"", [""; 3]).spread(600), 196, 204);
}

#[test]
fn weights_are_kept_and_a_weight_of_0_gets_nothing() {
    let [a, b, c] = Fleet::start("", ["weight = 5", "", ""]).spread(700);
    assert!(a.abs_diff(500) <= 14 && b.abs_diff(100) <= 14 && c.abs_diff(100) <= 14, "{a} {b} {c}");
    for policy in
        ["round-robin", "least-connections", "least-response-time", "random", "power-of-two", "maglev"]
    {
        let counts = Fleet::start(&format!("balance = \"{policy}\""), ["", "weight = 0", ""]).spread(60);
        assert_eq!((counts[1], counts[0] + counts[2]), (0, 60), "{policy}");
    }
}

#[test]
fn least_connections_avoids_a_backend_whose_requests_hang() {
    let (_release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let hanging = Origin::start(move |_| {
        let held = held.clone();
        Reply::Take(Box::new(move |_| {
            let _ = held.lock().unwrap().recv();
        }))
    });
    let quick = Origin::named("quick");
    let all = [(hanging.address(), ""), (quick.address(), "")];
    let proxy = Proxy::start(&config("balance = \"least-connections\"", &all, NO_EJECTION));
    let mut clients = Vec::new();
    while hanging.requests().is_empty() {
        assert!(clients.len() < 20, "the hanging one is never asked");
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        eventually("it arrives", || hanging.requests().len() + quick.requests().len() == clients.len() + 1);
        if hanging.requests().is_empty() {
            // Until it is answered, the quick one has as many as the hanging one.
            assert_eq!(client.response("GET").text(), "quick");
        }
        clients.push(client);
    }
    for _ in 0..50 {
        assert_eq!(proxy.get("/").text(), "quick");
    }
    assert_eq!(hanging.requests().len(), 1);
}

#[test]
fn least_response_time_prefers_fast_and_never_starves_slow() {
    // One late answer counts for seconds, and on a busy machine it may be the fast one's.
    let mut seen = Vec::new();
    let is_so = (0..5).any(|_| {
        let (fast, slow) = asked_by_response_time();
        seen.push((fast, slow));
        fast > 2 * slow && slow >= 10
    });
    assert!(is_so, "the fast one and the slow one, of 320: {seen:?}");
}

/// How often a fast backend and a slow one are asked.
fn asked_by_response_time() -> (usize, usize) {
    let answering_after = |time: u64| {
        Origin::start(move |_| {
            std::thread::sleep(Duration::from_millis(time));
            Reply::Text(200, String::new())
        })
    };
    let (fast, slow) = (answering_after(40), answering_after(200));
    let all = [(fast.address(), ""), (slow.address(), "")];
    let proxy = Proxy::start(&config("balance = \"least-response-time\"", &all, NO_EJECTION));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..20 {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
    });
    (fast.requests().len(), slow.requests().len())
}

#[test]
fn ip_hash_keeps_a_client_and_spreads_clients() {
    let fleet = Fleet::start("balance = \"ip-hash\"", [""; 3]);
    for last in 1..=60_u8 {
        let ask =
            || Client::connect_from([127, 0, 0, last].into(), fleet.proxy.address("web")).get("/").text();
        let first = ask();
        assert!((0..4).all(|_| ask() == first));
    }
    within(fleet.counts(), 30, 200);
}

#[test]
fn header_hashing_moves_only_keys_of_a_lost_backend() {
    for policy in ["consistent-hash", "maglev"] {
        let options = format!("balance = \"{policy}\"\nhash_on = \"header:X-Key\"\nhash_balance = 0.0");
        let mut fleet = Fleet::start(&options, [""; 3]);
        let ask = |fleet: &Fleet| -> HashMap<usize, String> {
            let ask = |key| {
                let response = fleet.proxy.connect().get_with("/", "a", &format!("X-Key: key-{key}\r\n"));
                assert_eq!(response.status, 200);
                (key, response.text())
            };
            (0..90).map(ask).collect()
        };
        let before = ask(&fleet);
        assert_eq!(ask(&fleet), before, "{policy}");
        within(fleet.counts(), 20, 120);
        fleet.origins[2] = None;
        for (key, name) in ask(&fleet) {
            assert_ne!(name, "c");
            assert!(
                before[&key] == "c" || before[&key] == name,
                "{policy}: key {key} moved from a backend that is there"
            );
        }
    }
}

#[test]
fn random_policies_spread() {
    for policy in ["random", "power-of-two", "least-connections", "least-bandwidth"] {
        within(Fleet::start(&format!("balance = \"{policy}\""), [""; 3]).spread(600), 100, 300);
    }
}

#[test]
fn a_backup_serves_only_while_no_primary_is_up() {
    // Nobody else is given this port while the primary is gone.
    let address = nobody();
    let primary = Origin::start_at(address, |_| Reply::Text(200, "primary".into()));
    let backup = Origin::named("backup");
    let checks = "[upstream.health_check]\nkind = \"tcp\"\ninterval = \"20ms\"\nrise = 1\nfall = 1\n";
    let proxy = Proxy::start(&config("", &[(address, ""), (backup.address(), "backup = true")], checks));
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "primary");
    }
    assert!(backup.requests().is_empty());
    drop(primary);
    eventually("the backup serves", || proxy.get("/").text() == "backup");
    eventually("the primary is out", || proxy.log().iter().any(|line| line.contains("backend is down")));
    for _ in 0..10 {
        assert_eq!(proxy.get("/").text(), "backup");
    }
    let _primary = Origin::start_at(address, |_| Reply::Text(200, "primary".into()));
    eventually("the primary serves again", || proxy.get("/").text() == "primary");
    let served = backup.requests().len();
    for _ in 0..10 {
        assert_eq!(proxy.get("/").text(), "primary");
    }
    assert_eq!(backup.requests().len(), served);
}

#[test]
fn a_split_is_kept() {
    let (many, few, none) = (Origin::named("many"), Origin::named("few"), Origin::named("none"));
    let mut text = "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
        [[route]]\nname = \"all\"\nsplit = [{ upstream = \"many\", weight = 90 }, { upstream = \"few\", weight = 10 }, \
        { upstream = \"none\", weight = 0 }]\n"
        .to_owned();
    for (name, origin) in [("many", &many), ("few", &few), ("none", &none)] {
        text.push_str(&format!(
            "[[upstream]]\nname = \"{name}\"\n[[upstream.backend]]\naddress = \"{}\"\n",
            origin.address()
        ));
    }
    let proxy = Proxy::start(&text);
    let mut clients: Vec<Client> = (0..10).map(|_| proxy.connect()).collect();
    for number in 0..1000 {
        assert_eq!(clients[number % 10].get("/").status, 200);
    }
    let few = few.requests().len();
    assert!((50..=150).contains(&few), "{few} of 1000");
    assert!(none.requests().is_empty());
}

#[test]
fn a_sticky_client_stays_until_its_backend_is_gone() {
    let mut fleet = Fleet::start("sticky = { cookie = \"lb\" }", [""; 3]);
    let response = fleet.proxy.get("/");
    let cookie = response.header("set-cookie").unwrap().to_owned();
    assert!(
        cookie.starts_with("lb=") && cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    assert!(!cookie.contains("Secure") && !cookie.contains("Max-Age"), "{cookie}");
    let value = cookie.split(';').next().unwrap().to_owned();
    for _ in 0..20 {
        let again = fleet.proxy.connect().get_with("/", "a", &format!("Cookie: other=1; {value}\r\n"));
        assert_eq!((again.text(), again.header("set-cookie")), (response.text(), None));
    }
    for unknown in ["lb=0000000000000000", "lb=", "lb=nonsense", "xlb=1"] {
        let other = fleet.proxy.connect().get_with("/", "a", &format!("Cookie: {unknown}\r\n"));
        assert_eq!(other.status, 200);
        assert!(other.header("set-cookie").is_some(), "{unknown}");
    }
    let index = ["a", "b", "c"].iter().position(|name| *name == response.text()).unwrap();
    fleet.origins[index] = None;
    let moved = fleet.proxy.connect().get_with("/", "a", &format!("Cookie: {value}\r\n"));
    assert_eq!(moved.status, 200);
    assert_ne!(moved.text(), response.text());
    let new = moved.header("set-cookie").unwrap().split(';').next().unwrap();
    assert_ne!(new, value);
    let stays = fleet.proxy.connect().get_with("/", "a", &format!("Cookie: {new}\r\n"));
    assert_eq!((stays.text(), stays.header("set-cookie")), (moved.text(), None));
}

/// Else its session is gone for one request too many.
#[test]
fn a_sticky_client_comes_back_to_a_full_backend() {
    let (gate, is_held) = (Gate::default(), Arc::new(AtomicBool::new(false)));
    let (pass, notes) = (gate.clone(), is_held.clone());
    let home = Origin::start(move |request| {
        if request.target == "/held" {
            notes.store(true, SeqCst);
            pass.pass();
        }
        Reply::Text(200, "home".into())
    });
    let other = Origin::named("other");
    let backends = [(home.address(), "max_connections = 1"), (other.address(), "")];
    let proxy = Proxy::start(&config("sticky = { cookie = \"lb\" }", &backends, ""));
    let first = std::iter::repeat_with(|| proxy.connect().get("/")).find(|it| it.text() == "home").unwrap();
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let fields = format!("Cookie: {cookie}\r\n");
    let ask = |target: &str| proxy.connect().get_with(target, "a", &fields);
    std::thread::scope(|scope| {
        let held = scope.spawn(|| ask("/held"));
        eventually("it is full", || is_held.load(SeqCst));
        let answer = ask("/");
        assert_eq!((answer.text().as_str(), answer.header("set-cookie")), ("other", None));
        gate.open();
        assert_eq!(held.join().unwrap().text(), "home");
    });
    eventually("it comes back", || ask("/").text() == "home");
}

/// A backend whose every answer must be released; it counts how many requests it has at once.
struct Gated {
    origin: Origin,
    release: mpsc::Sender<()>,
    most: Arc<AtomicUsize>,
}

impl Gated {
    fn start() -> Self {
        let (release, released) = mpsc::channel();
        let (released, inside, most) =
            (Mutex::new(released), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let noted = most.clone();
        let origin = Origin::start(move |request| {
            noted.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
            let _ = released.lock().unwrap().recv();
            inside.fetch_sub(1, SeqCst);
            Reply::Text(200, request.target.clone())
        });
        Self { origin, release, most }
    }
}

#[test]
fn queued_requests_are_bounded_and_served_in_order() {
    let gated = Gated::start();
    let backend = (gated.origin.address(), "max_connections = 1");
    let tables = format!("{NO_EJECTION}[admin]\naddress = \"127.0.0.1:0\"\n");
    let proxy = Proxy::start(&config("queue = { size = 3, timeout = \"20s\" }", &[backend], &tables));
    let are_waiting = |count: u64| {
        eventually("they wait", || metric(&proxy, "pointsman_queue_length") == count);
    };
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        if number == 0 {
            eventually("it arrives", || gated.most.load(SeqCst) == 1);
        }
        are_waiting(number as u64);
    }
    let full = proxy.get("/full");
    assert_eq!(full.status, 503);
    assert!(full.header("retry-after").is_some());
    assert_eq!(proxy.logged("/full")["error"], "queue_full");
    // One that leaves frees its place in the queue.
    drop(clients.remove(2));
    assert_eq!(proxy.logged("/2")["status"], 499);
    are_waiting(2);
    clients.push(proxy.connect());
    clients[3].send("GET /4 HTTP/1.1\r\nHost: a\r\n\r\n");
    are_waiting(3);
    for (client, number) in clients.iter_mut().zip([0, 1, 3, 4]) {
        gated.release.send(()).unwrap();
        assert_eq!(client.response("GET").text(), format!("/{number}"));
    }
    assert_eq!(gated.most.load(SeqCst), 1);
}

#[test]
fn one_that_waits_too_long_gets_503() {
    let gated = Gated::start();
    let backend = (gated.origin.address(), "max_connections = 1");
    let proxy = Proxy::start(&config("queue = { size = 3, timeout = \"200ms\" }", &[backend], NO_EJECTION));
    let mut first = proxy.connect();
    first.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it arrives", || gated.most.load(SeqCst) == 1);
    let begun = Instant::now();
    let late = proxy.get("/late");
    assert_eq!(late.status, 503);
    assert!(late.header("retry-after").is_some());
    assert!(begun.elapsed() >= Duration::from_millis(190) && begun.elapsed() < PATIENCE);
    assert_eq!(proxy.logged("/late")["error"], "queue_timeout");
    gated.release.send(()).unwrap();
    assert_eq!(first.response("GET").status, 200);
    gated.release.send(()).unwrap();
    assert_eq!(proxy.get("/next").status, 200, "its place is free again");
}

#[test]
fn without_a_queue_nobody_waits() {
    let gated = Gated::start();
    let proxy = Proxy::start(&config("", &[(gated.origin.address(), "max_connections = 1")], NO_EJECTION));
    let mut first = proxy.connect();
    first.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it arrives", || gated.most.load(SeqCst) == 1);
    assert_eq!(proxy.get("/second").status, 503);
    gated.release.send(()).unwrap();
    assert_eq!(first.response("GET").status, 200);
}

#[test]
fn a_limit_holds_over_all_workers_and_forgets_nobody() {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let noted = most.clone();
    let origin = Origin::start(move |_| {
        noted.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
        // For long enough that one more, which a worker let through, would be seen.
        std::thread::sleep(Duration::from_millis(2));
        inside.fetch_sub(1, SeqCst);
        Reply::Text(200, "x".repeat(2000))
    });
    let backend = (origin.address(), "max_connections = 2");
    let proxy = Proxy::start(&config("queue = { size = 100, timeout = \"20s\" }", &[backend], NO_EJECTION));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..50 {
                    assert_eq!(client.get("/").status, 200);
                }
            });
        }
    });
    assert_eq!(origin.requests().len(), 800);
    assert!(most.load(SeqCst) <= 2, "{most:?}");
}
