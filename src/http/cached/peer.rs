//! Asking the node that owns a key before the origin.
//!
//! Previous stop: [`super::fetch`], for a request that others may wait for. The peer is asked over the upstream of the peers
//! ([`crate::config::peers`]), by its pools and with its passive health, and acts as this node would (`http::for_peer`). It
//! answers in the origin's place, or within a moment says that it is about to; else the origin is asked.

use std::sync::Arc;

use super::origin::{OriginReply, OriginRequest, judge};
use crate::{
    cache::{
        date::Date,
        freshness::{Times, age_value},
        key::Key,
        peer_counts::PeerResult,
        store::Cache,
    },
    cluster::peers::mark::{self, Mark, Purpose},
    error::Kind,
    exchange::{Exchange, PeerHop},
    h1::Framing,
    http::{active::ActiveExchange, cache_key::now, detached::Detached, proxy::Answer},
    moment::Moment,
    net::LeastRate,
    runtime::{Listener, WorkerSnapshot},
    telemetry::clock,
    upstream::{
        acquire::Acquire,
        forward::forward,
        forward_request::{FirstSign, ForwardRequest},
        request_head::UpstreamHead,
        response::BodyLength,
        upload::Upload,
    },
};

/// The node that owns a key.
pub(super) struct Owner {
    /// What it is called.
    node: Arc<str>,
    /// What this node is called.
    own: Arc<str>,
    /// Which backend it is of the upstream of the peers.
    index: usize,
}

/// The peer to ask for a key; `None` where this node owns it or is asked itself, and where the cache does not ask.
pub(super) fn owner(cache: &Cache, key: &Key, exchange: &ActiveExchange) -> Option<Owner> {
    if !cache.conf.peers || exchange.hop.is_some() {
        return None;
    }
    let snapshot = exchange.snapshot();
    let peers = snapshot.shared.upstreams.get(snapshot.shared.peers?)?;
    let (ring, now) = (exchange.worker().shared.registry.members.ring(), Moment::now());
    let node = ring.owner(key.half_hash(), now)?;
    let address = node.address.to_string();
    let (index, backend) = peers.backends.iter().enumerate().find(|(_, it)| *it.name == *address)?;
    if !backend.is_available(now) {
        cache.store.peers.add(PeerResult::Avoided);
        return None;
    }
    Some(Owner { node: node.name.clone(), own: ring.own().clone(), index })
}

impl Owner {
    /// Asks the owner; `None` where the origin is to be asked. The request is one that [`super::origin::prepare`] made.
    pub(super) async fn ask(
        &self,
        request: &OriginRequest<'_>,
        (key, is_conditional): (&Key, bool),
        snapshot: &WorkerSnapshot,
        exchange: &mut Exchange,
        client: &mut Detached<'_>,
    ) -> Option<OriginReply> {
        let asked = clock::unix_millis();
        // What is noted of attempts is about the backends of the route.
        let facts = &mut exchange.facts;
        let before = (facts.attempts, facts.backend, facts.recording.take());
        let answered = self.forward(request, snapshot, exchange, client).await;
        (exchange.facts.attempts, exchange.facts.backend, exchange.facts.recording) = before;
        let answered = answered.and_then(|answer| {
            let received = now();
            let result = self.result(request.cache, key, asked, exchange);
            match result {
                PeerResult::Hit | PeerResult::Fetched => Ok((answer, received, result)),
                _ => {
                    give_back(answer);
                    Err(result)
                }
            }
        });
        let (answer, received, result) = match answered {
            Ok(answered) => answered,
            Err(result) => {
                request.cache.store.peers.add(result);
                return None;
            }
        };
        request.cache.store.peers.add(result);
        exchange.hop = Some(PeerHop::By(self.node.clone()));
        let times = Times { requested: Date(asked / 1000), received };
        let reply = judge(request, answer, is_conditional, exchange, times);
        if reply.is_none() {
            exchange.hop = None;
        }
        reply
    }

    async fn forward(
        &self,
        request: &OriginRequest<'_>,
        snapshot: &WorkerSnapshot,
        exchange: &mut Exchange,
        client: &mut Detached<'_>,
    ) -> Result<Answer, PeerResult> {
        let context = request.context;
        let peers = snapshot.shared.peers.and_then(|index| snapshot.upstream(index));
        let worker_upstream = peers.ok_or(PeerResult::Failed)?;
        let mark = self.mark(context.listener, exchange).value();
        let head = UpstreamHead {
            framing: Framing::None,
            host: None,
            default_host: "",
            target: None,
            is_upgrade: false,
            expects_continue: false,
            forwarded: false,
            mark: Some(&mark),
        };
        let first = worker_upstream.upstream.conf.connect_timeout;
        let end = context.end(exchange);
        let mut asking = ForwardRequest {
            target: Acquire { worker_upstream, key: 0, sticky: Some(self.index), end },
            head,
            upload: Upload::new(false, false, 0, 0),
            body_timeout: first,
            rate: LeastRate::new(0),
            tried: Vec::new(),
            is_interim_sent: false,
            interim_bytes: 0,
            patience: Some(FirstSign { first, then: request.cache.conf.collapse.timeout }),
        };
        let response = forward(&mut asking, exchange, client).await;
        response.map(|response| Answer { response, affinity: None }).map_err(|error| {
            tracing::debug!(peer = %self.node, "the origin is asked, since the peer does not answer: {error}");
            match error.kind() {
                Kind::ConnectTimeout | Kind::ResponseTimeout => PeerResult::Slow,
                _ => PeerResult::Failed,
            }
        })
    }

    fn mark(&self, listener: &Listener, exchange: &Exchange) -> Mark {
        let peer = &exchange.facts.peer;
        Mark {
            purpose: Purpose::Cache,
            address: peer.address,
            port: peer.port,
            is_trusted: peer.is_trusted,
            is_encrypted: peer.tls.is_some(),
            listener: listener.conf.name.clone(),
            node: self.own.to_string(),
        }
    }

    /// What the answer in `exchange.response` is, to a question of that time in milliseconds of the wall clock.
    fn result(&self, cache: &Cache, key: &Key, asked: u64, exchange: &mut Exchange) -> PeerResult {
        let fields = &mut exchange.response.fields;
        if fields.get(mark::FIELD) != Some(mark::ANSWER) {
            return PeerResult::Declined;
        }
        fields.remove(mark::FIELD);
        // A purge reaches nodes one after the other: what the peer has may be from before one that was made here already.
        // Ages are whole seconds, rounded down.
        let then = asked.saturating_sub(age_value(fields).saturating_add(1).saturating_mul(1000));
        if cache.is_outdated(key, fields, then) {
            return PeerResult::Outdated;
        }
        let said = fields.all("cache-status").last().unwrap_or_default();
        let is_hit = said.split(|byte| *byte == b';').any(|parameter| parameter.trim_ascii() == b"hit");
        if is_hit { PeerResult::Hit } else { PeerResult::Fetched }
    }
}

/// Keeps the connection where nothing is to come of the answer.
fn give_back(answer: Answer) {
    if answer.response.length() == BodyLength::Known(0) {
        answer.response.release();
    }
}
