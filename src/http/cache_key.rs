//! What a request is found by in the cache of its route, and the present as caches count time.

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    cache::{date::Date, key::Key, store::Cache},
    exchange::Exchange,
    fields::{Field, Fields, Known},
    runtime::Route,
    telemetry::clock,
    template::{Place, Scope},
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
    let believed = |known| fields.known(known).filter(|_| exchange.facts.is_trusted());
    // A backend makes its answer by the scheme and host that it is given (redirects, links).
    let scheme = believed(Known::XForwardedProto).and_then(|value| std::str::from_utf8(value).ok());
    let scheme = scheme.unwrap_or(exchange.scheme());
    let port = exchange.authority.get(exchange.host.len()..).and_then(|rest| rest.strip_prefix(':'));
    let port = port.and_then(|port| port.parse().ok());
    let mut key = Key::of(scheme, &exchange.host, port, target, fields, &cache.key);
    if let Some(host) = believed(Known::XForwardedHost) {
        key = key.with("forwarded host", host);
    }
    if let Some(route) = &route.key_suffix {
        key = key.with("route name", route.as_bytes());
    }
    if let Some(template) = &cache.key_template {
        let place = Place { route: &route.name, ..Place::default() };
        let mut text = Vec::new();
        template.write(&Scope { exchange, place }, &mut text);
        key = key.with("template", &text);
    }
    match cache.is_storing {
        true => key,
        false => told_apart(key, fields),
    }
}

/// Fields that say what a client would have, or how it came to ask, and not who it is.
const HARMLESS: [&[u8]; 25] = [
    b"accept",
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"cache-control",
    b"date",
    b"dnt",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"pragma",
    b"priority",
    b"range",
    b"referer",
    b"save-data",
    b"sec-gpc",
    b"sec-purpose",
    b"te",
    b"tracestate",
    b"traceparent",
    b"upgrade-insecure-requests",
    b"user-agent",
    b"via",
    b"x-forwarded-for",
    b"x-real-ip",
];

/// Without a cache nothing says which responses are for everyone: only requests that are alike in every field that could
/// tell clients apart share one.
fn told_apart(key: Key, fields: &Fields) -> Key {
    let is_harmless = |field: &Field<'_>| {
        let begins = |prefix: &[u8]| {
            field.name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
        };
        let is_of_hop = matches!(
            field.known,
            Known::Host | Known::Connection | Known::Upgrade | Known::Forwarded | Known::XRequestId
        );
        // Of what proxies say of a client, its key has scheme and host.
        let is_in_key = matches!(field.known, Known::XForwardedProto | Known::XForwardedHost);
        is_of_hop
            || is_in_key
            || begins(b"sec-ch-")
            || begins(b"sec-fetch-")
            || HARMLESS.iter().any(|name| field.name.eq_ignore_ascii_case(name))
    };
    let (mut sum, mut text) = (0_u128, Vec::new());
    for field in fields.iter().filter(|field| !is_harmless(field)) {
        text.clear();
        text.extend(field.name.iter().map(u8::to_ascii_lowercase));
        text.push(0);
        text.extend_from_slice(field.value);
        // In whatever order they come.
        sum = sum.wrapping_add(xxh3_128(&text));
    }
    if sum == 0 { key } else { key.with("fields that tell clients apart", format!("{sum:032x}").as_bytes()) }
}
