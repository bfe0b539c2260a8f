//! Asking a peer for something, in the place of a client of this node.
//!
//! Previous stop: `http::cached` or `http::relay`, which know whom to ask. The peer is asked over the upstream of the peers
//! ([`crate::config::peers`]), by its pools and with its passive health, and acts as this node would (`http::for_peer`).

use std::sync::Arc;

use super::{
    answer::expects_continue,
    context::{RequestPlan, RouteContext},
    routing,
};
use crate::{
    cluster::peers::{
        mark::{self, Mark, Purpose, Seen},
        ring::{Node, Ring},
    },
    error::{Kind, ProxyError},
    exchange::{Downstream, Exchange},
    moment::Moment,
    net::LeastRate,
    runtime::{Action, WorkerSnapshot},
    upstream::{
        UpstreamResponse,
        acquire::Acquire,
        forward::forward,
        forward_request::{ClientPart, FirstSign, ForwardRequest},
        request_head::UpstreamHead,
        response::BodyLength,
        upload::Upload,
    },
};

/// A peer that may be asked.
pub(super) struct Question {
    /// What it is called.
    pub(super) node: Arc<str>,
    /// What this node is called.
    own: Arc<str>,
    /// Which backend it is of the upstream of the peers.
    index: usize,
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// The peer says that it does not answer.
    Declined,
    /// It could not be asked, or did not answer.
    Failed(ProxyError),
}

impl Question {
    /// A question to this node; `None` where it is left alone for now, since it failed.
    pub(super) fn to(node: &Node, ring: &Ring, snapshot: &WorkerSnapshot, now: Moment) -> Option<Self> {
        let peers = snapshot.shared.upstreams.get(snapshot.shared.peers?)?;
        let address = node.address.to_string();
        let (index, backend) = peers.backends.iter().enumerate().find(|(_, it)| *it.name == *address)?;
        let (node, own) = (node.name.clone(), ring.own().clone());
        backend.is_available(now).then_some(Self { node, own, index })
    }

    /// Asks. The head of the answer is in `exchange.response`; what is noted of attempts is of backends of the route, and
    /// stays as it was. What goes on is `upload`, which comes back where there is no answer at all.
    pub(super) async fn ask<D: Downstream>(
        &self,
        context: &RouteContext<'_>,
        (purpose, plan): (Purpose, RequestPlan),
        patience: FirstSign,
        upload: &mut Upload,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<UpstreamResponse, NoAnswer> {
        let facts = &mut exchange.facts;
        let before = (facts.attempts, facts.backend, facts.recording.take());
        let answered = self.forward(context, (purpose, plan), patience, upload, exchange, client).await;
        (exchange.facts.attempts, exchange.facts.backend, exchange.facts.recording) = before;
        let response = answered.map_err(NoAnswer::Failed)?;
        let fields = &mut exchange.response.fields;
        if fields.get(mark::FIELD) != Some(mark::ANSWER) {
            give_back(response);
            return Err(NoAnswer::Declined);
        }
        fields.remove(mark::FIELD);
        Ok(response)
    }

    async fn forward<D: Downstream>(
        &self,
        context: &RouteContext<'_>,
        (purpose, plan): (Purpose, RequestPlan),
        patience: FirstSign,
        upload: &mut Upload,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<UpstreamResponse, ProxyError> {
        let snapshot = context.snapshot;
        let peers = snapshot.shared.peers.and_then(|index| snapshot.upstream(index));
        let worker_upstream = peers.ok_or(Kind::NoBackend)?;
        let mark = self.mark(purpose, context, exchange).value();
        let RequestPlan { framing, has_body, .. } = plan;
        let head = UpstreamHead {
            framing,
            host: None,
            backend_host: None,
            default_host: "",
            target: None,
            is_upgrade: false,
            websocket: None,
            expects_continue: has_body && upload.whole().is_none() && expects_continue(exchange),
            forwarded: false,
            settled: context.route.settled_forwarding,
            mark: Some(&mark),
        };
        let mut asking = ForwardRequest {
            target: Acquire {
                worker_upstream,
                key: 0,
                sticky: Some(self.index),
                end: context.end(exchange),
                connect_timeout: None,
            },
            head,
            // Sent once: what was begun is not repeated.
            upload: std::mem::take(upload),
            body_timeout: context.request_body_timeout(),
            response_timeout: patience.first,
            rate: LeastRate::new(context.route.min_rate),
            tried: Vec::new(),
            is_interim_sent: false,
            withheld: Some(&context.route.withheld_of_responses),
            interim_bytes: 0,
            client_part: ClientPart::default(),
            patience: Some(patience),
        };
        let answered = forward(&mut asking, exchange, client).await;
        *upload = asking.upload;
        answered
    }

    fn mark(&self, purpose: Purpose, context: &RouteContext<'_>, exchange: &Exchange) -> Mark {
        let peer = &exchange.facts.peer;
        Mark {
            purpose,
            address: peer.address,
            port: peer.port,
            is_trusted: exchange.facts.is_trusted(),
            is_encrypted: peer.tls.is_some(),
            listener: context.listener.conf.name.clone(),
            node: self.own.to_string(),
            // Nodes of older versions do not understand it, and need not where nobody asks.
            seen: context.listener.table.looks_at_connections().then(|| Seen {
                is_http2: exchange.client_version().has_streams(),
                port: peer.reached_port(),
                server_name: peer.tls.as_ref().and_then(|tls| tls.server_name.as_deref().map(str::to_owned)),
            }),
            route: named_route(context, exchange),
            upstream: named_upstream(purpose, context, exchange),
        }
    }
}

/// The name of the upstream, where the route may lead to another one, or does: of a copy, or by a filter.
fn named_upstream(purpose: Purpose, context: &RouteContext<'_>, exchange: &Exchange) -> Option<String> {
    let is_own = exchange.facts.upstream.is_some_and(|index| context.route.action == Action::Upstream(index));
    // What a cache has is of its route, whichever of several upstreams was asked for it.
    let is_sure = is_own || purpose == Purpose::Cache;
    (!is_sure).then(|| context.worker_upstream.upstream.conf.name.clone())
}

/// The name of the route, where it is not sure that a peer finds that by the request as it is now: the route may have
/// removed what it is chosen by. Nodes of older versions do not understand it, and decline.
fn named_route(context: &RouteContext<'_>, exchange: &Exchange) -> Option<String> {
    let RouteContext { listener, route, .. } = context;
    let is_found = || routing::find(listener, exchange).ok() == exchange.facts.route;
    let is_sure = !listener.table.looks_beyond_urls() && is_found();
    (!is_sure).then(|| route.name.to_string())
}

/// Keeps the connection where nothing is to come of an answer.
pub(super) fn give_back(response: UpstreamResponse) {
    if response.length() == BodyLength::Known(0) {
        response.release();
    }
}
