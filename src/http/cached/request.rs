//! A request that asks a cache: what is found for it in memory, and what may be done with that.

use std::sync::Arc;

use crate::{
    cache::{
        cache_control::RequestControl,
        freshness::{Freshness, Reason, Verdict},
        key::Key,
        memory::Found,
        origin_id::OriginId,
        status::Forward,
        store::Cache,
        stored::Stored,
    },
    exchange::Exchange,
    fields::{Fields, Known},
    http::{cache_key::now, context::RouteContext},
    moment::Moment,
};

/// A request that reads.
pub(super) struct CacheRequest<'a> {
    pub(super) context: &'a RouteContext<'a>,
    pub(super) cache: &'a Arc<Cache>,
    pub(super) key: Key,
    pub(super) control: RequestControl,
    pub(super) is_head: bool,
}

/// What is not there to be served.
#[derive(Clone, Debug)]
pub(super) struct Miss {
    /// What is stored, and may not be served without a question to the origin.
    pub(super) stored: Option<Stored>,
    /// Why the origin is asked.
    pub(super) why: Forward,
    /// The variant that is missing, where it is known that responses vary.
    pub(super) expected: Option<Key>,
}

/// How a stored response came to be the answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum ServedFrom {
    /// The origin was not asked.
    Hit(Verdict),
    /// The origin said that it holds, to this request or to another's.
    Validated { why: Forward, is_collapsed: bool },
    /// The origin failed, and this may be served although it is stale; this is its status, if it gave one.
    Failed(Option<u16>),
    /// It was written, and is not delivered yet.
    Journal,
}

impl CacheRequest<'_> {
    /// Who would be asked for it.
    pub(super) fn origin(&self) -> OriginId {
        OriginId::of(self.context.route, &*self.context.worker_upstream.upstream)
    }

    /// What may be served now from memory, or why nothing may.
    pub(super) fn find(&self, exchange: &Exchange) -> Result<(Stored, Verdict), Miss> {
        let fields = &exchange.request.fields;
        let miss = |stored, why, expected| Err(Miss { stored, why, expected });
        match self.cache.find(&self.key, fields) {
            Found::Nothing => miss(None, Forward::UriMiss, None),
            Found::Vary(other) => miss(None, Forward::VaryMiss, other.entry.vary.key(fields)),
            Found::Stored(response) => match response.freshness().verdict(&self.control, now()) {
                verdict @ (Verdict::Fresh | Verdict::Stale | Verdict::StaleWhileRevalidate) => {
                    Ok((Stored::Memory(response), verdict))
                }
                Verdict::Validate(reason) => {
                    let why = match reason {
                        Reason::Stale => Forward::Stale,
                        Reason::Request => Forward::Request,
                    };
                    let expected = (!response.entry.vary.is_nothing()).then(|| response.variant.clone());
                    miss(Some(Stored::Memory(response)), why, expected)
                }
                // Said by who reads: nothing may be asked.
                Verdict::GatewayTimeout => miss(None, Forward::Stale, None),
            },
        }
    }

    /// Whether it may wait for another's fetch, and others for its own.
    pub(super) fn may_collapse(&self, exchange: &Exchange) -> bool {
        uncollapsed_reason(self.cache, &self.control, exchange, &self.key).is_none()
    }
}

/// Why a request neither waits for another's fetch nor has others wait for its own; `None` when it does.
pub fn uncollapsed_reason(
    cache: &Cache,
    control: &RequestControl,
    exchange: &Exchange,
    key: &Key,
) -> Option<&'static str> {
    let conf = &cache.conf.collapse;
    if !conf.enabled {
        return Some("this cache does not collapse requests");
    }
    if control.no_store {
        return Some("it has no-store");
    }
    if !conf.credentials && has_credentials(&exchange.request.fields) {
        return Some("it has Authorization or Cookie");
    }
    let is_hit_for_miss = cache.store.hit_for_miss.has(key, Moment::now());
    is_hit_for_miss.then_some("the last response for this key was not shareable")
}

/// Whether a request says who asks.
pub(super) fn has_credentials(request: &Fields) -> bool {
    request.has(Known::Authorization) || request.has(Known::Cookie)
}

/// What the answers to requests with credentials are remembered by, where they are for one request only.
pub(super) fn key_with_credentials(key: &Key) -> Key {
    key.clone().with("credentials", b"")
}

/// How a stored response may be served without a question to the origin, if it may.
pub(super) fn usable(freshness: &Freshness, control: &RequestControl) -> Option<Verdict> {
    match freshness.verdict(control, now()) {
        verdict @ (Verdict::Fresh | Verdict::Stale | Verdict::StaleWhileRevalidate) => Some(verdict),
        Verdict::Validate(_) | Verdict::GatewayTimeout => None,
    }
}

/// What is stored, where it may be served although it is stale, since the origin fails (RFC 5861 §4).
pub(super) fn on_error<'s>(stored: Option<&'s Stored>, control: &RequestControl) -> Option<&'s Stored> {
    stored.filter(|stored| stored.freshness().may_serve_on_error(control, now()))
}
