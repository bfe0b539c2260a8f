//! What the program before this one asks until it lets go: whether the workers answer, and serve (`listen::probe`). What
//! this one cannot serve as well as that one does, with a cache, it serves from then on, and it makes the changes that are
//! asked for from then on. It stands for election as soon as that one has left the cluster.

use std::{io, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, sink},
    net::UnixStream,
    sync::oneshot,
    task::{JoinHandle, spawn_blocking, spawn_local},
    time::{Instant, timeout, timeout_at},
};

use super::{fitness, fleet, predecessor_sessions};
use crate::{
    config::{self, KeptCopy},
    listen::{
        handover::{ASK_WORKERS, Predecessor, TAKE_SESSIONS, at, taken_cluster},
        mailbox::{Change, Mailboxes, Message},
        yielding,
    },
    moment::Moment,
    reload::{Reloader, engine::Engine, waiting},
    runtime::{changes::Maker, worker::Shared},
};

/// How long a worker may take to answer; it does at once unless it hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the program before may take to leave the cluster once all else is handed over: its own limits are shorter.
const LEAVING: Duration = Duration::from_secs(10);
/// After how long without a word from it that is told, each time.
const SILENCE: Duration = Duration::from_secs(30);
/// Bytes that are read: two questions, and what a cluster's node is.
const MOST: u64 = 16 * 1024 * 1024;

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
    /// The last good copy of the configuration, to be written once that program has let go: it has its own till then.
    pub copy: Option<KeptCopy>,
    /// Where the configuration comes from, where many nodes share it, and the way to have another in force.
    pub fleet: Option<(Arc<config::Fleet>, Reloader)>,
}

impl TakeOver {
    /// Says that this program serves, and answers until the one before lets go or is gone; then has the workers accept on
    /// what was held back, begins to stand for election, and runs the engine.
    pub(super) fn begin(self, mut engine: Engine, shared: Arc<Shared>) -> JoinHandle<()> {
        let Self { before, mailboxes, held, datagrams, copy, fleet } = self;
        spawn_local(async move {
            // Until the program before has left it, that one has the virtual addresses, and tells its peers.
            let stand = |known: Option<&Value>| {
                shared.registry.cluster.set(shared.snapshot.load().config.cluster.as_ref(), known);
            };
            match before {
                None => stand(None),
                Some(before) => {
                    before.voice.ready();
                    let mut first = Some(at(&before.state, "cluster").clone());
                    // Once: with what it says last, or else with what it said at first.
                    let begin = |last: Option<Value>| {
                        if let Some(first) = first.take() {
                            let known = last.unwrap_or(first);
                            stand(Some(&known));
                            shared.registry.commands.take_over(at(&known, "changes"), Moment::now());
                        }
                    };
                    let (waits, pid, promised) =
                        (before.hands_cluster, before.pid, HandedOver::promised(&before));
                    let has_datagrams = datagrams.iter().any(|change| !change.open.is_empty());
                    let came = answer(before.voice.into(), waits, &mailboxes, (held, datagrams), begin).await;
                    if let Some(lost) = came.lost(promised, has_datagrams) {
                        tracing::warn!(
                            pid,
                            "the previous program ended before it had handed everything over{lost}"
                        );
                    }
                    shared.registry.changes.leave_to(Maker::Own);
                }
            }
            // Where this program is refused it never comes here: it has ended before its connection does.
            engine.take_over();
            // The engine reads the copy, and takes what is in it for what is to be in force.
            let is_kept = keep(copy).await;
            if let Some((mut fleet, reloader)) = fleet {
                if !is_kept {
                    // The engine goes back to what the copy has: what is not in force is written again.
                    let fleet = Arc::make_mut(&mut fleet);
                    (fleet.in_force, fleet.seen) = <_>::default();
                }
                fleet::start(fleet, shared.clone(), reloader);
            }
            let watching = spawn_local(fitness::watch(shared, mailboxes));
            engine.run().await;
            watching.abort();
        })
    }
}

/// What the program before has handed over of what goes over last, in this order. One that was killed comes to no end, and
/// nothing else tells it from one that let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HandedOver {
    /// What it handed over at first.
    Nothing,
    /// The sessions of datagrams too.
    Sessions,
    /// And what the cluster's node was, with which it ends.
    Everything,
}

impl HandedOver {
    /// What a program of that version hands over before it lets go.
    fn promised(before: &Predecessor) -> Self {
        match (before.hands_cluster, before.hands_sessions) {
            (true, _) => Self::Everything,
            (false, true) => Self::Sessions,
            (false, false) => Self::Nothing,
        }
    }

    /// What people are told of the end of a program that came so far; nothing where that is what it promised.
    fn lost(self, promised: Self, has_datagrams: bool) -> Option<&'static str> {
        (self < promised).then_some(match self {
            Self::Nothing if has_datagrams => "; its datagram sessions are lost",
            Self::Nothing | Self::Sessions | Self::Everything => "",
        })
    }

    /// What a program that came so far is to do next, for people.
    fn awaited(self) -> &'static str {
        match self {
            Self::Nothing => "to hand its datagram sessions over",
            Self::Sessions => "to leave the cluster",
            Self::Everything => "to close the connection",
        }
    }
}

/// Writes the last good copy; false where that cannot be done.
async fn keep(copy: Option<KeptCopy>) -> bool {
    let Some(copy) = copy else { return true };
    let slow = |waited: Duration| {
        let waited = waited.as_secs();
        tracing::warn!(
            "writing the last good copy of the configuration has taken {waited} seconds by now: does the disk hang?"
        );
    };
    let written = waiting::telling(spawn_blocking(move || copy.write()), slow).await;
    let written = written.map_err(|error| error.to_string()).flatten();
    written.inspect_err(|error| tracing::error!("{error}")).is_ok()
}

/// Answers until the program before is gone, and gives how far that one came. `begin` is told what the cluster's node was,
/// where that program says so, and at the latest at the end.
async fn answer(
    pipe: std::os::unix::net::UnixStream,
    hands_cluster: bool,
    mailboxes: &Mailboxes,
    (held, mut datagrams): (Vec<Change>, Vec<Change>),
    mut begin: impl FnMut(Option<Value>),
) -> HandedOver {
    let mut came = HandedOver::Nothing;
    let conversed = converse(pipe, hands_cluster, mailboxes, &mut datagrams, (&mut begin, &mut came)).await;
    if let Err(error) = conversed {
        tracing::debug!("the previous program is gone: {error}");
    }
    begin(None);
    let all = held.into_iter().enumerate().chain(datagrams.into_iter().enumerate());
    for (worker, change) in all {
        // A worker ends only with the program.
        let _ = mailboxes.send(worker, Message::Published(change));
    }
    // The sockets are the same ones: where that program was killed while it held clients back, the kernel still does.
    yielding::end(mailboxes);
    came
}

async fn converse(
    stream: std::os::unix::net::UnixStream,
    hands_cluster: bool,
    mailboxes: &Mailboxes,
    datagrams: &mut Vec<Change>,
    (begin, came): (&mut impl FnMut(Option<Value>), &mut HandedOver),
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let own = Arc::new(stream.try_clone()?);
    let (questions, mut answers) = UnixStream::from_std(stream)?.into_split();
    let mut questions = BufReader::new(questions.take(MOST));
    let mut question = Vec::new();
    let mut limit = None;
    loop {
        let read = questions.read_until(b'\n', &mut question);
        match timeout(limit.unwrap_or(SILENCE), read).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(read) => read?,
            Err(_) if limit.is_none() => {
                tracing::warn!("the previous program says nothing: waiting for it {}", came.awaited());
                continue;
            }
            Err(_) => {
                tracing::warn!("the previous program did not leave the cluster within {LEAVING:?}");
                begin(None);
                limit = None;
                continue;
            }
        };
        if question == ASK_WORKERS {
            let line = format!("{{\"workers\":{}}}\n", do_all_answer(mailboxes).await);
            answers.write_all(line.as_bytes()).await?;
        } else if question == TAKE_SESSIONS {
            // Nothing comes before it is answered, so that nothing was read that is not a line.
            let taken = predecessor_sessions::take(own.clone(), mailboxes, std::mem::take(datagrams)).await;
            let told = match taken {
                Ok(count) => {
                    // They are here, also where that program does not hear of it any more.
                    *came = HandedOver::Sessions;
                    predecessor_sessions::say(own.clone(), count).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = told {
                // That program goes on, with its role, and ends this one: until it is gone nothing else begins.
                own.set_nonblocking(true)?;
                answers.shutdown().await?;
                tokio::io::copy(&mut questions, &mut sink()).await?;
                return Err(error);
            }
            limit = hands_cluster.then_some(LEAVING);
        } else if let Some(last) = taken_cluster(&question) {
            begin(Some(last));
            *came = HandedOver::Everything;
            limit = None;
        }
        question.clear();
    }
}

/// Whether each worker takes what it is sent, and serves a request of its own through its listeners.
async fn do_all_answer(mailboxes: &Mailboxes) -> bool {
    let ask = |worker| {
        let (answer, answered) = oneshot::channel();
        // What cannot be sent is dropped, and its answer with it.
        let _ = mailboxes.send(worker, Message::Probe(answer));
        answered
    };
    // All at once: the program before does not wait longer because there are many.
    let asked: Vec<_> = (0..mailboxes.workers()).map(ask).collect();
    let end = Instant::now() + PATIENCE;
    for (worker, answered) in asked.into_iter().enumerate() {
        if !matches!(timeout_at(end, answered).await, Ok(Ok(true))) {
            tracing::error!(worker, "a worker does not answer, or does not serve");
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use serde_json::json;
    use tokio::{
        runtime::{Builder, LocalOptions, LocalRuntime},
        sync::mpsc::unbounded_channel,
    };

    use super::*;
    use crate::listen::{handover, mailbox::Yielding};

    /// What this program begins with where the one before says these lines, and then is gone or silent.
    fn told(lines: &[&str], is_gone: bool) -> Vec<Option<Value>> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(LocalOptions::default());
        let _none = crate::sync::children::none();
        runtime.unwrap().block_on(async {
            let (mut before, own) = std::os::unix::net::UnixStream::pair().unwrap();
            before.write_all(lines.concat().as_bytes()).unwrap();
            let (tell, mut told) = unbounded_channel();
            let mailboxes = Mailboxes::new(Vec::new());
            let begin = move |last| tell.send(last).unwrap();
            let answering = spawn_local(async move {
                answer(own, true, &mailboxes, (Vec::new(), Vec::new()), begin).await;
            });
            if is_gone {
                drop(before);
                answering.await.unwrap();
            } else {
                // Whatever is told without its end.
                let _ = timeout(SILENCE * 3, answering).await;
            }
            std::iter::from_fn(|| told.try_recv().ok()).collect()
        })
    }

    #[test]
    fn role_is_the_one_that_is_told_last() {
        let state = json!({"groups": [{"name": "etcd", "is_primary": true}], "is_stepped_down": false});
        let last = handover::take_cluster(&state);
        let workers = std::str::from_utf8(ASK_WORKERS).unwrap();
        assert_eq!(told(&[workers, &last], false), [Some(state.clone())]);
        // With its end comes whatever it was before.
        assert_eq!(told(&[&last], true), [Some(state), None]);
        assert_eq!(told(&[workers], true), [None]);
        assert_eq!(told(&[workers, "{\"take\":\"something else\"}\n", "no JSON\n"], true), [None]);
        assert_eq!(told(&[workers], false), [], "that it is silent says nothing");
    }

    /// How far the program before came that says this, and then is gone.
    fn came(said: &str) -> HandedOver {
        LocalRuntime::new().unwrap().block_on(async {
            let (mut before, own) = std::os::unix::net::UnixStream::pair().unwrap();
            before.write_all(said.as_bytes()).unwrap();
            drop(before);
            answer(own, true, &Mailboxes::new(Vec::new()), (Vec::new(), Vec::new()), |_| ()).await
        })
    }

    /// One that was killed during the proof was followed as if it had let go, and nobody was told that its sessions are lost.
    #[test]
    fn end_of_the_program_before_is_told_from_its_death() {
        let last = handover::take_cluster(&json!({"groups": []}));
        assert_eq!(came(&last), HandedOver::Everything);
        for broken_off in ["", "{\"ask\":", last.trim_end().split_at(9).0] {
            assert_eq!(came(broken_off), HandedOver::Nothing, "{broken_off}");
        }
        let [nothing, sessions, everything] =
            [HandedOver::Nothing, HandedOver::Sessions, HandedOver::Everything];
        assert!(nothing.lost(everything, true).unwrap().contains("datagram sessions are lost"));
        assert_eq!(nothing.lost(everything, false), Some(""));
        assert_eq!(sessions.lost(everything, true), Some(""));
        // Older versions do not say when they have come to their end.
        assert_eq!([sessions.lost(sessions, true), nothing.lost(nothing, true)], [None; 2]);
        assert_eq!(everything.lost(everything, true), None);
    }

    #[test]
    fn program_that_does_not_leave_is_waited_for_so_long() {
        let (before, own) = std::os::unix::net::UnixStream::pair().unwrap();
        let hands_over = std::thread::spawn(move || {
            (&before).write_all(TAKE_SESSIONS).unwrap();
            let mut line = [0; 15];
            (&before).read_exact(&mut line).unwrap();
            handover::send(&before, &json!({"last": true}), &[]).unwrap();
            before
        });
        let _none = crate::sync::children::none();
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        runtime.unwrap().block_on(async {
            let (tell, mut told) = unbounded_channel();
            let mailboxes = Mailboxes::new(Vec::new());
            let begin = move |last| tell.send(last).unwrap();
            let held = (Vec::new(), Vec::new());
            let answering = spawn_local(async move { answer(own, true, &mailboxes, held, begin).await });
            let before = spawn_blocking(move || hands_over.join().unwrap()).await.unwrap();
            assert!(told.try_recv().is_err());
            tokio::time::pause();
            assert_eq!(told.recv().await, Some(None));
            drop(before);
            assert_eq!(answering.await.unwrap(), HandedOver::Sessions);
        });
    }

    /// It may have been killed while it did, in the middle of a step-down.
    #[test]
    fn nobody_is_held_back_once_the_program_before_is_gone() {
        LocalRuntime::new().unwrap().block_on(async {
            let (before, own) = std::os::unix::net::UnixStream::pair().unwrap();
            drop(before);
            let (sender, mut told) = unbounded_channel();
            let mailboxes = Mailboxes::new(vec![sender]);
            answer(own, true, &mailboxes, (vec![Change::default()], Vec::new()), |_| ()).await;
            assert!(matches!(told.try_recv(), Ok(Message::Published(_))));
            assert!(matches!(told.try_recv(), Ok(Message::Yield(Yielding::No, _))), "of all sockets");
        });
    }

    #[test]
    fn a_worker_that_hangs_is_noticed() {
        LocalRuntime::new().unwrap().block_on(async {
            let ((first, mut answers), (second, hangs)) = (unbounded_channel(), unbounded_channel());
            let mailboxes = Mailboxes::new(vec![first, second]);
            spawn_local(async move {
                while let Some(Message::Probe(answer)) = answers.recv().await {
                    let _ = answer.send(true);
                }
            });
            tokio::time::pause();
            assert!(!do_all_answer(&mailboxes).await, "the second takes it and does not answer");
            drop(hangs);
            assert!(!do_all_answer(&mailboxes).await, "the second is gone");
        });
    }

    #[test]
    fn a_worker_that_does_not_serve_is_noticed() {
        LocalRuntime::new().unwrap().block_on(async {
            let (sender, mut asked) = unbounded_channel();
            let mailboxes = Mailboxes::new(vec![sender]);
            spawn_local(async move {
                for does_serve in [true, false] {
                    let Some(Message::Probe(answer)) = asked.recv().await else { return };
                    let _ = answer.send(does_serve);
                }
            });
            assert!(do_all_answer(&mailboxes).await);
            assert!(!do_all_answer(&mailboxes).await);
        });
    }
}
