//! One line of the access log: the facts of an exchange as text.

use std::time::Duration;

use super::{
    access_log::{write_json, write_quoted},
    cache_result::CacheResult,
    clock,
    trace::Context,
};
use crate::{
    error::{Blame, Kind},
    fields::write_number,
};

/// The facts of one exchange that a line of the access log has. What an exchange of layer 4 does not have is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessLine<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// The route's name.
    pub route: Option<&'a str>,
    /// The upstream's name.
    pub upstream: Option<&'a str>,
    /// The name of the backend that answered, or was asked last.
    pub backend: Option<&'a str>,
    /// The version of HTTP that was spoken to it, where that is not HTTP/1.1.
    pub upstream_protocol: Option<&'a str>,
    /// The client's address.
    pub client: &'a str,
    /// The address of the trusted proxy that named the client, where one did.
    pub proxy: Option<&'a str>,
    /// The method of the request.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and port that were asked for.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The version of HTTP; `tcp`, `tls`, `quic` or `udp` of a connection that is passed on.
    pub protocol: &'a str,
    /// The name that a client asked for whose TLS is passed on.
    pub server_name: Option<&'a str>,
    /// The protocols that such a client offers.
    pub alpn: Option<&'a str>,
    /// The version of QUIC, where that is passed on.
    pub quic_version: Option<u32>,
    /// Of a connection that is passed on: whether some of it was spliced.
    pub is_spliced: Option<bool>,
    /// Of a session of datagrams: how many came from the client and went to it, and what ended it.
    pub datagrams: Option<(u64, u64, &'a str)>,
    /// The status of the response; 499 where the client left before it.
    pub status: u16,
    /// The status of a call of gRPC.
    pub grpc_status: Option<u32>,
    /// Bytes of the request body that came.
    pub bytes_in: u64,
    /// Bytes of the response body that went out.
    pub bytes_out: u64,
    /// From the request's head to the end.
    pub took: Duration,
    /// From the request's head to the head of the backend's response.
    pub response_time: Option<Duration>,
    /// How often a backend was asked.
    pub attempts: u32,
    /// How the cache served it, where one was asked.
    pub cache: Option<CacheResult>,
    /// The encoding that Pointsman gave the response.
    pub encoded: Option<&'a str>,
    /// The other node that had a part in it, and the name of the field that says which.
    pub hop: Option<(&'static str, &'a str)>,
    /// The id of the request.
    pub request_id: &'a str,
    /// Its place in a trace, where there is one.
    pub trace: Option<&'a Context>,
    /// The field User-Agent.
    pub user_agent: Option<&'a [u8]>,
    /// The field Referer.
    pub referer: Option<&'a [u8]>,
    /// The version of TLS to the client.
    pub tls: Option<&'a str>,
    /// What ended it, and its details for people.
    pub error: Option<(Kind, &'a str)>,
    /// What it has besides by the configuration, where it is JSON.
    pub extra: &'a [(&'a str, Vec<u8>)],
}

/// The names that a line of JSON may have by itself.
pub const NAMES: [&str; 40] = [
    "time",
    "level",
    "listener",
    "client",
    "proxy",
    "method",
    "scheme",
    "host",
    "target",
    "protocol",
    "status",
    "grpc_status",
    "server_name",
    "alpn",
    "quic_version",
    "carried_by",
    "datagrams_in",
    "datagrams_out",
    "ended_by",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "response_ms",
    "route",
    "upstream",
    "backend",
    "upstream_protocol",
    "attempts",
    "cache",
    "encoded",
    "peer",
    "relay",
    "for_peer",
    "request_id",
    "trace_id",
    "user_agent",
    "referer",
    "tls",
    "error",
    "error_detail",
];

impl AccessLine<'_> {
    /// Writes the line as JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        clock::write_iso(out);
        out.extend_from_slice(b"\",\"level\":\"");
        out.extend_from_slice(self.error.map_or("info", |(kind, _)| level(kind)).as_bytes());
        out.push(b'"');
        field(out, "listener", self.listener.as_bytes());
        field(out, "client", self.client.as_bytes());
        if let Some(proxy) = self.proxy {
            field(out, "proxy", proxy.as_bytes());
        }
        match self.is_spliced {
            None => {
                field(out, "method", self.method.as_bytes());
                field(out, "scheme", self.scheme.as_bytes());
                field(out, "host", self.host.as_bytes());
                field(out, "target", self.target.as_bytes());
                field(out, "protocol", self.protocol.as_bytes());
                number(out, "status", u64::from(self.status));
                if let Some(code) = self.grpc_status {
                    number(out, "grpc_status", u64::from(code));
                }
            }
            Some(is_spliced) => {
                self.write_tunnel(is_spliced, out);
            }
        }
        number(out, "bytes_in", self.bytes_in);
        number(out, "bytes_out", self.bytes_out);
        write_millis(out, ",\"duration_ms\":", self.took);
        if let Some(time) = self.response_time {
            write_millis(out, ",\"response_ms\":", time);
        }
        let places = [
            ("route", self.route),
            ("upstream", self.upstream),
            ("backend", self.backend),
            ("upstream_protocol", self.upstream_protocol),
        ];
        for (name, value) in places {
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
        if let Some(encoded) = self.encoded {
            field(out, "encoded", encoded.as_bytes());
        }
        if let Some((name, node)) = self.hop {
            field(out, name, node.as_bytes());
        }
        field(out, "request_id", self.request_id.as_bytes());
        if let Some(trace) = self.trace {
            out.extend_from_slice(b",\"trace_id\":\"");
            trace.write_trace_id(out);
            out.push(b'"');
        }
        for (name, value) in [("user_agent", self.user_agent), ("referer", self.referer)] {
            if let Some(value) = value {
                field(out, name, value);
            }
        }
        if let Some(tls) = self.tls {
            field(out, "tls", tls.as_bytes());
        }
        if let Some((kind, detail)) = self.error {
            field(out, "error", kind.label().as_bytes());
            field(out, "error_detail", detail.as_bytes());
        }
        for (name, value) in self.extra {
            field(out, name, value);
        }
        out.extend_from_slice(b"}\n");
    }

    /// What the line has of a connection that is passed on, or of a session of datagrams, beside what all have.
    fn write_tunnel(&self, is_spliced: bool, out: &mut Vec<u8>) {
        field(out, "protocol", self.protocol.as_bytes());
        if let Some(name) = self.server_name {
            field(out, "server_name", name.as_bytes());
        }
        if let Some(alpn) = self.alpn {
            field(out, "alpn", alpn.as_bytes());
        }
        if let Some(version) = self.quic_version {
            field(out, "quic_version", quic_version(version).as_bytes());
        }
        match self.datagrams {
            None => field(out, "carried_by", if is_spliced { b"splice" } else { b"copy" }),
            Some((received, sent, ended_by)) => {
                number(out, "datagrams_in", received);
                number(out, "datagrams_out", sent);
                field(out, "ended_by", ended_by.as_bytes());
            }
        }
    }

    /// Writes the line in the common log format, or combined with referer and user agent.
    pub fn write_common(&self, combined: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(self.client.as_bytes());
        out.extend_from_slice(b" - - [");
        clock::write_common(out);
        out.extend_from_slice(b"] \"");
        write_quoted(self.method.as_bytes(), out);
        out.push(b' ');
        write_quoted(self.target.as_bytes(), out);
        out.push(b' ');
        out.extend_from_slice(self.protocol.as_bytes());
        out.extend_from_slice(b"\" ");
        write_number(u64::from(self.status), out);
        out.push(b' ');
        write_number(self.bytes_out, out);
        if combined {
            for value in [self.referer, self.user_agent] {
                out.extend_from_slice(b" \"");
                write_quoted(value.unwrap_or(b"-"), out);
                out.push(b'"');
            }
        }
        out.push(b'\n');
    }
}

/// A version of QUIC, for people: those that are known by their number, others as they are written.
fn quic_version(version: u32) -> String {
    match version {
        1 => "1".to_owned(),
        0x6b33_43cf => "2".to_owned(),
        other => format!("{other:#010x}"),
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    write_json(value, out);
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write_number(value, out);
}

/// How loud an exchange that ended in this is in the log. What clients do wrong is theirs.
fn level(kind: Kind) -> &'static str {
    match kind {
        Kind::Malformed(_)
        | Kind::HeadTooLarge
        | Kind::UriTooLong
        | Kind::BodyTooLarge
        | Kind::HeadTimeout
        | Kind::HelloTimeout
        | Kind::TunnelIdle
        | Kind::BodyTimeout
        | Kind::ClientGone
        | Kind::ClientStalled
        | Kind::Misdirected
        | Kind::NoRoute
        | Kind::ClientDenied
        | Kind::ClientLimit
        | Kind::NotAllowed
        | Kind::NotImplemented
        | Kind::NoFile
        | Kind::MethodNotAllowed
        | Kind::NotCached => "info",
        Kind::LoopDetected
        | Kind::RouteFull
        | Kind::NotAccepted
        | Kind::FileUnreadable
        | Kind::MemoryFull
        | Kind::QueueFull
        | Kind::QueueTimeout
        | Kind::NoSocket
        | Kind::RouteTimeout
        | Kind::Draining
        | Kind::Ended => "warn",
        Kind::NoBackend
        | Kind::Connect
        | Kind::ConnectTimeout
        | Kind::Unresolved
        | Kind::UpstreamTls
        | Kind::Reset
        | Kind::Refused
        | Kind::ResetInUpload
        | Kind::ResponseTimeout
        | Kind::BadResponse(_)
        | Kind::ConnectionOverloaded
        | Kind::ResponseTooLarge
        | Kind::WrongUpgrade
        | Kind::TunnelBroken
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
