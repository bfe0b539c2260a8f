//! What is left of a connection that is parked: one that has been idle for a while, and has no task, no buffers and no
//! place in the event loop's own table until something comes.
//!
//! `runtime::connections` holds them, `listen::parking` waits for all of a worker at once.

use std::{
    cell::Cell,
    io,
    os::fd::OwnedFd,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};
use tokio::io::unix::AsyncFd;

use super::{permit::Permit, registry::ListenerId};
use crate::{
    exchange::Peer,
    moment::Moment,
    net::{Deadline, descriptors},
};

/// How long a connection is idle before it is parked. What comes back within it pays nothing; parking and coming back
/// are six system calls.
pub const AFTER: Duration = Duration::from_secs(1);

/// A connection of HTTP/1.1 without TLS that waits for its next request.
#[derive(Debug)]
pub struct Parked {
    /// Its socket.
    pub socket: OwnedFd,
    /// Whether that is a unix socket.
    pub is_unix: bool,
    /// Who is at its other end.
    pub peer: Rc<Peer>,
    /// The slot of its listener.
    pub listener: ListenerId,
    /// Its place among the open connections.
    pub permit: Permit,
}

/// What waits for all parked connections of a worker: that something comes on one, or that the time of one is over.
#[derive(Debug)]
pub struct Waiting {
    sockets: AsyncFd<OwnedFd>,
    /// When the first of them may be over.
    deadline: Deadline,
    soonest: Cell<Moment>,
}

/// Most that come back in one turn of the event loop.
const AT_ONCE: usize = 128;

/// At most so often all of them are looked through for those whose time is over.
const LOOK: Duration = Duration::from_millis(250);

/// Later than any moment.
const NEVER: Moment = Moment(u64::MAX);

impl Waiting {
    /// Waits for none yet.
    ///
    /// # Errors
    ///
    /// There is no descriptor left.
    pub fn new() -> io::Result<Self> {
        let sockets = descriptors::register(epoll::create(epoll::CreateFlags::CLOEXEC)?)?;
        Ok(Self { sockets, deadline: Deadline::new(), soonest: Cell::new(NEVER) })
    }

    /// Waits for one more, which is told by `name` when something came, until a moment.
    ///
    /// # Errors
    ///
    /// The kernel has no memory for it.
    pub(super) fn add(&self, socket: &OwnedFd, name: u64, until: Moment) -> io::Result<()> {
        let data = epoll::EventData::new_u64(name);
        epoll::add(self.sockets.get_ref(), socket, data, epoll::EventFlags::IN)?;
        self.hurry(until);
        Ok(())
    }

    /// Waits for this one no longer.
    pub(super) fn remove(&self, socket: &OwnedFd) {
        // It is among them; the socket itself takes it out when it is closed.
        let _ = epoll::delete(self.sockets.get_ref(), socket);
    }

    /// Says that the time of one is over at a moment.
    pub(super) fn hurry(&self, at: Moment) {
        if at < self.soonest.get() {
            self.soonest.set(at);
            self.deadline.at(at);
        }
    }

    /// Says when the time of the first is over now that all were looked through; `None` when there is none.
    pub(super) fn looked_through(&self, soonest: Option<Moment>, now: Moment) {
        let next = soonest.map(|soonest| soonest.max(now.plus(LOOK)));
        self.soonest.set(next.unwrap_or(NEVER));
        match next {
            Some(next) => self.deadline.at(next),
            None => self.deadline.clear(),
        }
    }

    /// Whether the time of one may be over.
    pub fn is_due(&self, now: Moment) -> bool {
        self.soonest.get() <= now
    }

    /// Ready once something came on some of them, whose names are put into `names`, or the time of one may be over.
    pub fn poll(&self, cx: &mut Context<'_>, names: &mut Vec<u64>) -> Poll<()> {
        while let Poll::Ready(Ok(mut guard)) = self.sockets.poll_read_ready(cx) {
            let mut ready = Vec::with_capacity(AT_ONCE);
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let found = epoll::wait(self.sockets.get_ref(), spare_capacity(&mut ready), Some(&at_once));
            if found.unwrap_or(0) == 0 {
                // What comes from here on makes it ready again.
                guard.clear_ready();
                continue;
            }
            names.extend(ready.iter().map(|event| event.data.u64()));
            return Poll::Ready(());
        }
        self.deadline.poll_elapsed(cx)
    }
}
