//! An HTTP/1.1 connection with a client: one request after another, each handed to `http::handle`.
//!
//! Previous stop: `listen::accept` or its TLS handshake. While idle the connection's future holds the
//! stream and a place in the timer, and no buffer; everything for a request is boxed while it runs. One that stays idle
//! without TLS is parked (`runtime::parked`).

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::client::Client;
use crate::{
    boxed,
    config::listen::LingerConf,
    error::{Kind, Result},
    exchange::{BoundConnection, Exchange, Peer},
    h1::{Framing, HeadError, Message, Method, RequestHead, Scan, framing::keeps_alive},
    http::{
        active::ActiveExchange,
        handle::{self, End},
        upgrade::Tunnel,
    },
    moment::Moment,
    net::{BodyReader, BodyWriter, Deadline, Departure, Http1Stream, Plain, Stream, linger},
    runtime::{
        ListenerId, Permit, Worker,
        parked::{self, Parked},
    },
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
    /// Whether a request was served on it.
    is_served: bool,
}

/// How long a connection whose listener closes goes on where its last response did not say so: the next request may be on
/// its way.
const KEPT: Duration = Duration::from_millis(300);
/// The same before another node takes over: less than `listen::yielding` waits at last.
const KEPT_YIELDING: Duration = Duration::from_millis(40);

/// What becomes of a connection after a request.
enum Next {
    /// Another request may come.
    Keep,
    /// It is closed. With `true` the client may still be sending.
    Close(bool),
    /// It is reset: a response whose end would be that of the connection broke off.
    Reset,
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
    /// Nothing; it is reset, so that what came is not taken for all.
    Reset,
    /// A tunnel with a backend.
    Tunnel(Box<Tunnel>),
    /// An HTTP/2 connection; its preface is still in the stream's buffer.
    Http2,
    /// It may be parked until a moment, and then ends.
    Idle(Moment),
}

/// How waiting for the first bytes of a request ended.
enum Waited {
    /// They are there.
    Came,
    /// None come.
    Ended,
    /// It may be parked until a moment.
    Parks(Moment),
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
        Self {
            stream,
            deadline: Deadline::new(),
            peer,
            worker,
            listener,
            permit,
            bound: None,
            is_served: false,
        }
    }

    /// The same, on which a request was served before it was parked.
    pub fn resumed(self) -> Self {
        Self { is_served: true, ..self }
    }

    /// What stays of it while it is parked; `None` where it cannot be.
    pub fn park(self) -> Option<Parked> {
        let Self { stream, peer, listener, permit, .. } = self;
        let Stream::Plain(plain) = stream.stream else { return None };
        let is_unix = matches!(plain, Plain::Unix(_));
        Some(Parked { socket: plain.into_socket().ok()?, is_unix, peer, listener, permit })
    }

    /// Serves requests until the connection ends or becomes something else.
    pub async fn serve(&mut self) -> Become {
        loop {
            if self.stream.input().is_empty() {
                match self.wait().await {
                    Waited::Came => {}
                    Waited::Ended => return Become::Closed,
                    Waited::Parks(until) => return Become::Idle(until),
                }
            }
            let is_first = !std::mem::replace(&mut self.is_served, true);
            // Boxed, so that an idle connection does not keep the room that a request needs.
            match boxed::pin(|| self.request(is_first)).await {
                Next::Keep => self.stream.rest(),
                Next::Close(is_sending) => {
                    if is_sending {
                        Box::pin(self.linger()).await;
                    }
                    return Become::Closed;
                }
                Next::Reset => return Become::Reset,
                Next::Tunnel(tunnel) => return Become::Tunnel(tunnel),
                Next::Http2 => return Become::Http2,
            }
        }
    }

    /// Waits for the first bytes of a request.
    async fn wait(&mut self) -> Waited {
        let (limit, may_park) = {
            let snapshot = self.worker.snapshot_for(self.listener);
            let Some(listener) = snapshot.shared.listener(self.listener) else { return Waited::Ended };
            let (timeouts, idle) = (&listener.conf.timeouts, listener.conf.timeouts.idle);
            // The end of the request before, or the beginning of the connection, has just read the clock.
            match self.is_served {
                false => (timeouts.header, None),
                // Its client was told that it is kept, and may have asked again already.
                true if self.worker.is_closing(self.listener) => {
                    // Where its address is about to leave, its end must be told before that.
                    let least = if self.worker.is_yielding() { KEPT_YIELDING } else { KEPT };
                    (self.worker.connections.idle_until().since(Moment::now()).max(least), None)
                }
                true if idle > parked::AFTER && self.is_parkable() => {
                    (parked::AFTER, Some(Moment::recent().plus(idle)))
                }
                true => (idle, None),
            }
        };
        self.deadline.after_recent(limit);
        self.deadline.set_idle(Some(self.listener));
        let came = poll_fn(|cx| match self.stream.poll_fill(cx) {
            Poll::Ready(Ok(true)) => Poll::Ready(Waited::Came),
            Poll::Ready(Ok(false) | Err(_)) => Poll::Ready(Waited::Ended),
            Poll::Pending => {
                ready!(self.deadline.poll_elapsed(cx));
                self.poll_idle(cx, may_park)
            }
        })
        .await;
        self.deadline.set_idle(None);
        came
    }

    /// What becomes of it when its deadline has come while it was idle.
    fn poll_idle(&self, cx: &mut Context<'_>, may_park: Option<Moment>) -> Poll<Waited> {
        let Some(until) = may_park else { return Poll::Ready(Waited::Ended) };
        if !self.worker.is_closing(self.listener) {
            return Poll::Ready(Waited::Parks(until));
        }
        // A request may be on its way to a listener that closes.
        let until = self.worker.connections.idle_until().min(until);
        if until <= Moment::now() {
            return Poll::Ready(Waited::Ended);
        }
        self.deadline.at(until);
        self.deadline.poll_elapsed(cx).map(|()| Waited::Ended)
    }

    /// Whether it is one of those that are parked: what TLS holds is much more than what that would save.
    fn is_parkable(&self) -> bool {
        matches!(self.stream.stream, Stream::Plain(_))
            && self.bound.is_none()
            && self.worker.connections.are_parked()
    }

    /// Reads one request and serves it.
    async fn request(&mut self, is_first: bool) -> Next {
        let mut exchange = self.worker.take_exchange();
        // It begins when its head is whole.
        exchange.reset(&self.peer, Moment::default());
        let read = self.read_head(&mut exchange, is_first).await;
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

    /// Reads a head; false for an HTTP/2 preface, which may come instead of the first. `Err(None)` when nothing came that
    /// could be answered.
    async fn read_head(&mut self, exchange: &mut Exchange, is_first: bool) -> Result<bool, Option<Kind>> {
        let snapshot = self.worker.snapshot_for(self.listener);
        let Some(listener) = snapshot.shared.listener(self.listener) else { return Err(None) };
        let mut scan = Scan::default();
        let mut is_timed = false;
        // RFC 9113 §3.3: prior knowledge is for connections without TLS, over which HTTP/2 is agreed on by ALPN (§3.2); and
        // a connection begins with it (§3.4). What comes later has been through rules of HTTP/1.1.
        let mut may_be_http2 = is_first && matches!(self.stream.stream, Stream::Plain(_));
        loop {
            // RFC 9112 §2.2: an empty line before the request line is left out.
            while self.stream.input().starts_with(b"\r\n") {
                self.stream.consume(2);
                may_be_http2 = false;
            }
            if !self.stream.input().is_empty() {
                if may_be_http2 && is_preface(self.stream.input()) {
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
        let mut client = client(self, &running.request, Framing::None);
        client.is_last = true;
        let _ = handle::refuse(running, &mut client, kind).await;
        Next::Close(true)
    }

    async fn serve_request(&mut self, running: ActiveExchange) -> Next {
        let framing = Framing::of_request(&running.request);
        // A framing error is answered by `handle`; the connection cannot go on after it.
        let mut client = client(self, &running.request, framing.unwrap_or(Framing::None));
        client.is_last |= framing.is_err();
        let end = handle::handle(running, &mut client).await;
        let is_body_done = client.incoming.is_done();
        let is_last = client.is_last;
        let is_until_close = client.is_until_close;
        match end {
            End::Tunnel(tunnel) => Next::Tunnel(tunnel),
            End::Broken if is_until_close => Next::Reset,
            End::Broken => Next::Close(false),
            End::Complete if is_last => Next::Close(!is_body_done || framing.is_err()),
            End::Complete if is_body_done => Next::Keep,
            // `begin` said so when the body was not read to its end by then.
            End::Complete => Next::Close(true),
        }
    }

    /// Reads and forgets what the client still sends, for a while, so that it reads the response.
    async fn linger(&mut self) {
        let snapshot = self.worker.snapshot_for(self.listener);
        let Some(listener) = snapshot.shared.listener(self.listener) else { return };
        let LingerConf { time, bytes } = listener.conf.linger;
        self.deadline.after(time);
        linger(&mut self.stream.stream, &self.deadline, bytes.0).await;
    }
}

fn is_preface(input: &[u8]) -> bool {
    input.starts_with(b"PRI * HTTP/2.0\r\n")
}

/// The client's side of a request on this connection.
fn client<'a>(connection: &'a mut Connection, request: &RequestHead, framing: Framing) -> Client<'a> {
    let is_connect = request.method == Method::Connect;
    Client {
        is_last: !keeps_alive(request.version, &request.fields) || is_connect,
        is_connect,
        version: request.version,
        stream: &mut connection.stream,
        deadline: &connection.deadline,
        worker: &connection.worker,
        listener: connection.listener,
        incoming: BodyReader::new(framing, Message::Request),
        outgoing: BodyWriter::default(),
        is_begun: false,
        is_until_close: false,
        bound: &mut connection.bound,
        ended: None,
        departure: Departure::default(),
    }
}
