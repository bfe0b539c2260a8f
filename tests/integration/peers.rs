//! What the nodes of a cluster tell each other, over TLS with certificates on both sides.

use std::{net::SocketAddr, path::Path};

use serde_json::Value;

use crate::support::{Client, Origin, Proxy, Reply, eventually, free, proxy, tls};

/// A folder with an authority of the peers, and with certificates of it for so many nodes.
pub fn certificates(count: usize) -> std::path::PathBuf {
    let folder = proxy::folder();
    let authority = tls::Authority::new(&folder);
    (0..count).for_each(|index| authority.issue(&folder, &format!("node{index}"), &["pointsman"]));
    folder
}

/// `[admin]`, and `[cluster]` of a node with these peers.
pub fn cluster(folder: &Path, index: usize, members: &[SocketAddr]) -> String {
    let folder = folder.display();
    let all: Vec<String> = members.iter().map(|member| format!("\"{member}\"")).collect();
    format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[cluster]\nnode = \"node{index}\"\n[cluster.peers]\nlisten = \"{}\"\n\
         members = [{}]\nca = \"{folder}/own-ca.pem\"\n\
         certificate = {{ chain = \"{folder}/node{index}.pem\", key = \"{folder}/node{index}.key\" }}\n",
        members[index],
        all.join(", "),
    )
}

/// Nodes of one cluster with this configuration.
fn nodes(count: usize, backends: &[SocketAddr], upstream: &str, tables: &str) -> Vec<Proxy> {
    let folder = certificates(count);
    let members: Vec<SocketAddr> = (0..count).map(|_| free()).collect();
    (0..count)
        .map(|index| {
            let cluster = cluster(&folder, index, &members);
            // The listener of the peers is in no `[[listener]]`.
            Proxy::start(&proxy::config(backends, &format!("{upstream}---\n{tables}{cluster}")))
        })
        .collect()
}

pub fn ask(node: &Proxy, method: &str, path: &str, body: &str) -> Value {
    let mut client = Client::connect(node.address("admin"));
    let length = body.len();
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let response = client.response(method);
    assert!((200..300).contains(&response.status), "{}", response.text());
    serde_json::from_str(&response.text()).unwrap()
}

pub fn status(node: &Proxy) -> Value {
    ask(node, "GET", "/api/v1/cluster", "")
}

/// Waits until all have heard of all.
pub fn until_known(nodes: &[Proxy]) {
    for node in nodes {
        eventually("all others are there", || {
            let status = status(node);
            let there = |other: &&Value| other["is_there"] == true;
            status["nodes"].as_array().unwrap().iter().filter(there).count() == nodes.len() - 1
                && status["members"].as_array().unwrap().iter().all(|member| member["problem"].is_null())
        });
    }
}

fn state_of(node: &Proxy, index: usize) -> Value {
    ask(node, "GET", "/api/v1/upstreams/u", "")["backends"][index]["state"].clone()
}

#[test]
fn nodes_know_each_other_and_compare_their_configurations() {
    let origin = Origin::named("a");
    let nodes = nodes(3, &[origin.address()], "", "");
    until_known(&nodes);
    let first = status(&nodes[0]);
    let others: Vec<&Value> = first["nodes"].as_array().unwrap().iter().collect();
    assert_eq!(others.iter().map(|node| &node["node"]).collect::<Vec<_>>(), ["node1", "node2"]);
    assert_eq!(first["election"], "vrrp");
    // Each has a file of its own: its name is in it.
    assert!(others.iter().all(|node| node["has_this_configuration"] == false));
    let metrics = nodes[0].address("admin");
    let text = Client::connect(metrics).get("/metrics").text();
    assert!(text.contains("pointsman_cluster_node_up{node=\"node1\"} 1"), "{text}");
}

#[test]
fn nodes_by_the_example_know_each_other() {
    let folder = proxy::folder();
    pointsman::tls::demo::demo_certificates(&folder.join("certs")).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/peers.toml");
    let example = std::fs::read_to_string(example).unwrap();
    let members = [free(), free()];
    let nodes = [0, 1].map(|index| {
        let own = folder.join(format!("config{index}"));
        std::fs::create_dir(&own).unwrap();
        let all = format!("members = [\"{}\", \"{}\"]", members[0], members[1]);
        let text = example
            .replace("\"0.0.0.0:8080\"", "\"127.0.0.1:0\"")
            .replace("listen = \"127.0.0.1:7946\"", &format!("listen = \"{}\"", members[index]))
            .replace("members = [\"127.0.0.1:7946\", \"10.0.0.2:7946\", \"10.0.0.3:7946\"]", &all)
            .replace("\"lb1\"", &format!("\"node{index}\""));
        assert!(!text.contains(":7946") && text.contains(&format!("\"node{index}\"")), "{text}");
        let more = "\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
        Proxy::start_in(own, &(text + more))
    });
    until_known(&nodes);
    drop(nodes);
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn change_by_the_admin_api_is_made_by_all() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let nodes = nodes(3, &[a.address(), b.address()], "", "");
    until_known(&nodes);
    ask(&nodes[0], "POST", "/api/v1/upstreams/u/backends/b0/drain", "");
    for node in &nodes {
        eventually("all drain it", || state_of(node, 0) == "draining");
    }
    ask(&nodes[1], "PATCH", "/api/v1/upstreams/u/backends/b1?local=true", "{\"weight\":7}");
    ask(&nodes[2], "POST", "/api/v1/upstreams/u/backends/b0/enable", "");
    for node in &nodes {
        eventually("all take it again", || state_of(node, 0) == "up");
    }
    let weight = |node: &Proxy| ask(node, "GET", "/api/v1/upstreams/u", "")["backends"][1]["weight"].clone();
    assert_eq!(nodes.iter().map(weight).collect::<Vec<_>>(), [1, 7, 1]);
}

#[test]
fn what_one_node_purges_is_gone_on_all() {
    let origin = Origin::start(|_| {
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 1\r\n\r\nx".to_vec())
    });
    let cache = "[[cache]]\nname = \"c\"\n";
    let folder = certificates(2);
    let members = [free(), free()];
    let config = |index| {
        let text =
            proxy::config(&[origin.address()], &format!("---\n{cache}{}", cluster(&folder, index, &members)));
        text.replace("upstream = \"u\"\n", "upstream = \"u\"\ncache = \"c\"\n")
    };
    let nodes = [Proxy::start(&config(0)), Proxy::start(&config(1))];
    until_known(&nodes);
    for node in &nodes {
        node.get("/page");
        assert!(node.get("/page").header("cache-status").unwrap().contains("hit"));
    }
    ask(&nodes[0], "POST", "/api/v1/caches/c/purge", "{\"all\": true}");
    let is_stored = |node: &Proxy| {
        node.connect().get_with("/page", "test", "Cache-Control: only-if-cached\r\n").status == 200
    };
    assert!(!is_stored(&nodes[0]));
    eventually("the other has purged it", || !is_stored(&nodes[1]));
}

#[test]
fn backend_that_one_node_ejects_is_ejected_on_all() {
    let good = Origin::named("good");
    let bad = Origin::start(|_| Reply::Text(503, String::new()));
    let eject = "[upstream.outlier]\nconsecutive_failures = 3\nbase_ejection = \"60s\"\n";
    let nodes = nodes(2, &[good.address(), bad.address()], "", eject);
    until_known(&nodes);
    for _ in 0..20 {
        nodes[0].get("/");
    }
    assert_eq!(state_of(&nodes[0], 1), "ejected");
    eventually("the other has ejected it", || state_of(&nodes[1], 1) == "ejected");
    let before = bad.requests().len();
    for _ in 0..20 {
        assert_eq!(nodes[1].get("/").status, 200);
    }
    assert_eq!(bad.requests().len(), before, "it was never met here");
}

#[test]
fn who_has_no_certificate_of_the_peers_is_not_heard() {
    let folder = certificates(2);
    let members = [free(), free()];
    let origin = Origin::named("a");
    let config = proxy::config(&[origin.address()], &format!("---\n{}", cluster(&folder, 0, &members)));
    let node = Proxy::start(&config);
    // With the right authority, and without a certificate, or with one of another authority.
    let stranger = proxy::folder();
    tls::Authority::new(&stranger).issue(&stranger, "stranger", &["pointsman"]);
    for file in ["stranger.pem", "stranger.key"] {
        std::fs::copy(stranger.join(file), folder.join(file)).unwrap();
    }
    for certificate in [None, Some("stranger")] {
        let manner = tls::Manner { ca: "own-ca.pem", certificate, ..tls::Manner::default() };
        let said = "POST /.pointsman/state HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
        let answer = tls::TlsClient::connect(members[0], "pointsman", &manner.config(&folder))
            .and_then(|client| client.last(said));
        assert!(answer.is_err(), "{answer:?}");
    }
    // One of their own is heard, and understood or not.
    let manner = tls::Manner { ca: "own-ca.pem", certificate: Some("node1"), ..tls::Manner::default() };
    let client = tls::TlsClient::connect(members[0], "pointsman", &manner.config(&folder)).unwrap();
    let said =
        "POST /.pointsman/state HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    let answer = client.last(said).unwrap();
    assert!(answer.starts_with("HTTP/1.1 409") && answer.contains("no version"), "{answer}");
    // Over its other listeners nobody says anything.
    let mut client = node.connect();
    client.send("POST /.pointsman/state HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}");
    assert_eq!(client.response("POST").text(), "a");
    assert_eq!(status(&node)["nodes"].as_array().unwrap().len(), 0);
}
