//! What the program before this one asks until it lets go: whether the workers answer. What this one cannot serve as well
//! as that one does, as long as that one has the folders of caches, it serves from then on.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::oneshot,
    task::{JoinHandle, spawn_local},
    time::timeout,
};

use super::{fitness, predecessor_sessions};
use crate::{
    listen::{
        handover::{ASK_WORKERS, Predecessor, ReadyPipe, TAKE_SESSIONS, at},
        mailbox::{Change, Mailboxes, Message},
    },
    reload::engine::Engine,
    runtime::worker::Shared,
};

/// How long a worker may take to answer; it does at once unless it hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are read; it has one question.
const MOST: u64 = 4096;

/// What there is to take over from a program before this one, where there is one.
#[derive(Debug)]
pub struct TakeOver {
    /// That program.
    pub before: Option<Predecessor>,
    /// The way to the workers.
    pub mailboxes: Mailboxes,
    /// What each worker is to accept on once that program has let go.
    pub held: Vec<Change>,
    /// The sockets of datagrams that each worker is to read once that program has handed its sessions over.
    pub datagrams: Vec<Change>,
}

impl TakeOver {
    /// Says that this program serves, and answers until the one before lets go or is gone; then has the workers accept on
    /// what was held back, begins to stand for election, and runs the engine.
    pub(super) fn begin(self, mut engine: Engine, shared: Arc<Shared>) -> JoinHandle<()> {
        let Self { before, mailboxes, held, datagrams } = self;
        spawn_local(async move {
            let mut known = None;
            if let Some(before) = before {
                before.voice.ready();
                answer(before.voice, &mailboxes, held, datagrams).await;
                known = Some(before.state);
            }
            // Until that program let go it had the virtual addresses, and told its peers.
            let known = known.as_ref().map(|state| at(state, "cluster"));
            shared.registry.cluster.set(shared.snapshot.load().config.cluster.as_ref(), known);
            let watching = spawn_local(fitness::watch(shared, mailboxes));
            engine.run().await;
            watching.abort();
        })
    }
}

async fn answer(pipe: ReadyPipe, mailboxes: &Mailboxes, held: Vec<Change>, mut datagrams: Vec<Change>) {
    if let Err(error) = converse(pipe.into(), mailboxes, &mut datagrams).await {
        tracing::debug!("the previous program is gone: {error}");
    }
    let all = held.into_iter().enumerate().chain(datagrams.into_iter().enumerate());
    for (worker, change) in all {
        // A worker ends only with the program.
        let _ = mailboxes.send(worker, Message::Published(change));
    }
}

async fn converse(
    stream: std::os::unix::net::UnixStream,
    mailboxes: &Mailboxes,
    datagrams: &mut Vec<Change>,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let own = stream.try_clone()?;
    let (questions, mut answers) = UnixStream::from_std(stream)?.into_split();
    let mut questions = BufReader::new(questions.take(MOST));
    let mut question = Vec::new();
    while questions.read_until(b'\n', &mut question).await? > 0 {
        if question == ASK_WORKERS {
            let line = format!("{{\"workers\":{}}}\n", do_all_answer(mailboxes).await);
            answers.write_all(line.as_bytes()).await?;
        } else if question == TAKE_SESSIONS {
            // Nothing comes before it is answered, so that nothing was read that is not a line.
            predecessor_sessions::take(own.try_clone()?, mailboxes, std::mem::take(datagrams)).await?;
        }
        question.clear();
    }
    Ok(())
}

/// Whether each worker takes what it is sent.
async fn do_all_answer(mailboxes: &Mailboxes) -> bool {
    for worker in 0..mailboxes.workers() {
        let (answer, answered) = oneshot::channel();
        let is_sent = mailboxes.send(worker, Message::Describe(0, answer)).is_ok();
        if !is_sent || !matches!(timeout(PATIENCE, answered).await, Ok(Ok(_))) {
            tracing::error!(worker, "a worker does not answer");
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use tokio::{runtime::LocalRuntime, sync::mpsc::unbounded_channel};

    use super::*;

    #[test]
    fn a_worker_that_hangs_is_noticed() {
        LocalRuntime::new().unwrap().block_on(async {
            let ((first, mut answers), (second, hangs)) = (unbounded_channel(), unbounded_channel());
            let mailboxes = Mailboxes::new(vec![first, second]);
            spawn_local(async move {
                while let Some(Message::Describe(0, answer)) = answers.recv().await {
                    let _ = answer.send((Vec::new(), 0));
                }
            });
            tokio::time::pause();
            assert!(!do_all_answer(&mailboxes).await, "the second takes it and does not answer");
            drop(hangs);
            assert!(!do_all_answer(&mailboxes).await, "the second is gone");
        });
    }
}
