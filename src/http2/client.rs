//! What a client does that no server does: it opens streams, and takes the heads of responses.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use super::{
    answer,
    budget::Allowance,
    connection::Connection,
    flow::{MOST_WINDOW, SendWindow},
    frame,
    reason::{ConnectionError, Reason},
    receive::{OTHER_LENGTH, PREFACE, compression},
    send::register,
    settings::OwnSettings,
    state::Role,
    stream::{Fault, Stream},
};
use crate::{
    fields::Field,
    h1::{HeadLimits, ResponseHead},
    moment::Moment,
};

/// What a request says before its fields.
#[derive(Clone, Copy, Debug)]
pub struct RequestStart<'a> {
    /// The method.
    pub method: &'a str,
    /// Whether the scheme is https.
    pub is_tls: bool,
    /// The authority.
    pub authority: &'a str,
    /// The path, with its query.
    pub path: &'a str,
    /// The protocol of an extended CONNECT (RFC 8441 §4), whose method is CONNECT.
    pub protocol: Option<&'a str>,
    /// Whether there is nothing after the fields.
    pub is_end: bool,
}

/// A request whose fields are written.
#[derive(Debug)]
pub struct RequestWriter<'a> {
    connection: &'a mut Connection,
    id: u32,
    /// Where in the output its frame begins.
    at: usize,
    /// Where the length of the value stands that comes in pieces.
    value_at: usize,
}

/// The bytes of the PING that asks whether the server is still there.
const ALIVE_PING: [u8; 8] = *b"alive?\0\0";
/// Heads of interim responses that may wait to be taken.
const MOST_HEADS: usize = 16;

impl Connection {
    /// A connection of which we are the client; the preface and our settings are in its output. Its window is the
    /// largest, so that what one stream does not read never holds up another: each has a window of its own.
    pub fn client(limits: HeadLimits, own: OwnSettings, allowed: Allowance, now: Moment) -> Self {
        let own = OwnSettings { connection_window: u32::try_from(MOST_WINDOW).unwrap_or(u32::MAX), ..own };
        let mut connection = Self::of(Role::Client, limits, own, allowed, now);
        connection.preface = PREFACE.len();
        connection.output.end().extend_from_slice(PREFACE);
        own.write(Role::Client, connection.output.end());
        connection
    }

    /// Streams that are open, those included that were reset and whose exchange is not over.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Streams that may be open at once, as the server says now.
    pub fn most_streams(&self) -> usize {
        self.peer.max_streams.min(self.own.max_streams) as usize
    }

    /// Whether streams may be opened, now or when others have ended.
    pub fn takes_streams(&self) -> bool {
        !self.is_over && self.server.last.is_none() && !self.server.is_retired && self.last < LAST_STREAM
    }

    /// Whether the server takes extended CONNECT (RFC 8441 §3).
    pub fn takes_websockets(&self) -> bool {
        self.peer.takes_connect
    }

    /// Opens no stream any more.
    pub fn retire(&mut self) {
        self.server.is_retired = true;
    }

    /// Whether the end of a stream is something to act on: there is something to write, or no other stream is open, or
    /// none will be.
    pub fn is_of_interest(&self) -> bool {
        !self.output.waiting().is_empty() || self.streams.is_empty() || !self.takes_streams()
    }

    /// Tells the server that no more comes, where nothing went wrong.
    pub fn say_goaway(&mut self) {
        frame::write_goaway(0, Reason::NO_ERROR, self.output.end());
    }

    /// Asks whether the server is still there.
    pub fn ping(&mut self) {
        self.server.is_pinged = true;
        frame::write_ping(false, ALIVE_PING, self.output.end());
    }

    /// Whether that was not answered yet.
    pub fn is_pinged(&self) -> bool {
        self.server.is_pinged
    }

    /// Takes the answer to a PING; false where it answers none of ours.
    pub(super) fn take_pong(&mut self, bytes: [u8; 8]) -> bool {
        bytes == ALIVE_PING && std::mem::take(&mut self.server.is_pinged)
    }

    /// How many streams the server reset since this was last asked.
    pub fn take_resets(&mut self) -> u64 {
        std::mem::take(&mut self.server.resets)
    }

    /// Opens a stream, where that may be done now.
    pub fn open(&mut self, start: &RequestStart<'_>) -> Option<RequestWriter<'_>> {
        if !self.takes_streams() || !self.has_settings || self.streams.len() >= self.most_streams() {
            return None;
        }
        let id = if self.last == 0 { 1 } else { self.last + 2 };
        self.last = id;
        let mut stream = Stream::new(SendWindow::new(self.peer.initial_window), self.receive_window());
        stream.is_head_sent = true;
        stream.is_own_done = start.is_end;
        stream.answer.is_to_head = start.method == "HEAD";
        stream.answer.is_to_connect = start.protocol.is_some();
        self.add(id, stream);
        let at = self.begin_block(id, start.is_end);
        let out = self.output.end();
        self.encoder.begin(out);
        self.encoder.request(start.method, start.is_tls, start.authority, start.path, out);
        if let Some(protocol) = start.protocol {
            self.encoder.field(b":protocol", protocol.as_bytes(), out);
        }
        Some(RequestWriter { connection: self, id, at, value_at: 0 })
    }

    /// The next head of a response: interim ones, and then the final one.
    pub fn poll_head(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Fault>> {
        let Some(stream) = self.stream(id) else { return Poll::Ready(Err(Fault::Gone(Reason::CANCEL))) };
        let answer = &mut stream.answer;
        if let Some(head) = answer.interim.pop_front().or_else(|| answer.last.take()) {
            return Poll::Ready(Ok(head));
        }
        if let Some(fault) = stream.fault {
            return Poll::Ready(Err(fault));
        }
        register(stream, cx);
        Poll::Pending
    }

    /// The length of the body of a response whose head has come, where it is known: 0 where there is none.
    pub fn body_length(&mut self, id: u32) -> Option<u64> {
        self.stream(id)?.answer.length
    }

    /// Takes a block of fields of a response: an interim head, the final one, or trailers.
    pub(super) fn take_answer(
        &mut self,
        id: u32,
        block: &[u8],
        is_end: bool,
        now: Moment,
    ) -> Result<(), ConnectionError> {
        if self.stream(id).is_none_or(|stream| stream.answer.is_final || stream.fault.is_some()) {
            return self.take_trailers(id, block, is_end, now);
        }
        let limits = self.limits;
        let read = answer::read(&mut self.decoder, block, limits).map_err(compression)?;
        let Some(stream) = self.stream(id) else { return Ok(()) };
        let problem = match read {
            Err(what) => Some(what),
            Ok(answer) if answer.head.status < 200 => {
                stream.answer.interim.push_back(answer.head);
                match stream.answer.interim.len() {
                    _ if is_end => Some("the response ends with an interim response"),
                    MOST_HEADS.. => Some("too many interim responses"),
                    _ => None,
                }
            }
            Ok(answer) => {
                let has_body = !stream.answer.is_to_head && !matches!(answer.head.status, 204 | 304);
                // RFC 9110 §9.3.6: what a tunnel carries has no length.
                let is_tunnel = stream.answer.is_to_connect && answer.head.status < 300;
                stream.left = if has_body { answer.length.filter(|_| !is_tunnel) } else { Some(0) };
                stream.answer.is_final = true;
                stream.answer.length = if is_end { Some(0) } else { stream.left };
                stream.answer.last = Some(answer.head);
                let is_short = is_end && stream.left.is_some_and(|left| left > 0);
                is_short.then_some(OTHER_LENGTH)
            }
        };
        match problem {
            Some(what) => {
                stream.is_peer_done |= is_end;
                (stream.answer.interim, stream.answer.last) = (VecDeque::new(), None);
                self.blame(id, what, now)
            }
            None => {
                stream.wake();
                if is_end { self.end_request(id, now) } else { Ok(()) }
            }
        }
    }

    /// Takes GOAWAY (§6.8): of a client it says nothing.
    pub(super) fn take_goaway(
        &mut self,
        last: u32,
        reason: Reason,
        now: Moment,
    ) -> Result<(), ConnectionError> {
        self.spend(now)?;
        if self.role == Role::Server {
            return Ok(());
        }
        if self.server.last.is_some_and(|before| last > before) {
            return Err(ConnectionError::protocol("GOAWAY has a higher stream than before"));
        }
        self.server.last = Some(last);
        if reason != Reason::NO_ERROR {
            // Of its error it tells those that are under way by what it does with them.
            self.server.is_retired = true;
        }
        let fault = Fault::Gone(Reason::REFUSED_STREAM);
        let mut unread = 0;
        for (id, stream) in &mut self.streams {
            if *id > last && !stream.is_peer_done {
                unread += stream.fail(fault);
            }
        }
        self.give(unread);
        Ok(())
    }
}

/// The last stream that a client can open (RFC 9113 §5.1.1).
const LAST_STREAM: u32 = (1 << 31) - 1;

impl RequestWriter<'_> {
    /// Writes a field; its name goes in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        let out = self.connection.output.end();
        self.connection.encoder.field(name, value, out);
    }

    /// Writes a field that has a tag.
    pub fn tagged(&mut self, field: &Field<'_>) {
        let out = self.connection.output.end();
        self.connection.encoder.tagged(field, out);
    }

    /// Begins a field whose value comes in pieces.
    pub fn begin(&mut self, name: &[u8]) {
        let out = self.connection.output.end();
        self.value_at = self.connection.encoder.begin_value(name, out);
    }

    /// Adds to the value of the field that was begun.
    pub fn piece(&mut self, piece: &[u8]) {
        self.connection.output.end().extend_from_slice(piece);
    }

    /// Ends the field that was begun.
    pub fn end(&mut self) {
        let out = self.connection.output.end();
        self.connection.encoder.end_value(self.value_at, out);
    }

    /// Ends the fields; gives the number of the stream.
    pub fn finish(self) -> u32 {
        self.connection.end_block(self.id, self.at);
        self.id
    }
}
