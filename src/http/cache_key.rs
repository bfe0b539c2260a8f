//! What a request is found by in the cache of its route, and the present as caches count time.

use crate::{
    cache::{date::Date, key::Key, store::Cache},
    exchange::Exchange,
    fields::Known,
    runtime::Route,
    telemetry::clock,
};

/// The present, as caches count time.
pub(super) fn now() -> Date {
    Date(clock::unix_millis() / 1000)
}

/// The key of a request on this route.
pub fn key(route: &Route, cache: &Cache, exchange: &Exchange) -> Key {
    key_for(route, cache, exchange, &exchange.request.target)
}

/// The key of a request like this one, for another target.
pub(super) fn key_for(route: &Route, cache: &Cache, exchange: &Exchange, target: &str) -> Key {
    let fields = &exchange.request.fields;
    let believed = |known| fields.known(known).filter(|_| exchange.facts.peer.is_trusted);
    // A backend makes its answer by the scheme and host that it is given (redirects, links).
    let scheme = believed(Known::XForwardedProto).and_then(|value| std::str::from_utf8(value).ok());
    let scheme = scheme.unwrap_or(exchange.scheme());
    let port = exchange.authority.get(exchange.host.len()..).and_then(|rest| rest.strip_prefix(':'));
    let port = port.and_then(|port| port.parse().ok());
    let mut key = Key::of(scheme, &exchange.host, port, target, fields, &cache.key);
    if let Some(host) = believed(Known::XForwardedHost) {
        key = key.with("forwarded host", host);
    }
    match &route.key_suffix {
        Some(route) => key.with("route name", route.as_bytes()),
        None => key,
    }
}
