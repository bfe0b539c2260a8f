//! What a write makes old: what is stored of it is forgotten (RFC 9111 §4.4).

use crate::{
    cache::{invalidate::invalidated, store::Cache},
    exchange::Exchange,
    http::cache_key::key_for,
    runtime::Route,
};

/// Forgets what a write changed, if it did; gives of how many URIs.
pub(super) fn invalidate(route: &Route, cache: &Cache, exchange: &Exchange) -> usize {
    let targets = invalidated(
        &exchange.request.method,
        exchange.response.status,
        exchange.scheme(),
        &exchange.authority,
        &exchange.request.target,
        &exchange.response.fields,
    );
    targets.iter().for_each(|target| forget(route, cache, exchange, target));
    targets.len()
}

/// Forgets what is stored of a target on the host of a request.
pub(super) fn forget(route: &Route, cache: &Cache, exchange: &Exchange, target: &str) {
    let key = key_for(route, cache, exchange, target);
    if let Some(purging) = cache.forget(&key) {
        drop(tokio::task::spawn_blocking(|| purging.run()));
    }
}
