//! Sessions of datagrams that the program before hands over: all are waited for, and then the workers begin with them.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use crate::{
    l4::udp::Handed,
    listen::{
        handover::{self, at},
        mailbox::{Change, Mailboxes, Message},
    },
};

/// How long the workers may take, all of them together: the program before waits longer than that for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes them over, and has each worker read its sockets of datagrams; gives how many go on here. `pipe` is the
/// conversation's.
pub(super) async fn take(
    pipe: Arc<UnixStream>,
    mailboxes: &Mailboxes,
    datagrams: Vec<Change>,
) -> io::Result<usize> {
    let all = receive(pipe, mailboxes.workers()).await;
    let (all, result) = match all {
        Ok(all) => (all, Ok(())),
        // Whoever comes begins anew.
        Err(error) => (Vec::new(), Err(error)),
    };
    let mut all = all.into_iter();
    let send = |(worker, change)| {
        let (answer, answered) = oneshot::channel();
        let message = Message::TakeOver(change, all.next().unwrap_or_default(), answer);
        // A worker ends only with the program.
        let _ = mailboxes.send(worker, message);
        answered
    };
    // All at once: the program before does not wait longer because there are many.
    let asked: Vec<_> = datagrams.into_iter().enumerate().map(send).collect();
    let (mut taken, end) = (0, Instant::now() + PATIENCE);
    for (worker, answered) in asked.into_iter().enumerate() {
        match timeout_at(end, answered).await {
            Ok(Ok(count)) => taken += count,
            // It may begin with them yet; the program before is told of what is certain.
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    worker,
                    "a worker takes long to begin with its datagram sessions, which count as lost"
                );
            }
        }
    }
    result.map(|()| taken)
}

/// Of each worker here what comes for it, until the last.
async fn receive(pipe: Arc<UnixStream>, workers: usize) -> io::Result<Vec<Vec<Handed>>> {
    let received = spawn_blocking(move || {
        pipe.set_nonblocking(false)?;
        (&*pipe).write_all(b"{\"takes\":true}\n")?;
        let mut all: Vec<Vec<Handed>> = (0..workers).map(|_| Vec::new()).collect();
        loop {
            let (message, sockets) = handover::receive(&pipe)?;
            if at(&message, "last") == true {
                return Ok(all);
            }
            let count = sockets.len();
            let worker = at(&message, "worker").as_u64().and_then(|worker| usize::try_from(worker).ok());
            let facts = at(&message, "sessions").as_array().cloned().unwrap_or_default();
            let own = worker.and_then(|worker| all.get_mut(worker % workers.max(1)));
            if let Some(own) = own {
                own.extend(facts.into_iter().zip(sockets).map(|(facts, socket)| Handed { facts, socket }));
            }
            (&*pipe).write_all(format!("{{\"sessions\":{count}}}\n").as_bytes())?;
        }
    });
    received.await.map_err(io::Error::other)?
}

/// Tells the program before how many go on, by which it lets go of them. `pipe` is as in [`take`], and blocks no more.
pub(super) async fn say(pipe: Arc<UnixStream>, taken: usize) -> io::Result<()> {
    let said = spawn_blocking(move || {
        let line = format!("{{\"sessions\":{taken}}}\n");
        let said = (&*pipe).write_all(line.as_bytes());
        pipe.set_nonblocking(true)?;
        said
    });
    said.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    /// One after another had five seconds each, and the program before waits ten for all.
    #[tokio::test(start_paused = true)]
    async fn workers_that_hang_are_waited_for_at_the_same_time() {
        let (before, own) = UnixStream::pair().unwrap();
        handover::send(&before, &json!({"last": true}), &[]).unwrap();
        let (senders, mut received): (Vec<_>, Vec<_>) = (0..4).map(|_| unbounded_channel()).unzip();
        let datagrams = (0..4).map(|_| Change::default()).collect();
        let begun = Instant::now();
        let taken = take(Arc::new(own), &Mailboxes::new(senders), datagrams).await;
        assert_eq!(taken.unwrap(), 0);
        assert!(begun.elapsed() < PATIENCE + Duration::from_secs(1), "{:?}", begun.elapsed());
        for received in &mut received {
            assert!(matches!(received.try_recv(), Ok(Message::TakeOver(..))));
        }
    }
}
