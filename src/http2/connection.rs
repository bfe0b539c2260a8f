//! A connection: its streams and its windows. What comes in is in `receive`, what streams send in `send`, what is a
//! client's alone in `client`, how it ends in `closing`.

use std::collections::VecDeque;

use super::{
    budget::{Allowance, Budget},
    flow::{DEFAULT_WINDOW, ReceiveWindow, SendWindow, Sent},
    frame,
    hpack::{Decoder, Encoder},
    output::Output,
    reason::{ConnectionError, Reason},
    settings::{OwnSettings, PeerSettings},
    state::{Acks, Block, Budgets, Closing, Opened, Role, ServerState},
    stream::{Fault, Stream},
};
use crate::{h1::HeadLimits, moment::Moment};

/// A connection of which we are the server, or the client.
#[derive(Debug)]
pub struct Connection {
    pub(super) role: Role,
    pub(super) limits: HeadLimits,
    pub(super) own: OwnSettings,
    pub(super) peer: PeerSettings,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    /// Those that are served, in the order of their numbers.
    pub(super) streams: Vec<(u32, Box<Stream>)>,
    pub(super) opened: VecDeque<Opened>,
    /// The highest stream that was opened.
    pub(super) last: u32,
    pub(super) send: SendWindow,
    /// What was sent on streams that are over, whose windows were not opened again for it.
    pub(super) sent_before: Sent,
    pub(super) receive: ReceiveWindow,
    pub(super) output: Output,
    /// The block of fields that is not whole yet.
    pub(super) block: Option<Block>,
    pub(super) budgets: Budgets,
    /// Streams that we reset while the client was still sending, whose frames may be on their way (RFC 9113 §5.1).
    forgiven: VecDeque<u32>,
    /// Streams that wait for room in the output or in the connection's window, in the order in which they came.
    pub(super) blocked: VecDeque<u32>,
    /// How much of the preface came.
    pub(super) preface: usize,
    /// Whether the other end's first settings came.
    pub(super) has_settings: bool,
    /// Whether the other end has said that it has ours.
    pub(super) is_acknowledged: bool,
    pub(super) closing: Closing,
    /// The last stream that the client was told of.
    pub(super) told_last: Option<u32>,
    /// What is known of the server, where we are the client.
    pub(super) server: ServerState,
    /// What went wrong while nothing was received.
    pub(super) error: Option<ConnectionError>,
    /// Nothing is sent or received any more.
    pub(super) is_over: bool,
    refused: u64,
}

/// The bytes of the PING that tells when the client has seen GOAWAY.
pub(super) const CLOSING_PING: [u8; 8] = *b"goodbye\0";
/// Streams beyond this many are not remembered; what still comes for them is an error of the stream's.
const MOST_FORGIVEN: usize = 256;
/// What may wait to be written before streams have to wait.
const ROOM: usize = 64 * 1024;

impl Connection {
    /// A connection whose client has said nothing yet; our settings are in its output.
    pub fn new(limits: HeadLimits, own: OwnSettings, allowed: Allowance, now: Moment) -> Self {
        let mut connection = Self::of(Role::Server, limits, own, allowed, now);
        own.write(Role::Server, connection.output.end());
        connection
    }

    /// A connection in which nothing was said.
    pub(super) fn of(
        role: Role,
        limits: HeadLimits,
        own: OwnSettings,
        allowed: Allowance,
        now: Moment,
    ) -> Self {
        Self {
            role,
            limits,
            own,
            peer: PeerSettings::default(),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            streams: Vec::new(),
            opened: VecDeque::new(),
            last: 0,
            send: SendWindow::new(DEFAULT_WINDOW),
            sent_before: Sent::default(),
            receive: ReceiveWindow::new(own.connection_window.max(DEFAULT_WINDOW)),
            output: Output::default(),
            block: None,
            budgets: Budgets {
                nuisance: Budget::new(allowed.nuisance, now),
                resets: Budget::new(allowed.resets, now),
                acks: Acks::default(),
            },
            forgiven: VecDeque::new(),
            blocked: VecDeque::new(),
            preface: 0,
            has_settings: false,
            is_acknowledged: false,
            closing: Closing::No,
            told_last: None,
            server: ServerState::default(),
            error: None,
            is_over: false,
            refused: 0,
        }
    }

    /// The next request that is to be served.
    pub fn next_opened(&mut self) -> Option<Opened> {
        self.opened.pop_front()
    }

    /// What is to be written.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// To be called when some of the output was written: streams that waited for it go on.
    pub fn written(&mut self) {
        self.budgets.acks.written(self.output.written_to());
        if self.output.waiting().is_empty() {
            self.output.rest(self.streams.is_empty());
        }
        if self.has_room() {
            self.unblock();
        }
    }

    /// Whether streams may add to the output.
    pub(super) fn has_room(&self) -> bool {
        self.output.waiting().len() < ROOM
    }

    /// Wakes every stream that waits for room.
    pub(super) fn unblock(&mut self) {
        while let Some(id) = self.blocked.pop_front() {
            if let Some(stream) = self.stream(id) {
                stream.is_blocked = false;
                stream.wake();
            }
        }
    }

    /// A stream that is served.
    pub(super) fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        let at = self.streams.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.streams.get_mut(at).map(|(_, stream)| &mut **stream)
    }

    /// Every stream that is served.
    pub(super) fn streams(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.streams.iter_mut().map(|(_, stream)| &mut **stream)
    }

    /// What the other end may send on a stream that is opened now.
    pub(super) fn receive_window(&self) -> ReceiveWindow {
        match self.is_acknowledged {
            true => ReceiveWindow::new(self.own.stream_window),
            false => ReceiveWindow::unknown(self.own.stream_window),
        }
    }

    /// Adds a stream, whose number is higher than every other's.
    pub(super) fn add(&mut self, id: u32, stream: Stream) {
        self.streams.push((id, Box::new(stream)));
    }

    /// Whether another stream would be one too many. Those that the client has reset count until what they led to is
    /// over.
    pub(super) fn is_full(&self) -> bool {
        self.streams.len() >= self.own.max_streams as usize
    }

    /// Whether no stream is served.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// Whether the beginning of the connection, or a block of fields, is not whole yet: what is waited for then is not
    /// the next request.
    pub fn is_in_head(&self) -> bool {
        !self.has_settings || self.block.is_some()
    }

    /// Whether the client has said that it speaks HTTP/2.
    pub fn has_begun(&self) -> bool {
        self.has_settings
    }

    /// Refuses a stream, which may be asked for again (§8.7).
    pub(super) fn refuse(&mut self, id: u32, now: Moment) -> Result<(), ConnectionError> {
        self.refused += 1;
        frame::write_reset(id, Reason::REFUSED_STREAM, self.output.end());
        self.forgive(id);
        self.spend_reset(now)
    }

    /// How many streams were refused since this was last asked.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Resets a stream at once (§5.4.2), because of something that the client did.
    pub(super) fn reset(
        &mut self,
        id: u32,
        reason: Reason,
        what: &'static str,
        now: Moment,
    ) -> Result<(), ConnectionError> {
        // What a server gets wrong once it may get wrong again: the connection takes nothing new.
        self.server.is_retired = true;
        let was_reset = self.stream(id).is_some_and(|stream| matches!(stream.fault, Some(Fault::Broken(_))));
        if was_reset {
            // It may not know yet.
            return self.spend_reset(now);
        }
        frame::write_reset(id, reason, self.output.end());
        if let Some(stream) = self.stream(id) {
            let is_sending = !stream.is_peer_done;
            let unread = stream.fail(Fault::Broken(what));
            self.give(unread);
            if is_sending {
                self.forgive(id);
            }
        }
        self.spend_reset(now)
    }

    pub(super) fn spend_reset(&mut self, now: Moment) -> Result<(), ConnectionError> {
        let is_fine = self.budgets.resets.spend(now);
        if is_fine {
            Ok(())
        } else {
            Err(ConnectionError::calm("too many requests were cancelled unanswered"))
        }
    }

    pub(super) fn spend(&mut self, now: Moment) -> Result<(), ConnectionError> {
        let is_fine = self.budgets.nuisance.spend(now);
        if is_fine { Ok(()) } else { Err(ConnectionError::calm("too many frames without a purpose")) }
    }

    pub(super) fn forgive(&mut self, id: u32) {
        if self.forgiven.len() >= MOST_FORGIVEN {
            self.forgiven.pop_front();
        }
        self.forgiven.push_back(id);
    }

    /// Whether frames for a stream that is no more may have been sent before the client knew.
    pub(super) fn is_forgiven(&self, id: u32) -> bool {
        self.forgiven.contains(&id)
    }

    /// Bytes of bodies went on: the client may send as many again.
    pub(super) fn give(&mut self, bytes: usize) {
        if let Some(increment) = self.receive.give(bytes).filter(|_| !self.is_over) {
            frame::write_window_update(0, increment, self.output.end());
        }
    }

    /// Bytes of memory that it holds beside what came of bodies, about.
    pub fn memory(&self) -> usize {
        let block = self.block.as_ref().map_or(0, |block| block.bytes.capacity());
        size_of::<Self>()
            + self.streams.len() * size_of::<Stream>()
            + self.output.memory()
            + self.decoder.memory()
            + block
    }
}
