//! Where a request goes, and how.

use std::{rc::Rc, time::Duration};

use super::respond::{Patience, Reply};
use crate::{
    exchange::{Exchange, grpc},
    fields::Known,
    h1::Framing,
    moment::Moment,
    runtime::{Listener, Route, WorkerSnapshot},
    upstream::WorkerUpstream,
};

/// Where a request goes: what it came over, the route that took it, and the upstream.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteContext<'a> {
    /// The configuration by which it goes.
    pub(super) snapshot: &'a WorkerSnapshot,
    /// What it came over.
    pub(super) listener: &'a Listener,
    /// The route that took it.
    pub(super) route: &'a Route,
    /// The upstream.
    pub(super) worker_upstream: &'a Rc<WorkerUpstream>,
}

/// How a request goes upstream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestPlan {
    /// How its body is framed there.
    pub(crate) framing: Framing,
    /// Whether there is one.
    pub(crate) has_body: bool,
    /// Whether it asks for a tunnel.
    pub(crate) is_upgrade: bool,
}

/// Most bytes of a request body on a route; 0 = any.
pub(crate) fn body_limit(listener: &Listener, route: &Route) -> u64 {
    route.body_bytes.unwrap_or(listener.conf.limits.body_bytes.0)
}

impl RequestPlan {
    /// Of a request without a body that asks for no tunnel.
    pub(super) const WITHOUT_BODY: Self = Self { framing: Framing::None, has_body: false, is_upgrade: false };
}

impl<'a> RouteContext<'a> {
    /// A response of the upstream, of which nothing else is to be said.
    pub(super) fn reply(&self) -> Reply<'a> {
        let backends = &self.worker_upstream.upstream.backends;
        Reply { backends, ..Reply::on(self.listener, self.route) }
    }

    /// The name of the backend that was asked last.
    pub(super) fn backend(&self, exchange: &Exchange) -> Option<&'a str> {
        let backends = &self.worker_upstream.upstream.backends;
        exchange.facts.backend.and_then(|index| backends.get(index)).map(|backend| &*backend.name)
    }

    /// When the whole exchange must be over: as the route says, or the client of gRPC, whichever is sooner.
    pub(super) fn end(&self, exchange: &Exchange) -> Option<Moment> {
        let is_grpc = exchange.is_grpc();
        if self.route.timeout.is_zero() && !is_grpc {
            return None;
        }
        let timeout = Some(self.route.timeout).filter(|timeout| !timeout.is_zero());
        let asked = is_grpc.then(|| grpc::timeout(&exchange.request.fields)).flatten();
        let shorter = timeout.into_iter().chain(asked).min()?;
        Some(exchange.facts.started.plus(shorter))
    }

    /// Most bytes of a request body; 0 = any.
    pub(super) fn body_limit(&self) -> u64 {
        body_limit(self.listener, self.route)
    }

    /// How long the client may pause in its body.
    pub(super) fn request_body_timeout(&self) -> Duration {
        self.route.timeouts.body.unwrap_or(self.listener.conf.timeouts.body)
    }

    /// How long a backend may pause in a response body.
    pub(super) fn response_body_timeout(&self) -> Duration {
        let conf = &self.worker_upstream.upstream.conf;
        self.route.timeouts.response_body.unwrap_or(conf.body_timeout)
    }

    /// How long the response may stall whose head is in `exchange`. A stream of events lasts for as long as it flows.
    pub(super) fn patience(&self, exchange: &Exchange) -> Patience {
        let client = self.listener.conf.timeouts.idle;
        let (min_rate, holds_place) = (self.route.min_rate, self.route.min_rate_of_place() > 0);
        if is_event_stream(exchange) {
            let backend = self.route.stream_idle;
            return Patience { backend, client: Some(client), min_rate, holds_place, end: None };
        }
        Patience {
            backend: self.response_body_timeout(),
            client: Some(client),
            min_rate,
            holds_place,
            end: self.end(exchange),
        }
    }
}

/// Whether the response is a stream of events (WHATWG HTML §9.2).
pub(super) fn is_event_stream(exchange: &Exchange) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let media = exchange.response.fields.known(Known::ContentType);
    media.and_then(|media| media.split_at_checked(EVENTS.len())).is_some_and(|(media, rest)| {
        media.eq_ignore_ascii_case(EVENTS) && rest.first().is_none_or(|byte| b"; ".contains(byte))
    })
}
