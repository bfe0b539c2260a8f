//! What a write makes old: what is stored of it is forgotten (RFC 9111 §4.4).

use std::{borrow::Cow, str};

use crate::{
    cache::{
        invalidate::{Asked, Invalidated, invalidated},
        store::Cache,
    },
    exchange::Exchange,
    fields::Known,
    http::{cache_key::key_for, context::RouteContext, destination::is_for_places},
    runtime::Route,
};

/// Forgets what a write changed, if it did; gives what that is.
pub(super) fn invalidate(context: &RouteContext<'_>, cache: &Cache, exchange: &Exchange) -> Invalidated {
    let (request, response) = (&exchange.request, &exchange.response);
    let forwarded = request.fields.known(Known::XForwardedHost).filter(|_| exchange.facts.is_trusted());
    let forwarded = forwarded.and_then(|host| str::from_utf8(host).ok());
    let asked = Asked {
        schemes: [exchange.client_scheme(), exchange.scheme()],
        authorities: [&exchange.authority, forwarded.unwrap_or(&exchange.authority)],
        target: &request.target,
    };
    let is_told = context.route.rewrite.as_ref().is_some_and(|rewrite| rewrite.tells_places);
    let named = PLACES.into_iter().flat_map(|name| response.fields.all(name));
    let named = named.map(|place| readings(place, is_told, context, exchange));
    // Where to something was moved or copied (RFC 4918 §9.8, §9.9). It has been rewritten, whatever is done with responses.
    let into = request.fields.all("destination").filter(|_| is_for_places(exchange));
    let into = into.map(|place| readings(place, false, context, exchange));
    let found = invalidated(&request.method, response.status, &asked, named.chain(into));
    found.targets.iter().for_each(|target| forget(context.route, cache, exchange, target));
    found
}

/// The fields of a response that name places.
const PLACES: [&str; 2] = ["location", "content-location"];

/// The ways to read a place as its client knows it; none where it is no text. On a route with a rewrite the backend has other
/// places than clients, and where these are not told so (`is_told`), it may know theirs, or not.
fn readings<'a>(
    place: &'a [u8],
    is_told: bool,
    context: &RouteContext<'_>,
    exchange: &Exchange,
) -> Vec<Cow<'a, str>> {
    let Ok(text) = str::from_utf8(place) else { return Vec::new() };
    let backends = &*context.worker_upstream.upstream.backends;
    let names = (context.backend(exchange).unwrap_or_default(), backends);
    let rewrite = context.route.rewrite.as_ref();
    match rewrite.and_then(|rewrite| rewrite.places.outward_place(text, exchange, names)) {
        Some(outward) if is_told => vec![outward.into()],
        Some(outward) => vec![text.into(), outward.into()],
        None => vec![text.into()],
    }
}

/// Forgets what is stored of a target on the host of a request.
pub(super) fn forget(route: &Route, cache: &Cache, exchange: &Exchange, target: &str) {
    let key = key_for(route, cache, exchange, target);
    if let Some(purging) = cache.forget(&key) {
        drop(tokio::task::spawn_blocking(|| purging.run()));
    }
}
