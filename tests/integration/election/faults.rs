//! Three stores and three nodes, and one fault after another, seen from outside.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::{Store, node};
use crate::support::{PATIENCE, Proxy, client::Client};

/// What a node said of its role, asked and answered at these moments.
#[derive(Clone, Debug)]
struct Said {
    asked: Instant,
    answered: Instant,
    /// Its number as primary; `None` of a standby.
    fence: Option<u64>,
}

/// Asks one node again and again, from a thread.
struct Observer {
    said: Arc<Mutex<Vec<Said>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Observer {
    fn of(node: &Proxy) -> Self {
        let (said, is_over) = (Arc::<Mutex<Vec<Said>>>::default(), Arc::<AtomicBool>::default());
        let (to, address, end) = (said.clone(), node.address("admin"), is_over.clone());
        let ask = move || {
            let asked = Instant::now();
            let mut client = Client::try_connect(address).ok()?;
            client.try_send("GET /api/v1/cluster HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
            let status: serde_json::Value = serde_json::from_str(&client.response("GET").text()).ok()?;
            let fence = status["groups"][0]["fence"].as_u64().filter(|_| status["role"] == "primary");
            Some(Said { asked, answered: Instant::now(), fence })
        };
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                // Not asked while it is locked: who stands still is waited for.
                let answer = ask();
                to.lock().unwrap().extend(answer);
                thread::sleep(Duration::from_millis(3));
            }
        });
        Self { said, is_over, thread: Some(thread) }
    }

    /// Ends it; what was said stays.
    fn end(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }

    fn last(&self) -> Option<Said> {
        self.said.lock().unwrap().last().cloned()
    }

    /// When it was primary for certain: from an answer to the next with the same number.
    fn terms(&self) -> Vec<(Instant, Instant, u64)> {
        let mut terms: Vec<(Instant, Instant, u64)> = Vec::new();
        for said in &*self.said.lock().unwrap() {
            let Some(fence) = said.fence else { continue };
            match terms.last_mut() {
                Some(term) if term.2 == fence => term.1 = said.asked.max(term.0),
                _ => terms.push((said.answered, said.answered, fence)),
            }
        }
        terms
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.end();
    }
}

/// No two of them were primary at one moment for certain.
fn assert_never_two(observers: &[(String, Observer)], seed: u64) {
    let mut terms: Vec<_> = Vec::new();
    for (name, observer) in observers {
        terms.extend(observer.terms().into_iter().map(|term| (term, name)));
    }
    terms.sort();
    for pair in terms.windows(2) {
        let [(one, first), (other, second)] = pair else { continue };
        let over = one.1.saturating_duration_since(other.0);
        assert!(
            over.is_zero(),
            "seed {seed}: {first} with number {} and {second} with {} at once for {over:?}",
            one.2,
            other.2
        );
    }
}

/// Until one of them says that it is primary; how long nobody did since `begin`.
fn until_one(observers: &[(String, Observer)], begin: Instant, what: &str) -> Duration {
    loop {
        let newest = observers.iter().filter_map(|(_, it)| it.last().filter(|said| said.asked >= begin));
        if newest.into_iter().any(|said| said.fence.is_some()) {
            return begin.elapsed();
        }
        assert!(begin.elapsed() < PATIENCE, "nobody is primary after {what}");
        thread::sleep(Duration::from_millis(3));
    }
}

/// `POINTSMAN_FAULTS` faults, or 5, by `POINTSMAN_FUZZ_SEED`, or the time.
#[test]
fn random_faults_make_no_two_primaries_seen_from_outside() {
    let Some(mut store) = Store::etcd(3) else { return };
    let faults = std::env::var("POINTSMAN_FAULTS").map_or(5, |faults| faults.parse().unwrap());
    let of_time = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into();
    let seed = std::env::var("POINTSMAN_FUZZ_SEED").map_or_else(|_| of_time(), |seed| seed.parse().unwrap());
    let mut rng = Rng::with_seed(seed);
    let mut below = move |bound: u64| rng.u64(..bound);
    let mut nodes: Vec<Proxy> = ["a", "b", "c"].into_iter().map(|name| node(&store, name)).collect();
    let mut observers: Vec<(String, Observer)> =
        nodes.iter().zip(["a", "b", "c"]).map(|(node, name)| (name.to_owned(), Observer::of(node))).collect();
    until_one(&observers, Instant::now(), "the start");
    let mut longest = (Duration::ZERO, String::new());
    for _ in 0..faults {
        let for_so_long = Duration::from_millis(200 + below(4000));
        let (kind, index) = (below(5), below(3) as usize);
        let what = [
            "a member stands still",
            "a member is killed",
            "a node stands still",
            "a node is killed",
            "both stand still",
        ][kind as usize];
        let what = format!("seed {seed}: {what} ({index}) for {for_so_long:?}");
        let begin = Instant::now();
        match kind {
            0 => store.signal(index, "STOP"),
            1 => store.kill(index),
            2 => nodes[index].signal("STOP"),
            3 => {
                nodes[index].signal("KILL");
                // Its port may be another test's node's from here on.
                let name = ["a", "b", "c"][index];
                observers.iter_mut().rev().find(|(it, _)| it == name).unwrap().1.end();
            }
            _ => {
                store.signal(index, "STOP");
                nodes[(index + 1) % 3].signal("STOP");
            }
        }
        // One member and one node of three fail: the others must do.
        let took = until_one(&observers, begin + Duration::from_millis(1), &what);
        longest = longest.max((took, what.clone()));
        thread::sleep(for_so_long.saturating_sub(begin.elapsed()));
        match kind {
            0 => store.signal(index, "CONT"),
            1 => store.restart(index),
            2 => nodes[index].signal("CONT"),
            3 => {
                let name = ["a", "b", "c"][index];
                nodes[index] = node(&store, name);
                observers.push((name.to_owned(), Observer::of(&nodes[index])));
            }
            _ => {
                store.signal(index, "CONT");
                nodes[(index + 1) % 3].signal("CONT");
            }
        }
        until_one(&observers, Instant::now(), &what);
        thread::sleep(Duration::from_millis(below(1500)));
        assert_never_two(&observers, seed);
    }
    println!("{faults} faults, no two primaries; nobody for at most {:?} ({})", longest.0, longest.1);
}
