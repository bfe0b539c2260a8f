//! From backends to clients.

use std::rc::Rc;

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
    fn pass_down(&self, id: Id) -> bool {
        let (mut table, mut batch) = (self.table.borrow_mut(), self.batch.borrow_mut());
        let Some(session) = table.get_mut(id) else { return true };
        let Some(backend) = &session.backend else { return true };
        let now = Moment::now();
        let state = &session.socket.state;
        let count = match batch.receive(state, &backend.socket, MOST_PIECES) {
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
