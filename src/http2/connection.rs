//! A connection with a client: its streams, its windows, how it ends. What comes in is in `receive`, what streams send in
//! `send`.

use std::collections::VecDeque;

use super::{
    budget::{Allowance, Budget},
    flow::{DEFAULT_WINDOW, ReceiveWindow, SendWindow},
    frame,
    head::Head,
    hpack::{Decoder, Encoder},
    output::Output,
    reason::{ConnectionError, Reason},
    settings::{OwnSettings, PeerSettings},
    state::{Block, Budgets, Closing, Opened},
    stream::{Fault, Stream},
};
use crate::{h1::HeadLimits, moment::Moment};

/// A connection of which we are the server.
#[derive(Debug)]
pub struct Connection {
    pub(super) limits: HeadLimits,
    pub(super) own: OwnSettings,
    pub(super) peer: PeerSettings,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    /// Those that are served, in the order of their numbers.
    streams: Vec<(u32, Box<Stream>)>,
    pub(super) opened: VecDeque<Opened>,
    /// The highest stream that the client opened.
    pub(super) last: u32,
    pub(super) send: SendWindow,
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
    /// Whether the client's first settings came.
    pub(super) has_settings: bool,
    pub(super) closing: Closing,
    /// The last stream that the client was told of.
    pub(super) told_last: Option<u32>,
    /// What went wrong while nothing was received.
    error: Option<ConnectionError>,
    /// Nothing is sent or received any more.
    is_over: bool,
    refused: u64,
    spare: Vec<Head>,
}

/// The bytes of the PING that tells when the client has seen GOAWAY.
pub(super) const CLOSING_PING: [u8; 8] = *b"goodbye\0";
/// Streams beyond this many are not remembered; what still comes for them is an error of the stream's.
const MOST_FORGIVEN: usize = 256;
const MOST_SPARE: usize = 4;
/// What may wait to be written before streams have to wait.
const ROOM: usize = 64 * 1024;

impl Connection {
    /// A connection whose client has said nothing yet; our settings are in its output.
    pub fn new(limits: HeadLimits, own: OwnSettings, allowed: Allowance, now: Moment) -> Self {
        let mut output = Output::default();
        own.write(output.end());
        Self {
            limits,
            own,
            peer: PeerSettings::default(),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            streams: Vec::new(),
            opened: VecDeque::new(),
            last: 0,
            send: SendWindow::new(DEFAULT_WINDOW),
            receive: ReceiveWindow::new(own.connection_window.max(DEFAULT_WINDOW)),
            output,
            block: None,
            budgets: Budgets {
                nuisance: Budget::new(allowed.nuisance, now),
                resets: Budget::new(allowed.resets, now),
                acks: 0,
            },
            forgiven: VecDeque::new(),
            blocked: VecDeque::new(),
            preface: 0,
            has_settings: false,
            closing: Closing::No,
            told_last: None,
            error: None,
            is_over: false,
            refused: 0,
            spare: Vec::new(),
        }
    }

    /// The next request that is to be served.
    pub fn next_opened(&mut self) -> Option<Opened> {
        self.opened.pop_front()
    }

    /// Takes a head back that is not needed any more, for its memory.
    pub fn recycle(&mut self, head: Head) {
        if self.spare.len() < MOST_SPARE {
            self.spare.push(head);
        }
    }

    pub(super) fn take_head(&mut self) -> Head {
        self.spare.pop().unwrap_or_default()
    }

    /// What is to be written.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// To be called when some of the output was written: streams that waited for it go on.
    pub fn written(&mut self) {
        if self.output.waiting().is_empty() {
            self.budgets.acks = 0;
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
        let was_reset = self.stream(id).is_some_and(|stream| matches!(stream.fault, Some(Fault::Broken(_))));
        if was_reset {
            // It may not know yet.
            return self.spend_reset(now);
        }
        frame::write_reset(id, reason, self.output.end());
        if let Some(stream) = self.stream(id) {
            let is_sending = !stream.is_request_whole;
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
        if is_fine { Ok(()) } else { Err(ConnectionError::calm("too many requests were ended unanswered")) }
    }

    pub(super) fn spend(&mut self, now: Moment) -> Result<(), ConnectionError> {
        let is_fine = self.budgets.nuisance.spend(now);
        if is_fine { Ok(()) } else { Err(ConnectionError::calm("too many frames that ask for nothing")) }
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

    /// Whether a stream's response is whole, and its client goes on with its request.
    pub fn is_answered_early(&mut self, id: u32) -> bool {
        self.stream(id).is_some_and(|it| it.is_response_whole && !it.is_request_whole && it.fault.is_none())
    }

    /// What served a stream has ended: whatever is not ended yet is reset.
    pub fn release(&mut self, id: u32, now: Moment) {
        let Ok(at) = self.streams.binary_search_by_key(&id, |(id, _)| *id) else { return };
        let (_, mut stream) = self.streams.remove(at);
        let unread = stream.inbound.clear();
        self.give(unread);
        if self.is_over {
            return;
        }
        let reason = match stream.fault {
            Some(Fault::Gone(_) | Fault::Broken(_)) => return,
            Some(Fault::Malformed(_)) => {
                self.error = self.error.or(self.spend_reset(now).err());
                Reason::PROTOCOL_ERROR
            }
            None if !stream.is_response_whole => Reason::INTERNAL_ERROR,
            None => {
                self.budgets.resets.earn(1);
                self.budgets.nuisance.earn(4);
                if stream.is_request_whole {
                    return;
                }
                // §8.1: the rest of the request is of no use.
                Reason::NO_ERROR
            }
        };
        frame::write_reset(id, reason, self.output.end());
        if !stream.is_request_whole {
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
        self.close();
    }

    /// The connection is over, and so are its streams.
    pub fn close(&mut self) {
        self.is_over = true;
        for stream in self.streams() {
            stream.fail(Fault::Gone(Reason::NO_ERROR));
        }
        self.opened.clear();
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Bytes of memory that it holds beside what came of bodies, about.
    pub fn memory(&self) -> usize {
        let block = self.block.as_ref().map_or(0, |block| block.bytes.capacity());
        let spare: usize = self.spare.iter().map(Head::memory).sum();
        size_of::<Self>()
            + self.streams.len() * size_of::<Stream>()
            + self.output.memory()
            + self.decoder.memory()
            + block
            + spare
    }
}
