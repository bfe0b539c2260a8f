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
    cluster::peers::mark::Purpose,
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange, PeerHop},
    moment::Moment,
    upstream::forward_request::FirstSign,
};

/// Peers that are asked for one request, one after the other.
const MOST: usize = 2;

/// Whether a request that failed so may go through a peer: nothing of it went to a backend.
pub(super) fn is_for_relay(error: &ProxyError, exchange: &Exchange) -> bool {
    // One hop, whoever asked.
    if exchange.hop.is_some() || exchange.facts.bytes_in > 0 {
        return false;
    }
    matches!(
        error.kind(),
        Kind::NoBackend | Kind::Connect | Kind::ConnectTimeout | Kind::Unresolved | Kind::UpstreamTls
    )
}

/// Sends a request through a peer that has a way, and gives its answer; `error` where there is none.
pub(super) async fn relay<D: Downstream>(
    context: &RouteContext<'_>,
    plan: RequestPlan,
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
        let asked = question.ask(context, (Purpose::Relay, plan), patience, exchange, client).await;
        match asked {
            Ok(response) => {
                worker_upstream.worker.relayed.add(1);
                exchange.hop = Some(PeerHop::Through(question.node));
                return Ok(Answer { response, affinity: None });
            }
            // What was begun is not repeated.
            Err(NoAnswer::Failed(error)) if exchange.facts.bytes_in > 0 || is_over(&error, exchange) => {
                worker_upstream.worker.relays_failed.add(1);
                return Err(error);
            }
            Err(NoAnswer::Failed(_) | NoAnswer::Declined) if exchange.facts.bytes_in > 0 => break,
            Err(NoAnswer::Failed(why)) => {
                tracing::debug!(peer = %question.node, "the peer does not relay: {why}");
            }
            Err(NoAnswer::Declined) => {}
        }
    }
    worker_upstream.worker.relays_failed.add(1);
    Err(error)
}

/// Whether a failure may not be followed by another try: the client left, time is up, or the peer may have passed on what may
/// not be done twice.
fn is_over(error: &ProxyError, exchange: &Exchange) -> bool {
    match error.kind() {
        Kind::Connect | Kind::ConnectTimeout | Kind::NoBackend | Kind::UpstreamTls | Kind::Unresolved => {
            false
        }
        Kind::Reset | Kind::Refused => !exchange.request.method.is_idempotent(),
        _ => true,
    }
}
