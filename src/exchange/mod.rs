//! One request and its response, with everything known about them.
//!
//! An exchange begins when a whole request head is there (`http::handle`), collects facts on its way,
//! and ends as one line of the access log and one count in the metrics. What it needs of the client's
//! side of the connection is [`Downstream`], which `http::h1` and `http::h2` provide.

mod bound;
mod downstream;
pub mod grpc;
mod hop;
pub mod node;
mod peer;
mod tunnel;
mod version;
mod via;
mod websocket;

use std::{net::IpAddr, rc::Rc, time::Duration};

pub use self::{
    bound::{Bond, BoundConnection, Taken, Wanted, Way, logs_connection_in, logs_in},
    downstream::Downstream,
    hop::PeerHop,
    peer::{ClientAddress, Peer, SeenByPeer, Terms, TlsFacts},
    tunnel::{Datagrams, Subject, TunnelFacts},
    version::HttpVersion,
    via::Via,
    websocket::WebSocketOpening,
};
use crate::{
    error::Kind,
    fields::Known,
    h1::{Method, RequestHead, ResponseHead},
    moment::Moment,
    telemetry::{
        cache_result::CacheResult,
        trace::{Context as TraceContext, Recording},
    },
};

/// What is known of every exchange, whatever its protocol: a connection that is passed through has this and no more.
#[derive(Debug, Default)]
pub struct Facts {
    /// When it began: an HTTP exchange when its request head was whole.
    pub started: Moment,
    /// The other end of the connection; the same for every exchange of it.
    pub peer: Rc<Peer>,
    /// Whether it is trusted where it was not, or not where it was, by a reload since the connection was accepted.
    pub has_other_trust: bool,
    /// The client behind a trusted proxy; `None` where the client is the other end itself.
    pub client: Option<ClientAddress>,
    /// Its id, for the log and `X-Request-Id`.
    pub id: String,
    /// Index of the route in the snapshot.
    pub route: Option<usize>,
    /// Index of the upstream in the snapshot.
    pub upstream: Option<usize>,
    /// Index of the backend in the upstream.
    pub backend: Option<usize>,
    /// What was spoken to it last, where that is not HTTP/1.1.
    pub backend_version: Option<HttpVersion>,
    /// How many times a backend was asked.
    pub attempts: u32,
    /// Bytes that came from the client: of the request body, or of the connection.
    pub bytes_in: u64,
    /// Bytes that went to the client.
    pub bytes_out: u64,
    /// From the start to the response head of the backend.
    pub response_time: Option<Duration>,
    /// What ended it before its end, or made the response our own.
    pub error: Option<(Kind, String)>,
    /// The status of a call of gRPC, once it is known.
    pub grpc_status: Option<u32>,
    /// Its place in a trace; `None` while tracing is off.
    pub trace: Option<TraceContext>,
    /// What is noted for its spans; `None` when it is not sampled.
    pub recording: Option<Box<Recording>>,
}

impl Facts {
    /// Makes them those of an exchange that begins.
    pub fn reset(&mut self, peer: &Rc<Peer>, now: Moment) {
        self.started = now;
        self.peer = peer.clone();
        self.has_other_trust = false;
        self.client = None;
        self.id.clear();
        (self.route, self.upstream, self.backend) = (None, None, None);
        self.backend_version = None;
        self.attempts = 0;
        (self.bytes_in, self.bytes_out) = (0, 0);
        self.response_time = None;
        self.error = None;
        self.grpc_status = None;
        self.trace = None;
        self.recording = None;
    }

    /// Whether the forwarding fields of the other end are believed (`trusted_proxies`).
    pub fn is_trusted(&self) -> bool {
        self.peer.is_trusted != self.has_other_trust
    }

    /// The client's address: the one that lists, limits and hashing look at.
    pub fn client_address(&self) -> IpAddr {
        self.client.as_ref().map_or(self.peer.address, |client| client.address)
    }

    /// The client's address as text: the one that is logged.
    pub fn client_text(&self) -> &str {
        self.client.as_ref().map_or(&*self.peer.text, |client| &*client.text)
    }

    /// The client's port; 0 where it is not known.
    pub fn client_port(&self) -> u16 {
        self.client.as_ref().map_or(self.peer.port, |client| client.port)
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
}

/// How a path may be read by routes and backends, where that is not as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathReadings {
    /// As routes match it: slashes merged where the listener says so, and characters that may be written in two ways as
    /// `route::spelling` has them.
    pub matched: String,
    /// As backends read it that decode `%2F` and `%5C` and drop parameters (`;`).
    pub decoded: String,
    /// The other way round: with parameters dropped, and slashes decoded in what is left.
    pub bare: String,
}

/// One HTTP request and its response, with everything known about them. Reused from one to the next, so that its buffers
/// are made once.
#[derive(Debug, Default)]
pub struct Exchange {
    /// What is known of every exchange.
    pub facts: Facts,
    /// The request; after `http::normalize` its target is path and query.
    pub request: RequestHead,
    /// The version that the request came in.
    pub version: HttpVersion,
    /// How it opens a WebSocket; `None` where it does not.
    pub websocket: Option<WebSocketOpening>,
    /// Host and port that were asked for, normalized.
    pub authority: String,
    /// The host in lower case and without port, as routes match it.
    pub host: String,
    /// Other ways to read its path than as it is written; `None` where there are none, as for nearly all.
    pub readings: Option<Box<PathReadings>>,
    /// Where the query's `?` is in the target, or the target's length.
    pub path_length: usize,
    /// The response that goes to the client; `status` is 0 until there is one.
    pub response: ResponseHead,
    /// How the cache served it, when one was asked.
    pub cache: Option<CacheResult>,
    /// The encoding that Pointsman gave the response.
    pub encoded: Option<&'static str>,
    /// Why the cache had the origin asked (RFC 9211 §2.2), to be said where nothing else can be said of it.
    pub forwarded: Option<&'static str>,
    /// The other node that has a part in it.
    pub hop: Option<PeerHop>,
}

impl Exchange {
    /// Whether it is a call of gRPC, which is made by POST over HTTP/2. What calls itself one otherwise is none: what is
    /// fetched for many is asked for by GET, and no client's own deadline may end that, nor be answered with a status of 200
    /// that others keep.
    pub fn is_grpc(&self) -> bool {
        self.request.method == Method::Post
            && self.version.has_streams()
            && grpc::is_message(&self.request.fields)
    }

    /// Makes it ready for the next request, which is put in the place of the one before, and keeps its memory.
    pub fn reset(&mut self, peer: &Rc<Peer>, now: Moment) {
        self.facts.reset(peer, now);
        self.version = HttpVersion::default();
        self.websocket = None;
        self.authority.clear();
        self.host.clear();
        self.readings = None;
        self.path_length = 0;
        self.response.status = 0;
        self.response.fields.clear();
        self.cache = None;
        self.encoded = None;
        self.forwarded = None;
        self.hop = None;
    }

    /// Bytes of memory that it would keep for the next one.
    pub fn memory(&self) -> usize {
        let texts = [&self.request.target, &self.authority, &self.host, &self.facts.id];
        let texts: usize = texts.iter().map(|text| text.capacity()).sum();
        self.request.fields.memory() + self.response.fields.memory() + texts
    }

    /// Under which name this node serves a peer, where it does.
    pub fn peer_served_as(&self) -> Option<&str> {
        match &self.hop {
            Some(PeerHop::For { own, .. }) => Some(own),
            Some(PeerHop::By(_) | PeerHop::Through(_)) | None => None,
        }
    }

    /// Whether a peer asks for it, in the place of a client of its own.
    pub fn is_for_peer(&self) -> bool {
        self.peer_served_as().is_some()
    }

    /// Makes it an exchange of its own for what this one asks: the same request, none of the response. What is
    /// noted for spans goes with it.
    pub fn fork(&mut self, mut fork: Box<Self>) -> Box<Self> {
        fork.reset(&self.facts.peer, self.facts.started);
        fork.request.method = self.request.method.clone();
        fork.request.version = self.request.version;
        fork.request.target.clone_from(&self.request.target);
        fork.request.fields.copy_from(&self.request.fields);
        fork.version = self.version;
        fork.websocket = self.websocket;
        fork.authority.clone_from(&self.authority);
        fork.host.clone_from(&self.host);
        fork.readings.clone_from(&self.readings);
        fork.path_length = self.path_length;
        fork.hop.clone_from(&self.hop);
        fork.facts.has_other_trust = self.facts.has_other_trust;
        fork.facts.client.clone_from(&self.facts.client);
        fork.facts.id.clone_from(&self.facts.id);
        (fork.facts.route, fork.facts.upstream) = (self.facts.route, self.facts.upstream);
        fork.facts.trace.clone_from(&self.facts.trace);
        fork.facts.recording = self.facts.recording.take();
        fork
    }

    /// Takes what became of a fork: its response, and who was asked for it.
    pub fn absorb(&mut self, fork: &mut Self) {
        std::mem::swap(&mut self.response, &mut fork.response);
        self.hop = fork.hop.take();
        self.facts.backend = fork.facts.backend.or(self.facts.backend);
        if fork.facts.attempts > 0 {
            // None is a version too: HTTP/1.1.
            self.facts.backend_version = fork.facts.backend_version;
        }
        self.facts.attempts += fork.facts.attempts;
        self.facts.response_time = fork.facts.response_time;
        self.facts.recording = fork.facts.recording.take();
        self.facts.trace = fork.facts.trace.take();
    }

    /// Finds the path of a request that is refused before its path was looked at (`http::path`), as it came.
    pub fn find_path(&mut self) {
        if self.path_length == 0 {
            let target = &self.request.target;
            self.path_length = target.find('?').unwrap_or(target.len());
        }
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.request.target.get(..self.path_length).unwrap_or_default()
    }

    /// The query after its `?`; empty when there is none.
    pub fn query(&self) -> &str {
        self.request.target.get(self.path_length + 1..).unwrap_or_default()
    }

    /// The path as routes match it.
    pub fn matched_path(&self) -> &str {
        self.readings.as_ref().map_or(self.path(), |readings| &readings.matched)
    }

    /// The version that the client asked in, also where a peer asks in its place.
    pub fn client_version(&self) -> HttpVersion {
        self.facts.peer.seen.map_or(self.version, |seen| seen.version)
    }

    /// `http` or `https`, as a trusted proxy saw it, else as the client's connection has it.
    pub fn client_scheme(&self) -> &'static str {
        let said = self.request.fields.known(Known::XForwardedProto).filter(|_| self.facts.is_trusted());
        match said {
            Some(said) if said.eq_ignore_ascii_case(b"https") => "https",
            Some(said) if said.eq_ignore_ascii_case(b"http") => "http",
            Some(_) | None => self.scheme(),
        }
    }

    /// `http` or `https`, as the client's connection has it.
    pub fn scheme(&self) -> &'static str {
        if self.facts.peer.tls.is_some() { "https" } else { "http" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_that_of_the_fork_that_asked() {
        let mut exchange = Exchange::default();
        let http2 = Some(HttpVersion::Http2);
        // HTTP/1.1 is none, and so is what one says that asked nobody.
        for (attempts, version, expected) in [(1, http2, http2), (0, None, http2), (2, None, None)] {
            let mut fork = Exchange::default();
            (fork.facts.attempts, fork.facts.backend_version) = (attempts, version);
            exchange.absorb(&mut fork);
            assert_eq!(exchange.facts.backend_version, expected, "{attempts}");
        }
    }
}
