//! An HTTP/1.1 connection with a client: one request after another, each handed to `http::handle`.
//!
//! Previous stop: `listen::accept` or its TLS handshake. While idle the connection's future holds the
//! stream and a place in the timer, and no buffer; everything for a request is boxed while it runs.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::AsyncWrite;

use super::{
    active::ActiveExchange,
    handle::{self, End},
    upgrade::Tunnel,
};
use crate::{
    error::{Kind, ProxyError, Result},
    exchange::{BoundConnection, Downstream, Exchange, Peer},
    fields::{Fields, Known, write_number},
    h1::{
        Framing, HeadError, Method, RequestHead, ResponseHead, Scan, Version,
        framing::keeps_alive,
        head::{write_fields, write_status},
    },
    moment::Moment,
    net::{
        BodyFrame, BodyReader, BodyWriter, Buffer, Deadline, Http1Stream, Plain, Stream, Waiter,
        http1_stream::BodyError,
    },
    runtime::{ListenerId, Permit, Worker},
};

/// A client connection that speaks HTTP/1.1.
#[derive(Debug)]
pub struct Connection {
    /// Its bytes.
    pub stream: Http1Stream,
    /// The deadline of whatever it waits for.
    pub deadline: Deadline,
    /// Who is at its other end.
    pub peer: Rc<Peer>,
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The slot of its listener.
    pub listener: ListenerId,
    /// Its place among the open connections.
    pub permit: Permit,
    /// The backend connection that is its alone, once there is one.
    bound: Option<Rc<BoundConnection>>,
}

/// What becomes of a connection after a request.
enum Next {
    /// Another request may come.
    Keep,
    /// It is closed. With `true` the client may still be sending.
    Close(bool),
    /// It is a tunnel.
    Tunnel(Box<Tunnel>),
    /// It speaks HTTP/2 with prior knowledge (RFC 9113 §3.3).
    Http2,
}

/// What a connection becomes when it is not HTTP/1.1 any more.
#[derive(Debug)]
pub enum Become {
    /// Nothing; it is closed.
    Closed,
    /// A tunnel with a backend.
    Tunnel(Box<Tunnel>),
    /// An HTTP/2 connection; its preface is still in the stream's buffer.
    Http2,
}

impl Connection {
    /// A new connection.
    pub fn new(
        stream: Http1Stream,
        peer: Rc<Peer>,
        worker: Rc<Worker>,
        listener: ListenerId,
        permit: Permit,
    ) -> Self {
        Self { stream, deadline: Deadline::new(), peer, worker, listener, permit, bound: None }
    }

    /// Serves requests until the connection ends or becomes something else.
    pub async fn serve(&mut self) -> Become {
        let mut is_first = true;
        loop {
            if self.stream.input().is_empty() && !self.wait(is_first).await {
                return Become::Closed;
            }
            is_first = false;
            // Boxed, so that an idle connection does not keep the room that a request needs.
            match Box::pin(self.request()).await {
                Next::Keep if self.worker.is_closing(self.listener) => return Become::Closed,
                Next::Keep => self.stream.rest(),
                Next::Close(is_sending) => {
                    if is_sending {
                        Box::pin(self.linger()).await;
                    }
                    return Become::Closed;
                }
                Next::Tunnel(tunnel) => return Become::Tunnel(tunnel),
                Next::Http2 => return Become::Http2,
            }
        }
    }

    /// Waits for the first bytes of a request; false when none come.
    async fn wait(&mut self, is_first: bool) -> bool {
        {
            let snapshot = self.worker.snapshot_for(self.listener);
            let Some(listener) = snapshot.shared.listener(self.listener) else { return false };
            let timeouts = &listener.conf.timeouts;
            // The end of the request before, or the beginning of the connection, has just read the clock.
            self.deadline.after_recent(if is_first { timeouts.header } else { timeouts.idle });
            self.deadline.set_idle(Some(self.listener));
        }
        let came = poll_fn(|cx| match self.stream.poll_fill(cx) {
            Poll::Ready(result) => Poll::Ready(matches!(result, Ok(true))),
            Poll::Pending => self.deadline.poll_elapsed(cx).map(|()| false),
        })
        .await;
        self.deadline.set_idle(None);
        came
    }

    /// Reads one request and serves it.
    async fn request(&mut self) -> Next {
        let mut exchange = self.worker.take_exchange();
        // It begins when its head is whole.
        exchange.reset(&self.peer, Moment::default());
        let read = self.read_head(&mut exchange).await;
        let kind = match read {
            Ok(true) => {
                exchange.version = exchange.request.version.into();
                None
            }
            Ok(false) => return Next::Http2,
            Err(None) => return Next::Close(false),
            Err(Some(kind)) => Some(kind),
        };
        exchange.facts.started = Moment::now();
        let running = ActiveExchange::new(&self.worker, self.listener, exchange);
        let Some(kind) = kind else { return self.serve_request(running).await };
        self.refuse(running, kind).await
    }

    /// Reads a head; false for an HTTP/2 preface. `Err(None)` when nothing came that could be answered.
    async fn read_head(&mut self, exchange: &mut Exchange) -> Result<bool, Option<Kind>> {
        let snapshot = self.worker.snapshot_for(self.listener);
        let Some(listener) = snapshot.shared.listener(self.listener) else { return Err(None) };
        let mut scan = Scan::default();
        let mut is_timed = false;
        loop {
            // RFC 9112 §2.2: an empty line before the request line is left out.
            while self.stream.input().starts_with(b"\r\n") {
                self.stream.consume(2);
            }
            if !self.stream.input().is_empty() {
                if is_preface(self.stream.input()) {
                    return Ok(false);
                }
                match exchange.request.parse(self.stream.input(), &listener.limits, &mut scan) {
                    Ok(Some(length)) => {
                        self.stream.consume(length);
                        return Ok(true);
                    }
                    Ok(None) => {}
                    Err(HeadError::Malformed(what)) => return Err(Some(Kind::Malformed(what))),
                    Err(HeadError::TooLarge) => return Err(Some(Kind::HeadTooLarge)),
                    Err(HeadError::TargetTooLong) => return Err(Some(Kind::UriTooLong)),
                }
            }
            if !is_timed {
                // One deadline for the whole head: bytes that trickle in do not move it.
                self.deadline.after(listener.conf.timeouts.header);
                is_timed = true;
            }
            let filled = poll_fn(|cx| match self.stream.poll_fill(cx) {
                Poll::Ready(result) => Poll::Ready(Ok(result)),
                Poll::Pending => self.deadline.poll_elapsed(cx).map(|()| Err(Kind::HeadTimeout)),
            });
            match filled.await? {
                Ok(true) => {}
                Ok(false) | Err(_) => return Err(None),
            }
        }
    }

    /// Answers a head that could not be read, and closes.
    async fn refuse(&mut self, mut running: ActiveExchange, kind: Kind) -> Next {
        running.request = RequestHead::default();
        let mut client = Client::new(self, &running.request, Framing::None);
        client.is_last = true;
        let _ = handle::refuse(running, &mut client, kind).await;
        Next::Close(true)
    }

    async fn serve_request(&mut self, running: ActiveExchange) -> Next {
        let framing = Framing::of_request(&running.request);
        // A framing error is answered by `handle`; the connection cannot go on after it.
        let mut client = Client::new(self, &running.request, framing.unwrap_or(Framing::None));
        client.is_last |= framing.is_err();
        let end = handle::handle(running, &mut client).await;
        let is_body_done = client.incoming.is_done();
        let is_last = client.is_last;
        match end {
            End::Tunnel(tunnel) => Next::Tunnel(tunnel),
            End::Broken => Next::Close(false),
            End::Complete if is_last => Next::Close(!is_body_done || framing.is_err()),
            End::Complete if is_body_done => Next::Keep,
            // `begin` said so when the body was not read to its end by then.
            End::Complete => Next::Close(true),
        }
    }

    /// Reads and forgets what the client still sends, for a while: closing with unread bytes makes the
    /// kernel send a reset, which can take the response away from the client (RFC 9112 §9.6).
    async fn linger(&mut self) {
        let mut left = LINGER_BYTES;
        self.deadline.after(LINGER);
        let mut is_shut = false;
        poll_fn(|cx| {
            if !is_shut {
                is_shut = ready!(Pin::new(&mut self.stream.stream).poll_shutdown(cx)).is_ok();
                if !is_shut {
                    return Poll::Ready(());
                }
            }
            loop {
                match self.stream.stream.poll_buffer(cx) {
                    Poll::Ready(Ok(buffer)) if !buffer.is_empty() && left > 0 => {
                        left = left.saturating_sub(buffer.len());
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.deadline.poll_elapsed(cx),
                }
            }
        })
        .await;
    }
}

fn is_preface(input: &[u8]) -> bool {
    input.starts_with(b"PRI * HTTP/2.0\r\n")
}

const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// The client's side of one request.
struct Client<'a> {
    stream: &'a mut Http1Stream,
    deadline: &'a Deadline,
    incoming: BodyReader,
    outgoing: BodyWriter,
    version: Version,
    /// The connection closes after this response.
    is_last: bool,
    is_begun: bool,
    is_until_close: bool,
    bound: &'a mut Option<Rc<BoundConnection>>,
    worker: &'a Worker,
    listener: ListenerId,
}

impl<'a> Client<'a> {
    fn new(connection: &'a mut Connection, request: &RequestHead, framing: Framing) -> Self {
        Self {
            is_last: !keeps_alive(request.version, &request.fields) || request.method == Method::Connect,
            version: request.version,
            stream: &mut connection.stream,
            deadline: &connection.deadline,
            worker: &connection.worker,
            listener: connection.listener,
            incoming: BodyReader::new(framing),
            outgoing: BodyWriter::default(),
            is_begun: false,
            is_until_close: false,
            bound: &mut connection.bound,
        }
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
            Poll::Ready(Ok(false) | Err(_)) => Poll::Ready(()),
        }
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
        if head.status == 101 {
            let out = self.stream.output();
            write_status(head.status, out);
            write_fields(&head.fields, out);
            out.extend_from_slice(b"connection: upgrade\r\n\r\n");
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
        self.outgoing
            .poll_send(cx, self.stream, buffer)
            .map_err(|error| ProxyError::because(Kind::ClientGone, error))
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<()> {
        self.outgoing.end(self.stream, trailers);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.stream.poll_flush(cx).map_err(|error| ProxyError::because(Kind::ClientGone, error))
    }
}
