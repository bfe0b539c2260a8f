//! Accepting connections: permits, per-address limits, `allow` and `deny`, and a fair share for every
//! worker. Next stop: `listen::connection`.
//!
//! Connections are accepted raw, and registered with an event loop once: on the worker that will have
//! them.

use std::{
    cell::Cell,
    io,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use tokio::io::unix::AsyncFd;

use super::{
    admission, bind, connection,
    mailbox::{Accepted, Mailboxes, Message},
};
use crate::{
    moment::Moment,
    net::descriptors,
    runtime::{ListenerId, Permit, Worker},
    telemetry::repeated::Repeated,
};

/// Accepts on one listener's socket of one worker until it is dropped. The socket may pass to another
/// listener meanwhile.
pub async fn run(
    worker: Rc<Worker>,
    listener: Rc<Cell<ListenerId>>,
    socket: Rc<AsyncFd<OwnedFd>>,
    mailboxes: Mailboxes,
) {
    // Whether the last descriptor was one that connections leave alone: then the next is looked at before it is taken.
    let mut is_near_limit = false;
    loop {
        let Ok(mut guard) = socket.readable().await else { return };
        // A bound on each turn, so that a flood of new connections leaves room for those that are there.
        for _ in 0..ACCEPTS_PER_TURN {
            let arrival = match is_near_limit {
                true => descriptors::next_is_free(socket.get_ref()).map_err(io::Error::from),
                false => Ok(()),
            };
            match arrival.and_then(|()| accept(socket.get_ref())) {
                Ok(Some((stream, source))) => {
                    is_near_limit = descriptors::is_reserved(&stream);
                    if !is_near_limit {
                        take(&worker, listener.get(), stream, source, &mailboxes);
                    }
                }
                Ok(None) => {
                    guard.clear_ready();
                    break;
                }
                Err(error) => {
                    if let Some(times) = REFUSED.count(Moment::now()) {
                        tracing::warn!(times, "cannot accept a connection: {error}");
                    }
                    tokio::time::sleep(PAUSE).await;
                    break;
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Accepts what is still waiting, before a socket is closed: closing a `SO_REUSEPORT` socket loses its
/// queue. No more than a queue holds: another program may accept on the same socket by now, and new
/// connections are for that one.
pub fn empty(worker: &Rc<Worker>, listener: ListenerId, socket: &AsyncFd<OwnedFd>, mailboxes: &Mailboxes) {
    for _ in 0..bind::BACKLOG {
        let Ok(Some((stream, source))) = accept(socket.get_ref()) else { return };
        take(worker, listener, stream, source, mailboxes);
    }
}

/// Of all listeners and workers.
static REFUSED: Repeated = Repeated::new();

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
    slot: ListenerId,
    socket: OwnedFd,
    source: Option<std::net::SocketAddr>,
    mailboxes: &Mailboxes,
) {
    let snapshot = worker.snapshot_for(slot);
    let Some(listener) = snapshot.shared.listener(slot) else { return };
    let address = source.map(|source| source.ip().to_canonical());
    // Behind a PROXY header is another client.
    let is_judged = !address.is_some_and(|address| listener.needs_proxy_header(address));
    let place = match is_judged {
        true => admission::judge(listener, address),
        false => Ok(None),
    };
    let Ok(place) = place else {
        listener.shared.refused.fetch_add(1, Relaxed);
        return;
    };
    if !listener.shared.enter(&listener.conf) {
        listener.shared.refused.fetch_add(1, Relaxed);
        if let Some(times) = listener.shared.full.count(Moment::now()) {
            let (listener, most) = (&listener.conf.name, listener.conf.max_connections);
            tracing::warn!(%listener, most, times, "a new connection was closed: the listener is at `max_connections`");
        }
        return;
    }
    // While the program stops another worker may have ended already.
    let chosen = if worker.is_draining() { worker.index } else { mailboxes.choose(worker.index) };
    let permit = Permit::new(mailboxes.counts(), chosen, listener.shared.clone(), place);
    let accepted = Accepted { socket, source, listener: slot, permit, is_judged };
    if chosen == worker.index {
        connection::begin(worker, accepted);
    } else if let Err(Message::Accepted(mut accepted)) = mailboxes.send(chosen, Message::Accepted(accepted)) {
        // That one has ended: the program is stopping.
        accepted.permit.pass_to(worker.index);
        connection::begin(worker, accepted);
    }
}
