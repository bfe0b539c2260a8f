//! From backends to clients.

use std::{io, rc::Rc};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};
use tokio::task::yield_now;

use super::{
    super::{quic::packet::is_long, session::Id},
    relay::Relay,
    send::{self, Sent, Way, is_refusal, send},
    session::EndedBy,
    socket,
};
use crate::moment::Moment;

/// Pieces that one read takes from a backend's socket.
const MOST_PIECES: usize = 8;
/// Errors of one socket that one read goes past.
const MOST_ERRORS: usize = 4;
/// Sockets of backends that one look finds something at.
const READY_AT_ONCE: usize = 256;
/// Answers after which a session's socket is worth the calls that have the kernel join what comes to it.
const MANY_ANSWERS: u64 = 256;

impl Relay {
    /// Reads what backends send, for as long as the worker lives.
    pub(super) async fn take_answers(self: Rc<Self>) {
        let mut ready = Vec::with_capacity(READY_AT_ONCE);
        loop {
            let Ok(mut guard) = self.backends.readable().await else { return };
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let found =
                epoll::wait(self.backends.get_ref(), spare_capacity(&mut ready), Some(&at_once)).unwrap_or(0);
            let mut is_empty = found < READY_AT_ONCE;
            for event in ready.drain(..) {
                let id = Id::try_from(event.data.u64()).unwrap_or(Id::MAX);
                is_empty &= self.pass_down(id);
            }
            if is_empty {
                // What came meanwhile makes it ready again: each arrival does.
                guard.clear_ready();
            } else {
                yield_now().await;
            }
        }
    }

    /// Passes what the backend of a session sent on to its client; whether there is nothing left of it.
    pub(super) fn pass_down(&self, id: Id) -> bool {
        let (mut table, mut batch) = (self.table.borrow_mut(), self.batch.borrow_mut());
        let Some(session) = table.get_mut(id) else { return true };
        let Some(backend) = &session.backend else { return true };
        let now = Moment::now();
        let state = &session.socket.state;
        let count = match behind_errors(|| batch.receive(state, &backend.socket, MOST_PIECES)) {
            Ok(count) => count,
            Err(error) if is_refusal(&error) => {
                Self::refused(&mut table, id, now);
                return false;
            }
            Err(_) => return true,
        };
        let way = Way::To(session.client, session.asked);
        let mut sum = Sent::default();
        for received in batch.received(count) {
            // Handshakes alone have long headers, which show what the server is to be called.
            if let Some(quic) = &mut session.quic {
                received.datagrams().filter(|it| is_long(it)).for_each(|it| quic.look_at(it));
            }
            let sent = send(state, session.socket.socket.get_ref(), way, received);
            sum.carried.add(sent.carried);
            if let Some(error) = &sent.error {
                self.worker.series.datagrams.drop(send::reason(error), sent.failed);
            }
        }
        self.worker.series.datagrams.sent.add(sum.carried.datagrams);
        let asked = table.answered(id);
        table.touch(id, now);
        let Some(session) = table.get_mut(id) else { return true };
        let before = session.down.datagrams;
        session.went_down(sum.carried, asked, now);
        let is_busy = before < MANY_ANSWERS && session.down.datagrams >= MANY_ANSWERS;
        if let Some(backend) = session.backend.as_ref().filter(|_| is_busy)
            && let Err(error) = socket::accelerate(&backend.socket)
        {
            tracing::debug!("datagrams of a backend are read one at a time: {error}");
        }
        if session.is_over() {
            self.end_one(&mut table, id, EndedBy::Responses);
            return true;
        }
        count < MOST_PIECES
    }
}

/// Reads what stands behind what came back for datagrams before by ICMP: the kernel tells of that first, and once. A
/// refusal says something of the backend, and is given.
fn behind_errors(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    let mut result = read();
    for _ in 1..MOST_ERRORS {
        match &result {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && !is_refusal(error) => result = read(),
            Ok(_) | Err(_) => break,
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_stands_behind_an_error_is_read() {
        for (errors, calls, expected) in [
            (&[Errno::MSGSIZE][..], 2, Some(3)),
            (&[], 1, Some(3)),
            (&[Errno::ACCESS, Errno::PROTO], 3, Some(3)),
            (&[Errno::AGAIN], 1, None),
            (&[Errno::MSGSIZE, Errno::AGAIN], 2, None),
            (&[Errno::MSGSIZE, Errno::CONNREFUSED], 2, None),
            (&[Errno::NOMEM; 9], MOST_ERRORS, None),
        ] {
            let mut count = 0;
            let result = behind_errors(|| {
                count += 1;
                errors.get(count - 1).map_or(Ok(3), |error| Err((*error).into()))
            });
            assert_eq!((count, result.ok()), (calls, expected), "{errors:?}");
        }
    }
}
