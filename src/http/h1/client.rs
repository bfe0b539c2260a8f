//! The client's side of one request over HTTP/1.1.

use std::{
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    error::{Kind, ProxyError, Result},
    exchange::{BoundConnection, Downstream},
    fields::{Fields, Known, write_number},
    h1::{
        HeadError, ResponseHead, Version,
        head::{write_fields, write_status},
    },
    net::{
        BodyFrame, BodyReader, BodyWriter, Buffer, Deadline, Departure, Http1Stream, Plain, Stream, Waiter,
        http1_stream::BodyError,
    },
    runtime::{ListenerId, Worker},
};

/// The client's side of one request.
pub(super) struct Client<'a> {
    pub(super) stream: &'a mut Http1Stream,
    pub(super) deadline: &'a Deadline,
    pub(super) incoming: BodyReader,
    pub(super) outgoing: BodyWriter,
    pub(super) version: Version,
    /// The request is a CONNECT, and a success the beginning of a tunnel.
    pub(super) is_connect: bool,
    /// The connection closes after this response.
    pub(super) is_last: bool,
    pub(super) is_begun: bool,
    pub(super) is_until_close: bool,
    pub(super) bound: &'a mut Option<Rc<BoundConnection>>,
    pub(super) worker: &'a Worker,
    pub(super) listener: ListenerId,
    /// Since the client ended its side: until when it is waited for.
    pub(super) ended: Option<Deadline>,
    /// Whether it breaks off in a queue while something that it sent is unread.
    pub(super) departure: Departure,
}

impl Client<'_> {
    /// Ready when a client that has ended its side has been without a byte of its response for too long. One that has left
    /// looks the same until something is sent to it, which it resets (RFC 9293 §3.10.4).
    fn poll_half_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended.is_none() {
            let deadline = Deadline::new();
            deadline.after(self.half_closed());
            self.ended = Some(deadline);
        }
        self.ended.as_ref().map_or(Poll::Ready(()), |deadline| deadline.poll_elapsed(cx))
    }

    fn half_closed(&self) -> Duration {
        let snapshot = self.worker.snapshot_for(self.listener);
        let listener = snapshot.shared.listener(self.listener);
        listener.map_or(Duration::ZERO, |listener| listener.conf.timeouts.half_closed)
    }

    fn write_head(&mut self, head: &ResponseHead, has_body: bool, length: Option<u64>) {
        let is_chunked = has_body && length.is_none() && self.version == Version::Http11;
        self.is_until_close = has_body && length.is_none() && !is_chunked;
        self.is_last |= self.is_until_close;
        self.outgoing = BodyWriter::new(is_chunked);
        let out = self.stream.output();
        out.reserve(512);
        write_status(head.status, out);
        head.fields.write_lines(|known| known != Known::ContentLength || !has_body, out);
        match length {
            Some(length) if has_body => {
                out.extend_from_slice(b"content-length: ");
                write_number(length, out);
                out.extend_from_slice(b"\r\n");
            }
            _ if is_chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            _ => {}
        }
        if self.is_last {
            out.extend_from_slice(b"connection: close\r\n");
        } else if self.version == Version::Http10 {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Waiter for Client<'_> {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Asked without a system call, by what the event loop knows: bytes would be the next request,
        // which is read in its turn; only the end is of interest, and is seen by reading.
        if !self.stream.input().is_empty() {
            return Poll::Pending;
        }
        let is_ready = match &self.stream.stream {
            Stream::Plain(Plain::Tcp(stream)) => stream.poll_read_ready(cx).is_ready(),
            Stream::Plain(Plain::Unix(stream)) => stream.poll_read_ready(cx).is_ready(),
            Stream::TlsServer(_) | Stream::TlsClient(_) => true,
        };
        if !is_ready {
            return Poll::Pending;
        }
        match self.stream.poll_fill(cx) {
            Poll::Ready(Ok(true)) | Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(false)) => self.poll_half_closed(cx),
            Poll::Ready(Err(_)) => Poll::Ready(()),
        }
    }

    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_gone(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.stream.input().is_empty() {
            return Poll::Pending;
        }
        // Behind a body that waits to be sent, or another request, nothing more is read.
        self.departure.poll(cx, &self.stream.stream)
    }

    fn stop_watching(&mut self) {
        self.departure = Departure::default();
    }

    fn deadline(&self) -> &Deadline {
        self.deadline
    }
}

impl Downstream for Client<'_> {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        self.stream.poll_body(cx, &mut self.incoming).map_err(|error| match error {
            BodyError::Io(error) => ProxyError::because(Kind::ClientGone, error),
            BodyError::Early => Kind::ClientGone.into(),
            BodyError::Malformed(HeadError::Malformed(what)) => Kind::Malformed(what).into(),
            BodyError::Malformed(_) => Kind::HeadTooLarge.into(),
        })
    }

    fn is_body_done(&self) -> bool {
        self.incoming.is_done()
    }

    fn has_body_bytes(&self) -> bool {
        !self.stream.input().is_empty()
    }

    fn takes_interim(&self) -> bool {
        self.version == Version::Http11
    }

    fn interim(&mut self, head: &ResponseHead) {
        let out = self.stream.output();
        write_status(head.status, out);
        write_fields(&head.fields, out);
        out.extend_from_slice(b"\r\n");
    }

    fn begin(&mut self, head: &ResponseHead, has_body: bool, length: Option<u64>) -> Result<()> {
        self.is_begun = true;
        self.is_last |= self.worker.is_closing(self.listener);
        let is_connected = self.is_connect && matches!(head.status, 200..=299);
        if head.status == 101 || is_connected {
            let out = self.stream.output();
            write_status(head.status, out);
            write_fields(&head.fields, out);
            out.extend_from_slice(if is_connected { b"\r\n" } else { b"connection: upgrade\r\n\r\n" });
            return Ok(());
        }
        // A body that was not read yet may never be: the client learns it before it sends the next
        // request behind it.
        self.is_last |= !self.incoming.is_done();
        self.write_head(head, has_body, length);
        Ok(())
    }

    fn distrust(&mut self) {
        self.is_last = true;
    }

    fn end_connection(&mut self) {
        self.is_last = true;
    }

    fn ends_connection(&self) -> bool {
        self.is_last
    }

    fn bound(&self) -> Option<&BoundConnection> {
        self.bound.as_deref()
    }

    fn bind(&mut self) -> Option<Rc<BoundConnection>> {
        Some(self.bound.get_or_insert_default().clone())
    }

    fn is_begun(&self) -> bool {
        self.is_begun
    }

    fn poll_data(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<()>> {
        let sent = self.outgoing.poll_send(cx, self.stream, buffer);
        if let (Poll::Ready(Ok(())), Some(ended)) = (&sent, &self.ended) {
            ended.after(self.half_closed());
        }
        sent.map_err(|error| ProxyError::because(Kind::ClientGone, error))
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<()> {
        self.outgoing.end(self.stream, trailers);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.stream.poll_flush(cx).map_err(|error| ProxyError::because(Kind::ClientGone, error))
    }
}
