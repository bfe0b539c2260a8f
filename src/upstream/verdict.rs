//! What an attempt's end says of its backend, for health and for the metrics.

use crate::{
    error::Kind,
    health::passive::{FailureKind, Verdict},
    telemetry::metrics::Outcome,
};

/// Of a response head.
pub fn of_status(status: u16) -> (Verdict, Outcome) {
    (Verdict::of_status(status), Outcome::of_status(status))
}

/// Of an error. Only what the backend did counts against it.
pub fn of_error(kind: Kind) -> (Verdict, Outcome) {
    match kind {
        // Nobody asked the backend.
        Kind::NoSocket => (Verdict::Neutral, Outcome::NoSocket),
        Kind::Connect | Kind::Unresolved | Kind::UpstreamTls => {
            (Verdict::Failure(FailureKind::Connect), Outcome::Connect)
        }
        Kind::ConnectTimeout | Kind::ResponseTimeout => {
            (Verdict::Failure(FailureKind::Timeout), Outcome::Timeout)
        }
        // It takes no more, which is its right; or it waited for the client, as we did.
        // Or it is this connection alone, on which slow clients of others have left too much unread.
        Kind::Refused | Kind::ResetInUpload | Kind::ConnectionOverloaded => {
            (Verdict::Neutral, Outcome::Reset)
        }
        Kind::Reset => (Verdict::Failure(FailureKind::Reset), Outcome::Reset),
        Kind::BodyBroken => (Verdict::Failure(FailureKind::Reset), Outcome::Broken),
        Kind::BadResponse(_) => (Verdict::Failure(FailureKind::Malformed), Outcome::Broken),
        // It answered, and it may be the client that has it say so much, or what is not taken: strangers could have backends
        // ejected that way.
        Kind::ResponseTooLarge | Kind::WrongUpgrade => (Verdict::Neutral, Outcome::Broken),
        Kind::Malformed(_)
        | Kind::HeadTooLarge
        | Kind::UriTooLong
        | Kind::BodyTooLarge
        | Kind::HeadTimeout
        | Kind::HelloTimeout
        | Kind::BodyTimeout
        | Kind::ClientGone
        | Kind::ClientStalled
        | Kind::Misdirected
        | Kind::LoopDetected
        | Kind::NoRoute
        | Kind::ClientDenied
        | Kind::ClientLimit
        | Kind::NotImplemented
        | Kind::NoFile
        | Kind::MethodNotAllowed
        | Kind::NotAllowed => (Verdict::Neutral, Outcome::ClientGone),
        // Who ends a connection that is passed on, and how, is between its two ends.
        Kind::TunnelIdle | Kind::TunnelBroken => (Verdict::Neutral, Outcome::Tunnel),
        // A route's own limit says nothing of the backend: it may be the route that is too strict.
        Kind::RouteTimeout => (Verdict::Neutral, Outcome::Timeout),
        Kind::NotCached
        | Kind::FileUnreadable
        | Kind::RouteFull
        | Kind::NotAccepted
        | Kind::MemoryFull
        | Kind::NoBackend
        | Kind::QueueFull
        | Kind::QueueTimeout
        | Kind::Draining
        | Kind::Ended => (Verdict::Neutral, Outcome::ClientGone),
    }
}

/// Whether it was a failure, for the balancer; `None` when it says nothing of the backend.
pub fn is_failure(verdict: Verdict) -> Option<bool> {
    match verdict {
        Verdict::Success => Some(false),
        Verdict::Failure(_) => Some(true),
        Verdict::Neutral => None,
    }
}
