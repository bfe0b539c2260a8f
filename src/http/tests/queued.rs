//! Requests that wait for a backend, and what ends their wait.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    path::Path,
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    join,
    time::{Instant, sleep},
};

use super::stage::{Act, Stage, run};
use crate::{backend::Probed, moment::Moment, net::Stream};

const ROUTE: &str = "[[route]]\nname = \"all\"\nupstream = \"app\"\n";
const QUEUE: &str = "queue = { size = 10, timeout = \"30s\" }\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const OK: Act = Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
const SLOW: [Act; 2] = [Act::Wait(Duration::from_secs(5)), OK];

/// The status of a request that is sent after so long, and how many seconds it took.
async fn ask(stage: &Stage, after: u64, request: &[u8]) -> (u16, u64) {
    sleep(Duration::from_millis(after)).await;
    let begun = Instant::now();
    let answer = stage.talk(request).await;
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), begun.elapsed().as_secs())
}

#[test]
fn who_waits_when_all_go_down_gets_what_newcomers_get() {
    for (when_all_down, second, third) in [("use-all", (200, 9), (200, 14)), ("fail", (503, 0), (503, 0))] {
        run(async || {
            let conf = format!("when_all_down = \"{when_all_down}\"\n{QUEUE}");
            let stage = Stage::new(&conf, ROUTE, &SLOW);
            let goes_down = async {
                sleep(Duration::from_millis(200)).await;
                let upstream = stage.worker.snapshot().shared.upstreams[0].clone();
                assert_eq!(upstream.queue.len(), 1);
                upstream.backends[0].shared.probed.store(Probed::Down as u8, Relaxed);
                // As the control side does with what checks change.
                upstream.queue.call_if_free(Moment::now());
            };
            let (first, waits, (), comes) =
                join!(ask(&stage, 0, GET), ask(&stage, 100, GET), goes_down, ask(&stage, 300, GET));
            assert_eq!((first, waits, comes), ((200, 5), second, third), "{when_all_down}");
            stage.assert_all_is_given_back(when_all_down).await;
        });
    }
}

#[test]
fn who_waits_for_an_ejected_backend_is_refused_at_once() {
    run(async || {
        let conf = format!("{QUEUE}[upstream.outlier]\nconsecutive_failures = 1\n");
        let stage = Stage::new(&conf, ROUTE, &[Act::Wait(Duration::from_secs(5)), Act::Close]);
        let (_, waits) = join!(ask(&stage, 0, GET), ask(&stage, 100, GET));
        assert_eq!(waits, (503, 4));
        stage.assert_all_is_given_back("an ejection").await;
    });
}

/// Lets a second go by in steps: the clock may go on with what the event loop tells, and not only after that.
async fn pause() {
    for _ in 0..20 {
        sleep(Duration::from_millis(50)).await;
    }
}

/// Its bytes are read once it has a place, and must not hide that it left.
#[test]
fn client_that_left_within_its_body_waits_no_more() {
    run(async || {
        let stage = Stage::new(QUEUE, ROUTE, &SLOW);
        let leaves = async {
            sleep(Duration::from_millis(100)).await;
            let (mut client, mut connection) = stage.connect();
            tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
            client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nsome").await.unwrap();
            pause().await;
            let upstream = stage.worker.snapshot().shared.upstreams[0].clone();
            assert_eq!(upstream.queue.len(), 1);
            drop(client);
            pause().await;
            assert_eq!(upstream.queue.len(), 0);
        };
        let (first, ()) = join!(ask(&stage, 0, GET), leaves);
        assert_eq!(first, (200, 5));
        stage.assert_all_is_given_back("who left").await;
    });
}

/// How many descriptors there are of a socket.
fn descriptors_of(socket: &Path) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    all.filter_map(|one| fs::read_link(one.ok()?.path()).ok()).filter(|one| one == socket).count()
}

/// It costs a descriptor and system calls, also where the response takes hours.
#[test]
fn client_is_watched_in_the_queue_only() {
    run(async || {
        let stage = Stage::new(QUEUE, ROUTE, &SLOW);
        let sends_two = async {
            sleep(Duration::from_millis(100)).await;
            let (mut client, mut connection) = stage.connect();
            let Stream::Plain(plain) = &connection.stream.stream else { unreachable!("it is without TLS") };
            let descriptor = plain.as_fd().as_raw_fd();
            let socket = fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap();
            tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
            let (get, next) = (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / ", b"HTTP/1.1\r\nHost: a\r\n\r\n");
            client.write_all(get).await.unwrap();
            pause().await;
            // What comes now is left unread, behind what was read with the first.
            client.write_all(next).await.unwrap();
            pause().await;
            let upstream = stage.worker.snapshot().shared.upstreams[0].clone();
            assert_eq!((upstream.queue.len(), descriptors_of(&socket)), (1, 2));
            for _ in 0..5 {
                pause().await;
            }
            assert_eq!((upstream.queue.len(), descriptors_of(&socket)), (0, 1));
            assert_eq!(stage.backend.requests.borrow().len(), 2, "it waits for its answer");
        };
        let (first, ()) = join!(ask(&stage, 0, GET), sends_two);
        assert_eq!(first, (200, 5));
        stage.assert_all_is_given_back("who left").await;
    });
}
