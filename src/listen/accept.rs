//! Accepting connections: permits, per-address limits, `allow` and `deny`, and a fair share for every
//! worker. Next stop: `listen::connection`.
//!
//! Connections are accepted raw, and registered with an event loop once: on the worker that will have
//! them.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use tokio::{io::unix::AsyncFd, sync::mpsc::UnboundedSender};

use super::connection;
use crate::runtime::{Permit, Worker};

/// A connection that was accepted and has no event loop yet.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, non-blocking.
    pub socket: OwnedFd,
    /// The other end; `None` over a unix socket.
    pub source: Option<std::net::SocketAddr>,
    /// Index of the listener.
    pub listener: usize,
    /// Its place among the open connections.
    pub permit: Permit,
}

/// The way to each worker, and how many connections each has.
#[derive(Clone, Debug)]
pub struct Mailboxes {
    senders: Arc<[UnboundedSender<Accepted>]>,
    open: Arc<[AtomicI64]>,
}

impl Mailboxes {
    /// Of these workers.
    pub fn new(senders: Vec<UnboundedSender<Accepted>>) -> Self {
        let open = senders.iter().map(|_| AtomicI64::new(0)).collect();
        Self { senders: senders.into(), open }
    }

    /// Open connections of a worker.
    pub fn open(&self, worker: usize) -> i64 {
        self.open.get(worker).map_or(0, |open| open.load(Relaxed))
    }

    /// Who takes the next connection: the worker that accepted it, unless another has clearly fewer.
    /// The kernel spreads by a hash, and a few long connections must not pile up on one worker.
    fn choose(&self, own: usize) -> usize {
        let mine = self.open(own);
        let least = (0..self.open.len()).min_by_key(|worker| self.open(*worker)).unwrap_or(own);
        let slack = (mine / 8).max(1);
        if self.open(least) + slack < mine { least } else { own }
    }
}

/// Accepts on one listener's socket of one worker until it is dropped.
pub async fn run(worker: Rc<Worker>, listener: usize, socket: Rc<AsyncFd<OwnedFd>>, mailboxes: Mailboxes) {
    loop {
        let Ok(mut guard) = socket.readable().await else { return };
        // A bound on each turn, so that a flood of new connections leaves room for those that are there.
        for _ in 0..ACCEPTS_PER_TURN {
            match accept(socket.get_ref()) {
                Ok(Some((stream, source))) => take(&worker, listener, stream, source, &mailboxes),
                Ok(None) => {
                    guard.clear_ready();
                    break;
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                    break;
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Accepts what is still waiting, before a socket is closed: closing a `SO_REUSEPORT` socket loses its
/// queue.
pub fn empty(worker: &Rc<Worker>, listener: usize, socket: &AsyncFd<OwnedFd>, mailboxes: &Mailboxes) {
    while let Ok(Some((stream, source))) = accept(socket.get_ref()) {
        take(worker, listener, stream, source, mailboxes);
    }
}

const ACCEPTS_PER_TURN: usize = 32;
/// After running out of descriptors, say: nothing is gained by trying at once.
const PAUSE: Duration = Duration::from_millis(50);

type Arrival = (OwnedFd, Option<std::net::SocketAddr>);

/// The next connection; `None` when there is none. A connection that ended before it was accepted is
/// passed over.
fn accept(socket: &OwnedFd) -> io::Result<Option<Arrival>> {
    loop {
        match acceptfrom_with(socket.as_fd(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((stream, source)) => return Ok(Some((stream, source.and_then(ip)))),
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR | rustix::io::Errno::PROTO) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn ip(address: SocketAddrAny) -> Option<std::net::SocketAddr> {
    std::net::SocketAddr::try_from(address).ok()
}

/// Decides whether a connection may stay, and who has it.
fn take(
    worker: &Rc<Worker>,
    index: usize,
    socket: OwnedFd,
    source: Option<std::net::SocketAddr>,
    mailboxes: &Mailboxes,
) {
    let snapshot = worker.snapshot();
    let Some(listener) = snapshot.shared.listeners.get(index) else { return };
    let address = source.map(|source| source.ip().to_canonical());
    let is_admitted = address.is_none_or(|address| listener.admits(address));
    if !is_admitted || !listener.shared.enter(address, &listener.conf) {
        listener.shared.refused.fetch_add(1, Relaxed);
        return;
    }
    let chosen = mailboxes.choose(worker.index);
    let address = address.filter(|_| listener.conf.max_connections_per_address > 0);
    let permit = Permit::new(mailboxes.open.clone(), chosen, listener.shared.clone(), address);
    let accepted = Accepted { socket, source, listener: index, permit };
    if chosen == worker.index {
        connection::begin(worker, accepted);
    } else if let Some(sender) = mailboxes.senders.get(chosen) {
        // A worker that has ended takes no more; the program is stopping then.
        let _ = sender.send(accepted);
    }
}
