//! What the engine is, and what goes into it and comes out: the one place where generations follow each other, a task on
//! the control loop, so that two never come at once.
//!
//! What it does is `run`, which binds the sockets of the first generation and then waits for what asks for another: a
//! request by a [`Reloader`], an edit that `watch` saw, the clock. It calls on `attempt`, `publish` and `upgrade`.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::{
    Reloader, Request, behind::Behind, endings::Endings, origin::Origin, plan::Hashes,
    refused_copy::RefusedCopy, state::State, successor::Successor,
};
use crate::{
    config::Loaded,
    listen::{
        admin_sockets::{Each, Held},
        bind::Bound,
        listener_sockets::{Handed, Sockets},
        mailbox::{Change, Mailboxes},
        socket_files::SocketFiles,
    },
    runtime::{Snapshot, addresses::Addresses, overrides::Overrides, worker::Shared},
    telemetry::access_log::AccessLog,
    tls::tickets::Tickets,
};

/// Makes generations. Everything of it belongs to the control loop.
#[derive(Debug)]
pub struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) tickets: Arc<Tickets>,
    pub(super) mailboxes: Mailboxes,
    pub(super) sockets: Sockets,
    pub(super) log: Arc<AccessLog>,
    pub(super) state: Arc<State>,
    pub(super) requests: UnboundedReceiver<Request>,
    pub(super) events: UnboundedSender<Event>,
    /// The admin endpoint's sockets; other descriptors of them are served.
    pub(super) admin: Each<Held>,
    /// How the program was started; `None` where it is not to be started again.
    pub(super) origin: Option<Origin>,
    /// The program that is to take this one's place, until it has.
    pub(super) successor: Arc<Successor>,
    /// What the last generation still has to do.
    pub(super) folders: Behind,
    /// Listeners that are gone.
    pub(super) endings: Endings,
    /// Generations that someone may still hold.
    pub(super) retired: Vec<Arc<Snapshot>>,
    pub(super) files: Vec<PathBuf>,
    /// Of the files as they were at the last attempt.
    pub(super) attempted: u64,
    /// The same of those that were refused last.
    pub(super) refused: u64,
    /// Where a store has the configuration: what of that was refused last.
    pub(super) refused_copy: RefusedCopy,
    pub(super) signature: u64,
    /// Where names of backends lead, as far as it was told.
    pub(super) names: Addresses,
}

impl Engine {
    /// The files of the listeners' unix sockets, to be removed at the end.
    pub fn socket_files(&self) -> Arc<SocketFiles> {
        self.sockets.files()
    }

    /// The program before, where there was one, has let go of its sockets.
    pub fn take_over(&mut self) {
        self.sockets.take_over(&self.shared.snapshot.load());
    }

    /// The program that is to take this one's place, until it has.
    pub fn successor(&self) -> Arc<Successor> {
        self.successor.clone()
    }
}

/// What is sent to the control side.
#[derive(Debug)]
pub enum Event {
    /// A generation was published. New sockets of the admin endpoint come second, when `[admin]` has other addresses now.
    Published(Arc<Snapshot>, Each<Option<Bound>>),
    /// The program with this process took over: this one is to drain.
    HandedOver(u32),
}

/// What the engine starts with.
#[derive(Debug)]
pub struct Start {
    /// What the workers will share: the first generation is in it.
    pub shared: Arc<Shared>,
    /// Keys of TLS session tickets.
    pub tickets: Arc<Tickets>,
    /// The way to the workers.
    pub mailboxes: Mailboxes,
    /// Sockets of a program before this one.
    pub sockets: Sockets,
    /// The access log.
    pub log: Arc<AccessLog>,
    /// The file that the first generation was made of.
    pub loaded: Loaded,
    /// What was in it, and in those that it names, before that generation was built.
    pub hashes: Hashes,
    /// What administrators changed in a program before this one.
    pub overrides: Overrides,
    /// Where names of backends led in a program before this one.
    pub names: Addresses,
    /// The admin endpoint's sockets in a program before this one.
    pub admin: Each<Option<Handed>>,
    /// How the program was started.
    pub origin: Option<Origin>,
}

/// What the engine gives when it starts.
#[derive(Debug)]
pub struct Started {
    /// It; to be run on the control loop.
    pub engine: Engine,
    /// The way to ask it.
    pub reloader: Reloader,
    /// What it reports.
    pub events: UnboundedReceiver<Event>,
    /// What each worker begins with.
    pub changes: Vec<Change>,
    /// The admin endpoint's sockets.
    pub admin: Each<Option<Bound>>,
}
