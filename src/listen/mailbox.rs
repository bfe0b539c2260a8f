//! The way to each worker: connections that another one accepted, and what the control side asks for.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::runtime::{ListenerId, Permit, connections::Description};

/// A connection that was accepted and has no event loop yet.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, non-blocking.
    pub socket: OwnedFd,
    /// The other end; `None` over a unix socket.
    pub source: Option<std::net::SocketAddr>,
    /// The slot of its listener.
    pub listener: ListenerId,
    /// Its place among the open connections.
    pub permit: Permit,
}

/// What a worker is sent.
#[derive(Debug)]
pub enum Message {
    /// It has this connection now.
    Accepted(Accepted),
    /// A generation was published: these are the sockets to accept on from here.
    Published(Change),
    /// The time for the connections of this listener, which is gone, is over.
    End(ListenerId),
    /// Who is connected: so many of them at most.
    Describe(usize, oneshot::Sender<(Vec<Description>, usize)>),
}

/// How the sockets of a worker change with a generation.
#[derive(Debug, Default)]
pub struct Change {
    /// Sockets to begin with, each with the listener that it belongs to.
    pub open: Vec<(ListenerId, OwnedFd)>,
    /// Sockets that pass from one listener to another.
    pub pass: Vec<(ListenerId, ListenerId)>,
    /// Listeners whose sockets are accepted empty and closed.
    pub close: Vec<ListenerId>,
}

/// The way to each worker, and how many connections each has.
#[derive(Clone, Debug)]
pub struct Mailboxes {
    senders: Arc<[UnboundedSender<Message>]>,
    open: Arc<[AtomicI64]>,
}

impl Mailboxes {
    /// Of these workers.
    pub fn new(senders: Vec<UnboundedSender<Message>>) -> Self {
        let open = senders.iter().map(|_| AtomicI64::new(0)).collect();
        Self { senders: senders.into(), open }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.senders.len()
    }

    /// Sends to a worker. One that has ended takes no more, and the message comes back.
    pub fn send(&self, worker: usize, message: Message) -> Result<(), Message> {
        match self.senders.get(worker) {
            Some(sender) => sender.send(message).map_err(|refused| refused.0),
            None => Err(message),
        }
    }

    /// Open connections by worker.
    pub fn counts(&self) -> Arc<[AtomicI64]> {
        self.open.clone()
    }

    /// Open connections of a worker.
    pub fn open(&self, worker: usize) -> i64 {
        self.open.get(worker).map_or(0, |open| open.load(Relaxed))
    }

    /// Who takes the next connection: the worker that accepted it, unless another has clearly fewer.
    /// The kernel spreads by a hash, and a few long connections must not pile up on one worker.
    pub fn choose(&self, own: usize) -> usize {
        let mine = self.open(own);
        let least = (0..self.open.len()).min_by_key(|worker| self.open(*worker)).unwrap_or(own);
        let slack = (mine / 8).max(1);
        if self.open(least) + slack < mine { least } else { own }
    }
}
