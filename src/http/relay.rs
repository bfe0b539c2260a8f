//! A request to an upstream to which this node has no way, sent through a peer that has one (`relay` of the upstream).
//!
//! Previous stop: `http::proxy`, where no backend could be connected to. Next stop: the peer, over one hop; what comes is
//! delivered as a backend's.

use super::{
    answer::Answer,
    context::{RequestPlan, RouteContext},
    peer_question::{NoAnswer, Question},
};
use crate::{
    account::{Held, Owner},
    cluster::peers::mark::Purpose,
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange, PeerHop},
    h1::Framing,
    moment::Moment,
    upstream::{forward_request::FirstSign, upload::Upload},
};

/// Peers that are asked for one request, one after the other.
const MOST: usize = 2;

/// Whether a request that failed so may go through a peer, where nothing of its body went to a backend.
pub(super) fn is_for_relay(error: &ProxyError, exchange: &Exchange) -> bool {
    // One hop, whoever asked.
    exchange.hop.is_none()
        && matches!(
            error.kind(),
            Kind::NoBackend | Kind::Connect | Kind::ConnectTimeout | Kind::Unresolved | Kind::UpstreamTls
        )
}

/// Sends a request through a peer that has a way, and gives its answer; `error` where there is none. Of its body nothing
/// went on.
pub(super) async fn relay<D: Downstream>(
    context: &RouteContext<'_>,
    (plan, upload): (RequestPlan, Upload),
    error: ProxyError,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<Answer> {
    let worker_upstream = context.worker_upstream;
    let conf = &worker_upstream.upstream.conf;
    let (ring, now) = (context.snapshot.shared.members.ring(), Moment::now());
    let mut nodes: Vec<_> = ring.with_way_to(&conf.name, now).collect();
    fastrand::shuffle(&mut nodes);
    let questions = nodes.iter().filter_map(|node| Question::to(node, &ring, context.snapshot, now));
    let within = context.route.timeouts.response.unwrap_or(conf.response_timeout);
    let patience = FirstSign { first: within, then: within };
    for question in questions.take(MOST) {
        let mut sent = match upload.whole() {
            // It holds its memory until all have been asked.
            Some((body, trailers)) => {
                let trailers = trailers.cloned().map(Box::new);
                Upload::of_whole((body.clone(), trailers), Held::new(Owner::Replays, 0))
            }
            None => Upload::new(plan.has_body, plan.framing == Framing::Chunked, upload.limit(), 0),
        };
        sent.withhold(&context.route.withheld);
        let asked =
            question.ask(context, (Purpose::Relay, plan), patience, &mut sent, exchange, client).await;
        let is_begun = match (&asked, upload.whole()) {
            // How much of it went on is not known of who has answered.
            (Err(NoAnswer::Declined), Some((body, trailers))) => !body.is_empty() || trailers.is_some(),
            (_, Some(_)) => sent.is_begun(),
            (_, None) => exchange.facts.bytes_in > 0,
        };
        match asked {
            Ok(response) => {
                worker_upstream.worker.relayed.add(1);
                exchange.hop = Some(PeerHop::Through(question.node));
                return Ok(Answer { response, affinity: None });
            }
            // What was begun is not repeated.
            Err(NoAnswer::Failed(error)) if is_begun || is_over(&error, exchange) => {
                worker_upstream.worker.relays_failed.add(1);
                return Err(error);
            }
            Err(NoAnswer::Failed(why)) => {
                tracing::debug!(peer = %question.node, "the peer does not relay: {why}");
            }
            Err(NoAnswer::Declined) if is_begun || may_be_done(exchange) => break,
            Err(NoAnswer::Declined) => {}
        }
    }
    worker_upstream.worker.relays_failed.add(1);
    Err(error)
}

/// Whether a peer that declined so may have passed on what may not be done twice: its backend did not answer, or broke off.
fn may_be_done(exchange: &Exchange) -> bool {
    matches!(exchange.response.status, 502 | 504) && !exchange.request.method.is_idempotent()
}

/// Whether a failure may not be followed by another try: the client left, time is up, or the peer may have passed on what may
/// not be done twice.
fn is_over(error: &ProxyError, exchange: &Exchange) -> bool {
    match error.kind() {
        Kind::Connect | Kind::ConnectTimeout | Kind::NoBackend | Kind::UpstreamTls | Kind::Unresolved => {
            false
        }
        Kind::Reset | Kind::Refused | Kind::ConnectionOverloaded => !exchange.request.method.is_idempotent(),
        _ => true,
    }
}
