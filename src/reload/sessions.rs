//! Sessions of datagrams go to the next program, once that has proved itself and before this one drains.
//!
//! Batch after batch, each acknowledged, so that neither descriptors on their way nor messages are many. The next program
//! reads no datagram before it has them all, and this one reads none from the first batch on: what comes meanwhile waits in
//! the sockets that both have. If it does not come to an end, this program goes on with all of them.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::oneshot, task::spawn_blocking, time::timeout};

use crate::{
    l4::udp::Handed,
    listen::{
        handover::{self, TAKE_SESSIONS, at},
        mailbox::{Mailboxes, Message},
    },
};

/// Sessions in one message: each has a descriptor, of which as many are on their way as a process may have open.
const AT_ONCE: usize = 512;
/// How long a worker, or the next program, may take for a batch.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hands all sessions over. The error is for people.
pub(super) async fn hand_over(mailboxes: &Mailboxes, pipe: Arc<UnixStream>) -> Result<(), String> {
    let result = all(mailboxes, pipe).await;
    for worker in 0..mailboxes.workers() {
        // A worker ends only with the program.
        let _ = mailboxes.send(worker, Message::HandedOver(result.is_ok()));
    }
    let (handed, taken) = result.map_err(|error| format!("it does not accept the sessions: {error}"))?;
    match handed - taken.min(handed) {
        0 if handed == 0 => {}
        0 => tracing::info!(sessions = handed, "datagram sessions handed over"),
        lost => tracing::warn!(
            sessions = taken,
            lost,
            "datagram sessions handed over; for some the new program has no listener, route, backend or room"
        ),
    }
    Ok(())
}

/// How many were handed over, and how many of them the next program has.
async fn all(mailboxes: &Mailboxes, pipe: Arc<UnixStream>) -> io::Result<(u64, u64)> {
    say(&pipe, |mut pipe| pipe.write_all(TAKE_SESSIONS)).await?;
    let mut handed = 0;
    for worker in 0..mailboxes.workers() {
        loop {
            let some = ask(mailboxes, worker).await?;
            if some.is_empty() {
                break;
            }
            handed += some.len() as u64;
            say(&pipe, move |pipe| send(pipe, worker, some)).await?;
        }
    }
    let last = json!({"last": true});
    let answer = say(&pipe, move |pipe| handover::send(pipe, &last, &[])).await?;
    Ok((handed, at(&answer, "sessions").as_u64().unwrap_or(0)))
}

fn send(pipe: &UnixStream, worker: usize, some: Vec<Handed>) -> io::Result<()> {
    let (facts, sockets): (Vec<Value>, Vec<_>) = some.into_iter().map(|it| (it.facts, it.socket)).unzip();
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    handover::send(pipe, &json!({"worker": worker, "sessions": facts}), &sockets)
}

/// Says something on a thread that may block, and gives the answer.
async fn say(
    pipe: &Arc<UnixStream>,
    what: impl FnOnce(&UnixStream) -> io::Result<()> + Send + 'static,
) -> io::Result<Value> {
    let pipe = pipe.clone();
    let said = spawn_blocking(move || {
        pipe.set_read_timeout(Some(PATIENCE))?;
        pipe.set_write_timeout(Some(PATIENCE))?;
        what(&pipe)?;
        let mut line = String::new();
        // It answers what it is asked, and says nothing else: nothing of what comes later is read with it.
        match BufReader::new(&*pipe).read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => serde_json::from_str(&line).map_err(io::Error::other),
        }
    });
    said.await.map_err(io::Error::other)?
}

async fn ask(mailboxes: &Mailboxes, worker: usize) -> io::Result<Vec<Handed>> {
    let (answer, answered) = oneshot::channel();
    let silent = || io::Error::other(format!("worker {worker} does not hand them over"));
    mailboxes.send(worker, Message::Hand(AT_ONCE, answer)).map_err(|_| silent())?;
    timeout(PATIENCE, answered).await.map_err(|_| silent())?.map_err(|_| silent())
}
