//! A peer that says that it has what it is asked for, and sends it damaged.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::{ServerConnection, StreamOwned};

use crate::{
    peer_caches::{PATIENT, configs, fleet, fresh, said},
    peers::status,
    support::{Client, Origin, Request, eventually, tls},
};

/// What is wrong with an answer, in turns; between two of them the peer answers well, so that it is not left alone.
const DAMAGES: [&str; 6] = ["cut", "none", "malformed chunk", "none", "surplus", "none"];
/// More than is read before an answer is taken.
const LARGE: usize = 200_000;

/// What a peer was asked for, and what it did.
type Done = Arc<Mutex<Vec<(String, &'static str)>>>;

/// Answers at this address in a peer's place.
fn scripted(address: SocketAddr, folder: &Path) -> Done {
    let (listener, done) = (TcpListener::bind(address).unwrap(), Done::default());
    let (config, kept) = (tls::server(folder, "node1"), done.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (config, done) = (config.clone(), done.clone());
            std::thread::spawn(move || {
                let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                while answer(&mut tls, &done).is_some() {}
            });
        }
    });
    kept
}

/// Answers one request; `None` where the connection is over.
fn answer(tls: &mut StreamOwned<ServerConnection, TcpStream>, done: &Done) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        tls.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1)?.to_owned();
    let lower = head.to_lowercase();
    if !lower.contains("pointsman-peer: cache ") {
        // News of the other node, which leaves out at once who does not take them.
        let length = lower.split_once("\r\ncontent-length: ")?.1.split("\r\n").next()?.parse().ok()?;
        tls.read_exact(&mut vec![0; length]).ok()?;
        let said = "{\"node\":\"node1\"}";
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len());
        tls.write_all(answer.as_bytes()).ok()?;
        return tls.flush().ok();
    }
    let mut done = done.lock().unwrap();
    let is_new = done.iter().all(|(it, _)| *it != target);
    let damage = match target.starts_with("/large") {
        true if is_new => "cut",
        true => "none",
        false => DAMAGES[done.len() % DAMAGES.len()],
    };
    done.push((target.clone(), damage));
    drop(done);
    let body = body(&target);
    let length = body.len();
    let framing = match damage {
        "malformed chunk" => "Transfer-Encoding: chunked".to_owned(),
        _ => format!("Content-Length: {length}"),
    };
    let sent = match damage {
        "cut" => body[..length - 2].to_owned(),
        "malformed chunk" => format!("{length:x}\r\n{body}\r\nno number\r\n"),
        "surplus" => format!("{body}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"),
        _ => body,
    };
    let state = "Cache-Status: pointsman-node1; hit; ttl=500\r\nCache-Control: max-age=600\r\nAge: 0";
    let head = format!("HTTP/1.1 200 OK\r\nPointsman-Peer: answer\r\n{state}\r\n{framing}\r\n\r\n");
    tls.write_all((head + &sent).as_bytes()).ok()?;
    tls.flush().ok()?;
    (damage == "none").then_some(())
}

/// What everybody has at a target.
fn body(target: &str) -> String {
    if target.starts_with("/large") { "l".repeat(LARGE) } else { "whole".into() }
}

/// The value of a key that stands once in the configuration.
fn value<'a>(config: &'a str, key: &str) -> &'a str {
    config.split_once(&format!("{key} = \"")).unwrap().1.split('"').next().unwrap()
}

/// A node whose peer is replaced by a scripted one, as long as it believes that the peer is there: for some seconds from
/// when that told it something last. With when that was ended.
fn beside_damaged(origin: &Origin) -> (crate::support::Proxy, Done, Instant) {
    let configs = configs(2, origin, PATIENT, "", "");
    let mut nodes = fleet(&configs);
    let peers = configs[1].split_once("[cluster.peers]").unwrap().1;
    let address = value(peers, "\nlisten").parse().unwrap();
    let folder = Path::new(value(peers, "\nca")).parent().unwrap();
    let mut other = nodes.pop().unwrap();
    let begun = Instant::now();
    other.signal("KILL");
    other.wait();
    let (node, done) = (nodes.pop().unwrap(), scripted(address, folder));
    // It may have told the peer something while nobody was there.
    eventually("it tells the peer something", || {
        status(&node)["members"].as_array().unwrap().iter().all(|member| member["problem"].is_null())
    });
    (node, done, begun)
}

/// After so long from the peer's end, the node may not ask it any more.
const SURE: Duration = Duration::from_secs(2);

#[test]
fn small_body_that_a_peer_damages_is_the_origins() {
    assert!((0..5).any(|_| a_small_body_is_the_origins()), "it was always late");
}

/// False where this was late, and so not all of the damages came.
fn a_small_body_is_the_origins() -> bool {
    let origin = Origin::start(|request: &Request| fresh(&body(&request.target)));
    let (node, done, begun) = beside_damaged(&origin);
    let targets: Vec<String> = (0..60).map(|number| format!("/small-{number}")).collect();
    for target in &targets {
        let response = node.get(target);
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "whole"),
            "{target}: {:?}",
            said(&response)
        );
    }
    let done = done.lock().unwrap().clone();
    let of = |damage: &str| -> Vec<String> {
        done.iter().filter(|(_, it)| *it == damage).map(|(target, _)| target.clone()).collect()
    };
    let from_origin: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    let is_good_taken = of("none").iter().any(|target| !from_origin.contains(target));
    let is_all = is_good_taken && DAMAGES.iter().all(|damage| !of(damage).is_empty());
    if !is_all && begun.elapsed() >= SURE {
        return false;
    }
    for damage in DAMAGES {
        assert!(!of(damage).is_empty(), "{damage}: {done:?}");
    }
    assert!(
        of("cut").iter().chain(&of("malformed chunk")).all(|target| from_origin.contains(target)),
        "{done:?}"
    );
    assert!(is_good_taken, "the peer's good answers are taken");
    // What is stored is whole too.
    for target in &targets {
        let response = node.get(target);
        assert_eq!(
            (said(&response).last().unwrap().as_str(), response.text().as_str()),
            ("pointsman; hit", "whole")
        );
    }
    true
}

#[test]
fn large_body_that_a_peer_cuts_is_not_stored() {
    assert!((0..5).any(|_| a_large_body_is_not_stored()), "it was always late");
}

/// False where this was late, and so the peer was not asked.
fn a_large_body_is_not_stored() -> bool {
    let origin = Origin::start(|request: &Request| fresh(&body(&request.target)));
    let (node, done, begun) = beside_damaged(&origin);
    let targets: Vec<String> = (0..20).map(|number| format!("/large-{number}")).collect();
    let length = |target: &str| {
        let mut client = Client::connect(node.address("web"));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
        let all = client.exactly(2 * LARGE);
        assert!(all.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&all));
        all.len() - all.windows(4).position(|it| it == b"\r\n\r\n").unwrap() - 4
    };
    let first: Vec<usize> = targets.iter().map(|target| length(target)).collect();
    let done = done.lock().unwrap().clone();
    if done.is_empty() && begun.elapsed() >= SURE {
        return false;
    }
    assert!(!done.is_empty());
    for (target, first) in targets.iter().zip(first) {
        let was_cut = done.iter().any(|(it, _)| it == target);
        // Who reads it as it comes sees that the rest is missing.
        assert_eq!(first == LARGE, !was_cut, "{target}: {first}");
        let again = node.get(target);
        assert_eq!(again.text().len(), LARGE, "{target}: {:?}", said(&again));
    }
    true
}
