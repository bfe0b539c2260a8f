//! Where a write of a journal goes: the exchange that it was, as far as that is kept, and the route that it goes by now.
//!
//! Previous stop: [`super::deliver`], with a write that is due. Next stop: `http::proxy`.

use std::{net::IpAddr, rc::Rc};

use crate::{
    error::Result,
    exchange::{Exchange, Peer, TlsFacts},
    fields::{Known, list},
    h1::{Method, Version},
    http::{normalize, routing},
    moment::Moment,
    runtime::{Action, Listener, Route, Snapshot, Worker},
    writeback::journal::Write,
};

/// The route that a write goes by now: what its URI leads to, by the name of the route that accepted it where several
/// do; else that route, though its URI no longer leads there.
pub(super) fn find<'a>(
    snapshot: &'a Snapshot,
    exchange: &Exchange,
    name: &str,
) -> Option<(&'a Listener, usize, &'a Route)> {
    let leads_on = |route: &Route| matches!(route.action, Action::Upstream(_) | Action::Split(..));
    let routes = || {
        snapshot.listeners.iter().filter_map(|listener| {
            let index = routing::find(listener, exchange).ok()?;
            let route = snapshot.routes.get(index)?;
            leads_on(route).then_some((listener, index, &**route))
        })
    };
    if let Some(found) = routes().find(|(_, _, route)| *route.name == *name) {
        return Some(found);
    }
    let named = || {
        let index = snapshot.routes.iter().position(|route| *route.name == *name && leads_on(route))?;
        Some((snapshot.listeners.first()?, index, &**snapshot.routes.get(index)?))
    };
    // What a write came over is not kept, and without it the URI may lead to another route than it did.
    if snapshot.listeners.iter().any(|listener| listener.table.looks_at_connections())
        && let Some(found) = named()
    {
        return Some(found);
    }
    let first = routes().next();
    // Where listeners disagree, none of them is the one that accepted it.
    if let Some((_, index, _)) = first
        && routes().all(|(_, other, _)| other == index)
    {
        return first;
    }
    named()
}

/// The exchange of a write, as it was when it was accepted.
pub(super) fn exchange_of(worker: &Rc<Worker>, write: &Write) -> Result<Box<Exchange>> {
    let mut addresses: Vec<&[u8]> = list(write.fields.all_known(Known::XForwardedFor)).collect();
    let address = addresses.pop().and_then(|address| std::str::from_utf8(address).ok()).unwrap_or_default();
    let tls = (write.scheme == "https").then(Box::<TlsFacts>::default);
    let peer = Peer {
        address: address.parse().unwrap_or(IpAddr::from([0, 0, 0, 0])),
        text: address.into(),
        // What the client was not believed was left out.
        is_trusted: true,
        tls,
        ..Peer::default()
    };
    let mut exchange = worker.take_exchange();
    exchange.reset(&Rc::new(peer), Moment::now());
    exchange.request.method = Method::of(&write.method);
    exchange.request.version = Version::Http11;
    exchange.request.target.clone_from(&write.target);
    exchange.authority.push_str(&write.authority);
    let id = write.fields.known(Known::XRequestId).unwrap_or_default();
    exchange.facts.id.push_str(&String::from_utf8_lossy(id));
    let fields = &mut exchange.request.fields;
    fields.copy_from(&write.fields);
    fields.remove_known(Known::XForwardedFor);
    if !addresses.is_empty() {
        fields.push_known(Known::XForwardedFor, &addresses.join(&b", "[..]));
    }
    fields.set("idempotency-key", write.idempotency.as_bytes());
    normalize::normalize_kept(&mut exchange)?;
    Ok(exchange)
}
