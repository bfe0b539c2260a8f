//! What people do to the key of an election, and to the servers that have it; and the program that is told meanwhile.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{
    ask, assert_never_two, cluster, fence, is_primary, node, primary, roles, stores::Store, with_lease,
};
use crate::support::{PATIENCE, Proxy, eventually};

const KEY: &str = "pointsman/leader";
/// Renewed so seldom that nothing of it is noticed by renewals within a test.
const LONG: Duration = Duration::from_secs(600);

fn problem(node: &Proxy) -> String {
    cluster(node)["groups"][0]["problem"].as_str().unwrap_or_default().to_owned()
}

/// As who wants another node to be primary does, or clears a prefix.
fn key_that_is_deleted_by_hand_is_missed_at_once(store: &Store) {
    let nodes: Vec<Proxy> = ["a", "b"].into_iter().map(|name| node(store, name)).collect();
    let first = primary(&nodes);
    let before = fence(&nodes[first]);
    // What is watched is so a moment after the election: a deletion before is told then.
    store.delete(KEY);
    nodes[first].until_logged("the store ended the lease", 1);
    let next = primary(&nodes);
    assert!(fence(&nodes[next]) > before);
}

#[test]
fn key_of_etcd_that_is_deleted_by_hand_is_missed() {
    let Some(store) = Store::etcd(1) else { return };
    key_that_is_deleted_by_hand_is_missed_at_once(&with_lease(store, LONG));
}

#[test]
fn key_of_zookeeper_that_is_deleted_by_hand_is_missed() {
    let Some(store) = Store::zookeeper() else { return };
    // Its server allows no more.
    key_that_is_deleted_by_hand_is_missed_at_once(&with_lease(store, Duration::from_secs(10)));
}

#[test]
fn key_that_is_written_by_hand_is_taken_back() {
    let Some(store) = Store::etcd(1) else { return };
    let store = with_lease(store, Duration::from_secs(6));
    let mut nodes: Vec<Proxy> = ["a", "b"].into_iter().map(|name| node(&store, name)).collect();
    let first = primary(&nodes);
    store.put(KEY, "me");
    nodes[first].until_logged("takes it back", 1);
    assert!(is_primary(&nodes[first]) && problem(&nodes[first]).is_empty());
    // It is of the lease again: another follows when that is over.
    drop(nodes.remove(first));
    eventually("the other follows", || is_primary(&nodes[0]));
}

#[test]
fn key_without_a_lease_is_told_of() {
    let Some(store) = Store::etcd(1) else { return };
    store.put(KEY, "me");
    let node = node(&store, "a");
    node.until_logged("without a lease, so that no node can be primary: delete the key", 1);
    assert!(!is_primary(&node) && problem(&node).contains("delete the key"), "{}", problem(&node));
    store.delete(KEY);
    eventually("it is primary", || is_primary(&node));
    eventually("all is well", || problem(&node).is_empty());
}

/// The first of three servers is down, and the others serve.
#[test]
fn upgrade_goes_on_as_primary_without_the_first_server() {
    let Some(mut store) = Store::etcd(3) else { return };
    store.kill(0);
    // It may have led.
    eventually("another leads", || store.leader().is_some());
    let store = with_lease(store, Duration::from_secs(6));
    let nodes: Vec<Proxy> = ["a", "b"].into_iter().map(|name| node(&store, name)).collect();
    let first = primary(&nodes);
    let before = fence(&nodes[first]);
    nodes[first].signal("USR2");
    nodes[first].until_upgraded(1);
    nodes[first].until_logged("continues from the previous program", 1);
    let until = Instant::now() + Duration::from_secs(7);
    while Instant::now() < until {
        assert!(is_primary(&nodes[first]) && !is_primary(&nodes[1 - first]), "longer than the lease");
    }
    assert_eq!(fence(&nodes[first]), before);
    assert_eq!(nodes[first].count_logged("cannot continue what"), 0);
}

#[test]
fn server_that_is_added_changes_no_role() {
    let Some(store) = Store::etcd(3) else { return };
    let (all, of_all) = (store.conf.clone(), store);
    let without =
        all.split_once(", ").map(|(head, rest)| format!("{head}]{}", rest.split_once(']').unwrap().1));
    let mut store = with_lease(of_all, Duration::from_secs(6));
    store.conf = store.conf.replace(&all, &without.unwrap());
    let nodes: Vec<Proxy> = ["a", "b"].into_iter().map(|name| node(&store, name)).collect();
    let first = primary(&nodes);
    let before = fence(&nodes[first]);
    let text = fs::read_to_string(nodes[first].folder().join("pointsman.toml")).unwrap();
    let line = |text: &str| text.lines().find(|line| line.starts_with("endpoints")).unwrap().to_owned();
    nodes[first].edit(&text.replace(&line(&text), &line(&all)));
    nodes[first].until_logged("configuration in force", 1);
    // A renewal with the new servers, and longer than the lease.
    let until = Instant::now() + Duration::from_secs(7);
    while Instant::now() < until {
        assert!(is_primary(&nodes[first]));
    }
    assert_eq!(fence(&nodes[first]), before);
    assert_never_two(&nodes);
}

/// The cloud's tool hangs while the program is upgraded: of two runs, the one that ends last is of the newest program.
#[test]
fn run_of_the_program_before_is_over_before_the_next() {
    let Some(store) = Store::etcd(1) else { return };
    let store = with_lease(store, Duration::from_secs(6));
    let mut node = node(&store, "a");
    eventually("it was told", || roles(&node) == "primary primary\n");
    let folder = node.folder().to_owned();
    let (held, roles) = (folder.join("held"), || roles(&node));
    fs::write(&held, "").unwrap();
    let script = format!(
        "echo begin $POINTSMAN_ROLE >> {0}/roles; sh -c 'while [ -e {0}/held ]; do sleep 0.02; done; echo end $POINTSMAN_ROLE >> {0}/roles'",
        folder.display()
    );
    let text = fs::read_to_string(folder.join("pointsman.toml")).unwrap();
    let is_command = |line: &&str| line.starts_with("command = ");
    let before = text.lines().find(is_command).unwrap();
    let after = format!("timeout = \"60s\"\ncommand = [\"/bin/sh\", \"-c\", {script:?}]");
    node.edit(&text.replace(before, &after));
    eventually("it runs", || roles().ends_with("begin primary\n"));
    node.signal("USR2");
    node.until_upgraded(1);
    eventually("the next program has it run", || roles().matches("begin primary\n").count() == 2);
    fs::remove_file(held).unwrap();
    ask(&node, "POST", "/api/v1/cluster/step-down");
    eventually("all is told", || roles().contains("end standby\n"));
    let told = roles();
    assert_eq!(told.matches("begin primary\n").count(), 2, "{told}");
    // Where the run of the next program was stopped for the other role, none of both is left.
    assert!(told.matches("end primary\n").count() <= 1, "{told}");
    assert!(told.ends_with("begin standby\nend standby\n"), "{told}");
    node.signal("TERM");
    let begun = Instant::now();
    assert!(node.wait().success() && begun.elapsed() < PATIENCE);
}
