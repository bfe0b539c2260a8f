//! What streams do: whoever serves one takes its body and sends its response by these.

use std::task::{Context, Poll};

use super::{
    connection::Connection,
    frame::{self, END_HEADERS, END_STREAM},
    reason::Reason,
    settings::DEFAULT_FRAME,
    stream::{Fault, Stream, UPDATES},
};
use crate::{
    fields::{Digits, Field, Fields, Known},
    h1::ResponseHead,
    net::Buffer,
};

/// The next of a request's body.
#[derive(Debug)]
pub enum Body {
    /// Some of it.
    Data(Buffer),
    /// Its end.
    End(Option<Box<Fields>>),
}

/// A frame that the client's window has cut to less than this earns nothing: a client that opens its window byte by byte
/// has us make a frame of each.
const CUT: usize = 1024;

impl Connection {
    /// The next of a stream's body.
    pub fn poll_body(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<Body, Fault>> {
        let Some(stream) = self.stream(id) else { return Poll::Ready(Ok(Body::End(None))) };
        if let Some(fault) = stream.fault {
            return Poll::Ready(Err(fault));
        }
        if let Some(piece) = stream.inbound.take() {
            return Poll::Ready(Ok(Body::Data(piece)));
        }
        if stream.is_peer_done {
            return Poll::Ready(Ok(Body::End(stream.trailers.take())));
        }
        register(stream, cx);
        Poll::Pending
    }

    /// Bytes that [`Connection::poll_body`] gave have gone on.
    pub fn passed_on(&mut self, id: u32, bytes: usize) {
        self.give_stream(id, bytes);
    }

    /// Whether a stream's body was taken to its end.
    pub fn is_body_done(&mut self, id: u32) -> bool {
        self.stream(id).is_none_or(|stream| {
            stream.is_peer_done
                && stream.inbound.is_empty()
                && stream.trailers.is_none()
                && stream.fault.is_none()
        })
    }

    /// Whether some of a stream's body is here.
    pub fn has_body_bytes(&mut self, id: u32) -> bool {
        self.stream(id).is_some_and(|stream| !stream.inbound.is_empty())
    }

    /// Ready when the client wants nothing more of a stream.
    pub fn poll_gone(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = self.stream(id) else { return Poll::Ready(()) };
        if stream.is_gone() {
            return Poll::Ready(());
        }
        register(stream, cx);
        Poll::Pending
    }

    /// Sends the head of a response, interim or final. `length` is that of its body, where it has one and it is known.
    pub fn send_head(
        &mut self,
        id: u32,
        head: &ResponseHead,
        has_body: bool,
        length: Option<u64>,
        is_end: bool,
    ) -> Result<(), Fault> {
        let is_interim = head.status < 200;
        self.writable(id)?;
        let position = self.output.position();
        if let Some(stream) = self.stream(id).filter(|_| !is_interim) {
            stream.is_head_sent = true;
            stream.is_own_done = is_end;
            stream.last_flags = Some(position + 4);
        }
        let block = self.begin_block(id, is_end);
        let out = self.output.end();
        self.encoder.begin(out);
        self.encoder.status(head.status, out);
        for field in head.fields.iter() {
            // Fields of an HTTP/1.1 connection have no place here (RFC 9113 §8.2.2); the length is said by who knows it.
            let is_left_out = match field.known {
                Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::Upgrade => true,
                Known::ContentLength => has_body,
                _ => false,
            };
            if !is_left_out {
                self.encoder.tagged(&field, out);
            }
        }
        if let Some(length) = length.filter(|_| has_body) {
            self.encoder.tagged(&Field::of(Known::ContentLength, Digits::of(length).as_bytes()), out);
        }
        self.end_block(id, block);
        Ok(())
    }

    /// Begins HEADERS, whose length is not known yet; gives where its frame begins.
    pub(super) fn begin_block(&mut self, id: u32, is_end: bool) -> usize {
        let out = self.output.end();
        let at = out.len();
        let end = if is_end { END_STREAM } else { 0 };
        frame::write_head(0, frame::HEADERS, END_HEADERS | end, id, out);
        at
    }

    /// Ends a block: its length is set, and what is too long for a frame goes into others (§6.10).
    pub(super) fn end_block(&mut self, id: u32, at: usize) {
        let out = self.output.end();
        let length = out.len() - at - frame::HEAD_BYTES;
        let set_length = |out: &mut Vec<u8>, length: usize| {
            let [_, a, b, c] = u32::try_from(length).unwrap_or_default().to_be_bytes();
            if let Some(place) = out.get_mut(at..at + 3) {
                place.copy_from_slice(&[a, b, c]);
            }
        };
        if length <= DEFAULT_FRAME {
            set_length(out, length);
            return;
        }
        let rest = out.split_off(at + frame::HEAD_BYTES + DEFAULT_FRAME);
        set_length(out, DEFAULT_FRAME);
        if let Some(flags) = out.get_mut(at + 4) {
            *flags &= !END_HEADERS;
        }
        let mut parts = rest.chunks(DEFAULT_FRAME).peekable();
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
            frame::write_head(part.len(), frame::CONTINUATION, flags, id, out);
            out.extend_from_slice(part);
        }
    }

    /// Whether something may still be sent on a stream.
    fn writable(&mut self, id: u32) -> Result<(), Fault> {
        let Some(stream) = self.stream(id) else {
            return Err(Fault::Gone(Reason::CANCEL));
        };
        match stream.fault {
            Some(fault @ (Fault::Gone(_) | Fault::Broken(_))) => Err(fault),
            Some(Fault::Malformed(_)) | None => Ok(()),
        }
    }

    /// Sends some of a body; gives how much was taken. Pending while the client, or the output, takes nothing.
    pub fn poll_send(&mut self, id: u32, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Fault>> {
        self.writable(id)?;
        let has_room = self.has_room();
        let room = self.send.room().min(if has_room { DEFAULT_FRAME } else { 0 });
        let position = self.output.position();
        let Some(stream) = self.stream(id).filter(|stream| !stream.is_own_done) else {
            // There is no place for it any more, as behind a head that says that there is no body.
            return Poll::Ready(Ok(data.len()));
        };
        let length = data.len().min(room).min(stream.send.room());
        if length == 0 {
            register(stream, cx);
            let is_own = stream.send.room() == 0;
            if !is_own {
                self.block(id);
            }
            return Poll::Pending;
        }
        stream.send.take(length);
        stream.last_flags = Some(position + 4);
        let is_dribble = length < data.len() && length < CUT;
        if !is_dribble {
            stream.updates = UPDATES;
        }
        self.send.take(length);
        let out = self.output.end();
        frame::write_head(length, frame::DATA, 0, id, out);
        out.extend_from_slice(data.get(..length).unwrap_or_default());
        if !is_dribble {
            self.budgets.nuisance.earn(2);
        }
        Poll::Ready(Ok(length))
    }

    /// Ready when what waits to be written leaves room.
    pub fn poll_room(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.writable(id)?;
        if self.has_room() {
            return Poll::Ready(Ok(()));
        }
        if let Some(stream) = self.stream(id) {
            register(stream, cx);
        }
        self.block(id);
        Poll::Pending
    }

    fn block(&mut self, id: u32) {
        if let Some(stream) = self.stream(id)
            && !std::mem::replace(&mut stream.is_blocked, true)
        {
            self.blocked.push_back(id);
        }
    }

    /// Ends a response: by the flag of its last frame where that is not written yet, else by a frame of its own.
    pub fn end_response(&mut self, id: u32, trailers: Option<&Fields>) -> Result<(), Fault> {
        self.writable(id)?;
        let Some(stream) = self.stream(id) else { return Ok(()) };
        if std::mem::replace(&mut stream.is_own_done, true) {
            return Ok(());
        }
        let last = stream.last_flags;
        if let Some(trailers) = trailers.filter(|trailers| !trailers.is_empty()) {
            let block = self.begin_block(id, true);
            let out = self.output.end();
            self.encoder.begin(out);
            for field in trailers.iter() {
                self.encoder.tagged(&field, out);
            }
            self.end_block(id, block);
            return Ok(());
        }
        match last.and_then(|last| self.output.byte_at(last)) {
            Some(flags) => *flags |= END_STREAM,
            None => frame::write_head(0, frame::DATA, END_STREAM, id, self.output.end()),
        }
        Ok(())
    }
}

pub(super) fn register(stream: &mut Stream, cx: &mut Context<'_>) {
    match &stream.waker {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => stream.waker = Some(cx.waker().clone()),
    }
}
