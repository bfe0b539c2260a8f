//! Sessions of datagrams that the program before hands over: all are waited for, and then the workers begin with them.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, task::spawn_blocking, time::timeout};

use crate::{
    l4::udp::Handed,
    listen::{
        handover::{self, at},
        mailbox::{Change, Mailboxes, Message},
    },
};

/// How long a worker may take.
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
    let mut taken = 0;
    let mut all = all.into_iter();
    for (worker, change) in datagrams.into_iter().enumerate() {
        let (answer, answered) = oneshot::channel();
        let message = Message::TakeOver(change, all.next().unwrap_or_default(), answer);
        // A worker ends only with the program.
        let _ = mailboxes.send(worker, message);
        if let Ok(Ok(count)) = timeout(PATIENCE, answered).await {
            taken += count;
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
