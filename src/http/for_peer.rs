//! A request that another node asks for, in the place of a client of its own.
//!
//! Previous stop: `http::peers`, on the listener of `[cluster.peers]`. It is served as if it had come over the listener that
//! it came over there, from the client that it came from. What the asking node has done already is not done again: its limits
//! on clients, the edits of the request, and all that a response gets on its way to a client. Next stop: `http::cached`, or
//! `http::proxy` of what is relayed; neither asks a third node.

use std::{num::NonZeroU16, rc::Rc, sync::Arc};

use super::{
    active::ActiveExchange,
    cached, client_address,
    context::{RequestPlan, RouteContext},
    normalize, proxy, routing, trace,
};
use crate::{
    cluster::peers::mark::{Mark, Purpose},
    error::{Kind, Result},
    exchange::{Downstream, Exchange, HttpVersion, Peer, PeerHop, SeenByPeer, Terms, TlsFacts, node},
    fields::list,
    h1::{Framing, Method},
};

/// Serves what a peer asks for, which says so by `mark`. An error has the peer ask the origin itself.
pub(super) async fn serve<D: Downstream>(
    mark: &[u8],
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    let snapshot = exchange.snapshot().clone();
    let own = exchange.worker().shared.registry.members.ring().own().clone();
    let mark = Mark::read(mark);
    let node: Arc<str> = mark.as_ref().map_or("", |mark| &mark.node).into();
    exchange.hop = Some(PeerHop::For { node, own });
    let mark = mark.ok_or(Kind::Malformed("a peer's description of its request is invalid"))?;
    check_loop(exchange)?;
    let listeners = &snapshot.shared.listeners;
    let listener = listeners.iter().find(|it| it.conf.name == mark.listener && it.conf.protocol.is_http());
    let listener = listener.filter(|it| !it.hears_peers).ok_or(Kind::NoRoute)?;
    if mark.seen.is_none() && listener.table.looks_at_connections() {
        // Another route might take it here: the asking node's configuration or program is another.
        return Err(Kind::NoRoute.into());
    }
    exchange.stand_for(listener.slot);
    exchange.facts.peer = Rc::new(as_seen(&mark, listener.terms.clone()));
    exchange.facts.has_other_trust = false;
    let found = client_address::find(listener, exchange);
    trace::start(exchange, &snapshot.shared.config.trace);
    found?;
    let framing = normalize::normalize_for_peer(exchange, &listener.conf.paths)?;
    let index = match &mark.route {
        // Its fields are edited: what the route looked at may not be there any more.
        Some(name) => {
            let found = routing::find_again(listener, &snapshot.shared.routes, exchange, name);
            found.ok_or(Kind::NoRoute)?
        }
        None => routing::find(listener, exchange)?,
    };
    exchange.facts.route = Some(index);
    let route = snapshot.shared.routes.get(index).ok_or(Kind::NoRoute)?;
    let upstream = match &mark.upstream {
        Some(name) => snapshot.shared.upstreams.iter().position(|it| it.conf.name == *name),
        None => route.action.upstream(),
    };
    let upstream = upstream.ok_or(Kind::NoRoute)?;
    exchange.facts.upstream = Some(upstream);
    let worker_upstream = snapshot.upstream(upstream).ok_or(Kind::NoBackend)?;
    let context = RouteContext { snapshot: &snapshot, listener, route, worker_upstream };
    // Where the configuration is another by now, there may be no such cache or upstream.
    match mark.purpose {
        Purpose::Cache => {
            let is_read =
                framing == Framing::None && matches!(exchange.request.method, Method::Get | Method::Head);
            let cache = route.cache.as_ref().filter(|cache| is_read && cache.conf.peers);
            let cache = cache.ok_or(Kind::NoRoute)?;
            cached::serve(&context, cache, RequestPlan::WITHOUT_BODY, exchange, client).await
        }
        Purpose::Relay if worker_upstream.upstream.conf.relay => {
            let plan = proxy::prepare(&context, framing, exchange, client)?;
            if plan.is_upgrade {
                return Err(Kind::NotAllowed.into());
            }
            proxy::proxy(&context, plan, exchange, client).await.map(|_| ())
        }
        Purpose::Relay => Err(Kind::NoRoute.into()),
    }
}

/// Refuses what this node has asked a peer for itself (RFC 8586).
fn check_loop(exchange: &Exchange) -> Result<()> {
    let own = node::name().as_bytes();
    match list(exchange.request.fields.all("cdn-loop")).any(|member| member == own) {
        true => Err(Kind::LoopDetected.into()),
        false => Ok(()),
    }
}

/// The other end of the client's connection, as the asking node saw it, and what the listener has for connections.
fn as_seen(mark: &Mark, terms: Arc<Terms>) -> Peer {
    Peer {
        address: mark.address,
        port: mark.port,
        text: mark.address.to_string().into(),
        is_trusted: mark.is_trusted,
        tls: mark.is_encrypted.then(|| {
            let server_name = mark.seen.as_ref().and_then(|seen| seen.server_name.as_deref());
            Box::new(TlsFacts { server_name: server_name.map(Into::into), ..TlsFacts::default() })
        }),
        seen: mark.seen.as_ref().map(|seen| SeenByPeer {
            version: if seen.is_http2 { HttpVersion::Http2 } else { HttpVersion::Http11 },
            port: seen.port.and_then(NonZeroU16::new),
        }),
        terms,
        ..Peer::default()
    }
}
