//! The fields that are added to a response on its way out, one function each, in one order. Another is a function here
//! and a line in [`add`]; it is on every response then, whoever made it.

use super::{error, reply::Reply};
use crate::{
    cluster::peers::mark,
    exchange::{Exchange, HttpVersion, PeerHop, Via},
    fields::{Digits, Known},
    telemetry::clock,
};

/// Adds what Pointsman says of every response. What filters change comes after it.
pub(super) fn add(reply: &Reply<'_>, exchange: &mut Exchange) {
    age(reply, exchange);
    proxy_status(reply, exchange);
    date(reply, exchange);
    via(reply, exchange);
    cache_status(reply, exchange);
    affinity(reply, exchange);
    peer(reply, exchange);
}

/// Age, of what comes from the cache, which must be there (RFC 9111 §4).
fn age(reply: &Reply<'_>, exchange: &mut Exchange) {
    if let Some(age) = reply.age {
        exchange.response.fields.push_known(Known::Age, Digits::of(age).as_bytes());
    }
}

/// Proxy-Status, of an error that Pointsman answers (RFC 9209).
fn proxy_status(reply: &Reply<'_>, exchange: &mut Exchange) {
    if let Some(kind) = reply.error {
        error::add_proxy_status(kind, exchange);
    }
}

/// Date, of what is made here (RFC 9110 §6.6.1). What came from elsewhere got one on its arrival, if it had none.
fn date(reply: &Reply<'_>, exchange: &mut Exchange) {
    let fields = &mut exchange.response.fields;
    if reply.is_own {
        clock::with_date(|date| fields.push_known(Known::Date, date.as_bytes()));
    }
}

/// Via, with the version that the response came in (RFC 9110 §7.6.3).
fn via(reply: &Reply<'_>, exchange: &mut Exchange) {
    let of_backend = exchange.facts.backend_version.filter(|_| !reply.is_own);
    let version = of_backend.unwrap_or_else(|| HttpVersion::from(exchange.response.version));
    let fields = &mut exchange.response.fields;
    match &exchange.facts.peer.terms.via {
        Via::Own => fields.push_known(Known::Via, version.via()),
        Via::Off => {}
        Via::Named(name) => {
            fields.push_known(Known::Via, &[version.number(), b" ", name.as_bytes()].concat())
        }
    }
}

/// Cache-Status, behind those of caches closer to the origin (RFC 9211 §2). Of an error too: that the cache was asked.
fn cache_status(reply: &Reply<'_>, exchange: &mut Exchange) {
    if let (None, Some(_), Some(why)) = (&reply.cache_status, reply.error, exchange.forwarded) {
        let member = [b"pointsman; fwd=", why.as_bytes()].concat();
        exchange.response.fields.push("cache-status", &member);
    }
    if let Some(status) = &reply.cache_status {
        match &exchange.hop {
            Some(PeerHop::For { own, .. }) => status.add_of_node(own, &mut exchange.response.fields),
            Some(PeerHop::By(_) | PeerHop::Through(_)) | None => status.add_to(&mut exchange.response.fields),
        }
    }
}

/// What tells a peer that asked that this is the answer. It asks the origin itself where there is an error.
fn peer(reply: &Reply<'_>, exchange: &mut Exchange) {
    if exchange.is_for_peer() && reply.error.is_none() {
        exchange.response.fields.push(mark::FIELD, mark::ANSWER);
    }
}

/// The cookie that binds the client to its backend.
fn affinity(reply: &Reply<'_>, exchange: &mut Exchange) {
    if let Some(cookie) = &reply.affinity {
        exchange.response.fields.push_known(Known::SetCookie, cookie.as_bytes());
    }
}
