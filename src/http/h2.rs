//! HTTP/2 connections with clients (RFC 9113), over the h2 crate.
//!
//! hyper's server hides interim responses and stream error codes, which a proxy must pass on
//! (`docs/decisions/004`); h2 beneath it gives both, and lets each stream's exchange run as one task
//! that writes its response from inside, as an HTTP/1.1 connection does.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    server::{self, SendResponse},
};
use http::{HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    active::ActiveExchange,
    h1::Connection,
    handle::{self, End},
};
use crate::{
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange, HttpVersion, Peer},
    fields::{Fields, Known},
    h1::{HeadLimits, Method, ResponseHead, head::keep_trailers},
    moment::Moment,
    net::{BodyFrame, Buffer, Deadline, Stream, Waiter},
    runtime::{ListenerId, Worker},
};

/// Serves an HTTP/2 connection to its end.
pub async fn serve(connection: Connection) {
    let Connection { mut wire, peer, worker, listener, permit: _permit, .. } = connection;
    let Some((timeouts, limits)) = settings(&worker, listener) else { return };
    let deadline = Deadline::new();
    deadline.after(timeouts.header);
    let stream = Prefixed { first: wire.take_input(), stream: wire.stream };
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER);
    let mut handshake = std::pin::pin!(builder.handshake::<_, Bytes>(stream));
    let connection = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result.ok()),
        Poll::Pending => deadline.poll_elapsed(cx).map(|()| None),
    });
    let Some(mut connection) = connection.await else { return };

    let open = Rc::new(Cell::new(0_usize));
    let mut is_closing = false;
    // Idle also while streams are open, so that the beginning of a drain is noticed.
    deadline.set_idle(Some(listener));
    deadline.after(timeouts.idle);
    loop {
        // Looked at on each turn, since a connection that is busy is never idle.
        if worker.is_closing(listener) && !is_closing {
            begin_closing(&mut connection, &deadline);
            is_closing = true;
        }
        let next = poll_fn(|cx| match connection.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Event::Accepted(accepted)),
            Poll::Pending => deadline.poll_elapsed(cx).map(|()| Event::Elapsed),
        });
        match next.await {
            Event::Accepted(Some(Ok((request, respond)))) => {
                let client = Client::new(request.body().is_end_stream(), respond);
                let life = Life::begin(&open);
                let (peer, worker) = (peer.clone(), worker.clone());
                tokio::task::spawn_local(async move {
                    stream_task(request, client, peer, worker, listener, limits).await;
                    drop(life);
                });
                if !is_closing {
                    deadline.after(timeouts.idle);
                }
            }
            Event::Accepted(_) => return,
            Event::Elapsed if is_closing && open.get() == 0 => return,
            Event::Elapsed if is_closing => deadline.after(CLOSING),
            Event::Elapsed if open.get() == 0 => {
                begin_closing(&mut connection, &deadline);
                is_closing = true;
            }
            Event::Elapsed => deadline.after(timeouts.idle),
        }
    }
}

/// GOAWAY with the highest id, a round trip, GOAWAY with the last one (RFC 9113 §6.8).
fn begin_closing(connection: &mut server::Connection<Prefixed, Bytes>, deadline: &Deadline) {
    connection.graceful_shutdown();
    deadline.set_idle(None);
    deadline.after(CLOSING);
}

fn settings(
    worker: &Worker,
    listener: ListenerId,
) -> Option<(crate::config::listen::TimeoutsConf, HeadLimits)> {
    let snapshot = worker.snapshot_for(listener);
    let listener = snapshot.shared.listener(listener)?;
    Some((listener.conf.timeouts.clone(), listener.limits))
}

type Accepted = Option<Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>>;

#[expect(clippy::large_enum_variant, reason = "lives for one turn of a loop")]
enum Event {
    Accepted(Accepted),
    Elapsed,
}

/// Counts a stream as open while it lives.
struct Life(Rc<Cell<usize>>);

impl Life {
    fn begin(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(open.clone())
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Streams that a client may have open at once. Browsers use about a hundred.
const STREAMS: u32 = 128;
/// What a client may send ahead on a stream, and on all together; it bounds what a stream may hold.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What a stream may hold of a response that its client does not take.
const SEND_BUFFER: usize = 128 * 1024;
/// How often a connection that is to close is looked at.
const CLOSING: Duration = Duration::from_secs(2);

/// One request.
async fn stream_task(
    request: Request<RecvStream>,
    mut client: Client,
    peer: Rc<Peer>,
    worker: Rc<Worker>,
    listener: ListenerId,
    limits: HeadLimits,
) {
    let (parts, body) = request.into_parts();
    client.body = Some(body);
    let mut exchange = worker.take_exchange();
    exchange.reset(&peer, Moment::now());
    exchange.version = HttpVersion::Http2;
    let named = take_head(&mut exchange, &parts, limits);
    let running = ActiveExchange::new(&worker, listener, exchange);
    let end = match named {
        Ok(()) => handle::handle(running, &mut client).await,
        Err(kind) => handle::refuse(running, &mut client, kind).await,
    };
    if !matches!(end, End::Complete) {
        // A reset drops what h2 has not written yet; the connection's task is given a turn for it.
        tokio::task::yield_now().await;
        client.reset();
    }
}

/// Makes the exchange's request of an HTTP/2 one. What is larger than the listener allows in all was
/// refused by h2.
fn take_head(exchange: &mut Exchange, parts: &http::request::Parts, limits: HeadLimits) -> Result<(), Kind> {
    // RFC 9113 §8.2.3: crumbs are put together before they leave HTTP/2, so that they count as one field.
    let crumbs = parts.headers.get_all(http::header::COOKIE).iter().count();
    if parts.headers.len() - crumbs.saturating_sub(1) > limits.fields {
        return Err(Kind::HeadTooLarge);
    }
    if parts.uri.path_and_query().is_some_and(|target| target.as_str().len() > limits.target) {
        return Err(Kind::UriTooLong);
    }
    let request = &mut exchange.request;
    request.method = Method::of(parts.method.as_str());
    request.fields.clear();
    let mut cookie: Vec<u8> = Vec::new();
    for (name, value) in &parts.headers {
        if *name == http::header::COOKIE {
            if !cookie.is_empty() {
                cookie.extend_from_slice(b"; ");
            }
            cookie.extend_from_slice(value.as_bytes());
        } else {
            request.fields.push(name.as_str(), value.as_bytes());
        }
    }
    if !cookie.is_empty() {
        request.fields.push_known(Known::Cookie, &cookie);
    }
    let mut hosts = request.fields.all_known(Known::Host);
    let host = hosts.next().map(|host| String::from_utf8_lossy(host).into_owned());
    if hosts.next().is_some() {
        return Err(Kind::Malformed("Host twice"));
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    match (authority, &host) {
        (Some(authority), Some(host)) if !host.eq_ignore_ascii_case(authority) => {
            return Err(Kind::Malformed("Host differs from :authority"));
        }
        (Some(authority), _) => exchange.authority.push_str(authority),
        (None, Some(host)) => exchange.authority.push_str(host),
        (None, None) => return Err(Kind::Malformed("no :authority and no Host")),
    }
    request.target.clear();
    match parts.uri.path_and_query() {
        Some(path) => request.target.push_str(path.as_str()),
        None => request.target.push('/'),
    }
    Ok(())
}

/// The client's side of one stream.
struct Client {
    body: Option<RecvStream>,
    is_body_done: bool,
    /// Bytes that were passed on, for which the client may send others.
    taken: usize,
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    /// The last data, which is held until it is known whether it is the end.
    held: Bytes,
    is_begun: bool,
    is_ended: bool,
    deadline: Deadline,
}

impl Client {
    fn new(is_body_done: bool, respond: SendResponse<Bytes>) -> Self {
        Self {
            body: None,
            is_body_done,
            taken: 0,
            respond,
            send: None,
            held: Bytes::new(),
            is_begun: false,
            is_ended: false,
            deadline: Deadline::new(),
        }
    }

    /// Ends the stream so that the client sees that the response is not whole.
    fn reset(&mut self) {
        match &mut self.send {
            Some(send) => send.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    fn send_held(&mut self, is_end: bool) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        match &mut self.send {
            Some(send) if !held.is_empty() || is_end => send.send_data(held, is_end).map_err(gone),
            _ => Ok(()),
        }
    }
}

fn gone(error: h2::Error) -> ProxyError {
    ProxyError::because(Kind::ClientGone, error)
}

impl Waiter for Client {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Some(send) => send.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}

impl Downstream for Client {
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        let Some(body) = self.body.as_mut().filter(|_| !self.is_body_done) else {
            return Poll::Ready(Ok(BodyFrame::End(None)));
        };
        if self.taken > 0 {
            // What was handed out before has gone on by now: the client may send as much again.
            let _ = body.flow_control().release_capacity(std::mem::take(&mut self.taken));
        }
        if let Some(data) = ready!(body.poll_data(cx)).transpose().map_err(gone)? {
            self.taken = data.len();
            self.is_body_done = body.is_end_stream();
            return Poll::Ready(Ok(BodyFrame::Data(Buffer::copy_of(&data))));
        }
        let trailers = ready!(body.poll_trailers(cx)).map_err(gone)?;
        self.is_body_done = true;
        let trailers = trailers.map(|map| {
            let mut fields = Fields::default();
            map.iter().for_each(|(name, value)| fields.push(name.as_str(), value.as_bytes()));
            keep_trailers(&mut fields);
            Box::new(fields)
        });
        Poll::Ready(Ok(BodyFrame::End(trailers)))
    }

    fn is_body_done(&self) -> bool {
        self.is_body_done
    }

    fn has_body_bytes(&self) -> bool {
        false
    }

    fn takes_interim(&self) -> bool {
        true
    }

    fn interim(&mut self, head: &ResponseHead) {
        // 101 has no meaning in HTTP/2 (RFC 9113 §8.6), and is never passed here.
        if let Ok(response) = response(head) {
            let _ = self.respond.send_informational(response);
        }
    }

    fn begin(&mut self, head: &ResponseHead, has_body: bool, length: Option<u64>) -> Result<()> {
        self.is_begun = true;
        let mut response = response(head)?;
        if let Some(length) = length.filter(|_| has_body) {
            response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        }
        self.is_ended = !has_body || length == Some(0);
        self.send = Some(self.respond.send_response(response, self.is_ended).map_err(gone)?);
        Ok(())
    }

    fn distrust(&mut self) {
        // The frames around it were sound; only this stream is not.
    }

    fn is_begun(&self) -> bool {
        self.is_begun
    }

    fn poll_data(&mut self, cx: &mut Context<'_>, block: &mut Buffer) -> Poll<Result<()>> {
        if block.is_empty() || self.is_ended {
            return Poll::Ready(Ok(()));
        }
        self.send_held(false)?;
        let Some(send) = &mut self.send else { return Poll::Ready(Ok(())) };
        while !block.is_empty() {
            send.reserve_capacity(block.len());
            let room = match ready!(send.poll_capacity(cx)) {
                Some(room) => room.map_err(gone)?,
                None => return Poll::Ready(Err(Kind::ClientGone.into())),
            };
            let length = room.min(block.len());
            let data = block.first_shared(length);
            block.advance(length);
            if block.is_empty() {
                self.held = data;
            } else {
                send.send_data(data, false).map_err(gone)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn end(&mut self, trailers: Option<&Fields>) -> Result<()> {
        if std::mem::replace(&mut self.is_ended, true) {
            return Ok(());
        }
        let Some(trailers) = trailers else { return self.send_held(true) };
        self.send_held(false)?;
        let mut map = http::HeaderMap::new();
        for field in trailers.iter() {
            append(&mut map, field.name, field.value);
        }
        match &mut self.send {
            Some(send) => send.send_trailers(map).map_err(gone),
            None => Ok(()),
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        // The connection's own task writes; what is held goes to it.
        Poll::Ready(self.send_held(false))
    }
}

/// A response as h2 takes it. Content-Length is set by whoever knows it.
fn response(head: &ResponseHead) -> Result<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() =
        http::StatusCode::from_u16(head.status).map_err(|_| Kind::BadResponse("the status is not one"))?;
    for field in head.fields.iter() {
        // Fields of an HTTP/1.1 connection have no place here (RFC 9113 §8.2.2).
        if !matches!(
            field.known,
            Known::Connection | Known::KeepAlive | Known::TransferEncoding | Known::Upgrade
        ) {
            append(response.headers_mut(), field.name, field.value);
        }
    }
    Ok(response)
}

fn append(map: &mut http::HeaderMap, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        map.append(name, value);
    }
}

/// A stream of which some was read already.
struct Prefixed {
    first: Buffer,
    stream: Stream,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        let length = self.first.len().min(into.remaining());
        into.put_slice(self.first.get(..length).unwrap_or_default());
        self.first.advance(length);
        if self.first.is_empty() {
            self.first = Buffer::default();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
