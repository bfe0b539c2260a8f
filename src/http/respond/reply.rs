//! A response that is ready to leave, but for what every response gets on its way out.

use crate::{
    cache::status::CacheStatus,
    error::Kind,
    exchange::Exchange,
    h1::{ResponseHead, Version},
    runtime::Route,
};

/// A response that is ready to leave; its head is in `exchange.response`, without hop-by-hop fields.
#[derive(Debug, Default)]
pub(in crate::http) struct Reply<'a> {
    /// The route that took the request, which edits the head; none where none did.
    pub(in crate::http) route: Option<&'a Route>,
    /// What the caches on its way say of it.
    pub(in crate::http) cache_status: Option<CacheStatus>,
    /// Its age in seconds, where it comes from the cache (RFC 9111 §4).
    pub(in crate::http) age: Option<u64>,
    /// The Set-Cookie that binds the client to its backend.
    pub(in crate::http) affinity: Option<String>,
    /// What went wrong, where that is why Pointsman answers.
    pub(in crate::http) error: Option<Kind>,
    /// Whether Pointsman made it (`send_own`).
    pub(in crate::http) is_own: bool,
}

impl<'a> Reply<'a> {
    /// A response on this route of which nothing else is to be said.
    pub(in crate::http) fn on(route: &'a Route) -> Self {
        Self { route: Some(route), ..Self::default() }
    }

    /// The same, and what a cache says of it.
    pub(in crate::http) fn with_status(self, status: CacheStatus) -> Self {
        Self { cache_status: Some(status), ..self }
    }
}

/// Makes `exchange.response` an empty head of Pointsman's own with this status.
pub(in crate::http) fn own_head(status: u16, exchange: &mut Exchange) {
    let ResponseHead { status: own, fields, version } = &mut exchange.response;
    (*own, *version) = (status, Version::Http11);
    fields.clear();
}
