//! One configuration in etcd for many nodes.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{ask, stores::Store};
use crate::{
    cli::pointsman_with,
    support::{Client, Origin, PATIENCE, Proxy, eventually, proxy, tls},
};

const KEY: &str = "pointsman/config";

fn text(origin: SocketAddr, body: &str, more: &str) -> String {
    proxy::config(&[origin], &format!("---\n[admin]\naddress = \"127.0.0.1:0\"\n{more}"))
        .replace("[[route]]\nname = \"all\"", &format!(
            "[[route]]\nname = \"which\"\npaths = [\"/which\"]\nrespond = {{ status = 200, body = \"{body}\" }}\n[[route]]\nname = \"all\""
        ))
}

/// A node that has its configuration from the store; its copy is in the folder.
fn node(store: &Store, folder: &Path, variables: &[(&str, String)], expected: usize) -> Proxy {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(["run", "--config", &store.source(KEY)]).env("STATE_DIRECTORY", folder);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    // Its own folder goes with it, and the copy stays.
    Proxy::spawn(command, proxy::folder(), expected)
}

fn which(node: &Proxy) -> String {
    node.get("/which").text()
}

fn fleet(node: &Proxy) -> Value {
    ask(node, "GET", "/api/v1/cluster")["fleet"].clone()
}

#[test]
fn change_of_the_key_is_in_force_on_all_nodes() {
    let Some(store) = Store::etcd(1) else { return };
    let origin = Origin::named("a");
    store.put(KEY, &text(origin.address(), "0", ""));
    let nodes: Vec<Proxy> = (0..3).map(|_| node(&store, &proxy::folder(), &[], 2)).collect();
    let (stop, failed, asked) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0), AtomicUsize::new(0));
    let changes = std::env::var("POINTSMAN_CHANGES").map_or(10, |count| count.parse().unwrap());
    thread::scope(|scope| {
        for node in &nodes {
            let (stop, failed, asked, address) = (stop.clone(), &failed, &asked, node.address("web"));
            scope.spawn(move || {
                let mut client = Client::connect(address);
                while !stop.load(Relaxed) {
                    failed.fetch_add(usize::from(client.get("/").status != 200), Relaxed);
                    asked.fetch_add(1, Relaxed);
                }
            });
        }
        let mut slowest = Duration::ZERO;
        for change in 1..=changes {
            // Every tenth is broken: it is refused, and the one before goes on.
            let is_broken = change % 10 == 0;
            let more = if is_broken { "[[nonsense]]\n" } else { "" };
            let begun = Instant::now();
            store.put(KEY, &text(origin.address(), &change.to_string(), more));
            for node in &nodes {
                if is_broken {
                    eventually("it is refused", || {
                        fleet(node)["problem"].as_str().is_some_and(|it| it.contains("nonsense"))
                    });
                    assert_eq!(which(node), (change - 1).to_string());
                } else {
                    eventually("it is in force", || which(node) == change.to_string());
                }
            }
            slowest = slowest.max(begun.elapsed());
        }
        stop.store(true, Relaxed);
        eprintln!("{changes} changes, the slowest in {slowest:?}");
        assert!(slowest < PATIENCE, "{slowest:?}");
    });
    assert_eq!(failed.load(Relaxed), 0, "of {} requests", asked.load(Relaxed));
    assert!(asked.load(Relaxed) > 100);
}

#[test]
fn without_the_store_the_last_good_copy_is_in_force() {
    let Some(store) = Store::etcd(1) else { return };
    let (origin, folder) = (Origin::named("a"), proxy::folder());
    store.put(KEY, &text(origin.address(), "first", ""));
    drop(node(&store, &folder, &[], 2));
    // What is broken in the store is not what a start takes.
    store.put(KEY, "[[nonsense]]\n");
    let started = node(&store, &folder, &[], 2);
    assert_eq!(which(&started), "first");
    assert!(fleet(&started)["problem"].as_str().is_some_and(|it| it.contains("nonsense")));
    drop(started);
    store.put(KEY, &text(origin.address(), "second", ""));
    store.signal(0, "STOP");
    let started = node(&store, &folder, &[], 2);
    assert_eq!(which(&started), "first");
    store.signal(0, "CONT");
    eventually("the store is back", || which(&started) == "second");
    eventually("all is well", || fleet(&started)["problem"].is_null());
    drop(started);
    // Nowhere a copy, and nothing good in the store: it says so, and does not start.
    store.put("pointsman/broken", "[[nonsense]]\n");
    for key in ["pointsman/broken", "pointsman/nothing"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.args(["run", "--config", &store.source(key)]).env("STATE_DIRECTORY", proxy::folder());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && (said.contains("nonsense") || said.contains("there is no")),
            "{said}"
        );
    }
}

/// It wrote what it could not serve with over the copy, and there was nothing left to begin with.
/// It counts writes from the beginning, and what is put there has the number of what was in force.
#[test]
fn text_of_a_store_made_anew_is_in_force() {
    let Some(mut store) = Store::etcd(1) else { return };
    let (origin, folder) = (Origin::named("a"), proxy::folder());
    store.put(KEY, &text(origin.address(), "first", ""));
    let node = node(&store, &folder, &[], 2);
    assert_eq!(which(&node), "first");
    let before = fleet(&node)["in_force"].clone();
    store.empty(0);
    store.put(KEY, &text(origin.address(), "second", ""));
    eventually("it is in force", || which(&node) == "second");
    assert_eq!(fleet(&node)["in_force"], before, "the number says nothing of it");
    node.until_logged("\"cause\":\"fleet\"", 1);
}

#[test]
fn program_that_cannot_serve_leaves_the_last_good_copy() {
    let Some(store) = Store::etcd(1) else { return };
    let (origin, folder) = (Origin::named("a"), proxy::folder());
    store.put(KEY, &text(origin.address(), "first", ""));
    let started = node(&store, &folder, &[], 2);
    let kept = || {
        let copies: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(copies.len(), 1, "{copies:?}");
        fs::read_to_string(&copies[0]).unwrap()
    };
    let before = kept();
    assert!(before.contains("first"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!("[[listener]]\nname = \"taken\"\naddress = \"{}\"\n", taken.local_addr().unwrap());
    store.put(KEY, &text(origin.address(), "second", &more));
    eventually("it cannot be applied", || {
        fleet(&started)["problem"].as_str().is_some_and(|it| it.contains("cannot be applied yet"))
    });
    started.signal("USR2");
    started.until_not_upgraded(1);
    assert_eq!(kept(), before);
    assert_eq!(which(&started), "first");
    drop(started);
    // A start does not end for that either.
    let started = node(&store, &folder, &[], 2);
    assert_eq!(which(&started), "first");
    eventually("it cannot be applied there", || {
        fleet(&started)["problem"].as_str().is_some_and(|it| it.contains("cannot be applied yet"))
    });
    let ready = Client::connect(started.address("admin")).get_with("/readyz", "localhost", "");
    assert!(ready.status == 200 && ready.text().contains("last good copy"), "{}", ready.text());
    assert_eq!(kept(), before);
    // What was taken for a moment is free.
    drop(taken);
    eventually("it is tried again", || which(&started) == "second");
    assert!(kept().contains("second"));
    fs::remove_dir_all(&folder).unwrap();
}

/// It was tried with the limit that the program was given, and then begun with the copy, though the start raises the limit.
#[test]
fn start_tries_addresses_with_the_descriptors_that_it_will_have() {
    let Some(store) = Store::etcd(1) else { return };
    let (origin, folder) = (Origin::named("a"), proxy::folder());
    store.put(KEY, &text(origin.address(), "first", ""));
    drop(node(&store, &folder, &[], 2));
    let many: Vec<String> = (1..=100).map(|number| format!("\"127.1.1.{number}:0\"")).collect();
    let more = format!("[[listener]]\nname = \"many\"\naddress = [{}]\n", many.join(", "));
    store.put(KEY, &text(origin.address(), "second", &more));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 64 && exec \"$0\" run --config \"$1\""]);
    command.arg(env!("CARGO_BIN_EXE_pointsman")).arg(store.source(KEY)).env("STATE_DIRECTORY", &folder);
    let started = Proxy::spawn(command, proxy::folder(), 2);
    assert_eq!(started.count_logged("cannot be applied yet"), 0);
    assert_eq!(which(&started), "second");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_configuration_of_many_nodes_includes_no_files() {
    let Some(store) = Store::etcd(1) else { return };
    let origin = Origin::named("a");
    store.put(KEY, &text(origin.address(), "first", ""));
    let folder = proxy::folder();
    let node = node(&store, &folder, &[], 2);
    // One that is there: it would be taken on this node, and not on the others.
    fs::write(folder.join("more.toml"), "").unwrap();
    store.put(KEY, &format!("include = [\"more.toml\"]\n{}", text(origin.address(), "second", "")));
    eventually("it is refused", || {
        fleet(&node)["problem"].as_str().is_some_and(|it| it.contains("cannot include files"))
    });
    assert_eq!(which(&node), "first");
    store.put(KEY, &text(origin.address(), "third", ""));
    eventually("the next is in force", || which(&node) == "third");
}

#[test]
fn who_only_looks_changes_nothing_of_a_node() {
    let Some(store) = Store::etcd(1) else { return };
    let (origin, folder) = (Origin::named("a"), proxy::folder());
    store.put(KEY, &text(origin.address(), "first", ""));
    drop(node(&store, &folder, &[], 2));
    let kept = || {
        let copies: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(copies.len(), 1, "{copies:?}");
        (fs::read_to_string(&copies[0]).unwrap(), fs::metadata(&copies[0]).unwrap().ino())
    };
    let before = kept();
    let ask = |state: &Path, verb: &str, more: &[&str]| {
        let source = store.source(KEY);
        let arguments = [&[verb, "--config", &source][..], more].concat();
        pointsman_with(state, &[("STATE_DIRECTORY", state.to_str().unwrap())], &arguments)
    };
    let explain = ["GET", "http://a/which"];
    // What is there is looked at, and not what this machine had last; also where it had nothing.
    let elsewhere = proxy::folder();
    store.put(KEY, &text(origin.address(), "second", "").replace("\"which\"", "\"other\""));
    for state in [&folder, &elsewhere] {
        let ended = ask(state, "explain", &explain);
        assert!(ended.status == Some(0) && ended.out.contains("other"), "{ended:?}");
        let ended = ask(state, "check", &[]);
        assert!(ended.status == Some(0) && ended.out.starts_with("etcd://"), "{ended:?}");
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    store.put(KEY, "include = [\"/dev/null\"]\n[[nonsense]]\n");
    for state in [&folder, &elsewhere] {
        let ended = ask(state, "check", &[]);
        assert_eq!(ended.status, Some(2), "{ended:?}");
        assert!(ended.out.contains("cannot include files") && ended.out.contains(":2:"), "{ended:?}");
    }
    let ended = ask(&folder, "explain", &explain);
    assert!(ended.status == Some(0) && ended.err.contains("last good copy"), "{ended:?}");
    assert_eq!(kept(), before);
    fs::remove_dir_all(&folder).unwrap();
    fs::remove_dir_all(&elsewhere).unwrap();
}

#[test]
fn what_the_store_has_is_not_changed_on_a_node() {
    let Some(store) = Store::etcd(1) else { return };
    let origin = Origin::named("a");
    let first = text(origin.address(), "first", "");
    store.put(KEY, &first);
    let node = node(&store, &proxy::folder(), &[], 2);
    let ask = |method: &str, path: &str, kind: &str, body: &str| {
        let mut client = Client::connect(node.address("admin"));
        let fields = format!("Host: a\r\nContent-Type: {kind}\r\nContent-Length: {}", body.len());
        client.send(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n{body}"));
        let response = client.response(method);
        (response.status, response.text())
    };
    let backend = "/api/v1/upstreams/u/backends/b0";
    let weight =
        |query: &str| ask("PATCH", &format!("{backend}{query}"), "application/json", "{\"weight\": 3}");
    let put = ask("PUT", "/api/v1/config", "application/toml", &first.replace("first", "second"));
    for (status, said) in [weight("?persist=true"), put] {
        assert!(
            status == 409 && said.contains("write the key") && said.contains("etcd://"),
            "{status} {said}"
        );
    }
    assert_eq!(weight("").0, 200);
    let including = format!("include = [\"/dev/null\"]\n{first}");
    for path in ["/api/v1/config/check", "/api/v1/config/plan"] {
        let (status, said) = ask("POST", path, "application/toml", &including);
        assert!(status == 422 && said.contains("cannot include files"), "{path}: {status} {said}");
    }
    // What the store has is still taken over.
    store.put(KEY, &text(origin.address(), "third", ""));
    eventually("it is in force", || which(&node) == "third");
}

#[test]
fn others_wait_for_the_first_node_and_stop_with_it() {
    let Some(store) = Store::etcd(1) else { return };
    let origin = Origin::named("a");
    let certificates = proxy::folder();
    tls::Authority::new(&certificates).issue(&certificates, "peer", &["pointsman"]);
    let members: Vec<SocketAddr> = (0..2).map(|_| origin_port()).collect();
    let cluster = |wait: &str| in_turns(&members, &certificates, wait);
    store.put(KEY, &text(origin.address(), "0", &cluster("8s")));
    let start = |index: usize, name: &str| {
        let variables = [("NODE", name.to_owned()), ("PEERS", members[index].to_string())];
        node(&store, &proxy::folder(), &variables, 3)
    };
    let (first, second) = (start(0, "a"), start(1, "b"));
    know_each_other(&[&first, &second]);
    store.put(KEY, &text(origin.address(), "1", &cluster("8s")));
    eventually("the first has it", || which(&first) == "1");
    assert_eq!(which(&second), "0");
    eventually("the second waits", || fleet(&second)["waiting"] == true);
    eventually("the second has it", || which(&second) == "1");

    // With the next one every request of the first fails.
    store.put(KEY, &failing(&text(origin.address(), "2", &cluster("60s"))));
    eventually("the first has it", || which(&first) == "2");
    eventually("the second has stopped", || {
        first.get("/");
        fleet(&second)["problem"].as_str().is_some_and(|it| it.contains("fail with it"))
    });
    assert_eq!(which(&second), "1");
    // What is put right is taken over.
    store.put(KEY, &text(origin.address(), "3", &cluster("0s")));
    eventually("both have it", || which(&first) == "3" && which(&second) == "3");
    fs::remove_dir_all(certificates).unwrap();
}

#[test]
fn program_that_begins_anew_takes_its_turn() {
    let Some(store) = Store::etcd(1) else { return };
    let origin = Origin::named("a");
    let certificates = proxy::folder();
    tls::Authority::new(&certificates).issue(&certificates, "peer", &["pointsman"]);
    let members: Vec<SocketAddr> = (0..2).map(|_| origin_port()).collect();
    let cluster = in_turns(&members, &certificates, "60s");
    store.put(KEY, &text(origin.address(), "0", &cluster));
    let folders = [proxy::folder(), proxy::folder()];
    let start = |index: usize, name: &str| {
        let variables = [("NODE", name.to_owned()), ("PEERS", members[index].to_string())];
        node(&store, &folders[index], &variables, 3)
    };
    let (first, mut second) = (start(0, "a"), start(1, "b"));
    know_each_other(&[&first, &second]);
    let anew = |second: Proxy| {
        drop(second);
        let second = start(1, "b");
        assert_eq!(which(&second), "0");
        know_each_other(&[&second]);
        second
    };
    // While the first tries it.
    store.put(KEY, &text(origin.address(), "1", &cluster));
    eventually("the first has it", || which(&first) == "1");
    eventually("the second waits", || fleet(&second)["waiting"] == true);
    second = anew(second);
    eventually("it waits again", || fleet(&second)["waiting"] == true);
    // What failed there stays stopped.
    store.put(KEY, &failing(&text(origin.address(), "2", &cluster)));
    eventually("the first has the next", || which(&first) == "2");
    let has_stopped = |node: &Proxy| {
        first.get("/");
        fleet(node)["problem"].as_str().is_some_and(|it| it.contains("fail with it"))
    };
    eventually("the second has stopped", || has_stopped(&second));
    second = anew(second);
    assert!(has_stopped(&second), "{}", fleet(&second));
    assert_eq!((which(&second), fleet(&second)["waiting"] == true), ("0".to_owned(), false));
    // The first begins anew with what it has.
    drop(first);
    assert_eq!(which(&start(0, "a")), "2");
    drop(second);
    folders.iter().chain([&certificates]).for_each(|folder| fs::remove_dir_all(folder).unwrap());
}

/// A cluster of these members that takes a configuration over by turns.
fn in_turns(members: &[SocketAddr], certificates: &Path, wait: &str) -> String {
    let folder = certificates.display();
    format!(
        "[cluster]\nnode = \"${{NODE}}\"\nrollout = {{ first = 1, wait = \"{wait}\" }}\n[cluster.peers]\n\
         listen = \"${{PEERS}}\"\nmembers = [\"{}\", \"{}\"]\nca = \"{folder}/own-ca.pem\"\n\
         certificate = {{ chain = \"{folder}/peer.pem\", key = \"{folder}/peer.key\" }}\n",
        members[0], members[1]
    )
}

fn know_each_other(nodes: &[&Proxy]) {
    for node in nodes {
        eventually("they know each other", || {
            ask(node, "GET", "/api/v1/cluster")["nodes"].as_array().unwrap().len() == 1
        });
    }
}

/// The same with every request failing.
fn failing(text: &str) -> String {
    text.replace("upstream = \"u\"\n", "respond = { status = 503 }\n")
}

fn origin_port() -> SocketAddr {
    crate::support::free()
}
