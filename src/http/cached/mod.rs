//! The stop between route and backend where a cache is asked: fresh → served; stale → asked for again, served
//! meanwhile where that is allowed; nothing → fetched, once for all who ask at the same time.
//!
//! Previous stop: `http::handle`. Next stop: `send` for what is stored or under way, `http::proxy` for what is
//! neither. What may be stored and served is decided in [`crate::cache`]; here it is put in order:
//!
//! 1. `serve`: does the method use the cache at all? A write goes to `write`, and what was written and is not
//!    delivered yet answers by `waiting`, until `deliver` has brought it to the origin.
//! 2. `CacheRequest::read`: what is stored, and whether it may be served now.
//! 3. `join`: who waits for whom.
//! 4. `fetch`: the fetch as a task of its own, or `alone` within the request; both ask by `origin`.
//! 5. `pump`: the body on its way into the fill, and into the store at its end.
//! 6. `send`: from store or fill to the client.

mod collapse;
pub mod deliver;
mod detached;
mod disk_lookup;
mod fetch;
mod interims;
mod origin;
mod pump;
mod send;
mod uncollapsed;
mod waiting;
mod write;

use std::{cell::Cell, sync::Arc};

use disk_lookup::{DiskLookup, ServedFrom};
use waiting::PendingWrite;

use super::{
    handle::{ActiveExchange, Outcome},
    headers,
    proxy::{self, RequestPlan, RouteContext},
};
use crate::{
    cache::{
        cache_control::RequestControl,
        date::Date,
        freshness::{Reason, Verdict},
        key::{Key, Use},
        memory::Found,
        status::{CacheStatus, Forward},
        store::Cache,
        stored_response::StoredResponse,
    },
    error::{Kind, Result},
    exchange::{Downstream, Exchange},
    fields::Known,
    moment::Moment,
    runtime::Route,
    telemetry::{cache_result::CacheResult, clock},
};

/// The present, as caches count time.
fn now() -> Date {
    Date(clock::unix_millis() / 1000)
}

/// Serves a request on a route that has a cache.
pub(super) async fn serve<D: Downstream>(
    way: &RouteContext<'_>,
    cache: &Arc<Cache>,
    onward: RequestPlan,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Outcome> {
    match Use::of(&exchange.request, onward.framing) {
        Use::Pass => {
            exchange.cache = Some(CacheResult::Bypass);
            let why = match exchange.request.method {
                crate::h1::Method::Get | crate::h1::Method::Head => Forward::Bypass,
                _ => Forward::Method,
            };
            bypass(way, onward, CacheStatus::forwarded(why), exchange, client).await
        }
        Use::Invalidate => write::serve(way, cache, onward, exchange, client).await,
        usage @ (Use::Read | Use::ReadAndStore) => {
            let control = RequestControl::of(&exchange.request.fields);
            let key = key(way.route, cache, exchange);
            let asks = CacheRequest { way, cache, key, control, is_head: usage == Use::Read };
            match asks.waiting(exchange) {
                PendingWrite::Nothing => asks.read(exchange, client).await,
                PendingWrite::Unknown => {
                    exchange.cache = Some(CacheResult::Bypass);
                    let outcome = CacheStatus::forwarded(Forward::Bypass).outcome;
                    bypass(way, onward, CacheStatus::journal(outcome), exchange, client).await
                }
                PendingWrite::Write(entry) => asks.send_waiting(&entry, exchange, client).await,
            }
        }
    }
}

/// What a request to this route is found by.
pub fn key(route: &Route, cache: &Cache, exchange: &Exchange) -> Key {
    key_for(route, cache, exchange, &exchange.request.target)
}

/// The same with this target.
fn key_for(route: &Route, cache: &Cache, exchange: &Exchange, target: &str) -> Key {
    let fields = &exchange.request.fields;
    let believed = |known| fields.known(known).filter(|_| exchange.peer.is_trusted);
    // A backend makes its answer by the scheme and host that it is told (redirects, links).
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

/// Why a request neither waits for another's fetch nor has others wait for its own; `None` when it does.
pub fn apart(
    cache: &Cache,
    control: &RequestControl,
    exchange: &Exchange,
    key: &Key,
) -> Option<&'static str> {
    let conf = &cache.conf.collapse;
    let fields = &exchange.request.fields;
    let has_credentials = || fields.has(Known::Authorization) || fields.has(Known::Cookie);
    if !conf.enabled {
        return Some("the cache does not collapse requests");
    }
    if control.no_store {
        return Some("it says no-store");
    }
    if !conf.credentials && has_credentials() {
        return Some("it has Authorization or Cookie");
    }
    let is_unshared = cache.store.hit_for_miss.has(key, Moment::now());
    is_unshared.then_some("the last response for this key was not for everyone")
}

/// Passes a request on that has no use for the cache.
async fn bypass<D: Downstream>(
    way: &RouteContext<'_>,
    onward: RequestPlan,
    status: CacheStatus,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<Outcome> {
    let (live, sticky) = proxy::ask(way, onward, exchange, client).await?;
    headers::pass_response(&mut exchange.response, false);
    status.add_to(&mut exchange.response.fields);
    proxy::deliver(way, live, sticky, exchange, client).await
}

/// A request that reads.
struct CacheRequest<'a> {
    way: &'a RouteContext<'a>,
    cache: &'a Arc<Cache>,
    key: Key,
    control: RequestControl,
    is_head: bool,
}

/// What is not there to be served.
#[derive(Clone, Debug)]
struct Miss {
    /// What is stored, and may not be served without a question to the origin.
    stored: Option<Arc<StoredResponse>>,
    /// Why the origin is asked.
    why: Forward,
    /// The variant that is missing, where it is known that responses vary.
    expected: Option<Key>,
}

/// What came of one way to serve a request.
enum Step {
    /// It was served.
    Done(Outcome),
    /// What is stored may be another by now.
    Again,
    /// It goes on alone.
    Alone,
}

/// How often a request may find that what it waited for is not for it. Each variant takes a fetch of its own, and
/// those who want the same one wait for that.
const MOST_TURNS: u32 = 4;

impl CacheRequest<'_> {
    async fn read<D: Downstream>(&self, exchange: &mut ActiveExchange, client: &mut D) -> Result<Outcome> {
        let mut turn = 0;
        loop {
            let miss = match self.look(exchange) {
                Ok((object, verdict)) => return self.hit(object, verdict, exchange, client).await,
                Err(miss) => miss,
            };
            if self.control.only_if_cached {
                match disk_lookup::look(self.cache, &self.key, &exchange.request.fields, &self.control).await
                {
                    DiskLookup::Here(object, verdict) => {
                        return self.hit(object, verdict, exchange, client).await;
                    }
                    DiskLookup::There(kept, verdict) => {
                        return self.send_kept(kept, ServedFrom::Hit(verdict), exchange, client).await;
                    }
                    DiskLookup::StaleHere(_) | DiskLookup::StaleThere(_) | DiskLookup::Nothing => {}
                }
                exchange.cache = Some(CacheResult::NotCached);
                return Err(Kind::NotCached.into());
            }
            if turn < MOST_TURNS && self.may_wait(exchange) {
                match self.join(&miss, exchange, client).await? {
                    Step::Done(served) => return Ok(served),
                    Step::Again => {
                        turn += 1;
                        continue;
                    }
                    Step::Alone => {}
                }
            }
            return self.alone(miss, exchange, client).await;
        }
    }

    /// What may be served now, or why nothing may.
    fn look(&self, exchange: &Exchange) -> Result<(Arc<StoredResponse>, Verdict), Miss> {
        let fields = &exchange.request.fields;
        let miss = |stored, why, expected| Err(Miss { stored, why, expected });
        match self.cache.find(&self.key, fields) {
            Found::Nothing => miss(None, Forward::UriMiss, None),
            Found::Vary(other) => miss(None, Forward::VaryMiss, other.entry.vary.key(fields)),
            Found::StoredResponse(object) => match object.freshness().verdict(&self.control, now()) {
                verdict @ (Verdict::Fresh | Verdict::Stale | Verdict::StaleWhileRevalidate) => {
                    Ok((object, verdict))
                }
                Verdict::Validate(reason) => {
                    let why = match reason {
                        Reason::Stale => Forward::Stale,
                        Reason::Request => Forward::Request,
                    };
                    let expected = (!object.entry.vary.is_nothing()).then(|| object.variant.clone());
                    miss(Some(object), why, expected)
                }
                // Said by who reads: nothing may be asked.
                Verdict::GatewayTimeout => miss(None, Forward::Stale, None),
            },
        }
    }

    async fn hit<D: Downstream>(
        &self,
        object: Arc<StoredResponse>,
        verdict: Verdict,
        exchange: &mut ActiveExchange,
        client: &mut D,
    ) -> Result<Outcome> {
        let is_fresh = verdict == Verdict::Fresh;
        exchange.cache = Some(if is_fresh { CacheResult::Hit } else { CacheResult::Stale });
        if verdict == Verdict::StaleWhileRevalidate && object.begin_refresh() {
            self.refresh(&object, exchange);
        }
        let status = CacheStatus::hit(object.freshness().ttl(now()));
        self.send_object(object, &status, exchange, client).await
    }

    /// Whether it may wait for another's fetch, and others for its own.
    fn may_wait(&self, exchange: &Exchange) -> bool {
        apart(self.cache, &self.control, exchange, &self.key).is_none()
    }

    /// Serves what is stored although it is stale, since the origin fails; `None` where that is not allowed.
    fn on_error(&self, stored: Option<&Arc<StoredResponse>>) -> Option<Arc<StoredResponse>> {
        let allows =
            |object: &&Arc<StoredResponse>| object.freshness().may_serve_on_error(&self.control, now());
        stored.filter(allows).cloned()
    }
}

/// Whether something has been stored since a look, asked for once.
struct Recheck<'a> {
    asks: &'a CacheRequest<'a>,
    is_stored: Cell<bool>,
}

impl Recheck<'_> {
    fn look(&self, exchange: &Exchange) -> bool {
        self.is_stored.set(self.asks.look(exchange).is_ok());
        self.is_stored.get()
    }
}
