//! One request and its response, with everything known about them.
//!
//! An exchange begins when a whole request head is there (`http::handle`), collects facts on its way,
//! and ends as one line of the access log and one count in the metrics. What it needs of the client's
//! side of the connection is [`Downstream`], which `http::h1` and `http::h2` provide.

use std::{
    cell::RefCell,
    net::IpAddr,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    error::{Blame, Kind, Result},
    fields::{Fields, Known},
    h1::{RequestHead, ResponseHead, Version, head::write_number},
    moment::Moment,
    net::{BodyFrame, Buffer, Deadline},
    telemetry::{
        access_log::{write_json, write_quoted},
        cache_result::CacheResult,
        clock,
        trace::{Context as TraceContext, Handshake, Recording},
    },
};

/// The facts of one exchange. Reused from one to the next, so that its buffers are made once.
#[derive(Debug, Default)]
pub struct Exchange {
    /// When the request head was whole.
    pub started: Moment,
    /// Who asked; the same for every exchange of a connection.
    pub peer: Rc<Peer>,
    /// The request; after `http::normalize` its target is path and query.
    pub request: RequestHead,
    /// Whether it came over HTTP/2.
    pub is_http2: bool,
    /// Host and port as the client named them.
    pub authority: String,
    /// The host in lower case and without port, as routes match it.
    pub host: String,
    /// Where the query's `?` stands in the target, or the target's length.
    pub path_length: usize,
    /// The request's id, for the log and `X-Request-Id`.
    pub id: String,
    /// Index of the route in the snapshot.
    pub route: Option<usize>,
    /// Index of the upstream in the snapshot.
    pub upstream: Option<usize>,
    /// Index of the backend in the upstream.
    pub backend: Option<usize>,
    /// How many times a backend was asked.
    pub attempts: u32,
    /// The response that goes to the client; `status` is 0 until there is one.
    pub response: ResponseHead,
    /// Bytes of the request body that came.
    pub bytes_in: u64,
    /// Bytes of the response body that went out.
    pub bytes_out: u64,
    /// From the start to the response head of the backend.
    pub response_time: Option<Duration>,
    /// How the cache served it, when one was asked.
    pub cache: Option<CacheResult>,
    /// What ended it before its end, or made the response our own.
    pub error: Option<(Kind, String)>,
    /// Its place in a trace; `None` while tracing is off.
    pub trace: Option<TraceContext>,
    /// What is noted for its spans; `None` when it is not sampled.
    pub recording: Option<Box<Recording>>,
}

impl Exchange {
    /// Makes it ready for the next request and keeps its memory.
    pub fn reset(&mut self, peer: &Rc<Peer>, now: Moment) {
        self.started = now;
        self.peer = peer.clone();
        self.is_http2 = false;
        self.authority.clear();
        self.host.clear();
        self.id.clear();
        (self.route, self.upstream, self.backend) = (None, None, None);
        self.attempts = 0;
        self.response.status = 0;
        self.response.fields.clear();
        (self.bytes_in, self.bytes_out) = (0, 0);
        self.response_time = None;
        self.cache = None;
        self.error = None;
        self.trace = None;
        self.recording = None;
    }

    /// Makes it an exchange of its own for what this one asks: the same request, none of the response. What is
    /// noted for spans goes with it.
    pub fn fork(&mut self, mut fork: Box<Self>) -> Box<Self> {
        fork.reset(&self.peer, self.started);
        fork.request.method = self.request.method.clone();
        fork.request.version = self.request.version;
        fork.request.target.clone_from(&self.request.target);
        fork.request.fields.copy_from(&self.request.fields);
        fork.is_http2 = self.is_http2;
        fork.authority.clone_from(&self.authority);
        fork.host.clone_from(&self.host);
        fork.path_length = self.path_length;
        fork.id.clone_from(&self.id);
        (fork.route, fork.upstream) = (self.route, self.upstream);
        fork.trace.clone_from(&self.trace);
        fork.recording = self.recording.take();
        fork
    }

    /// Takes what became of a fork: its response, and who was asked for it.
    pub fn absorb(&mut self, fork: &mut Self) {
        std::mem::swap(&mut self.response, &mut fork.response);
        self.backend = fork.backend;
        self.attempts = fork.attempts;
        self.response_time = fork.response_time;
        self.recording = fork.recording.take();
        self.trace = fork.trace.take();
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.request.target.get(..self.path_length).unwrap_or_default()
    }

    /// The query after its `?`; empty when there is none.
    pub fn query(&self) -> &str {
        self.request.target.get(self.path_length + 1..).unwrap_or_default()
    }

    /// Begins an attempt at a backend: a span of its own, when there is a trace.
    pub fn begin_attempt(&mut self, backend: usize, now: Moment) {
        self.backend = Some(backend);
        self.attempts += 1;
        if let Some(trace) = &mut self.trace {
            trace.begin_attempt(&mut || fastrand::u64(..));
            if let Some(recording) = &mut self.recording {
                recording.begin_attempt(trace.attempt, backend, now);
            }
        }
    }

    /// `http` or `https`, as the client sees it.
    pub fn scheme(&self) -> &'static str {
        if self.peer.tls.is_some() { "https" } else { "http" }
    }

    /// The version as logs have it.
    fn protocol(&self) -> &'static str {
        match (self.is_http2, self.request.version) {
            (true, _) => "HTTP/2.0",
            (_, Version::Http10) => "HTTP/1.0",
            (_, Version::Http11) => "HTTP/1.1",
        }
    }

    /// Writes this exchange's line as JSON.
    pub fn write_json(&self, names: &Names<'_>, took: Duration, out: &mut Vec<u8>) {
        let field = |out: &mut Vec<u8>, name: &str, value: &[u8]| {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            write_json(value, out);
            out.push(b'"');
        };
        let number = |out: &mut Vec<u8>, name: &str, value: u64| {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            write_number(value, out);
        };
        out.extend_from_slice(b"{\"time\":\"");
        clock::write_iso(out);
        out.extend_from_slice(b"\",\"level\":\"");
        out.extend_from_slice(self.error.as_ref().map_or("info", |(kind, _)| level(*kind)).as_bytes());
        out.push(b'"');
        field(out, "listener", names.listener.as_bytes());
        field(out, "client", self.peer.text.as_bytes());
        field(out, "method", self.request.method.as_str().as_bytes());
        field(out, "scheme", self.scheme().as_bytes());
        field(out, "host", self.authority.as_bytes());
        field(out, "target", self.request.target.as_bytes());
        field(out, "protocol", self.protocol().as_bytes());
        number(out, "status", u64::from(self.response.status));
        number(out, "bytes_in", self.bytes_in);
        number(out, "bytes_out", self.bytes_out);
        write_millis(out, ",\"duration_ms\":", took);
        if let Some(time) = self.response_time {
            write_millis(out, ",\"response_ms\":", time);
        }
        for (name, value) in
            [("route", names.route), ("upstream", names.upstream), ("backend", names.backend)]
        {
            if let Some(value) = value {
                field(out, name, value.as_bytes());
            }
        }
        if self.attempts > 0 {
            number(out, "attempts", u64::from(self.attempts));
        }
        if let Some(cache) = self.cache {
            field(out, "cache", cache.name().as_bytes());
        }
        field(out, "request_id", self.id.as_bytes());
        if let Some(trace) = &self.trace {
            out.extend_from_slice(b",\"trace_id\":\"");
            trace.write_trace_id(out);
            out.push(b'"');
        }
        for (name, known) in [("user_agent", Known::UserAgent), ("referer", Known::Referer)] {
            if let Some(value) = self.request.fields.known(known) {
                field(out, name, value);
            }
        }
        if let Some(tls) = &self.peer.tls {
            field(out, "tls", tls.version.as_bytes());
        }
        if let Some((kind, detail)) = &self.error {
            field(out, "error", kind.label().as_bytes());
            field(out, "error_detail", detail.as_bytes());
        }
        out.extend_from_slice(b"}\n");
    }

    /// Writes this exchange's line in the common log format, or combined with referer and user agent.
    pub fn write_common(&self, combined: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(self.peer.text.as_bytes());
        out.extend_from_slice(b" - - [");
        clock::write_common(out);
        out.extend_from_slice(b"] \"");
        write_quoted(self.request.method.as_str().as_bytes(), out);
        out.push(b' ');
        write_quoted(self.request.target.as_bytes(), out);
        out.push(b' ');
        out.extend_from_slice(self.protocol().as_bytes());
        out.extend_from_slice(b"\" ");
        write_number(u64::from(self.response.status), out);
        out.push(b' ');
        write_number(self.bytes_out, out);
        if combined {
            for known in [Known::Referer, Known::UserAgent] {
                out.extend_from_slice(b" \"");
                write_quoted(self.request.fields.known(known).unwrap_or(b"-"), out);
                out.push(b'"');
            }
        }
        out.push(b'\n');
    }
}

/// How loud an exchange that ended in this is in the log. What clients do wrong is theirs.
fn level(kind: Kind) -> &'static str {
    match kind {
        Kind::Malformed(_)
        | Kind::HeadTooLarge
        | Kind::UriTooLong
        | Kind::BodyTooLarge
        | Kind::HeadTimeout
        | Kind::BodyTimeout
        | Kind::ClientGone
        | Kind::ClientStalled
        | Kind::Misdirected
        | Kind::NoRoute
        | Kind::NotAllowed
        | Kind::NotCached => "info",
        Kind::NotAccepted | Kind::QueueFull | Kind::QueueTimeout | Kind::RouteTimeout | Kind::Draining => {
            "warn"
        }
        Kind::NoBackend
        | Kind::Connect
        | Kind::ConnectTimeout
        | Kind::Unresolved
        | Kind::UpstreamTls
        | Kind::Reset
        | Kind::ResponseTimeout
        | Kind::BadResponse(_)
        | Kind::BodyBroken => debug_assert_upstream(kind),
    }
}

fn debug_assert_upstream(kind: Kind) -> &'static str {
    debug_assert_eq!(kind.blame(), Blame::Upstream);
    "error"
}

/// Milliseconds with three digits after the point.
fn write_millis(out: &mut Vec<u8>, name: &str, time: Duration) {
    out.extend_from_slice(name.as_bytes());
    write_number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), out);
    let micros = time.subsec_micros() % 1000;
    let digit = |number: u32| b'0' + (number % 10) as u8;
    out.extend_from_slice(&[b'.', digit(micros / 100), digit(micros / 10), digit(micros)]);
}

/// The names that an exchange's indices stand for.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The listener.
    pub listener: &'a str,
    /// The route.
    pub route: Option<&'a str>,
    /// The upstream.
    pub upstream: Option<&'a str>,
    /// The backend that answered, or was asked last.
    pub backend: Option<&'a str>,
}

/// Who is at the other end of a client connection.
#[derive(Debug)]
pub struct Peer {
    /// The client's address: the connection's, or what a PROXY header from a listed network says.
    pub address: IpAddr,
    /// The client's port; 0 over a unix socket.
    pub port: u16,
    /// The address as text, formatted once.
    pub text: Box<str>,
    /// Whether its forwarding fields are believed (`trusted_proxies`).
    pub is_trusted: bool,
    /// Facts of TLS, on an `https` listener.
    pub tls: Option<TlsFacts>,
}

impl Default for Peer {
    fn default() -> Self {
        let address = IpAddr::from([0, 0, 0, 0]);
        Self { address, port: 0, text: "".into(), is_trusted: false, tls: None }
    }
}

/// What the TLS handshake with a client settled.
#[derive(Debug)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name that the client asked for (RFC 6066 §3), in lower case.
    pub server_name: Option<Box<str>>,
    /// When it was, until the first request takes it for its trace; kept only while tracing is on.
    pub handshake: RefCell<Option<Box<Handshake>>>,
}

/// What an exchange needs of the client's side.
///
/// Two things carry it: an HTTP/1.1 connection and an HTTP/2 stream. A response is begun, fed and
/// ended without waiting; the `poll_` methods give back-pressure and bring it out.
pub trait Downstream {
    /// The next of the request body. After its end, `End` again.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>>;

    /// Whether the request body was read to its end.
    fn is_body_done(&self) -> bool;

    /// Whether some of the request body is here already, so that the client does not wait for a 100.
    fn has_body_bytes(&self) -> bool;

    /// Ready when the client is gone while there is nothing to write.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether interim responses may be sent (not to HTTP/1.0).
    fn takes_interim(&self) -> bool;

    /// Sends an interim response (RFC 9110 §15.2).
    fn interim(&mut self, head: &ResponseHead);

    /// Begins the response. `length` is the body's, when it is known; with `has_body` false there is
    /// none, whatever the fields say (HEAD, 204, 304).
    fn begin(&mut self, head: &ResponseHead, has_body: bool, length: Option<u64>) -> Result<()>;

    /// Says that what the client sent makes no sense, so that nothing more is read of its connection.
    fn distrust(&mut self);

    /// Whether a final response was begun.
    fn is_begun(&self) -> bool;

    /// Takes some of the response body; ready when the whole block is taken.
    fn poll_data(&mut self, cx: &mut Context<'_>, block: &mut Buffer) -> Poll<Result<()>>;

    /// Ends the response body.
    fn end(&mut self, trailers: Option<&Fields>) -> Result<()>;

    /// Brings out what was begun, taken and ended.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// The deadline of whatever this exchange waits for.
    fn deadline(&self) -> &Deadline;
}
