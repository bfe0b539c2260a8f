//! The installed program takes this one's place, without a lost connection.
//!
//! It is started beside this one, is handed the sockets and what must not be forgotten, and says when it
//! serves. Then both do (with a cache, that one only once this one has let go), until its workers have answered too and it has lived for a moment; from then on this one drains
//! ([decision 023](../../docs/decisions/023-upgrade-proof.md)). If it does not come to that, this one goes on and says why.
//! Nothing else happens to the configuration meanwhile. The role in a cluster may change until the last moment, and goes
//! over last.

use std::{
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Child, Command},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

pub use super::origin::Origin;
use super::{
    answers::Answers,
    engine::Engine,
    handover_state, sessions,
    successor::{CLOSED, Successor},
    waiting,
};
use crate::{
    cluster::node::handle::LEAVING,
    listen::{
        admin_sockets::Held,
        bind::{Bound, Owner},
        handover::{self, ASK_WORKERS, HANDOVER, at},
    },
    moment::Moment,
    runtime::{
        changes::Maker,
        overrides::{Reason, Refusal},
    },
};

/// How long all of it may take, where each part takes its longest: who asks for it waits longer than that.
pub const LONGEST: Duration = PATIENCE
    .saturating_add(PROOF)
    .saturating_add(SETTLED)
    .saturating_add(sessions::LONGEST)
    .saturating_add(LEAVING)
    .saturating_add(ROLE)
    // Once at most: after the first it has failed.
    .saturating_add(CLOSED);

/// How long the next program may take until it serves, from when it is started.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long its workers may take to answer when it says that it serves.
const PROOF: Duration = Duration::from_secs(10);
/// How long it must live after that.
const SETTLED: Duration = Duration::from_secs(2);
/// How long it may take to be told the role in the cluster, which the node has left before within its own limit.
const ROLE: Duration = Duration::from_secs(10);

impl Engine {
    /// Starts the next program and hands over. Gives its process once it serves.
    pub(super) async fn upgrade(&mut self) -> Result<u32, Refusal> {
        let origin = self.origin.clone().ok_or_else(|| {
            refusal(
                "not_upgradable",
                "this program cannot start a replacement for itself",
                "restart it instead",
            )
        })?;
        if std::process::id() == 1 {
            let message =
                "as process 1 of a container it cannot be replaced: the container would end with it";
            return Err(refusal("process_1", message, "start a container with the new version instead"));
        }
        let given = self.give().map_err(|error| {
            refusal(
                "no_descriptors",
                &format!("cannot hand the sockets over: {error}"),
                "raise `LimitNOFILE=`",
            )
        })?;
        tracing::info!(program = %origin.program.display(), "upgrading");
        let next = self.successor.clone();
        let slow = |waited: Duration| {
            let (waited, awaited) = (waited.as_secs(), self.successor.awaited());
            tracing::warn!("waiting for the new program {awaited}, for {waited} seconds by now");
        };
        let taken = waiting::telling(spawn_blocking(move || start(&origin, &given, &next)), slow).await;
        let mut result = taken.unwrap_or_else(|_| Err("handing over panicked, which is a bug".to_owned()));
        if let Ok(started) = &result
            && let Err(why) = self.hand_last(started).await
        {
            let (next, pipe) = (self.successor.clone(), started.pipe.clone());
            // Both wait for a process, which the control loop must not. It is ended before its connection is.
            let ended = spawn_blocking(move || next.refuse_ended(&pipe)).await;
            result = Err(ended.ok().flatten().unwrap_or(why));
        }
        if result.as_ref().is_ok_and(|started| started.takes_journals) {
            self.shared.registry.journals.leave_to_next();
        }
        let result = result.map(|started| started.pid);
        result.map_err(|why| {
            tracing::error!("the upgrade failed, and this program keeps running: {why}");
            let message = format!("the new program does not serve: {why}");
            refusal(
                "upgrade_failed",
                &message,
                "the old program keeps running; its log has the output of the new one",
            )
        })
    }

    /// Hands over what changes until the last moment: sessions of datagrams, and then the role. The error is for people.
    async fn hand_last(&self, started: &Started) -> Result<(), String> {
        if started.takes_sessions {
            sessions::hand_over(&self.mailboxes, started.pipe.clone()).await?;
        }
        // From here on the next program is the service. Where it is gone, another node is to be.
        let cluster = &self.shared.registry.cluster;
        cluster.leave(!self.successor.has_ended()).await;
        // What is acknowledged here from here on the next program would not know of: its peers are told by this one so far.
        self.shared.registry.changes.leave_to(Maker::Next);
        if started.takes_cluster {
            let mut state = match cluster.to_hand_over() {
                Value::Object(state) => state,
                _ => serde_json::Map::new(),
            };
            // Changes that peers have not heard of.
            let changes = self.shared.registry.commands.to_hand_over(Moment::now());
            state.insert("changes".into(), changes);
            let (pipe, line) = (started.pipe.clone(), handover::take_cluster(&Value::Object(state)));
            let said = spawn_blocking(move || {
                pipe.set_write_timeout(Some(ROLE))?;
                (&*pipe).write_all(line.as_bytes())
            });
            if let Err(error) = said.await.map_err(io::Error::other).flatten() {
                tracing::warn!("the new program did not take over the role in the cluster: {error}");
            }
        }
        Ok(())
    }

    fn give(&self) -> io::Result<Given> {
        let (in_force, snapshot) = (self.state.in_force.load(), self.shared.snapshot.load());
        let mut state = handover_state::collect(
            &snapshot,
            (&in_force.overrides, &self.names),
            &self.tickets,
            Moment::now(),
        );
        if let Some(state) = state.as_object_mut() {
            state.insert("cluster".into(), self.shared.registry.cluster.to_hand_over());
            state.insert("journals".into(), handover_state::journals(&snapshot, &self.shared.registry));
        }
        let mut given = Given { message: Value::Null, sockets: Vec::new() };
        let sockets: Vec<Value> = self
            .sockets
            .all()
            .map(|(address, bound)| given.add(&address, bound))
            .collect::<io::Result<_>>()?;
        let mut add = |held: &Held| {
            held.as_ref().map(|(address, bound)| given.add(&address.to_string(), bound)).transpose()
        };
        // In the order in which they are taken.
        let (admin, metrics) = (add(&self.admin.whole)?, add(&self.admin.metrics)?);
        given.message = json!({
            "version": 1,
            "pid": std::process::id(),
            "sockets": sockets,
            "admin": admin,
            "admin_metrics": metrics,
            "state": state,
            "hands_sessions": true,
            "hands_cluster": true,
        });
        Ok(given)
    }
}

/// What is handed over.
#[derive(Debug)]
struct Given {
    message: Value,
    sockets: Vec<OwnedFd>,
}

impl Given {
    fn add(&mut self, address: &str, bound: &Bound) -> io::Result<Value> {
        for socket in &bound.sockets {
            self.sockets.push(socket.try_clone()?);
        }
        Ok(json!({
            "address": address,
            "bound": bound.address,
            "count": bound.sockets.len(),
            "lent": bound.owner == Owner::Manager,
        }))
    }
}

/// A program that serves.
struct Started {
    pid: u32,
    /// The way to it: closed when all is handed over.
    pipe: Arc<UnixStream>,
    takes_sessions: bool,
    takes_cluster: bool,
    takes_journals: bool,
}

/// Starts the program and waits until it serves. The error is for people. Blocks.
fn start(origin: &Origin, given: &Given, next: &Successor) -> Result<Started, String> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| format!("no socket pair: {error}"))?;
    next.awaits("to start");
    let pid = next.begin(spawn(origin, theirs)?)?;
    let ours = Arc::new(ours);
    // It is ended before its connection is: by that it would learn that it is alone.
    prove(&ours, pid, given, next).inspect_err(|_| next.refuse())
}

/// Hands over to the program and waits until it serves. The error is for people. Blocks.
fn prove(ours: &Arc<UnixStream>, pid: u32, given: &Given, next: &Successor) -> Result<Started, String> {
    let broke = |error: io::Error| format!("it does not accept the handover: {error}");
    let end = Instant::now() + PATIENCE;
    ours.set_write_timeout(Some(PATIENCE)).map_err(broke)?;
    next.awaits("to read what it is handed");
    let sockets: Vec<BorrowedFd<'_>> = given.sockets.iter().map(AsFd::as_fd).collect();
    handover::send(ours, &given.message, &sockets)
        .map_err(|error| next.ended().unwrap_or_else(|| broke(error)))?;
    next.awaits("to report that it serves");
    let mut answers = Answers::of(ours);
    match answers.next(end) {
        Ok(None) => Err(next.ended().unwrap_or_else(|| "it closed the connection".to_owned())),
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            Err(format!("it did not report within {PATIENCE:?} that it serves"))
        }
        // One that ends before it has read all resets the connection.
        Err(error) => Err(next.ended().unwrap_or_else(|| broke(error))),
        Ok(Some(answer)) => {
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            match at(&answer, "error").as_str() {
                None if at(&answer, "ready") == true => {
                    tracing::info!(pid, "the new program reports that it serves");
                    next.awaits("to prove that it serves");
                    // A version before this question was asked does not answer it.
                    if at(&answer, "answers") == true {
                        ask_workers(ours, &mut answers).map_err(|why| next.ended().unwrap_or(why))?;
                    }
                    next.lives_for(SETTLED)?;
                    Ok(Started {
                        pid,
                        pipe: ours.clone(),
                        takes_sessions: at(&answer, "sessions") == true,
                        takes_cluster: at(&answer, "cluster") == true,
                        takes_journals: at(&answer, "journals") == true,
                    })
                }
                None => Err("it sent a message that this program does not understand".to_owned()),
                Some(error) => Err(error.to_owned()),
            }
        }
    }
}

/// Has the next program's workers answer. The error is for people. Blocks.
fn ask_workers(mut ours: &UnixStream, answers: &mut Answers<'_>) -> Result<(), String> {
    let silent =
        |_: io::Error| format!("it reported that it serves, but its workers did not answer for {PROOF:?}");
    let end = Instant::now() + PROOF;
    ours.write_all(ASK_WORKERS).map_err(silent)?;
    let answer = answers.next(end).map_err(silent)?.unwrap_or_default();
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let does_serve = at(&answer, "workers") == true;
    does_serve
        .then_some(())
        .ok_or_else(|| "it reported that it serves, but its workers do not answer".to_owned())
}

fn spawn(origin: &Origin, theirs: UnixStream) -> Result<Child, String> {
    Command::new(&origin.program)
        .args(&origin.arguments)
        .env(HANDOVER, "0")
        // They are about this process.
        .env_remove("WATCHDOG_PID")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_FDNAMES")
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", Path::new(&origin.program).display()))
}

fn refusal(code: &'static str, message: &str, hint: &str) -> Refusal {
    Refusal { reason: Reason::Conflict, code, message: message.to_owned(), hint: hint.to_owned() }
}
