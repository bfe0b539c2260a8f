//! One attempt over HTTP/2: a stream of a connection that is there, or is made for whoever comes meanwhile too.
//!
//! Previous stop: `upstream::attempt`, which has the rest of an attempt in common.

use std::{future::poll_fn, rc::Rc, task::Poll};

use super::{
    Permit, announce,
    carrier::Answering,
    conf::{UpstreamConf, UpstreamProtocol},
    forward_request::ForwardRequest,
    http2_pool::Next,
    request_head::{HeadWriter, UpstreamHead},
    response::Answered,
    switched::SwitchedTo,
    websocket,
};
use crate::{
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange, HttpVersion},
    fields::{ConnectionOptions, Fields, Known, list, write_number},
    h1::{Framing, Method},
    http2::{RequestStart, RequestWriter},
    http2_transport::{BackendConnection, Failure, RequestStream, Times, run},
    moment::Moment,
    net::{Buffer, Http1Stream, Stream},
    tls::conf::Starttls,
};

/// How often an exchange looks for another connection, where the one that it waited for was filled by others, or was
/// ended by its backend meanwhile.
const MOST_LOOKS: usize = 8;

impl ForwardRequest<'_> {
    /// One attempt over HTTP/2; `None` where the backend speaks HTTP/1.1, and may. What the backend did not look at
    /// because it ends the connection, and what a connection took down that was there before, goes over another one, once.
    pub(super) async fn run_http2<D: Downstream>(
        &mut self,
        permit: &Permit,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Option<Answered>> {
        let mut may_go_again = true;
        loop {
            let Some(mut stream) = self.open(permit, exchange, client).await? else { return Ok(None) };
            let result = self.exchange_http2(&mut stream, exchange, client).await;
            let Err(error) = result else {
                let options = ConnectionOptions::of(&exchange.response.fields)
                    .map_err(|what| ProxyError::new(Kind::BadResponse(what)))?;
                let body = Answering::Http2(stream);
                let is_opened =
                    self.head.websocket.is_some() && (200..300).contains(&exchange.response.status);
                if is_opened {
                    websocket::answer(exchange);
                }
                let switched = is_opened.then_some(SwitchedTo::WebSocket);
                return Ok(Some(Answered { body, switched, options }));
            };
            if error.kind() == Kind::ConnectionOverloaded {
                // What is on it goes on; others go by another.
                stream.retire_connection();
            }
            let is_stale = match error.kind() {
                Kind::ConnectionOverloaded => self.may_replace(exchange),
                Kind::Refused => {
                    !stream.takes_streams() && self.upload.is_replayable() && !self.is_interim_sent
                }
                Kind::Reset | Kind::ResetInUpload => {
                    stream.is_of_used_connection() && !stream.takes_streams() && self.may_replace(exchange)
                }
                _ => false,
            };
            if !is_stale || !std::mem::take(&mut may_go_again) {
                return Err(error);
            }
            self.upload.begin_again();
        }
    }

    async fn exchange_http2<D: Downstream>(
        &mut self,
        stream: &mut RequestStream,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<()> {
        let mut progress = self.begin_progress(client, Moment::now());
        poll_fn(|cx| self.poll_response(cx, stream, exchange, client, &mut progress)).await
    }

    /// Opens a stream, over a connection that is there or is made; `None` where the backend speaks HTTP/1.1, or takes no
    /// WebSockets over HTTP/2.
    async fn open<D: Downstream>(
        &mut self,
        permit: &Permit,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Option<RequestStream>> {
        self.head.backend_host = self.host_of(exchange.facts.backend);
        let conf = &self.target.worker_upstream.upstream.conf;
        for _ in 0..MOST_LOOKS {
            let pool = permit.http2().ok_or(Kind::NoBackend)?;
            if pool.speaks_http1() {
                return Ok(None);
            }
            let connection = match pool.next() {
                Next::There(connection) => connection,
                Next::NearlyFull(connection) => {
                    permit.begin_http2();
                    connection
                }
                Next::New => permit.begin_http2(),
            };
            let promise = pool.promise(&connection);
            if connection.is_beginning() {
                let begun = self.target.wait_begun(&connection, client).await?;
                if let Err(failure) = begun {
                    let is_http1 = conf.protocol == UpstreamProtocol::Auto && pool.speaks_http1();
                    return if is_http1 { Ok(None) } else { Err(failure.error()) };
                }
            }
            if self.head.websocket.is_some() && !connection.takes_websockets() {
                return Ok(None);
            }
            let is_tls = self.target.worker_upstream.upstream.tls.is_some();
            let opened = self.head.open(&connection, exchange, is_tls, self.upload.is_sent());
            drop(promise);
            if let Some(stream) = opened {
                permit.count_stream();
                exchange.facts.backend_version = Some(HttpVersion::Http2);
                return Ok(Some(stream));
            }
            if connection.streams().1 == 0 {
                // It takes nothing at all, and another would take no more.
                connection.retire();
                break;
            }
        }
        Err(Kind::Refused.into())
    }
}

impl super::acquire::Acquire<'_> {
    /// Waits until a connection has begun, within `connect_timeout`.
    async fn wait_begun<D: Downstream>(
        &self,
        connection: &Rc<BackendConnection>,
        client: &mut D,
    ) -> Result<std::result::Result<(), Failure>> {
        self.set_connect_deadline(client);
        poll_fn(|cx| {
            if let Poll::Ready(begun) = connection.poll_begun(cx) {
                return Poll::Ready(Ok(begun));
            }
            client.deadline().poll_elapsed(cx).map(|()| Err(self.elapsed(Kind::ConnectTimeout).into()))
        })
        .await
    }
}

impl Permit {
    /// Begins to make a connection to the backend for exchanges that are streams of it.
    fn begin_http2(&self) -> Rc<BackendConnection> {
        let worker_upstream = self.worker_upstream().clone();
        let conf = &worker_upstream.upstream.conf;
        let connection = BackendConnection::new(conf.limits.of_head());
        if let Some(pool) = self.http2() {
            pool.add(connection.clone());
        }
        let (index, made) = (self.index(), connection.clone());
        tokio::task::spawn_local(async move {
            let opening =
                announce::Opening { header: Vec::new(), starttls: Starttls::Off, offers_http2: true };
            let dial = worker_upstream.dial(index, &opening);
            let within = worker_upstream.upstream.conf.connect_timeout;
            let dialled = match tokio::time::timeout(within, dial).await {
                Ok(dialled) => dialled,
                Err(_) => Err(Kind::ConnectTimeout.into()),
            };
            let stream = match dialled {
                Ok(stream) => stream,
                Err(error) => return made.end(Failure::of(&error)),
            };
            let conf = &worker_upstream.upstream.conf;
            let is_agreed = stream.alpn().is_none_or(|alpn| alpn == b"h2");
            if worker_upstream.upstream.tls.is_some() && (stream.alpn().is_none() || !is_agreed) {
                if conf.protocol == UpstreamProtocol::Auto {
                    worker_upstream.set_http1(index, Http1Stream::new(stream, Buffer::default()));
                }
                return made.end(Failure { kind: Kind::UpstreamTls, why: NO_ALPN.into() });
            }
            let times = times(conf);
            let series = worker_upstream.series.get(index).cloned();
            // The upstream of this generation is not held any longer than it takes to connect.
            drop(worker_upstream);
            run(made, stream, times, series).await;
        });
        connection
    }

    /// Has exchanges be streams of a connection that was made, over which the backend agreed on HTTP/2.
    pub(super) fn share_http2(&self, stream: Stream) {
        let worker_upstream = self.worker_upstream();
        let conf = &worker_upstream.upstream.conf;
        let connection = BackendConnection::new(conf.limits.of_head());
        if let Some(pool) = self.http2() {
            pool.add(connection.clone());
        }
        let series = worker_upstream.series.get(self.index()).cloned();
        tokio::task::spawn_local(run(connection, stream, times(conf), series));
    }
}

fn times(conf: &UpstreamConf) -> Times {
    Times {
        begin: conf.connect_timeout,
        idle: conf.idle_timeout,
        ping_interval: conf.http2.ping_interval,
        ping_timeout: conf.http2.ping_timeout,
    }
}

const NO_ALPN: &str = "the backend does not speak HTTP/2: it did not select \"h2\" by ALPN";

impl UpstreamHead<'_> {
    /// Opens a stream with this head, where there is room for one.
    fn open(
        &self,
        connection: &Rc<BackendConnection>,
        exchange: &Exchange,
        is_tls: bool,
        is_end: bool,
    ) -> Option<RequestStream> {
        let is_websocket = self.websocket.is_some();
        let start = RequestStart {
            // RFC 8441 §4.
            method: if is_websocket { "CONNECT" } else { exchange.request.method.as_str() },
            protocol: is_websocket.then_some("websocket"),
            is_tls,
            authority: self.host(exchange),
            path: self.target(exchange),
            is_end: is_end && !is_websocket,
        };
        RequestStream::open(connection, &start, |writer| {
            let mut writer = Http2Writer(writer);
            self.write_fields(exchange, &mut writer);
            self.write_length(exchange, is_end, &mut writer);
            if is_websocket && !exchange.request.fields.has(Known::SecWebsocketVersion) {
                writer.field(b"sec-websocket-version", b"13");
            }
            self.write_forwarding(exchange, &mut writer);
        })
    }

    /// Writes the fields of this hop.
    fn write_length(&self, exchange: &Exchange, is_end: bool, writer: &mut impl HeadWriter) {
        let mut digits = Vec::new();
        match self.framing {
            Framing::Length(length) => {
                write_number(length, &mut digits);
                writer.field(b"content-length", &digits);
            }
            Framing::None
                if is_end
                    && matches!(exchange.request.method, Method::Post | Method::Put | Method::Patch) =>
            {
                writer.field(b"content-length", b"0");
            }
            Framing::None | Framing::Chunked | Framing::UntilClose => {}
        }
        if self.expects_continue {
            writer.field(b"expect", b"100-continue");
        }
        // RFC 9113 §8.2.2: no other member of TE.
        let fields = &exchange.request.fields;
        if list(fields.all_known(Known::Te)).any(|member| member.eq_ignore_ascii_case(b"trailers")) {
            writer.field(b"te", b"trailers");
        }
    }
}

/// Writes fields into a block of HTTP/2.
struct Http2Writer<'a, 'b>(&'a mut RequestWriter<'b>);

impl HeadWriter for Http2Writer<'_, '_> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.0.field(name, value);
    }

    fn fields(&mut self, fields: &Fields, passes: impl Fn(Known) -> bool) {
        fields.iter().filter(|field| passes(field.known)).for_each(|field| self.0.tagged(&field));
    }

    fn begin(&mut self, name: &[u8]) {
        self.0.begin(name);
    }

    fn piece(&mut self, piece: &[u8]) {
        self.0.piece(piece);
    }

    fn end(&mut self) {
        self.0.end();
    }
}
