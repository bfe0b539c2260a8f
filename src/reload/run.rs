//! The one place where generations follow each other: a task on the control loop.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{channel, unbounded_channel},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep_until},
};

use super::{
    Reloader, Request,
    attempt::{Attempt, late},
    behind::Behind,
    endings::Endings,
    engine::{Engine, Event, Start, Started},
    prepare,
    publish::settle_states,
    refused_copy::RefusedCopy,
    state::{Cause, InForce, Last, State},
    watch::{self, Watcher},
};
use crate::{
    listen::admin_sockets::{self, Held},
    moment::Moment,
};

/// After an event, this long without another is waited for: editors write in several steps.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// With events that do not end, the files are read after this.
const DEBOUNCE_MOST: Duration = Duration::from_millis(300);
/// How often the files are looked at without any event.
const POLL: Duration = Duration::from_secs(5);
/// At most one generation in this time comes of names, whatever name servers answer.
const NAMES: Duration = Duration::from_secs(1);
/// How long after one that could not be made it is tried again with the same generation in force.
const NAMES_AGAIN: Duration = Duration::from_secs(30);
/// How often old generations are looked at.
const RETIRE: Duration = Duration::from_secs(1);

impl Engine {
    /// Binds the sockets of the first generation. The error is for people.
    pub fn start(start: Start) -> Result<Started, String> {
        let Start {
            shared,
            tickets,
            mailboxes,
            mut sockets,
            log,
            loaded,
            hashes,
            overrides,
            names,
            admin,
            origin,
        } = start;
        let snapshot = shared.snapshot.load_full();
        let text = (&*loaded.text, &*loaded.path);
        let unbound = |failure| late(text, &loaded.included, failure).to_string();
        let acquired = sockets.acquire(&snapshot, mailboxes.workers()).map_err(unbound)?;
        let admin = admin_sockets::first(&snapshot.config, admin, &sockets.files()).map_err(unbound)?;
        let changes = sockets.commit(acquired, mailboxes.workers());
        sockets.apply(&snapshot);
        sockets.forget_handed();
        let dup = |held: &Held| held.as_ref().map(|(_, bound)| bound.try_clone()).transpose();
        let served = admin.as_ref().try_map(dup).map_err(|error| error.to_string())?;
        settle_states(&snapshot, None);
        let files = prepare::files(&loaded.path, &loaded.config);
        let attempted = watch::fingerprint(&hashes);
        let in_force = InForce {
            path: loaded.path,
            store: loaded.fleet.map(|fleet| fleet.source.url.as_str().into()),
            text: loaded.text,
            included: loaded.included,
            file: Arc::new(loaded.config),
            overrides,
            names: names.clone(),
            addresses: sockets.addresses(),
            hash: attempted,
            hashes,
        };
        let last = Last::new(Cause::Start, Duration::ZERO, Vec::new(), Vec::new());
        let state = Arc::new(State::new(last, in_force));
        let (requests, received) = unbounded_channel();
        let (sender, events) = unbounded_channel();
        let reloader = Reloader { requests, state: state.clone() };
        let engine = Self {
            signature: watch::signature(&files),
            requests: received,
            folders: Behind::default(),
            endings: Endings::default(),
            retired: Vec::new(),
            successor: Arc::default(),
            shared,
            tickets,
            mailboxes,
            sockets,
            log,
            state,
            events: sender,
            admin,
            origin,
            files,
            attempted,
            refused: 0,
            refused_copy: RefusedCopy::default(),
            names,
        };
        Ok(Started { engine, reloader, events, changes, admin: served })
    }

    /// Reloads whenever something asks for it; to be dropped when the program stops.
    pub async fn run(&mut self) {
        // A file that is written to all the time may stand beside ours.
        let (sender, mut events) = channel(1);
        let mut watcher = Watcher::new(sender);
        watcher.set(&self.files);
        let mut retire = interval(RETIRE);
        retire.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = Instant::now();
        // An edit between the first reading and the first watch would be missed.
        let mut due = Some((Instant::now(), Instant::now() + DEBOUNCE));
        // When names were followed last, and the generation with which that failed.
        let (mut followed, mut failed_with) = (None::<Instant>, None);
        loop {
            let names_due = (!self.names.is_same(&self.state.in_force.load().names)).then(|| {
                let is_as_failed = failed_with == Some(self.shared.snapshot.load().generation);
                let pause = if is_as_failed { NAMES_AGAIN } else { NAMES };
                followed.map_or_else(Instant::now, |last| last + pause)
            });
            let at = due.map(|(_, at): (Instant, Instant)| at);
            tokio::select! {
                Some(request) = self.requests.recv() => {
                    self.answer(request).await;
                    watcher.set(&self.files);
                }
                () = sleep_until(names_due.unwrap_or(looked).into()), if names_due.is_some() => {
                    let is_done = self.follow_names().await;
                    followed = Some(Instant::now());
                    failed_with = (!is_done).then(|| self.shared.snapshot.load().generation);
                }
                Some(()) = events.recv() => {
                    let now = Instant::now();
                    let first = due.map_or(now, |(first, _)| first);
                    due = Some((first, (now + DEBOUNCE).min(first + DEBOUNCE_MOST)));
                }
                () = sleep_until(at.unwrap_or(looked).into()), if at.is_some() => {
                    due = None;
                    self.look().await;
                    watcher.set(&self.files);
                    looked = Instant::now();
                }
                _ = retire.tick() => {
                    self.retire().await;
                    if looked.elapsed() >= POLL {
                        looked = Instant::now();
                        if self.is_touched().await {
                            due = due.or(Some((looked, looked)));
                        }
                    }
                }
            }
        }
    }

    /// Reads the files again if what is in them is not what was tried last.
    async fn look(&mut self) {
        let files = self.files.clone();
        let seen =
            spawn_blocking(move || (watch::fingerprint(&watch::hashes(&files)), watch::signature(&files)))
                .await;
        let Ok((fingerprint, signature)) = seen else { return };
        self.signature = signature;
        // What did not work may work now: a port is free, a file is there that another one names.
        if fingerprint != self.attempted || !self.state.last.load().ok {
            self.attempted = fingerprint;
            let overrides = self.state.in_force.load().overrides.clone();
            // How it went is kept and logged; nobody waits for it.
            drop(self.attempt(Attempt { overrides, ..Attempt::default() }, Cause::File).await);
        }
    }

    /// Makes a generation with the backends that names lead to now, of the file that is in force; whether it is one.
    async fn follow_names(&mut self) -> bool {
        let in_force = self.state.in_force.load_full();
        let attempt = Attempt {
            text: Some(in_force.text.clone()),
            included: Some(in_force.included.clone()),
            over: None,
            overrides: in_force.overrides.clone(),
        };
        match self.attempt(attempt, Cause::Names).await {
            Ok(_) => true,
            Err(failed) => {
                tracing::warn!("new addresses of a name could not be applied: {failed:?}");
                false
            }
        }
    }

    /// Whether the files look other than before, or the last attempt failed for a reason that may be gone.
    async fn is_touched(&self) -> bool {
        let files = self.files.clone();
        let signature = spawn_blocking(move || watch::signature(&files)).await;
        signature.is_ok_and(|signature| signature != self.signature) || !self.state.last.load().ok
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::Reload(cause, answer) => {
                let overrides = self.state.in_force.load().overrides.clone();
                // Who asked may have left.
                let attempt = Attempt { overrides, ..Attempt::default() };
                drop(answer.send(self.attempt(attempt, cause).await));
            }
            Request::Upgrade(answer) => {
                let result = self.upgrade().await;
                if let Ok(pid) = &result {
                    let _ = self.events.send(Event::HandedOver(*pid));
                }
                drop(answer.send(result));
            }
            Request::Replace(text, expected, answer) => {
                drop(answer.send(self.replace(text, expected).await));
            }
            Request::Found(found) => drop(self.names.note(found, Moment::now())),
            Request::Change(changes, is_kept, answer) => {
                let result = match is_kept {
                    true => self.persist(&changes).await,
                    false => self.change(&changes).await,
                };
                drop(answer.send(result));
            }
        }
    }
}
