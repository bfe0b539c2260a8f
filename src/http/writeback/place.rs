//! Where a write of a journal goes: the exchange that it was, as far as that is kept, and the route that it goes by now.
//!
//! Previous stop: [`super::accept`], which accepts no write that would go elsewhere later than now; and [`super::deliver`],
//! with a write that is due. Next stop: `http::proxy`.

use std::{net::IpAddr, rc::Rc};

use crate::{
    config::listen::PathsConf,
    error::Result,
    exchange::{ClientAddress, Exchange, Peer, TlsFacts},
    fields::{Known, list},
    h1::{Method, Version},
    http::{edit::rewritten, normalize, path, routing},
    moment::Moment,
    runtime::{Action, Listener, Route, Snapshot, Worker},
    upstream::request_head::fields_for_later,
    writeback::journal::Write,
};

/// What a write came over, or would have, and its route with its index.
pub(super) type Place<'a> = (&'a Listener, usize, &'a Route);

/// Whether a write that is accepted now, of a request that its route has edited, comes to the same place when it is delivered:
/// not where its rewrite has something that is not kept, such as the certificate that its client showed.
pub(super) fn is_lasting(snapshot: &Snapshot, route: &Route, exchange: &Exchange) -> bool {
    if route.rewrite.as_ref().is_some_and(|it| it.is_of_connection() || it.is_of_moment()) {
        return false;
    }
    let (write, mut later) = (write_of(route, exchange), Exchange::default());
    if restore(&mut later, &write, &PathsConf::default()).is_err() {
        return false;
    }
    let Some((_, _, found)) = find(snapshot, &mut later, &write) else { return false };
    std::ptr::eq(found, route)
        && later.request.target == exchange.request.target
        && rewritten(&later, route) == rewritten(exchange, route)
}

/// What is kept of a request that writes, but for its body, and what the journal says of it.
pub(super) fn write_of(route: &Route, exchange: &Exchange) -> Write {
    Write {
        route: route.name.to_string(),
        method: exchange.request.method.as_str().to_owned(),
        target: exchange.request.target.clone(),
        authority: exchange.authority.clone(),
        scheme: exchange.scheme().to_owned(),
        fields: fields_for_later(exchange, route.settled_forwarding),
        writer: exchange.facts.client_text().to_owned(),
        settled: route.settled_forwarding.bits(),
        ..Write::default()
    }
}

/// Where a write goes now: by the route that accepted it, as long as host and path lead there; else to what its URI leads to,
/// where that is clear; else to that route all the same. What conditions of routes look at beside the URI may have been
/// changed by the route's edits, or is not kept. The path of the exchange is read then as the listener reads it.
pub(super) fn find<'a>(snapshot: &'a Snapshot, exchange: &mut Exchange, write: &Write) -> Option<Place<'a>> {
    let leads_on = |route: &Route| matches!(route.action, Action::Upstream(_) | Action::Split(..));
    let place = |listener: &'a Listener, index: usize| {
        let route = snapshot.routes.get(index)?;
        leads_on(route).then_some((listener, index, &**route))
    };
    let mut others: Vec<Place<'a>> = Vec::new();
    for listener in &snapshot.listeners {
        if read_path(exchange, write, &listener.conf.paths).is_err() {
            continue;
        }
        let own = routing::find_again(listener, &snapshot.routes, exchange, &write.route);
        if let Some(found) = own.and_then(|index| place(listener, index)) {
            return Some(found);
        }
        others.extend(routing::find(listener, exchange).ok().and_then(|index| place(listener, index)));
    }
    let by_name = || {
        let index =
            snapshot.routes.iter().position(|route| *route.name == *write.route && leads_on(route))?;
        let names = &snapshot.config.route.get(index)?.listeners;
        let own = snapshot.listeners.iter().find(|listener| names.contains(&listener.conf.name));
        place(own.or(snapshot.listeners.first())?, index)
    };
    // Where listeners disagree, none of them is the one that accepted it.
    let first = others.first().copied();
    let by_uri = first.filter(|(_, index, _)| others.iter().all(|(_, other, _)| other == index));
    // What a write came over is not kept, and without it the URI may lead to another route than it did.
    let is_unsure = snapshot.listeners.iter().any(|listener| listener.table.looks_at_connections());
    let found = if is_unsure { by_name().or(by_uri) } else { by_uri.or_else(by_name) }?;
    read_path(exchange, write, &found.0.conf.paths).ok()?;
    Some(found)
}

/// Reads the path of a write as a listener with these paths does.
fn read_path(exchange: &mut Exchange, write: &Write, paths: &PathsConf) -> Result<()> {
    exchange.request.target.clone_from(&write.target);
    exchange.readings = None;
    path::normalize(exchange, paths)
}

/// The exchange of a write, as it was when it was accepted, but for what is not kept: of the client's connection its address
/// is, and whether it was encrypted.
pub(super) fn exchange_of(worker: &Rc<Worker>, write: &Write, paths: &PathsConf) -> Result<Box<Exchange>> {
    let mut exchange = worker.take_exchange();
    restore(&mut exchange, write, paths)?;
    if exchange.facts.id.is_empty() {
        // Its route had removed it, and the log and traces have one all the same.
        worker.write_id(&mut exchange.facts.id);
    }
    Ok(exchange)
}

fn restore(exchange: &mut Exchange, write: &Write, paths: &PathsConf) -> Result<()> {
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
    exchange.reset(&Rc::new(peer), Moment::now());
    // Of a client behind a proxy the proxy is the last that is named.
    let writer = write.writer.parse::<IpAddr>().ok().filter(|_| write.writer != address);
    exchange.facts.client = writer.map(|writer| ClientAddress::new(writer, 0));
    exchange.request.method = Method::of(&write.method);
    exchange.request.version = Version::Http11;
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
    normalize::normalize_authority(exchange)?;
    read_path(exchange, write, paths)
}

#[cfg(test)]
mod tests;
