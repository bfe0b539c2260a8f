//! Who is dropped at every step: whatever a client's connection is in the middle of, when it ends there all is given
//! back: places at backends and in queues, counts, fills and their readers.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::{Act, Stage, run};
use crate::http::{
    h1::{Become, Connection},
    upgrade,
};

/// A future that is dropped once it has been polled so often.
struct Cut<F> {
    future: Option<Pin<Box<F>>>,
    left: usize,
}

impl<F: Future> Future for Cut<F> {
    /// Whether it came to its end before.
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(future) = &mut self.future else { return Poll::Ready(false) };
        if future.as_mut().poll(cx).is_ready() {
            self.future = None;
            return Poll::Ready(true);
        }
        self.left -= 1;
        if self.left == 0 {
            self.future = None;
            return Poll::Ready(false);
        }
        Poll::Pending
    }
}

const ROUTES: &str = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\nstale_while_revalidate = \"1h\"\n\
    [[route]]\nname = \"cached\"\npaths = [\"/cached\"]\nupstream = \"app\"\ncache = \"pages\"\n\
    [[route]]\nname = \"tunnel\"\npaths = [\"/tunnel\"]\nupstream = \"app\"\nupgrade = [\"tcp\"]\n\
    [[route]]\nname = \"all\"\nupstream = \"app\"\n";

const SLOW: [Act; 4] = [
    Act::Wait(Duration::from_millis(20)),
    Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nContent-Length: 10\r\n\r\nhello"),
    Act::Wait(Duration::from_millis(20)),
    Act::Send(b"hello"),
];

/// Cuts a connection that sends `bytes` at each of its steps, beside others that ask for the same whole. The one that comes
/// through has an answer that begins with `status`.
fn cut_everywhere(name: &str, script: &[Act], bytes: &'static [u8], beside: usize, status: &str) {
    let mut steps = 0;
    for left in 1..1000 {
        let is_through = run(async || {
            let stage = Stage::new("queue = { size = 10, timeout = \"60s\" }", ROUTES, script);
            let (mut client, mut connection) = stage.connect();
            let others: Vec<_> = (0..beside).map(|_| stage.connect()).collect();
            let cut = async move {
                if let Become::Tunnel(tunnel) = Box::pin(connection.serve()).await {
                    let Connection { stream, deadline, .. } = &mut connection;
                    upgrade::join(stream, deadline, tunnel).await;
                }
            };
            let cut = tokio::task::spawn_local(Cut { future: Some(Box::pin(cut)), left });
            client.write_all(bytes).await.unwrap();
            let mut served = Vec::new();
            for (mut client, mut connection) in others {
                tokio::task::yield_now().await;
                client.write_all(bytes).await.unwrap();
                let serve = async move { Box::pin(connection.serve()).await };
                served.push((client, tokio::task::spawn_local(serve)));
            }
            let is_through = cut.await.unwrap();
            // The others are served whole, whatever becomes of the one that is cut.
            for (mut client, _) in served {
                let mut answer = Vec::new();
                let _ = client.read_to_end(&mut answer).await;
                let answer = String::from_utf8_lossy(&answer).into_owned();
                assert!(answer.starts_with("HTTP/1.1 200 "), "{name} cut at {left}: {answer:?}");
                assert!(answer.ends_with("hellohello"), "{name} cut at {left}: {answer:?}");
            }
            if is_through {
                // Else nothing of what is cut would be what it is to be.
                let mut answer = Vec::new();
                let _ = client.read_to_end(&mut answer).await;
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{name}: {answer:?}");
                assert!(!stage.backend.requests.borrow().is_empty(), "{name}: no backend was asked");
            }
            drop(client);
            stage.assert_all_is_given_back(&format!("{name} cut at {left}")).await;
            is_through
        });
        if is_through {
            steps = left;
            break;
        }
    }
    assert!(steps > 2, "{name}: it was cut at {steps} steps only");
}

const GET: &[u8] = b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const CACHED: &[u8] = b"GET /cached HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn a_proxied_exchange_gives_all_back_wherever_it_is_dropped() {
    cut_everywhere("proxied", &SLOW, GET, 0, "200 ");
}

#[test]
fn a_dropped_queued_exchange_releases_all_and_neighbours_go_on() {
    cut_everywhere("queued", &SLOW, GET, 3, "200 ");
}

#[test]
fn an_upload_gives_all_back_wherever_it_is_dropped() {
    let post = b"POST /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    cut_everywhere("upload", &SLOW, post, 0, "200 ");
}

#[test]
fn a_dropped_leader_releases_all_and_waiters_are_served() {
    cut_everywhere("leader", &SLOW, CACHED, 3, "200 ");
}

#[test]
fn an_uncollapsed_fetch_gives_all_back_wherever_it_is_dropped() {
    let own = b"GET /cached HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: a=b\r\n\r\n";
    cut_everywhere("uncollapsed", &SLOW, own, 0, "200 ");
}

#[test]
fn a_failing_exchange_gives_all_back_wherever_it_is_dropped() {
    let script = [Act::Wait(Duration::from_millis(5)), Act::Close];
    cut_everywhere("failing", &script, GET, 0, "502 ");
}

#[test]
fn a_tunnel_gives_all_back_wherever_it_is_dropped() {
    let script = [
        Act::Wait(Duration::from_millis(20)),
        Act::Send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello"),
        Act::Wait(Duration::from_millis(20)),
        Act::Send(b"hello"),
        Act::Close,
    ];
    let get = b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    cut_everywhere("tunnel", &script, get, 0, "101 ");
}
