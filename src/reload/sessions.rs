//! Sessions of datagrams go to the next program, once that has proved itself and before this one drains.
//!
//! Batch after batch, each acknowledged, so that neither descriptors on their way nor messages are many. The next program
//! reads no datagram before it has them all, and this one reads none from the first batch on: what comes meanwhile waits in
//! the sockets that both have. If it does not come to an end, this program goes on with all of them.

use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::answers::Answers;
use crate::{
    l4::udp::{Handed, HandedSessions},
    listen::{
        handover::{self, TAKE_SESSIONS, at},
        mailbox::{Mailboxes, Message},
    },
};

/// Sessions in one message: each has a descriptor while it is on its way. Where there are fewer than that, the message has
/// fewer.
const AT_ONCE: usize = 128;
/// How often it is looked again whether there is a descriptor, over all workers, and after how long: those that others use
/// come back.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);
/// How long a worker, or the next program, may take for a batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the next program may take to read a batch and to answer, however it drips.
const BATCH: Duration = PATIENCE.saturating_mul(2);
/// How long all of it may take, however many batches there are: meanwhile nobody reads a datagram. A million sessions, which
/// are as many as the kernel gives a program descriptors for unless told otherwise, have 23 ms for each batch. With all other
/// parts of an upgrade it is less than a connection to the admin endpoint may last, which would be cut off.
pub(super) const LONGEST: Duration = Duration::from_secs(180);

/// Hands all sessions over. The error is for people.
pub(super) async fn hand_over(mailboxes: &Mailboxes, pipe: Arc<UnixStream>) -> Result<(), String> {
    // What is under way then ends with the next program, and that before the connection to it.
    let result = timeout(LONGEST, all(mailboxes, pipe)).await;
    let result = result.unwrap_or_else(|_| Err(io::Error::other(format!("not all within {LONGEST:?}"))));
    for worker in 0..mailboxes.workers() {
        // A worker ends only with the program.
        let _ = mailboxes.send(worker, Message::HandedOver(result.is_ok()));
    }
    let Counts { handed, taken, left } =
        result.map_err(|error| format!("it does not accept the sessions: {error}"))?;
    match handed - taken.min(handed) {
        0 if handed == 0 => {}
        0 => tracing::info!(sessions = handed, "datagram sessions handed over"),
        lost => tracing::warn!(
            sessions = taken,
            lost,
            "datagram sessions handed over; for some the new program has no listener, route, backend or room"
        ),
    }
    if left > 0 {
        tracing::warn!(
            left,
            "datagram sessions end here, because there are no descriptors to hand them over with"
        );
    }
    Ok(())
}

/// What became of the sessions.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// How many were handed over.
    handed: u64,
    /// How many of those the next program has.
    taken: u64,
    /// How many were not.
    left: u64,
}

async fn all(mailboxes: &Mailboxes, pipe: Arc<UnixStream>) -> io::Result<Counts> {
    say(&pipe, |mut pipe| pipe.write_all(TAKE_SESSIONS)).await?;
    let (mut counts, mut tries) = (Counts::default(), TRIES);
    for worker in 0..mailboxes.workers() {
        loop {
            let HandedSessions { sessions, left } = ask(mailboxes, worker).await?;
            match (sessions.is_empty(), left) {
                (true, 0) => break,
                (true, _) if tries > 0 => {
                    tries -= 1;
                    sleep(PAUSE).await;
                    continue;
                }
                (true, left) => {
                    counts.left += left as u64;
                    break;
                }
                (false, _) => tries = TRIES,
            }
            counts.handed += sessions.len() as u64;
            say(&pipe, move |pipe| send(pipe, worker, sessions)).await?;
        }
    }
    let last = json!({"last": true});
    let answer = say(&pipe, move |pipe| handover::send(pipe, &last, &[])).await?;
    counts.taken = at(&answer, "sessions").as_u64().unwrap_or(0);
    Ok(counts)
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
        pipe.set_write_timeout(Some(PATIENCE))?;
        what(&pipe)?;
        // It answers what it is asked, and says nothing else: nothing of what comes later is read with it.
        match Answers::of(&pipe).next(Instant::now() + PATIENCE)? {
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(line) => serde_json::from_str(&line).map_err(io::Error::other),
        }
    });
    let late = |_| io::Error::other(format!("it took longer than {BATCH:?} for some of them"));
    timeout(BATCH, said).await.map_err(late)?.map_err(io::Error::other)?
}

async fn ask(mailboxes: &Mailboxes, worker: usize) -> io::Result<HandedSessions> {
    let (answer, answered) = oneshot::channel();
    let silent = || io::Error::other(format!("worker {worker} does not hand them over"));
    mailboxes.send(worker, Message::Hand(AT_ONCE, answer)).map_err(|_| silent())?;
    timeout(PATIENCE, answered).await.map_err(|_| silent())?.map_err(|_| silent())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        thread,
    };

    use tokio::{sync::mpsc::unbounded_channel, time::Instant};

    use super::*;

    /// The next program: gives how many sockets came.
    fn take(pipe: &UnixStream) -> usize {
        let (mut line, mut count) = (String::new(), 0);
        BufReader::new(pipe).read_line(&mut line).unwrap();
        assert_eq!(line.as_bytes(), TAKE_SESSIONS);
        loop {
            let answer = json!({"sessions": count});
            (&*pipe).write_all(format!("{answer}\n").as_bytes()).unwrap();
            let (message, sockets) = handover::receive(pipe).unwrap();
            count += sockets.len();
            if message.get("last").is_some() {
                return count;
            }
        }
    }

    /// What is handed over by a worker that gives so many sessions each time, with so many left; and how long it takes.
    async fn handed(given: &[(usize, usize)]) -> (Counts, Duration) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let next = thread::spawn(move || {
            let count = take(&theirs);
            (&theirs).write_all(format!("{}\n", json!({"sessions": count})).as_bytes()).unwrap();
        });
        let (sender, mut mailbox) = unbounded_channel();
        let (mailboxes, begun) = (Mailboxes::new(vec![sender]), Instant::now());
        let mut given = given.iter();
        let mut last = (0, 0);
        let worker = async {
            while let Some(Message::Hand(_, answer)) = mailbox.recv().await {
                last = given.next().copied().unwrap_or(last);
                let socket = || UnixStream::pair().unwrap().0.into();
                let sessions = (0..last.0).map(|_| Handed { facts: json!({}), socket: socket() }).collect();
                answer.send(HandedSessions { sessions, left: last.1 }).unwrap();
            }
        };
        let counts = tokio::select! {
            counts = all(&mailboxes, Arc::new(ours)) => counts.unwrap(),
            () = worker => panic!("the mailbox ended"),
        };
        next.join().unwrap();
        (counts, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_wait_for_descriptors_and_are_counted_without() {
        let (counts, took) = handed(&[(3, 2), (0, 2), (0, 2), (2, 0), (0, 0)]).await;
        assert_eq!((counts.handed, counts.taken, counts.left), (5, 5, 0));
        assert_eq!(took, 2 * PAUSE);
        let (counts, took) = handed(&[(1, 7), (0, 7)]).await;
        assert_eq!((counts.handed, counts.taken, counts.left), (1, 1, 7));
        assert_eq!(took, TRIES * PAUSE);
    }
    /// The next program: acknowledges whatever comes, until nothing does.
    fn acknowledge(pipe: &UnixStream) {
        let mut line = String::new();
        BufReader::new(pipe).read_line(&mut line).unwrap();
        while (&*pipe).write_all(b"{\"sessions\":1}\n").is_ok() && handover::receive(pipe).is_ok() {}
    }

    /// What comes of a hand-over with so many batches of one session, each almost as slow as it may be; how long it takes; and
    /// what the worker is told.
    async fn slowly(count: usize) -> (Result<(), String>, Duration, bool) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let next = thread::spawn(move || acknowledge(&theirs));
        let (sender, mut mailbox) = unbounded_channel();
        let (mailboxes, begun) = (Mailboxes::new(vec![sender]), Instant::now());
        let worker = async {
            let mut batches = 0;
            loop {
                match mailbox.recv().await {
                    Some(Message::Hand(_, answer)) => {
                        sleep(PATIENCE - Duration::from_secs(1)).await;
                        batches += 1;
                        let socket = || UnixStream::pair().unwrap().0.into();
                        let one = || Handed { facts: json!({}), socket: socket() };
                        let sessions = (batches <= count).then(one).into_iter().collect();
                        // It may be too late.
                        let _ = answer.send(HandedSessions { sessions, left: 0 });
                    }
                    Some(Message::HandedOver(is_taken)) => return is_taken,
                    other => panic!("{other:?}"),
                }
            }
        };
        let handing = async {
            let result = hand_over(&mailboxes, Arc::new(ours)).await;
            (result, begun.elapsed())
        };
        let ((result, took), is_taken) = tokio::join!(handing, worker);
        next.join().unwrap();
        (result, took, is_taken)
    }

    /// A limit on all of them that was twice that on one refused healthy upgrades with many sessions.
    #[tokio::test(start_paused = true)]
    async fn many_batches_take_longer_than_one_may() {
        let (result, took, is_taken) = slowly(9).await;
        assert_eq!((result, is_taken), (Ok(()), true));
        assert!(took >= 9 * PATIENCE, "{took:?}");
    }

    /// Each batch is within its time, and the sum of them was not limited.
    #[tokio::test(start_paused = true)]
    async fn slow_batches_have_one_end_together() {
        let (result, took, is_taken) = slowly(usize::MAX).await;
        assert!(result.unwrap_err().contains("not all within"));
        assert!(took >= LONGEST && took < LONGEST + Duration::from_secs(1), "{took:?}");
        assert!(!is_taken, "the worker goes on with all of them");
    }
}
