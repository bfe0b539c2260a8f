//! What was written to the URI of a request, and is not delivered yet.

use std::{rc::Rc, sync::Arc};

use super::place;
use crate::{
    cache::{
        conf::WritePolicy,
        freshness::Times,
        key::Key,
        store::Cache,
        stored_response::{Body, StoredResponse},
        through::representation,
    },
    h1::Method,
    http::{
        active::ActiveExchange,
        cache_key::{key_for, now},
        context::RouteContext,
    },
    runtime::Worker,
    writeback::{conf::ServePending, journal::Write},
};

/// What waits for the URI of a request.
pub(in crate::http) enum PendingWrite {
    /// Nothing does.
    Nothing,
    /// It cannot be known, is not this client's to see, or is about another representation of the URI: the origin has to
    /// answer, and nothing of it may be stored.
    Unknown,
    /// It was deleted.
    Deleted,
    /// This was written.
    Written(Arc<StoredResponse>),
}

/// Finds what waits for the URI of a request.
pub(in crate::http) fn find(
    context: &RouteContext<'_>,
    cache: &Cache,
    key: &Key,
    exchange: &ActiveExchange,
) -> PendingWrite {
    let back = &cache.store.back;
    let Some(entry) = back.latest(key.uri()) else {
        let needs_journal = cache.conf.write_policy == WritePolicy::Back;
        // While another program has the journal still, what waits in it nobody here knows.
        return if back.is_ready(needs_journal) { PendingWrite::Nothing } else { PendingWrite::Unknown };
    };
    let write = &entry.write;
    if !is_about(context, cache, (exchange.worker(), write), key) {
        return PendingWrite::Unknown;
    }
    let is_shown = match cache.conf.write_back.as_ref().map(|conf| conf.serve) {
        Some(ServePending::All) => true,
        // No backend has seen it: whoever else asks gets what that has.
        Some(ServePending::Writer) | None => write.writer == exchange.facts.client_text(),
    };
    if !is_shown {
        return PendingWrite::Unknown;
    }
    if Method::of(&write.method) == Method::Delete {
        return PendingWrite::Deleted;
    }
    let times = Times { requested: now(), received: now() };
    let head = representation::waiting(&write.fields, times);
    let body = Body::of([write.body.clone()]);
    PendingWrite::Written(Arc::new(StoredResponse::assembled(key.clone(), key.clone(), head, body)))
}

/// Whether a write of the same URI is of the same key too.
fn is_about(
    context: &RouteContext<'_>,
    cache: &Cache,
    (worker, write): (&Rc<Worker>, &Write),
    key: &Key,
) -> bool {
    let paths = &context.listener.conf.paths;
    let Ok(written) = place::exchange_of(worker, write, paths) else { return false };
    let other = key_for(context.route, cache, &written, &written.request.target);
    worker.give_back(written);
    other == *key
}
