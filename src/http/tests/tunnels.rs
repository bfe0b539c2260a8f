//! What begins a tunnel by CONNECT, and what may not be taken for one.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::{Act, Stage, run};
use crate::http::{
    h1::{Become, Connection},
    upgrade,
};

const CONNECT: &[u8] = b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n";

/// What comes over a connection that asks for a tunnel, to the end of it.
async fn tunnelled(stage: &Stage) -> String {
    let (mut client, mut connection) = stage.connect();
    tokio::task::spawn_local(async move {
        if let Become::Tunnel(tunnel) = Box::pin(connection.serve()).await {
            let Connection { stream, deadline, .. } = &mut connection;
            upgrade::join(stream, deadline, tunnel).await;
        }
    });
    client.write_all(CONNECT).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn the_head_before_a_tunnel_frames_nothing() {
    run(async || {
        let route = "[[route]]\nname = \"all\"\nupstream = \"app\"\nupgrade = [\"connect\"]\n";
        for head in [
            &b"HTTP/1.1 200 OK\r\n\r\nfirst"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst",
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nfirst",
        ] {
            let stage = Stage::new("", route, &[Act::Send(head), Act::Close]);
            let answer = tunnelled(&stage).await;
            let (head, tunnel) = answer.split_once("\r\n\r\n").unwrap();
            let head = head.to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 20"), "{head}");
            for name in ["transfer-encoding", "content-length", "connection"] {
                assert!(!head.contains(&format!("\r\n{name}:")), "RFC 9110 §9.3.6: {head}");
            }
            assert_eq!(tunnel, "first");
            stage.assert_all_is_given_back("a tunnel").await;
        }
    });
}

#[test]
fn a_refused_connect_has_a_body_as_others_have() {
    run(async || {
        let route = "[[route]]\nname = \"all\"\nupstream = \"app\"\nupgrade = [\"connect\"]\n";
        let head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nhello";
        let stage = Stage::new("", route, &[Act::Send(head)]);
        let answer = stage.talk(CONNECT).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("\r\n\r\nhello"), "{answer}");
        assert!(answer.contains("content-length: 5\r\n"), "{answer}");
    });
}

/// A write to a route with a cache that asks for a tunnel, by an Upgrade field like this.
fn write(upgrade: &str) -> Vec<u8> {
    format!(
        "PUT / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: {upgrade}\r\nContent-Length: 3\r\n\r\nnew"
    )
    .into_bytes()
}

const CACHED: &str = "[[route]]\nname = \"cached\"\nupstream = \"app\"\ncache = \"pages\"\n";
const FRESH: &[Act] =
    &[Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello")];

/// Whatever it asks for besides, and whether that is let through.
#[test]
fn write_that_asks_for_a_tunnel_outdates_what_is_stored() {
    let cache = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n";
    let get = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (allowed, upgrade) in
        [("", ","), ("", ""), ("upgrade = [\"tcp\"]\n", "tcp"), ("upgrade = [\"*\"]\n", "tcp, other")]
    {
        run(async || {
            let stage = Stage::new("", &format!("{cache}{CACHED}{allowed}"), FRESH);
            let asked = || stage.backend.requests.borrow().len();
            assert!(stage.talk(get).await.ends_with("\r\n\r\nhello"));
            assert!(stage.talk(get).await.ends_with("\r\n\r\nhello"));
            assert_eq!(asked(), 1, "it is stored");
            let answer = stage.talk(&write(upgrade)).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(stage.talk(get).await.ends_with("\r\n\r\nhello"));
            assert_eq!(asked(), 3, "{allowed}{upgrade}: RFC 9111 §4.4");
            stage.assert_all_is_given_back("a write that asks for a tunnel").await;
        });
    }
}

/// Else one that was accepted before it would be delivered over it.
#[test]
fn write_that_asks_for_a_tunnel_waits_for_its_turn() {
    let folder = std::env::temp_dir().join(format!("pointsman-tunnels-{}", std::process::id()));
    let cache = format!(
        "[[cache]]\nname = \"pages\"\nwrite_policy = \"back\"\nwrite_back = {{ networks = [\"0.0.0.0/0\"] }}\n\
         journal = {{ path = {folder:?} }}\n"
    );
    for (allowed, upgrade) in [("", ","), ("upgrade = [\"tcp\"]\n", "tcp")] {
        run(async || {
            // Nobody opens the journal: what waits in it is not known.
            let stage = Stage::new("", &format!("{cache}{CACHED}{allowed}"), FRESH);
            let answer = stage.talk(&write(upgrade)).await;
            assert!(answer.starts_with("HTTP/1.1 503 "), "{allowed}{upgrade}: {answer}");
            assert_eq!(stage.backend.requests.borrow().len(), 0);
        });
    }
}

#[test]
fn nothing_of_ours_is_taken_for_a_tunnel() {
    run(async || {
        let route = "[[route]]\nname = \"own\"\nrespond = { status = 200, body = \"hello\" }\n";
        let stage = Stage::new("", route, &[]);
        let answer = stage.talk(CONNECT).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    });
}
