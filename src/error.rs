//! What can go wrong with an exchange, and whose fault it is.
//!
//! [`Kind`] is a closed list. Each decision about all kinds is one match without a wildcard, in one place:
//!
//! | decision | place |
//! |---|---|
//! | whose fault | [`Kind::blame`] |
//! | the name in metrics and log | [`Kind::label`] |
//! | the sentence for people | `Display` of [`Kind`] |
//! | status, and Proxy-Status (RFC 9209) | `http::respond::error::status_of` |
//! | whether another attempt may follow | `upstream::retry::is_retryable` |
//! | what it says of the backend | `upstream::verdict::of_error` |
//! | level in the access log | `telemetry::access_line::level` |
//!
//! So a new kind does not compile before all of them are made.

use std::{error::Error, fmt};

/// The result of anything that serves an exchange.
pub type Result<T, E = ProxyError> = std::result::Result<T, E>;

/// An error of an exchange: one word on the stack, so that `Result`s on the request path stay small.
pub struct ProxyError(Box<Inner>);

struct Inner {
    kind: Kind,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ProxyError {
    /// An error of this kind with nothing more to say.
    pub fn new(kind: Kind) -> Self {
        Self(Box::new(Inner { kind, cause: None }))
    }

    /// An error of this kind, and what brought it about.
    pub fn because(kind: Kind, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Box::new(Inner { kind, cause: Some(cause.into()) }))
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
}

impl From<Kind> for ProxyError {
    fn from(kind: Kind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.cause {
            Some(cause) => {
                let cause = cause.to_string();
                // What rustls adds is for who writes a program.
                let cause = cause.split(": https://docs.rs/").next().unwrap_or_default();
                write!(f, "{}: {cause}", self.0.kind)
            }
            None => self.0.kind.fmt(f),
        }
    }
}

impl fmt::Debug for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyError({self})")
    }
}

impl Error for ProxyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client sent something wrong, too much, too slowly, or left.
    Client,
    /// A backend is away, too slow or broken.
    Upstream,
    /// Pointsman's own state or configuration.
    Proxy,
}

/// Everything that can end an exchange before its response is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request breaks the grammar or a rule against smuggling; the text says which.
    Malformed(&'static str),
    /// The request head is larger than `limits.header_bytes` or has more than `limits.headers` fields.
    HeadTooLarge,
    /// The request target is longer than `limits.uri_bytes`.
    UriTooLong,
    /// The request body is larger than `limits.body_bytes`.
    BodyTooLarge,
    /// The request head did not arrive within `timeouts.header`.
    HeadTimeout,
    /// The request body paused for longer than `timeouts.body`.
    BodyTimeout,
    /// The client closed or reset its connection or stream.
    ClientGone,
    /// The client took nothing of the response for longer than `timeouts.body`, or of what a tunnel has for it for as long as
    /// that may be silent.
    ClientStalled,
    /// The request names a host that this TLS connection is not for.
    Misdirected,
    /// The request has been through this very program before.
    LoopDetected,
    /// No route matches.
    NoRoute,
    /// The listener's `allow` and `deny` do not let in the client that a trusted proxy names.
    ClientDenied,
    /// The client that a trusted proxy names has `max_connections_per_address` requests under way already.
    ClientLimit,
    /// As many requests of the route are under way as may be (`max_in_flight`).
    RouteFull,
    /// The route does not allow this method of use, such as CONNECT or an unlisted upgrade.
    NotAllowed,
    /// An extended CONNECT (RFC 8441) for another protocol than WebSocket, or for a WebSocket where the route takes none.
    NotImplemented,
    /// The route serves files, and none is what the request asks for.
    NoFile,
    /// The route serves files, and is asked for something else than one of them.
    MethodNotAllowed,
    /// A file is there, and cannot be read, or not to its end.
    FileUnreadable,
    /// The client asked for what is cached only (`only-if-cached`), and it is not, or not as it asks.
    NotCached,
    /// A write cannot be made durable now, or earlier ones of its URI are not delivered yet (`write_policy = "back"`).
    NotAccepted,
    /// Every backend is down, ejected, draining or disabled.
    NoBackend,
    /// Every backend is at `max_connections` and the queue is full.
    QueueFull,
    /// Waited in the upstream's queue for longer than `queue.timeout`.
    QueueTimeout,
    /// There is no descriptor, local port or memory left for a connection to a backend.
    NoSocket,
    /// A connection to the backend was refused or could not be made.
    Connect,
    /// A connection to the backend was not made within `connect_timeout`.
    ConnectTimeout,
    /// The backend's host name has no address.
    Unresolved,
    /// The TLS handshake with the backend failed.
    UpstreamTls,
    /// The backend closed or reset the connection before a whole response head.
    Reset,
    /// The backend closed the connection while the client still sent its body, and was waited for.
    ResetInUpload,
    /// The backend said that it did not process the request (RFC 9113 §8.7: REFUSED_STREAM, or above the last stream of
    /// a GOAWAY), so that it may be repeated whatever its method.
    Refused,
    /// The backend sent no response head within `response_timeout`.
    ResponseTimeout,
    /// The backend takes nothing more over this connection, by `ENHANCE_YOUR_CALM` (RFC 9113 §7): what others have left
    /// unread on it may be too much.
    ConnectionOverloaded,
    /// The backend's response breaks the grammar of HTTP; the text says how.
    BadResponse(&'static str),
    /// The head or the trailers of the backend's response are larger than `limits` of the upstream allow.
    ResponseTooLarge,
    /// The backend switched to a protocol that was not asked for.
    WrongUpgrade,
    /// The backend's response body ended too early, or paused for too long.
    BodyBroken,
    /// The ClientHello did not come in time.
    HelloTimeout,
    /// Nothing went through a connection that is passed on for too long.
    TunnelIdle,
    /// The backend broke off a connection that is passed on.
    TunnelBroken,
    /// The exchange took longer than the route's `timeout`.
    RouteTimeout,
    /// What is under way takes all the memory that it may (`runtime.memory`).
    MemoryFull,
    /// Pointsman is stopping, and what was left was closed.
    Draining,
    /// An administrator ended the connection.
    Ended,
}

impl Kind {
    /// Whose fault it is.
    pub fn blame(self) -> Blame {
        match self {
            Self::Malformed(_)
            | Self::HeadTooLarge
            | Self::UriTooLong
            | Self::BodyTooLarge
            | Self::HeadTimeout
            | Self::HelloTimeout
            | Self::BodyTimeout
            | Self::ClientGone
            | Self::ClientStalled
            | Self::Misdirected
            | Self::NoRoute
            | Self::ClientDenied
            | Self::ClientLimit
            | Self::NotAllowed
            | Self::NotImplemented
            | Self::NoFile
            | Self::MethodNotAllowed
            | Self::NotCached => Blame::Client,
            Self::NoBackend
            | Self::Connect
            | Self::ConnectTimeout
            | Self::Unresolved
            | Self::UpstreamTls
            | Self::Reset
            | Self::Refused
            | Self::ResetInUpload
            | Self::ResponseTimeout
            | Self::BadResponse(_)
            | Self::ConnectionOverloaded
            | Self::ResponseTooLarge
            | Self::WrongUpgrade
            | Self::TunnelBroken
            | Self::BodyBroken => Blame::Upstream,
            Self::NotAccepted
            | Self::FileUnreadable
            | Self::RouteFull
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::NoSocket
            | Self::LoopDetected
            | Self::RouteTimeout
            | Self::TunnelIdle
            | Self::MemoryFull
            | Self::Draining
            | Self::Ended => Blame::Proxy,
        }
    }

    /// The name of this kind in metrics and log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::BodyTooLarge => "body_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::ClientGone => "client_gone",
            Self::ClientStalled => "client_stalled",
            Self::Misdirected => "misdirected",
            Self::LoopDetected => "loop_detected",
            Self::NoRoute => "no_route",
            Self::ClientDenied => "client_denied",
            Self::ClientLimit => "client_limit",
            Self::RouteFull => "route_full",
            Self::NotAllowed => "not_allowed",
            Self::NotImplemented => "not_implemented",
            Self::NoFile => "no_file",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::FileUnreadable => "file_unreadable",
            Self::NotCached => "not_cached",
            Self::NotAccepted => "not_accepted",
            Self::NoBackend => "no_backend",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::NoSocket => "no_socket",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Unresolved => "unresolved",
            Self::UpstreamTls => "upstream_tls",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::ResetInUpload => "reset_in_upload",
            Self::ResponseTimeout => "response_timeout",
            Self::BadResponse(_) => "bad_response",
            Self::ConnectionOverloaded => "connection_overloaded",
            Self::ResponseTooLarge => "response_too_large",
            Self::WrongUpgrade => "wrong_upgrade",
            Self::BodyBroken => "body_broken",
            Self::HelloTimeout => "hello_timeout",
            Self::TunnelIdle => "tunnel_idle",
            Self::TunnelBroken => "tunnel_broken",
            Self::RouteTimeout => "route_timeout",
            Self::MemoryFull => "memory_full",
            Self::Draining => "draining",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(what) | Self::BadResponse(what) => what,
            Self::HeadTooLarge => "the request head is too large",
            Self::ConnectionOverloaded => "the backend takes nothing more over this connection",
            Self::ResponseTooLarge => {
                "the head or the trailers of the response are too large for `limits` of the upstream"
            }
            Self::WrongUpgrade => "the backend switched to a protocol that was not requested",
            Self::UriTooLong => "the request target is too long",
            Self::BodyTooLarge => "the request body is too large",
            Self::HeadTimeout => "the request head came too slowly",
            Self::BodyTimeout => "the request body came too slowly",
            Self::ClientGone => "the client disconnected",
            Self::ClientStalled => "the client stopped reading",
            Self::Misdirected => "this TLS connection is not for that request",
            Self::LoopDetected => "the request loops: a backend leads back to this proxy",
            Self::NoRoute => "no route matches",
            Self::ClientDenied => "this client is not allowed",
            Self::ClientLimit => "this client has too many requests in flight",
            Self::RouteFull => "this route has too many requests in flight",
            Self::NotAllowed => "the route does not allow this",
            Self::NotImplemented => "this proxy cannot open a connection of this protocol",
            Self::NoFile => "there is no such file",
            Self::MethodNotAllowed => "files can only be read, with GET or HEAD",
            Self::FileUnreadable => "the file cannot be read",
            Self::NotCached => "it is not cached, and the request accepts only cached responses",
            Self::NotAccepted => "the write cannot be accepted now, and nothing was changed",
            Self::NoBackend => "no backend is available",
            Self::QueueFull => "every backend is at its limit and the queue is full",
            Self::QueueTimeout => "no backend became free in time",
            Self::NoSocket => "no ports, descriptors or memory left to connect to the backend",
            Self::Connect => "could not connect to the backend",
            Self::ConnectTimeout => "connecting to the backend took too long",
            Self::Unresolved => "the backend's name has no address",
            Self::UpstreamTls => "the TLS handshake with the backend failed",
            Self::Reset => "the backend closed the connection before it answered",
            Self::Refused => "the backend did not process the request",
            Self::ResetInUpload => "the backend closed the connection before it had the whole request",
            Self::ResponseTimeout => "the backend did not answer in time",
            Self::BodyBroken => "the backend's response ended too early",
            Self::HelloTimeout => "the ClientHello came too slowly",
            Self::TunnelIdle => "nothing went through for too long",
            Self::TunnelBroken => "the backend broke the connection",
            Self::RouteTimeout => "the exchange took longer than its route allows",
            Self::MemoryFull => "the proxy has no memory left for another request",
            Self::Draining => "the proxy is stopping",
            Self::Ended => "an administrator closed the connection",
        })
    }
}

/// Why something that is configured well could not be made ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl BuildError {
    /// An error with a hint.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.hint)
    }
}

impl Error for BuildError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_for_people_who_run_it() {
        let cause = "closed without close_notify: https://docs.rs/rustls/latest/manual";
        let error = ProxyError::because(Kind::BodyBroken, cause);
        assert_eq!(error.to_string(), "the backend's response ended too early: closed without close_notify");
        let error = ProxyError::because(Kind::Connect, "refused: https://a.test");
        assert_eq!(error.to_string(), "could not connect to the backend: refused: https://a.test");
    }
}
