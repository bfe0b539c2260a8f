//! What the client says about its connection, windows and streams.

use super::{
    connection::Connection,
    frame,
    reason::{ConnectionError, Reason},
    state::Role,
    stream::Fault,
};
use crate::moment::Moment;

/// Answers that may wait to be written: a client that takes none has no use for more (CVE-2019-9512, CVE-2019-9515).
const MOST_ACKS: u32 = 500;

impl Connection {
    pub(super) fn take_reset(&mut self, id: u32, reason: Reason, now: Moment) -> Result<(), ConnectionError> {
        self.check_opened(id)?;
        let is_client = self.role == Role::Client;
        let Some(stream) = self.stream(id) else { return self.spend(now) };
        let is_answered = stream.is_own_done;
        if is_client && stream.is_peer_done {
            // §8.1: the response is whole, and what is left of the request is not wanted.
            stream.is_own_done = true;
            stream.wake();
            return Ok(());
        }
        stream.is_peer_done = true;
        let unread = stream.fail(Fault::Gone(reason));
        self.give(unread);
        if is_client {
            // Each was asked for: we can be made to do no more than that.
            self.server.resets += 1;
            return Ok(());
        }
        if is_answered { self.spend(now) } else { self.spend_reset(now) }
    }

    pub(super) fn take_settings(&mut self, payload: &[u8], now: Moment) -> Result<(), ConnectionError> {
        if std::mem::replace(&mut self.has_settings, true) {
            self.spend(now)?;
        }
        self.count_ack()?;
        let before = self.peer.initial_window;
        self.peer.take(payload)?;
        if std::mem::take(&mut self.peer.has_table_size) {
            self.encoder.resize();
        }
        // §6.9.2
        let by = i64::from(self.peer.initial_window) - i64::from(before);
        if by != 0 {
            for stream in self.streams() {
                if !stream.send.change(by) {
                    let reason = Reason::FLOW_CONTROL_ERROR;
                    return Err(ConnectionError { reason, what: "SETTINGS make a window too large" });
                }
                stream.wake();
            }
        }
        frame::write_head(0, frame::SETTINGS, frame::ACK, 0, self.output.end());
        Ok(())
    }

    /// The other end has our settings: from now on, streams bring no more than these say (§6.9.2).
    pub(super) fn take_settings_ack(&mut self, now: Moment) -> Result<(), ConnectionError> {
        // They are said once.
        if std::mem::replace(&mut self.is_acknowledged, true) {
            return self.spend(now);
        }
        let window = self.own.stream_window;
        self.streams().for_each(|stream| stream.receive.become_known(window));
        Ok(())
    }

    pub(super) fn count_ack(&mut self) -> Result<(), ConnectionError> {
        let is_fine = self.budgets.acks.add(self.output.position()) <= MOST_ACKS;
        if is_fine {
            Ok(())
        } else {
            Err(ConnectionError::calm("it does not read the answers to its frames"))
        }
    }

    pub(super) fn take_window_update(
        &mut self,
        id: u32,
        increment: u32,
        now: Moment,
    ) -> Result<(), ConnectionError> {
        if !self.is_of_use(id, increment) {
            self.spend(now)?;
        }
        if id == 0 {
            if increment == 0 {
                return Err(ConnectionError::protocol("WINDOW_UPDATE with an increment of 0"));
            }
            if !self.send.change(i64::from(increment)) {
                let reason = Reason::FLOW_CONTROL_ERROR;
                return Err(ConnectionError { reason, what: "the connection's window is too large" });
            }
            if self.has_room() {
                self.unblock();
            }
            return Ok(());
        }
        self.check_opened(id)?;
        // A malformed request is answered too.
        let Some(stream) = self.stream(id).filter(|stream| !stream.is_gone()) else { return Ok(()) };
        if increment == 0 {
            return self.reset(id, Reason::PROTOCOL_ERROR, "WINDOW_UPDATE with an increment of 0", now);
        }
        if !stream.send.change(i64::from(increment)) {
            return self.reset(id, Reason::FLOW_CONTROL_ERROR, "the stream's window is too large", now);
        }
        stream.wake();
        Ok(())
    }

    /// Whether a WINDOW_UPDATE gives back what was sent, or is one of the few that each piece on a stream may lead to.
    fn is_of_use(&mut self, id: u32, increment: u32) -> bool {
        match self.stream(id) {
            Some(stream) => {
                let is_given_back = stream.send.sent.give_back(increment);
                let is_of_use = is_given_back || stream.updates > 0;
                stream.updates -= u8::from(is_of_use && !is_given_back);
                is_of_use
            }
            None if id == 0 => self.send.sent.give_back(increment),
            // Who reads a body tells so also where its stream has ended meanwhile.
            None => self.sent_before.give_back(increment),
        }
    }
}
