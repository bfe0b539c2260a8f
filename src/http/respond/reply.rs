//! A response that is ready to leave, but for what every response gets on its way out.

use std::sync::Arc;

use crate::{
    backend::Backend,
    cache::{status::CacheStatus, store::Cache},
    error::Kind,
    exchange::Exchange,
    filter::{BodyPlan, Kept, ResponseFacts},
    h1::{ResponseHead, Version},
    runtime::{Listener, Route},
    template::Place,
};

/// A response that is ready to leave; its head is in `exchange.response`, without hop-by-hop fields.
///
/// Purposefully not `Default`: who makes one says what the request came over, so that no response goes past a filter.
#[derive(Debug)]
pub(in crate::http) struct Reply<'a> {
    /// What the request came over; none where this generation does not have it.
    pub(in crate::http) listener: Option<&'a Listener>,
    /// The route that took the request; none where none did.
    pub(in crate::http) route: Option<&'a Route>,
    /// The name of the backend that answered, where that is known.
    pub(in crate::http) backend: Option<&'a str>,
    /// The backends of the upstream that it is of, where it is of one.
    pub(in crate::http) backends: &'a [Arc<Backend>],
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
    pub(in crate::http) fn on(listener: &'a Listener, route: &'a Route) -> Self {
        Self::new(Some(listener), Some(route), None)
    }

    /// A response to what came over this listener and is for no route.
    pub(in crate::http) fn of_listener(listener: &'a Listener) -> Self {
        Self::new(Some(listener), None, None)
    }

    /// The answer to an error, wherever that comes from.
    pub(in crate::http) fn to_error(
        kind: Kind,
        listener: Option<&'a Listener>,
        route: Option<&'a Route>,
    ) -> Self {
        Self::new(listener, route, Some(kind))
    }

    fn new(listener: Option<&'a Listener>, route: Option<&'a Route>, error: Option<Kind>) -> Self {
        Self {
            listener,
            route,
            backend: None,
            backends: &[],
            error,
            cache_status: None,
            age: None,
            affinity: None,
            is_own: false,
        }
    }

    /// Has its head changed by the filters of the listener, then by those of the route, which knows better. Gives what
    /// becomes of the body, whose length is `length` where it is known.
    #[inline]
    pub(super) fn filter(
        &self,
        length: Option<u64>,
        kept: Option<&dyn Kept>,
        exchange: &mut Exchange,
    ) -> Option<BodyPlan> {
        let of_listener = self.listener.map(|listener| &listener.filters).filter(|it| !it.is_empty());
        let of_route = self.route.map(|route| &route.filters).filter(|it| !it.is_empty());
        if of_listener.is_none() && of_route.is_none() {
            return None;
        }
        let (is_own, is_error) = (self.is_own, self.error.is_some());
        let is_alone = of_listener.is_none() && of_route.is_none_or(|filters| filters.len() == 1);
        let mut facts = ResponseFacts {
            place: self.place(),
            backends: self.backends,
            length,
            is_own,
            is_error,
            is_alone,
            kept,
        };
        let mut body = BodyPlan::default();
        for filters in [of_listener, of_route].into_iter().flatten() {
            filters.on_response(exchange, &mut facts, &mut body);
        }
        let is_changed = body.replaced.is_some() || !body.stages.is_empty();
        is_changed.then_some(body)
    }

    /// The cache of its route.
    pub(super) fn cache(&self) -> Option<&'a Arc<Cache>> {
        self.route.and_then(|route| route.cache.as_ref())
    }

    /// What placeholders are filled from, beside the exchange.
    #[inline]
    fn place(&self) -> Place<'a> {
        Place {
            listener: self.listener.map_or("", |listener| &listener.conf.name),
            route: self.route.map_or("", |route| &route.name),
            backend: self.backend.unwrap_or(""),
            captures: self.route.map_or(&[], |route| &route.captures),
        }
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
