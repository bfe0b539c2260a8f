//! How streams and connections end.

use super::{
    connection::{CLOSING_PING, Connection},
    frame,
    reason::{ConnectionError, Reason},
    state::{Closing, Role},
    stream::Fault,
};
use crate::moment::Moment;

impl Connection {
    /// Whether a stream's response is whole, and its client goes on with its request.
    pub fn is_answered_early(&mut self, id: u32) -> bool {
        self.stream(id).is_some_and(|it| it.is_own_done && !it.is_peer_done && it.fault.is_none())
    }

    /// What served a stream has ended: whatever is not ended yet is reset.
    pub fn release(&mut self, id: u32, now: Moment) {
        let Ok(at) = self.streams.binary_search_by_key(&id, |(id, _)| *id) else { return };
        let (_, mut stream) = self.streams.remove(at);
        let unread = stream.forget();
        self.give(unread);
        self.sent_before.add(stream.send.sent);
        if self.is_over {
            return;
        }
        let reason = match stream.fault {
            Some(Fault::Gone(_) | Fault::Broken(_)) => return,
            Some(Fault::Malformed(_)) => {
                self.error = self.error.or(self.spend_reset(now).err());
                Reason::PROTOCOL_ERROR
            }
            // §8.1: a response may be whole before its request is.
            None if self.role == Role::Client && stream.is_peer_done && stream.is_own_done => {
                self.budgets.nuisance.earn(8);
                return;
            }
            None if self.role == Role::Client => Reason::CANCEL,
            None if !stream.is_own_done => Reason::INTERNAL_ERROR,
            None => {
                self.budgets.resets.earn(1);
                self.budgets.nuisance.earn(4);
                if stream.is_peer_done {
                    return;
                }
                // §8.1: the rest of the request is of no use.
                Reason::NO_ERROR
            }
        };
        frame::write_reset(id, reason, self.output.end());
        if !stream.is_peer_done {
            self.forgive(id);
        }
    }

    /// Ends both halves of a stream at once, as a tunnel ends that broke (RFC 8441 §5). One that has ended stays as it is.
    pub fn cancel(&mut self, id: u32) {
        let is_over = self.is_over;
        let Some(stream) = self.stream(id).filter(|it| !is_over && !it.is_gone()) else { return };
        let is_sending = !stream.is_peer_done;
        if !is_sending && stream.is_own_done {
            return;
        }
        let unread = stream.fail(Fault::Gone(Reason::CANCEL));
        self.give(unread);
        frame::write_reset(id, Reason::CANCEL, self.output.end());
        if is_sending {
            self.forgive(id);
        }
    }

    /// What went wrong while nothing was received.
    pub fn take_error(&mut self) -> Option<ConnectionError> {
        self.error.take()
    }

    /// Begins to end the connection: the client is told, and may still open streams until it knows.
    pub fn begin_closing(&mut self) {
        if self.closing == Closing::No {
            self.closing = Closing::Begun;
            frame::write_goaway(u32::MAX >> 1, Reason::NO_ERROR, self.output.end());
            frame::write_ping(false, CLOSING_PING, self.output.end());
        }
    }

    /// Whether the client knows that the connection ends, nothing is under way and all is written.
    pub fn is_finished(&self) -> bool {
        self.closing == Closing::Told && self.is_idle() && self.output.waiting().is_empty()
    }

    /// Ends the connection because of an error (§5.4.1): what is in the output is the last of it.
    pub fn fail(&mut self, error: ConnectionError) {
        if !self.is_over {
            // §6.8: never higher than before.
            let last = self.told_last.unwrap_or(self.last);
            frame::write_goaway(last, error.reason, self.output.end());
        }
        match self.role {
            Role::Server => self.close(),
            Role::Client => self.end_streams(Fault::Broken(error.what)),
        }
    }

    /// The connection is over, and so are its streams.
    pub fn close(&mut self) {
        self.end_streams(Fault::Gone(Reason::NO_ERROR));
    }

    fn end_streams(&mut self, fault: Fault) {
        self.is_over = true;
        let role = self.role;
        for stream in self.streams() {
            if role == Role::Client && stream.is_peer_done {
                // Its response is whole, and is read on.
                stream.is_own_done = true;
                stream.wake();
            } else {
                stream.fail(fault);
            }
        }
        self.opened.clear();
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}
