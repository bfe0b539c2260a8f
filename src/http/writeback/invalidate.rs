//! What a write makes old: what is stored of it is forgotten (RFC 9111 §4.4).

use std::{borrow::Cow, str};

use crate::{
    cache::{
        invalidate::{Asked, Invalidated, invalidated},
        store::Cache,
    },
    exchange::Exchange,
    fields::Known,
    http::cache_key::key_for,
    runtime::Route,
};

/// Forgets what a write changed, if it did; gives what that is.
pub(super) fn invalidate(route: &Route, cache: &Cache, exchange: &Exchange) -> Invalidated {
    let request = &exchange.request;
    let forwarded = request.fields.known(Known::XForwardedHost).filter(|_| exchange.facts.is_trusted());
    let forwarded = forwarded.and_then(|host| str::from_utf8(host).ok());
    let asked = Asked {
        schemes: [exchange.client_scheme(), exchange.scheme()],
        authorities: [&exchange.authority, forwarded.unwrap_or(&exchange.authority)],
        target: &request.target,
    };
    let named = PLACES.into_iter().flat_map(|name| exchange.response.fields.all(name)).map(readings);
    let found = invalidated(&request.method, exchange.response.status, &asked, named);
    found.targets.iter().for_each(|target| forget(route, cache, exchange, target));
    found
}

/// The fields of a response that name places.
const PLACES: [&str; 2] = ["location", "content-location"];

/// The ways to read a place that a backend names; none where it is no text.
fn readings(value: &[u8]) -> Vec<Cow<'_, str>> {
    str::from_utf8(value).map(Cow::Borrowed).into_iter().collect()
}

/// Forgets what is stored of a target on the host of a request.
pub(super) fn forget(route: &Route, cache: &Cache, exchange: &Exchange, target: &str) {
    let key = key_for(route, cache, exchange, target);
    if let Some(purging) = cache.forget(&key) {
        drop(tokio::task::spawn_blocking(|| purging.run()));
    }
}
