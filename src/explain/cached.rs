//! What a route's cache would do with a request: whether it uses the cache at all, by which key, with whom it may
//! share a fetch; and of a running proxy what is stored for it.
//!
//! Looking changes nothing: no hit is counted, and no object stays longer for it.

use crate::{
    cache::{
        cache_control::RequestControl,
        date::Date,
        freshness::{Reason, Verdict},
        key::{Key, Use},
        memory::Found,
        status::Forward,
        store::Cache,
        stored_response::StoredResponse,
    },
    exchange::Exchange,
    h1::{Framing, Method},
    http::{cache_key, cached, connection_credentials::begins_login, writeback},
    runtime::{Route, Snapshot},
    telemetry::clock,
};

/// What a cache does with a request.
#[derive(Clone, Debug)]
pub struct CacheAnswer {
    /// The cache's name; the route's where it only collapses.
    pub name: String,
    /// Whether it stores.
    pub is_storing: bool,
    /// How the request uses it: a word for programs.
    pub usage: &'static str,
    /// How the request uses it, in a sentence for people.
    pub why: &'static str,
    /// What it is found by; `None` when it is not looked for.
    pub key: Option<String>,
    /// Why it fetches for itself alone; `None` when it may wait for another's fetch, and others for its own.
    pub apart: Option<&'static str>,
    /// What is stored, where that can be known.
    pub stored: Option<Stored>,
}

/// What is stored for a request, and what becomes of the request for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// A word for programs: `hit`, `stale`, `validate`, `miss`, `not-cached`, `pending` where a write waits for its
    /// delivery, or `on-disk` where only reading what is there would show.
    pub result: &'static str,
    /// Why the backend is asked, as `Cache-Status` has it; `None` when it is not.
    pub forward: Option<&'static str>,
    /// For people.
    pub why: &'static str,
    /// Seconds of freshness that are left, and its age, of what is stored.
    pub times: Option<(i64, u64)>,
    /// How many variants of the key are stored.
    pub variants: usize,
}

/// Says what a route's cache does with a request that is ready to be sent. `is_running` says whether what the cache
/// holds is that of a running proxy.
pub(super) fn explain(
    (snapshot, route): (&Snapshot, &Route),
    exchange: &Exchange,
    framing: Framing,
    is_upgrade: bool,
    is_running: bool,
) -> Option<CacheAnswer> {
    let cache = route.cache.as_deref()?;
    let usage = Use::of(&exchange.request, framing);
    let is_of_cache = !is_upgrade && matches!(usage, Use::Read | Use::ReadAndStore);
    let is_login = is_of_cache && begins_login(exchange);
    let is_read = is_of_cache && !is_login && !cache.no_store.hold(exchange);
    let mut control = RequestControl::of(&exchange.request.fields);
    let is_bypass = cache.bypass.hold(exchange);
    control.no_cache |= is_bypass;
    let key = is_read.then(|| cache_key::key(route, cache, exchange));
    let (word, why) = match named(usage, exchange) {
        _ if is_upgrade => ("tunnel", "a tunnel is not cached"),
        _ if usage == Use::Invalidate && writeback::is_accepted((snapshot, route), cache, exchange) => {
            ("accept", "is acknowledged with 202 when the journal has it; it is delivered to a backend later")
        }
        _ if is_login => ("pass", "not cached: it logs its connection in (NTLM, Negotiate)"),
        _ if is_of_cache && !is_read => ("pass", "not cached: a group of `no_store` matches"),
        _ if is_read && is_bypass => {
            ("bypass", "goes to the backend, because a group of `bypass` matches; the response may be stored")
        }
        named => named,
    };
    let apart = match &key {
        Some(key) => cached::uncollapsed_reason(cache, &control, exchange, key),
        None => Some("it does not use the cache"),
    };
    let stored = key
        .as_ref()
        .filter(|_| is_running && cache.is_storing)
        .map(|key| stored(cache, key, &control, exchange));
    Some(CacheAnswer {
        name: cache.conf.name.clone(),
        is_storing: cache.is_storing,
        usage: word,
        why,
        key: key.map(|key| String::from_utf8_lossy(key.text()).into_owned()),
        apart,
        stored,
    })
}

fn named(usage: Use, exchange: &Exchange) -> (&'static str, &'static str) {
    match usage {
        Use::ReadAndStore => ("read-and-store", "answered from what is stored; the response may be stored"),
        Use::Read => ("read", "answered from what GET stored"),
        Use::Invalidate => {
            ("invalidate", "not cached; if it succeeds, what is stored for its URL is removed")
        }
        Use::Pass => match exchange.request.method {
            Method::Get | Method::Head => {
                ("pass", "not cached: it has a body, or a precondition for the backend")
            }
            Method::Options
            | Method::Trace
            | Method::Connect
            | Method::Post
            | Method::Put
            | Method::Delete
            | Method::Patch
            | Method::Other(_) => ("pass", "not cached: responses to this method are not stored"),
        },
    }
}

fn stored(cache: &Cache, key: &Key, control: &RequestControl, exchange: &Exchange) -> Stored {
    let variants = cache.store.memory.as_ref().map_or(0, |memory| memory.variants(key).len());
    if cache.store.back.latest(key.uri()).is_some() {
        return Stored { result: "pending", forward: None, why: PENDING, times: None, variants };
    }
    let missing = |forward: Forward, why| match control.only_if_cached {
        false => Stored { result: "miss", forward: Some(forward.name()), why, times: None, variants },
        true => Stored { result: "not-cached", forward: None, why: ONLY_IF_CACHED, times: None, variants },
    };
    let is_on_disk = cache.store.disk.may_have(key);
    match cache.peek(key, &exchange.request.fields) {
        Found::Nothing | Found::Vary(_) if is_on_disk => {
            Stored { result: "on-disk", forward: None, why: ON_DISK, times: None, variants }
        }
        Found::Nothing => missing(Forward::UriMiss, "nothing is stored for this key"),
        Found::Vary(_) => missing(Forward::VaryMiss, "no stored variant matches these fields"),
        Found::Stored(object) => {
            let now = Date(clock::unix_millis() / 1000);
            let (result, forward, why) = judged(&object, control, now);
            let freshness = object.freshness();
            let times = Some((freshness.ttl(now), freshness.age(now)));
            Stored { result, forward: forward.map(Forward::name), why, times, variants }
        }
    }
}

const ON_DISK: &str = "not in memory; the disk has an entry for this key";
const PENDING: &str = "a write to it waits for its delivery: who may see it (`write_back.serve`) gets that, others the backend's answer";
const ONLY_IF_CACHED: &str = "the request accepts only cached responses: 504";

fn judged(
    object: &StoredResponse,
    control: &RequestControl,
    now: Date,
) -> (&'static str, Option<Forward>, &'static str) {
    match object.freshness().verdict(control, now) {
        Verdict::Fresh => ("hit", None, "it is fresh"),
        Verdict::Stale => ("stale", None, "it is stale, but the request accepts that"),
        Verdict::StaleWhileRevalidate => ("stale", None, "it is stale, and served while it is refreshed"),
        Verdict::Validate(Reason::Stale) => {
            ("validate", Some(Forward::Stale), "it is stale, or must be validated each time")
        }
        Verdict::Validate(Reason::Request) => {
            ("validate", Some(Forward::Request), "the request demands validation")
        }
        Verdict::GatewayTimeout => ("not-cached", None, ONLY_IF_CACHED),
    }
}
