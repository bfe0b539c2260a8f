//! What a call of gRPC says of its backend: by its head, where that is all there is, else by its trailers.

use super::verdict;
use crate::{
    exchange::{Exchange, grpc},
    health::passive::Verdict,
};

/// A call whose head has come and whose status has not.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenCall {
    /// The client chose when it is over.
    has_deadline: bool,
    /// Another node answers, which says what the origin said: that is not to be counted against it.
    is_of_peer: bool,
}

impl OpenCall {
    /// The call whose response head is there; `None` where it is none, or over with its head.
    pub(super) fn of(exchange: &Exchange, is_of_peer: bool) -> Option<Self> {
        let is_open = exchange.is_grpc()
            && exchange.response.status == 200
            && grpc::status(&exchange.response.fields).is_none();
        is_open.then(|| Self { has_deadline: has_deadline(exchange), is_of_peer })
    }

    /// What the code in its trailers says of the backend.
    pub(super) fn verdict(self, code: u32) -> Verdict {
        let status = as_http(code, self.has_deadline).filter(|_| !self.is_of_peer);
        verdict::of_status(status.unwrap_or(200)).0
    }
}

/// What a call that is over with its head says of its backend, as a status of HTTP.
pub(super) fn status_of_head(exchange: &Exchange) -> Option<u16> {
    let code = exchange.is_grpc().then(|| grpc::status(&exchange.response.fields)).flatten()?;
    as_http(code, has_deadline(exchange))
}

/// A code as a status of HTTP, where it says something of the backend. A deadline that the client chose says nothing.
fn as_http(code: u32, has_deadline: bool) -> Option<u16> {
    match code {
        grpc::UNAVAILABLE => Some(503),
        grpc::DEADLINE_EXCEEDED if !has_deadline => Some(504),
        _ => None,
    }
}

fn has_deadline(exchange: &Exchange) -> bool {
    grpc::timeout(&exchange.request.fields).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exchange::HttpVersion, h1::Method, health::passive::FailureKind};

    /// A call to which this is answered with status 200; `timeout` is the client's.
    fn call(timeout: &str, status: &str) -> Exchange {
        let mut exchange = Exchange { version: HttpVersion::Http2, ..Exchange::default() };
        exchange.request.method = Method::Post;
        exchange.request.fields.push("content-type", b"application/grpc");
        exchange.response.status = 200;
        if !timeout.is_empty() {
            exchange.request.fields.push("grpc-timeout", timeout.as_bytes());
        }
        if !status.is_empty() {
            exchange.response.fields.push("grpc-status", status.as_bytes());
        }
        exchange
    }

    #[test]
    fn head_and_trailers_say_the_same_of_a_backend() {
        let failed = |status| Verdict::Failure(FailureKind::Status(status));
        for (code, timeout, expected) in [
            (14, "", failed(503)),
            (14, "1S", failed(503)),
            (4, "", failed(504)),
            (4, "1S", Verdict::Success),
            (0, "", Verdict::Success),
            (13, "", Verdict::Success),
        ] {
            let in_trailers = OpenCall::of(&call(timeout, ""), false).unwrap().verdict(code);
            assert_eq!(in_trailers, expected, "{code} {timeout}");
            let head = call(timeout, &code.to_string());
            assert!(OpenCall::of(&head, false).is_none(), "it is over");
            assert_eq!(
                Verdict::of_status(status_of_head(&head).unwrap_or(200)),
                expected,
                "{code} {timeout}"
            );
            let of_peer = OpenCall::of(&call(timeout, ""), true).unwrap().verdict(code);
            assert_eq!(of_peer, Verdict::Success, "what a peer passes on");
        }
    }

    #[test]
    fn what_is_no_call_has_no_verdict_of_trailers() {
        let (mut failed, mut other, mut fetched) = (call("", ""), call("", ""), call("", ""));
        failed.response.status = 502;
        other.version = HttpVersion::default();
        fetched.request.method = Method::Get;
        for exchange in [failed, other, fetched] {
            assert!(OpenCall::of(&exchange, false).is_none(), "{:?}", exchange.request);
        }
    }
}
