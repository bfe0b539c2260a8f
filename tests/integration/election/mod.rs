//! Nodes whose primary is elected by a real store. They have no address: what the role is, is asked and logged, so that it
//! needs no privileges. What else is to be said of addresses is in `cluster`.

mod faults;
mod fleet;
mod keys;
mod stores;

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;

use self::stores::Store;
use crate::support::{Client, PATIENCE, Proxy, eventually, nobody, proxy};

/// A node of the cluster, which writes its roles into the file `roles` in its folder.
fn node(store: &Store, name: &str) -> Proxy {
    let folder = proxy::folder();
    let more = format!(
        "---\n[admin]\naddress = \"127.0.0.1:0\"\n[cluster]\nnode = \"{name}\"\nelection = \"{}\"\n{}\
         [cluster.on_change]\ncommand = [\"/bin/sh\", \"-c\", \"echo $0 $POINTSMAN_ROLE >> {}\", \"{{role}}\"]\n",
        store.election,
        store.conf,
        folder.join("roles").display(),
    );
    Proxy::start_in(folder, &proxy::config(&[nobody()], &more))
}

fn ask(node: &Proxy, method: &str, path: &str) -> Value {
    let mut client = Client::connect(node.address("admin"));
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
    let response = client.response(method);
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_str(&response.text()).unwrap()
}

fn cluster(node: &Proxy) -> Value {
    ask(node, "GET", "/api/v1/cluster")
}

/// The number of the election that made it primary.
fn fence(node: &Proxy) -> u64 {
    cluster(node)["groups"][0]["fence"].as_u64().unwrap()
}

fn is_primary(node: &Proxy) -> bool {
    cluster(node)["role"] == "primary"
}

/// Waits until one of them is primary, and gives its index.
fn primary(nodes: &[Proxy]) -> usize {
    let mut found = Vec::new();
    eventually("one is primary", || {
        found = (0..nodes.len()).filter(|index| is_primary(&nodes[*index])).collect();
        found.len() == 1
    });
    found[0]
}

/// When a node was primary: from and to, in its own words.
fn terms(node: &Proxy) -> Vec<(String, Option<String>)> {
    let status = cluster(node);
    let mut terms: Vec<(String, Option<String>)> = Vec::new();
    for change in status["groups"][0]["changes"].as_array().unwrap() {
        let at = change["at"].as_str().unwrap().to_owned();
        match change["role"] == "primary" {
            true => terms.push((at, None)),
            // Its beginning may be longer ago than is kept.
            false => terms.last_mut().into_iter().for_each(|term| term.1 = Some(at.clone())),
        }
    }
    terms
}

/// No two of them were primary at any time.
fn assert_never_two(nodes: &[Proxy]) {
    let mut all: Vec<_> = nodes.iter().flat_map(terms).collect();
    all.sort();
    for pair in all.windows(2) {
        let [before, after] = pair else { continue };
        let end = before.1.as_ref().unwrap_or_else(|| panic!("{before:?} goes on beside {after:?}"));
        assert!(*end <= after.0, "{before:?} and {after:?}");
    }
}

fn roles(node: &Proxy) -> String {
    fs::read_to_string(node.folder().join("roles")).unwrap_or_default()
}

/// The lease of nodes that are to be followed before it is over, or are not to lose their role, also on a busy machine.
const LEASE: Duration = Duration::from_secs(12);
/// The same of nodes that are watched for longer than it.
const RENEWED: Duration = Duration::from_secs(6);

/// A store that gives its primary so much time between two renewals.
fn with_lease(mut store: Store, lease: Duration) -> Store {
    let seconds = format!("\"{}s\"", lease.as_secs());
    match store.conf.contains("\"2s\"") {
        true => store.conf = store.conf.replace("\"2s\"", &seconds),
        false => store.conf += &format!("lease = {seconds}\n"),
    }
    store
}

/// The primary dies, and another follows when its lease is over; one that is asked to step down is followed at once, and
/// comes back only when it is asked to, and then has no wish to be primary more than others.
fn primary_that_dies_or_steps_down_is_followed(store: &Store) {
    let mut nodes: Vec<Proxy> = ["a", "b", "c"].into_iter().map(|name| node(store, name)).collect();
    let first = primary(&nodes);
    assert_never_two(&nodes);
    let name = cluster(&nodes[first])["node"].as_str().unwrap().to_owned();
    let other = (first + 1) % 3;
    eventually("others know who is", || cluster(&nodes[other])["groups"][0]["primary"] == name.as_str());
    eventually("it was told", || roles(&nodes[first]) == "primary primary\n");
    assert_eq!(roles(&nodes[other]), "");
    let before = fence(&nodes[first]);

    let begun = Instant::now();
    ask(&nodes[first], "POST", "/api/v1/cluster/step-down");
    eventually("another follows", || (0..3).any(|index| index != first && is_primary(&nodes[index])));
    // Before the lease would have been over, had it only not been renewed any more.
    assert!(begun.elapsed() < LEASE - Duration::from_secs(2), "{:?}", begun.elapsed());
    let second = primary(&nodes);
    assert_ne!(second, first);
    let stepped_down = fence(&nodes[second]);
    assert!(stepped_down > before, "{stepped_down} after {before}");
    eventually("it was told", || roles(&nodes[first]) == "primary primary\nstandby standby\n");
    ask(&nodes[first], "POST", "/api/v1/cluster/resume");
    assert_eq!(cluster(&nodes[first])["stepped_down"], false);
    assert_never_two(&nodes);

    drop(nodes.remove(second));
    let third = primary(&nodes);
    assert_never_two(&nodes);
    let died = fence(&nodes[third]);
    assert!(died > stepped_down, "{died} after {stepped_down}");
}

/// A store that does not answer: nobody is primary once the lease is over, and one is when it is back.
fn without_the_store_nobody_is_primary(store: &Store) {
    let nodes: Vec<Proxy> = ["a", "b"].into_iter().map(|name| node(store, name)).collect();
    let first = primary(&nodes);
    store.signal(0, "STOP");
    let stopped = SystemTime::now();
    // The other may have been elected just before.
    eventually("nobody is primary", || nodes.iter().all(|node| !is_primary(node)));
    let took = stopped.elapsed().unwrap();
    assert!(took < PATIENCE / 2, "{took:?}");
    let problem = |index: usize| cluster(&nodes[index])["groups"][0]["problem"].clone();
    eventually("it says why", || problem(first).as_str().is_some_and(|it| it.starts_with(store.election)));
    store.signal(0, "CONT");
    primary(&nodes);
    eventually("all is well", || problem(0).is_null() && problem(1).is_null());
    assert_never_two(&nodes);
}

/// The store is restored from a copy that is older than elections that it held since: there is a primary again at once, with
/// the number that the store counts to, and it says so.
fn restored_store_has_a_primary_again(mut store: Store) {
    store.copy(0);
    let node = node(&store, "a");
    let fence = || fence(&node);
    eventually("it is primary", || roles(&node) == "primary primary\n");
    ask(&node, "POST", "/api/v1/cluster/step-down");
    eventually("it has stepped down", || roles(&node) == "primary primary\nstandby standby\n");
    ask(&node, "POST", "/api/v1/cluster/resume");
    eventually("it is primary again", || is_primary(&node));
    let before = fence();
    store.kill(0);
    eventually("the role is given up", || !is_primary(&node));
    store.restore(0);
    eventually("it is primary a third time", || is_primary(&node));
    assert!(fence() < before, "{} after {before}", fence());
    // The role is in force before the line is written.
    node.until_logged("this election has a smaller number", 1);
    assert_eq!(node.count_logged("this election has a smaller number"), 1);
    // It is renewed for longer than the lease.
    let until = Instant::now() + RENEWED + Duration::from_secs(1);
    while Instant::now() < until {
        assert!(is_primary(&node));
    }
}

#[test]
fn etcd_that_was_restored_has_a_primary_again() {
    let Some(store) = Store::etcd(1) else { return };
    restored_store_has_a_primary_again(with_lease(store, RENEWED));
}

#[test]
fn zookeeper_that_was_restored_has_a_primary_again() {
    let Some(store) = Store::zookeeper() else { return };
    restored_store_has_a_primary_again(with_lease(store, RENEWED));
}

#[test]
fn etcd_has_another_follow_a_primary() {
    let Some(store) = Store::etcd(1) else { return };
    primary_that_dies_or_steps_down_is_followed(&with_lease(store, LEASE));
}

#[test]
fn zookeeper_has_another_follow_a_primary() {
    let Some(store) = Store::zookeeper() else { return };
    primary_that_dies_or_steps_down_is_followed(&with_lease(store, LEASE));
}

#[test]
fn without_etcd_nobody_is_primary() {
    let Some(store) = Store::etcd(1) else { return };
    without_the_store_nobody_is_primary(&store);
}

#[test]
fn without_zookeeper_nobody_is_primary() {
    let Some(store) = Store::zookeeper() else { return };
    without_the_store_nobody_is_primary(&store);
}

/// etcd's leader stands still while the primary renews through it, and goes on as if nothing had been, again and again.
#[test]
fn leader_of_etcd_that_was_deposed_makes_no_two_primaries() {
    let Some(store) = Store::etcd(3) else { return };
    let nodes: Vec<Proxy> = ["a", "b"].into_iter().map(|name| node(&store, name)).collect();
    primary(&nodes);
    let rounds = std::env::var("POINTSMAN_ROUNDS").map_or(2, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let mut leader = None;
        eventually("etcd has a leader", || {
            leader = store.leader();
            leader.is_some()
        });
        let leader = leader.unwrap();
        store.signal(leader, "STOP");
        std::thread::sleep(Duration::from_millis(1500 + 700 * (round % 5)));
        store.signal(leader, "CONT");
        let end = Instant::now() + PATIENCE;
        while nodes.iter().filter(|node| is_primary(node)).count() != 1 {
            assert!(Instant::now() < end, "nobody is primary again");
        }
        // By their own histories, since who is asked second may have become primary since the first was asked.
        assert_never_two(&nodes);
    }
}

#[test]
fn upgrade_goes_on_as_primary_of_etcd() {
    let Some(store) = Store::etcd(1) else { return };
    let store = with_lease(store, RENEWED);
    let nodes: Vec<Proxy> = ["a", "b"].into_iter().map(|name| node(&store, name)).collect();
    let first = primary(&nodes);
    let before = fence(&nodes[first]);
    nodes[first].signal("USR2");
    nodes[first].until_upgraded(1);
    eventually("the next program answers", || {
        cluster(&nodes[first])["groups"][0]["changes"]
            .to_string()
            .contains("continues from the previous program")
    });
    assert!(is_primary(&nodes[first]));
    // Longer than the lease: it is renewed.
    let until = Instant::now() + RENEWED + Duration::from_secs(1);
    while Instant::now() < until {
        assert!(is_primary(&nodes[first]) && !is_primary(&nodes[1 - first]));
    }
    assert_eq!(fence(&nodes[first]), before);
}

/// A standby is elected between the beginning of its upgrade and the end: the next program goes on with that.
#[test]
fn upgrade_goes_on_with_an_election_that_was_won_meanwhile() {
    let Some(store) = Store::etcd(1) else { return };
    let mut tries = 0;
    let (nodes, first) = loop {
        let nodes: Vec<Proxy> = ["a", "b"].into_iter().map(|name| node(&store, name)).collect();
        let first = primary(&nodes);
        let other = &nodes[1 - first];
        other.signal("USR2");
        other.until_logged("\"message\":\"upgrading\"", 1);
        ask(&nodes[first], "POST", "/api/v1/cluster/step-down");
        other.until_logged("elected by the store", 1);
        if other.upgraded().is_empty() {
            break (nodes, first);
        }
        // The next program must live for two seconds; on a busy machine the election may take longer.
        tries += 1;
        assert!(tries < 3, "the upgrade is over too early");
    };
    let other = &nodes[1 - first];
    other.until_upgraded(1);
    eventually("it is primary", || is_primary(other));
    // It is logged a moment after it is so.
    other.until_logged("continues from the previous program", 1);
    assert_eq!(other.count_logged("continues from the previous program"), 1);
    assert_eq!(other.count_logged("elected by the store"), 1);
}
