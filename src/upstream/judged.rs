//! What balancer, health and metrics are told of an attempt, as far as it has come.
//!
//! Previous stop: `upstream::forward`, when the response head is there or the attempt has failed. What the body says is
//! told by `upstream::response`.

use std::time::Duration;

use super::{
    Permit,
    forward_request::{ClientPart, ForwardRequest},
    grpc_call::{self, OpenCall},
    verdict,
};
use crate::{
    balance,
    error::Kind,
    exchange::Exchange,
    health::passive::{Said, Verdict},
    moment::Moment,
};

/// What was said of the backend to passive health, when its response head was there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Judged {
    /// That it succeeded: what is taken back where the body breaks off.
    ByHead(Said),
    /// Nothing yet: it is a call of gRPC, which is judged by its trailers.
    ByTrailers(OpenCall),
    /// All that there is to say.
    Already,
}

impl ForwardRequest<'_> {
    /// Tells balancer, health and metrics how an attempt went that has come to this status, or failed.
    pub(super) fn observe(
        &self,
        permit: &Permit,
        end: Result<u16, Kind>,
        exchange: &Exchange,
        (elapsed, now): (Duration, Moment),
    ) -> Judged {
        let worker_upstream = self.target.worker_upstream;
        let index = permit.index();
        let (verdict, outcome) = match end {
            // A peer says what the origin said, or what is in its way, which is not to be counted against it.
            Ok(_) if self.head.mark.is_some() => verdict::of_status(200),
            Ok(status) => verdict::of_status(grpc_call::status_of_head(exchange).unwrap_or(status)),
            Err(kind) => verdict::of_error(kind),
        };
        permit.set_outcome(outcome);
        if let Some(series) = worker_upstream.series.get(index) {
            series.response.record(elapsed);
        }
        // Whoever sends a body slowly must not make a backend look slow. One that answers before it has all of it says
        // nothing of how long it takes.
        let took = match self.client_part {
            ClientPart::None => Some(elapsed),
            ClientPart::Came(at) => Some(elapsed.min(now.since(at))),
            ClientPart::Awaited => None,
        };
        if let Some(failed) = verdict::is_failure(verdict)
            && let Some(elapsed) = took.or(failed.then_some(Duration::ZERO))
        {
            worker_upstream.with_balancer(|balancer| {
                balancer.on_done(index, &balance::Outcome { elapsed, failed }, now);
            });
        }
        if end.is_ok()
            && let Some(call) = OpenCall::of(exchange, self.head.mark.is_some())
        {
            return Judged::ByTrailers(call);
        }
        if verdict == Verdict::Success {
            return worker_upstream.say_success(index, now).map_or(Judged::Already, Judged::ByHead);
        }
        worker_upstream.record_health(index, verdict, now);
        Judged::Already
    }
}
