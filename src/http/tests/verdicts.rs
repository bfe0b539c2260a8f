//! What is held against a backend and what is not, and what is done where all are down.

use std::sync::atomic::Ordering::Relaxed;

use super::stage::{Act, Stage, run};
use crate::backend::Probed;

const ROUTE: &str = "[[route]]\nname = \"all\"\nupstream = \"app\"\n";

#[test]
fn use_all_holds_while_only_one_without_weight_is_healthy() {
    run(async || {
        let weightless = "[[upstream.backend]]\naddress = \"127.0.0.1:1\"\nweight = 0\n";
        let answer = [Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")];
        let stage = Stage::new("when_all_down = \"use-all\"", &format!("{weightless}{ROUTE}"), &answer);
        let snapshot = stage.worker.snapshot();
        snapshot.shared.upstreams[0].backends[0].shared.probed.store(Probed::Down as u8, Relaxed);
        let answer = stage.talk(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}
