//! What comes in: frame by frame, from the preface on. Heads, bodies and trailers are taken here, what is said about the
//! connection and its windows in `control`.

use super::{
    connection::{CLOSING_PING, Connection},
    flow::SendWindow,
    frame::{self, Frame, FrameHead, HEAD_BYTES},
    head::read_trailers,
    hpack::CompressionError,
    reason::{ConnectionError, Reason},
    settings::DEFAULT_FRAME,
    spare,
    state::{Block, Closing, Opened, Role},
    stream::{Fault, Stream},
};
use crate::{account, error::Kind, h1::Message, moment::Moment};

/// What every client sends first (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a block of fields may be larger than its list of fields may be, while it is only looked at.
const BEYOND: usize = 32 * 1024;
/// A part of a block, or of a body, that is smaller than this earns nothing.
const SMALL: usize = 512;

/// What is wrong with trailers that are larger than may be.
pub const TRAILERS_TOO_LARGE: &str = "the trailers are too large";

impl Connection {
    /// Takes what came: gives how much of it was used. The rest is the beginning of a frame, to be given again with what
    /// follows it.
    ///
    /// # Errors
    ///
    /// What breaks the connection; [`Connection::fail`] tells the client.
    pub fn receive(&mut self, input: &[u8], now: Moment) -> Result<usize, ConnectionError> {
        let mut used = self.take_preface(input)?;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let Some(head) = FrameHead::parse(rest).filter(|_| self.preface == PREFACE.len()) else { break };
            if head.length > DEFAULT_FRAME {
                return Err(ConnectionError::size("a frame is larger than MAX_FRAME_SIZE"));
            }
            let Some(payload) = rest.get(HEAD_BYTES..HEAD_BYTES + head.length) else { break };
            used += HEAD_BYTES + head.length;
            self.take_frame(head, payload, now)?;
        }
        Ok(used)
    }

    fn take_preface(&mut self, input: &[u8]) -> Result<usize, ConnectionError> {
        let expected = PREFACE.get(self.preface..).unwrap_or_default();
        let length = expected.len().min(input.len());
        if input.get(..length) != expected.get(..length) {
            return Err(ConnectionError::protocol("the connection does not begin with the HTTP/2 preface"));
        }
        self.preface += length;
        Ok(length)
    }

    fn take_frame(&mut self, head: FrameHead, payload: &[u8], now: Moment) -> Result<(), ConnectionError> {
        let frame = Frame::parse(head, payload)?;
        if !self.has_settings && !matches!(frame, Frame::Settings(_)) {
            return Err(ConnectionError::protocol("the first frame is not SETTINGS"));
        }
        if self.block.is_some() && !matches!(frame, Frame::Continuation { .. }) {
            return Err(ConnectionError::protocol("another frame comes in the middle of a field block"));
        }
        let id = head.stream;
        match frame {
            Frame::Data { data, is_end } => self.take_data(id, data, head.length, is_end, now),
            Frame::Headers { block, is_end, is_whole: true } => self.take_block(id, block, is_end, now),
            Frame::Headers { block, is_end, is_whole: false } => {
                self.block = Some(Block { stream: id, is_end, bytes: block.to_vec() });
                Ok(())
            }
            Frame::Continuation { block, is_whole } => self.take_continuation(id, block, is_whole, now),
            Frame::Reset(reason) => self.take_reset(id, reason, now),
            Frame::Settings(payload) => self.take_settings(payload, now),
            Frame::Ping(bytes) => {
                self.spend(now)?;
                self.count_ack()?;
                frame::write_ping(true, bytes, self.output.end());
                Ok(())
            }
            Frame::PingAck(bytes) => {
                if bytes == CLOSING_PING && self.closing == Closing::Begun {
                    self.closing = Closing::Told;
                    self.told_last = Some(self.last);
                    frame::write_goaway(self.last, Reason::NO_ERROR, self.output.end());
                    return Ok(());
                }
                if self.take_pong(bytes) { Ok(()) } else { self.spend(now) }
            }
            Frame::WindowUpdate(increment) => self.take_window_update(id, increment, now),
            Frame::PushPromise => Err(ConnectionError::protocol("PUSH_PROMISE is not allowed")),
            Frame::GoAway(last, reason) => self.take_goaway(last, reason, now),
            Frame::SettingsAck => self.take_settings_ack(now),
            Frame::Priority(true) | Frame::Unknown => self.spend(now),
            Frame::Priority(false) if self.is_of_past(id) => {
                self.reset(id, Reason::FRAME_SIZE_ERROR, "PRIORITY is not five bytes long", now)
            }
            Frame::Priority(false) => Err(ConnectionError::size("PRIORITY is not five bytes long")),
        }
    }

    /// Whether a stream was opened, be it over or not (RFC 9113 §5.1.1).
    pub(super) fn is_of_past(&self, id: u32) -> bool {
        id % 2 == 1 && id <= self.last
    }

    pub(super) fn check_opened(&self, id: u32) -> Result<(), ConnectionError> {
        let is_of_past = self.is_of_past(id);
        if is_of_past {
            Ok(())
        } else {
            Err(ConnectionError::protocol("a frame for a stream that is not open"))
        }
    }

    fn take_continuation(
        &mut self,
        id: u32,
        part: &[u8],
        is_whole: bool,
        now: Moment,
    ) -> Result<(), ConnectionError> {
        // CVE-2024-27316: neither without end, nor by nothing at a time.
        if part.len() < SMALL && !is_whole {
            self.spend(now)?;
        }
        let most = self.limits.bytes.saturating_add(BEYOND);
        let Some(mut block) = self.block.take().filter(|block| block.stream == id) else {
            return Err(ConnectionError::protocol("CONTINUATION without a field block to continue"));
        };
        if block.bytes.len() + part.len() > most {
            return Err(ConnectionError::calm("a field block is too large"));
        }
        block.bytes.extend_from_slice(part);
        if is_whole {
            return self.take_block(id, &block.bytes, block.is_end, now);
        }
        self.block = Some(block);
        Ok(())
    }

    /// Takes a whole block of fields: a request's, or trailers. It is decoded whatever becomes of it, for what follows
    /// it refers to it (RFC 9113 §4.3).
    fn take_block(
        &mut self,
        id: u32,
        block: &[u8],
        is_end: bool,
        now: Moment,
    ) -> Result<(), ConnectionError> {
        let is_of_past = self.is_of_past(id);
        match (self.role, is_of_past) {
            (Role::Server, true) => return self.take_trailers(id, block, is_end, now),
            (Role::Client, true) => return self.take_answer(id, block, is_end, now),
            (Role::Client, false) => return Err(ConnectionError::protocol("a server opens a stream")),
            (Role::Server, false) => {}
        }
        if id.is_multiple_of(2) {
            return Err(ConnectionError::protocol("a client opens a stream with an even number"));
        }
        self.last = id;
        if self.closing == Closing::Told {
            // §6.8: it is not looked at, and the client knows that.
            self.forgive(id);
            return self.skip(block);
        }
        if self.is_full() {
            self.skip(block)?;
            return self.refuse(id, now);
        }
        let mut head = spare::request();
        let mut problem = head
            .read(&mut self.decoder, block, self.limits, self.own.takes_websockets)
            .map_err(compression)?;
        let mut stream = Stream::new(SendWindow::new(self.peer.initial_window), self.receive_window());
        (stream.left, stream.is_peer_done) = (head.length, is_end);
        stream.is_tunnel = head.opens_websocket();
        if problem.is_none() && is_end && head.length.is_some_and(|length| length > 0) {
            problem = Some(Kind::Malformed(OTHER_LENGTH));
        }
        if let Some(Kind::Malformed(what)) = problem {
            stream.fault = Some(Fault::Malformed(what));
        }
        self.add(id, stream);
        self.opened.push_back(Opened { id, head, problem });
        Ok(())
    }

    fn skip(&mut self, block: &[u8]) -> Result<(), ConnectionError> {
        self.decoder.decode(block, |_, _| {}).map_err(compression)
    }

    /// Takes trailers (§8.1), or a block for a stream that is over.
    pub(super) fn take_trailers(
        &mut self,
        id: u32,
        block: &[u8],
        is_end: bool,
        now: Moment,
    ) -> Result<(), ConnectionError> {
        let limits = self.limits;
        let of = match self.role {
            Role::Server => Message::Request,
            Role::Client => Message::Response,
        };
        let trailers = read_trailers(&mut self.decoder, block, limits, of).map_err(compression)?;
        let Some(stream) = self.stream(id).filter(|stream| !stream.is_peer_done) else {
            return self.take_late(id, now);
        };
        if stream.fault.is_some() {
            stream.is_peer_done |= is_end;
            return Ok(());
        }
        let what = match trailers {
            _ if !is_end => "trailers do not end the stream",
            Err(Kind::Malformed(what)) => what,
            Err(_) => TRAILERS_TOO_LARGE,
            Ok(trailers) => {
                stream.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
                return self.end_request(id, now);
            }
        };
        stream.is_peer_done |= is_end;
        self.blame(id, what, now)
    }

    /// Something came for a stream whose half of the client's is ended.
    pub(super) fn take_late(&mut self, id: u32, now: Moment) -> Result<(), ConnectionError> {
        if self.is_forgiven(id) {
            return self.spend(now);
        }
        self.reset(id, Reason::STREAM_CLOSED, "a frame came after the end of a stream", now)
    }

    fn take_data(
        &mut self,
        id: u32,
        data: &[u8],
        length: usize,
        is_end: bool,
        now: Moment,
    ) -> Result<(), ConnectionError> {
        self.check_opened(id)?;
        if !self.receive.take(length) {
            let reason = Reason::FLOW_CONTROL_ERROR;
            return Err(ConnectionError { reason, what: "more came than the connection's window allows" });
        }
        if data.len() >= SMALL {
            self.budgets.nuisance.earn(1);
        } else if data.is_empty() && !is_end {
            self.spend(now)?;
        }
        let is_client = self.role == Role::Client;
        let Some(stream) = self.stream(id).filter(|stream| !stream.is_peer_done) else {
            self.give(length);
            return self.take_late(id, now);
        };
        if is_client && !stream.answer.is_final {
            self.give(length);
            return self.blame(id, "a body comes before the head of its response", now);
        }
        if stream.fault.is_some() {
            stream.is_peer_done |= is_end;
            self.give(length);
            return Ok(());
        }
        if !stream.receive.take(length) {
            self.give(length);
            let what = "more came than the stream's window allows";
            return self.reset(id, Reason::FLOW_CONTROL_ERROR, what, now);
        }
        let left = stream.left.map(|left| left.checked_sub(data.len() as u64));
        if left == Some(None) {
            stream.is_peer_done |= is_end;
            self.give(length);
            return self.blame(id, OTHER_LENGTH, now);
        }
        stream.left = left.flatten();
        stream.inbound.add(data);
        stream.wake();
        // A window that streams share lets a WebSocket whose backend does not read hold up the uploads beside it, for as long
        // as `tunnel_idle`. It has its own window; all of them together are bounded by the account.
        if stream.is_tunnel && !account::is_full() {
            stream.run_ahead(length);
            self.give(length);
        }
        let padding = length - data.len();
        if padding > 0 {
            self.give_stream(id, padding);
        }
        if is_end { self.end_request(id, now) } else { Ok(()) }
    }

    /// Bytes of a stream's body went on, or were none: the client may send as many again.
    pub(super) fn give_stream(&mut self, id: u32, bytes: usize) {
        let is_over = self.is_over();
        let Some(stream) = self.stream(id) else { return self.give(bytes) };
        let owed = stream.owed(bytes);
        let may_go_on = !is_over && !stream.is_peer_done && stream.fault.is_none();
        let increment = if may_go_on { stream.receive.give(bytes) } else { None };
        self.give(owed);
        if let Some(increment) = increment {
            frame::write_window_update(id, increment, self.output.end());
        }
    }

    pub(super) fn end_request(&mut self, id: u32, now: Moment) -> Result<(), ConnectionError> {
        let Some(stream) = self.stream(id) else { return Ok(()) };
        stream.is_peer_done = true;
        stream.wake();
        if stream.left.is_some_and(|left| left > 0) {
            return self.blame(id, OTHER_LENGTH, now);
        }
        Ok(())
    }

    /// A request turns out to be malformed (§8.1.1): it is answered if it can be, and then reset.
    pub(super) fn blame(&mut self, id: u32, what: &'static str, now: Moment) -> Result<(), ConnectionError> {
        let is_client = self.role == Role::Client;
        let Some(stream) = self.stream(id) else { return Ok(()) };
        if stream.is_head_sent || is_client {
            return self.reset(id, Reason::PROTOCOL_ERROR, what, now);
        }
        let unread = stream.fail(Fault::Malformed(what));
        self.give(unread);
        Ok(())
    }
}

pub(super) const OTHER_LENGTH: &str = "the length of the body is not that of Content-Length";

pub(super) fn compression(error: CompressionError) -> ConnectionError {
    ConnectionError { reason: Reason::COMPRESSION_ERROR, what: error.0 }
}
