//! Reloads: the file, or what an administrator says, becomes the next generation, or nothing changes.
//!
//! Causes: an edit, `SIGHUP`, the admin API. Each goes the same way, one at a time: **parse →
//! build** on a thread of its own, **acquire** (sockets, log file), **publish** (one swap, which cannot
//! fail), **retire** (old generations are freed once nobody holds them). A failure at any step leaves
//! everything as it was, and is kept in [`Last`] for log, metrics, admin and dashboard.
//!
//! Previous stop: `control`, which runs the [`engine::Engine`]. Next stop: each worker's mailbox.

mod answers;
mod attempt;
mod behind;
pub mod edit;
mod endings;
pub mod engine;
pub mod handover_state;
mod not_in_file;
mod origin;
pub mod plan;
mod prepare;
pub mod preview;
mod publish;
mod refused_copy;
mod rehearsal;
mod run;
mod sessions;
pub mod state;
pub mod successor;
pub mod upgrade;
pub mod waiting;
mod watch;
pub mod write;

#[cfg(test)]
use std::collections::HashMap;
use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::sync::{mpsc::UnboundedSender, oneshot};

use self::state::State;
pub use self::{
    attempt::no_access_log,
    attempt::{PANICKED, sink},
    prepare::{cannot_open, hashes_of},
    rehearsal::rehearse,
    state::{Cause, Failed, InForce, Last, Outcome},
};
use crate::{
    runtime::overrides::{Change, Reason, Refusal},
    upstream::discover::Discovered,
};

/// The way to ask for a reload, and to know how the last one went. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader {
    requests: UnboundedSender<Request>,
    state: Arc<State>,
}

/// What the engine is asked.
#[derive(Debug)]
pub enum Request {
    /// To read the file again.
    Reload(Cause, Answer),
    /// To write this text into the file, and to reload; with a second text only if the file has that one.
    Replace(Arc<str>, Option<Arc<str>>, Answer),
    /// To let the installed program take this one's place; the answer is its process.
    Upgrade(oneshot::Sender<Result<u32, Refusal>>),
    /// To take note of where a name of backends leads; nobody waits for it.
    Found(Discovered),
    /// To make changes of backends, all or none, and with `true` to write them into the file.
    Change(Vec<Change>, bool, Answer),
}

/// Where the engine answers.
pub type Answer = oneshot::Sender<Result<Outcome, Failed>>;

impl Reloader {
    /// Reads the file again; the answer comes when the new generation is published, or refused.
    pub async fn reload(&self, cause: Cause) -> Result<Outcome, Failed> {
        self.ask(|answer| Request::Reload(cause, answer)).await
    }

    /// Writes a whole new text into the file, if it is good, and reloads. With `expected` only if that is
    /// what is in the file.
    pub async fn replace(&self, text: Arc<str>, expected: Option<Arc<str>>) -> Result<Outcome, Failed> {
        self.refuse_copy("write the key")?;
        self.ask(|answer| Request::Replace(text, expected, answer)).await
    }

    /// Writes what the store has into the copy of it, if it is good, and reloads.
    pub async fn replace_copy(&self, text: Arc<str>) -> Result<Outcome, Failed> {
        self.ask(|answer| Request::Replace(text, None, answer)).await
    }

    /// Changes backends until the file says otherwise; with `persist` the file is edited. Either all changes
    /// are in the next generation, in their order, or none is made.
    pub async fn change(&self, changes: Vec<Change>, persist: bool) -> Result<Outcome, Failed> {
        if persist {
            self.refuse_copy("write the key, or leave `persist` out")?;
        }
        self.ask(|answer| Request::Change(changes, persist, answer)).await
    }

    /// Lets the installed program take this one's place; the answer, its process, comes once it serves, and
    /// this one drains from then on.
    pub async fn upgrade(&self) -> Result<u32, Refusal> {
        let (answer, answered) = oneshot::channel();
        let _ = self.requests.send(Request::Upgrade(answer));
        answered.await.unwrap_or_else(|_| Err(Refusal::stopping()))
    }

    /// Takes note of where a name of backends leads; a generation follows where that makes other backends.
    pub fn found(&self, found: Discovered) {
        // Without an engine the program is stopping.
        let _ = self.requests.send(Request::Found(found));
    }

    /// How the last attempt went.
    pub fn last(&self) -> Arc<Last> {
        self.state.last.load_full()
    }

    /// How many attempts made a generation, and how many were refused for what is wrong with a configuration.
    pub fn counts(&self) -> (u64, u64) {
        (self.state.succeeded.load(Relaxed), self.state.failed.load(Relaxed))
    }

    /// How many generations other addresses of names made.
    pub fn names_followed(&self) -> u64 {
        self.state.names_followed.load(Relaxed)
    }

    /// What the current generation was made of.
    pub fn in_force(&self) -> Arc<InForce> {
        self.state.in_force.load_full()
    }

    /// One that nobody answers, over a configuration that is in force.
    #[cfg(test)]
    pub(crate) fn without_engine(text: &str, addresses: HashMap<crate::runtime::ListenerId, String>) -> Self {
        Self::asking(text, addresses).0
    }

    /// One that a test answers.
    #[cfg(test)]
    pub(crate) fn asking(
        text: &str,
        addresses: HashMap<crate::runtime::ListenerId, String>,
    ) -> (Self, tokio::sync::mpsc::UnboundedReceiver<Request>) {
        let path = std::path::PathBuf::from("test.toml");
        let file = crate::config::parse(text, &path).unwrap();
        let overrides = crate::runtime::overrides::Overrides::default();
        let in_force = InForce {
            path,
            store: None,
            text: text.into(),
            included: Arc::default(),
            file: Arc::new(file),
            overrides,
            names: crate::runtime::addresses::Addresses::default(),
            addresses,
            hash: 0,
            hashes: HashMap::new(),
        };
        let last = Last::new(Cause::Start, std::time::Duration::ZERO, Vec::new(), Vec::new());
        let (requests, asked) = tokio::sync::mpsc::unbounded_channel();
        (Self { requests, state: Arc::new(State::new(last, in_force)) }, asked)
    }

    /// Refuses to write into a file that is a copy of what a store has: what the store has comes over it, at the next start
    /// at the latest.
    fn refuse_copy(&self, hint: &str) -> Result<(), Failed> {
        match &self.in_force().store {
            None => Ok(()),
            Some(store) => Err(Failed::Refused(Refusal {
                reason: Reason::Conflict,
                code: "shared_config",
                message: format!("the configuration is in {store}, and the file is a copy of it"),
                hint: hint.to_owned(),
            })),
        }
    }

    async fn ask(&self, request: impl FnOnce(Answer) -> Request) -> Result<Outcome, Failed> {
        let (answer, answered) = oneshot::channel();
        // Without an engine, or when it ends before it answered, the program is stopping.
        let _ = self.requests.send(request(answer));
        answered.await.unwrap_or_else(|_| Err(Failed::Refused(Refusal::stopping())))
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::LocalRuntime;

    use super::*;

    const TEXT: &str = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:1\"\n\
                        [[route]]\nname = \"all\"\nrespond = { status = 200 }\n";

    /// Such a change was acknowledged, and gone with the next start or upgrade.
    #[test]
    fn what_a_store_has_is_not_changed_in_its_copy() {
        let reloader = Reloader::without_engine(TEXT, HashMap::new());
        let code = |result: Result<Outcome, Failed>| match result {
            Err(Failed::Refused(refusal)) => refusal.code,
            other => panic!("{other:?}"),
        };
        LocalRuntime::new().unwrap().block_on(async {
            // Without an engine there is no other answer.
            let asked = code(reloader.change(Vec::new(), true).await);
            assert_eq!(asked, code(reloader.replace(TEXT.into(), None).await));
            let store = Some("etcd://127.0.0.1/config".into());
            let in_force = InForce { store, ..(*reloader.in_force()).clone() };
            reloader.state.in_force.store(Arc::new(in_force));
            assert_eq!(code(reloader.change(Vec::new(), true).await), "shared_config");
            assert_eq!(code(reloader.replace(TEXT.into(), None).await), "shared_config");
            assert_eq!(code(reloader.change(Vec::new(), false).await), asked);
            assert_eq!(code(reloader.replace_copy(TEXT.into()).await), asked);
        });
    }
}
