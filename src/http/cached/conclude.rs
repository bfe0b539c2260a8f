//! What follows from the origin's answer, for what is stored and for those who wait: the one judgement for both kinds
//! of fetch, the one that others wait for ([`super::fetch`]) and the one for a single request ([`super::uncollapsed`]).

use std::sync::Arc;

use super::{
    disk_lookup,
    origin::{NotShared, OriginReply, OriginRequest, StoredUpdate, Update},
    request::{ServedFrom, key_with_credentials, on_error},
};
use crate::{
    cache::{
        disk_tier::DiskObject,
        fill::{self, Failure, Mark, Origin, Reader, Source},
        hit_for_miss,
        key::Key,
        purge::Rule,
        status::Forward,
        status_code::is_never_stored,
        store::Cache,
        stored::Stored,
        stored_response::StoredResponse,
    },
    error::{Blame, Kind, ProxyError, Result},
    http::answer::Answer,
    moment::Moment,
};

/// Whom a fetch is for.
pub(super) enum Lead {
    /// Everyone who waits, or will.
    Shared(Source),
    /// One request, which asked then. What it brings is stored all the same, where that is allowed.
    Alone(Mark),
}

/// What became of a fetch.
pub(super) enum Conclusion {
    /// What is stored answers.
    Stored(Stored, ServedFrom),
    /// It may be shared, and is to be brought to the fill.
    Shared { head: Arc<fill::Answer>, answer: Answer, lead: Lead },
    /// It is for the one who asked.
    Own { answer: Answer, why: NotShared, lead: Lead },
    /// There is none.
    Failed(ProxyError),
}

impl Lead {
    /// When the fetch began, in milliseconds of the wall clock.
    fn begun(&self) -> u64 {
        match self {
            Self::Shared(source) => source.begun(),
            Self::Alone(asked) => asked.at,
        }
    }

    /// The same by the clock that is never set back.
    fn since(&self) -> Moment {
        match self {
            Self::Shared(source) => source.since(),
            Self::Alone(asked) => asked.since,
        }
    }

    /// The purges since then.
    fn purges(&self, cache: &Cache, key: &Key) -> Vec<Rule> {
        match self {
            Self::Shared(source) => source.purges(),
            Self::Alone(asked) => cache.store.fills.purges_since_mark(key, *asked),
        }
    }

    /// The source to bring the answer by; with a reader where nobody reads it yet.
    pub(super) fn into_source(self, cache: &Cache, key: &Key) -> (Source, Option<Reader>) {
        match self {
            Self::Shared(source) => (source, None),
            Self::Alone(asked) => {
                let (source, reader) = cache.store.fills.begin_alone(key, asked);
                (source, Some(reader))
            }
        }
    }

    /// Everyone else asks for himself.
    pub(super) fn release(self) {
        match self {
            Self::Shared(source) => source.release(),
            Self::Alone(_) => {}
        }
    }

    fn fail(self, error: &ProxyError) {
        match self {
            Self::Shared(source) => {
                source.fail(Failure { kind: error.kind(), text: error.to_string() });
            }
            Self::Alone(_) => {}
        }
    }

    /// Tells those who wait that what is stored answers although the origin failed; what stays on disk they find there.
    fn stale(self, stored: &Stored) {
        match (self, stored.in_memory()) {
            (Self::Shared(source), Some(response)) => source.object(response.clone(), Origin::Failed, |_| {}),
            (lead, _) => lead.release(),
        }
    }
}

/// Judges the origin's answer to a request for `key`, which was asked because of `why`.
pub(super) fn conclude(
    request: &OriginRequest<'_>,
    (key, why): (&Key, Forward),
    reply: Result<OriginReply>,
    lead: Lead,
) -> Conclusion {
    let stored = request.stored;
    let error = match reply {
        Ok(OriginReply::Shared { head, answer }) => return Conclusion::Shared { head, answer, lead },
        Ok(OriginReply::Own { answer, why }) => return Conclusion::Own { answer, why, lead },
        Ok(OriginReply::Validated(update)) => {
            let Some(stored) = stored else { return Conclusion::Failed(Kind::BodyBroken.into()) };
            let stored = apply(update, stored, request.cache, key, lead);
            // What was validated was stored, if only on disk.
            let is_miss = matches!(why, Forward::UriMiss | Forward::VaryMiss);
            let why = if is_miss { Forward::Stale } else { why };
            return Conclusion::Stored(stored, ServedFrom::Validated { why, is_collapsed: false });
        }
        Ok(OriginReply::Failing { status }) => {
            let Some(stored) = stored else { return Conclusion::Failed(Kind::BodyBroken.into()) };
            lead.stale(stored);
            return Conclusion::Stored(stored.clone(), ServedFrom::Failed(Some(status)));
        }
        Err(error) => error,
    };
    match on_error(stored, request.control).filter(|_| is_of_origin(&error)) {
        Some(stored) => {
            tracing::debug!("a stale response is served, because the origin failed: {error}");
            lead.stale(stored);
            Conclusion::Stored(stored.clone(), ServedFrom::Failed(None))
        }
        None => {
            lead.fail(&error);
            Conclusion::Failed(error)
        }
    }
}

/// Applies what the origin said of a stored response, and answers those who wait where its newer head is for them too;
/// gives it with that.
pub(super) fn apply(update: Update, stored: &Stored, cache: &Arc<Cache>, key: &Key, lead: Lead) -> Stored {
    match stored {
        Stored::Memory(before) => Stored::Memory(apply_in_memory(update, before, cache, key, lead)),
        Stored::Disk(object) => {
            let purges = lead.purges(cache, key);
            let object = apply_on_disk(update, object, cache, (lead.begun(), &purges));
            lead.release();
            Stored::Disk(Box::new(object))
        }
    }
}

fn apply_in_memory(
    update: Update,
    before: &Arc<StoredResponse>,
    cache: &Arc<Cache>,
    key: &Key,
    lead: Lead,
) -> Arc<StoredResponse> {
    let Update { head, variant, effect, is_of_peer } = update;
    let variant = variant.unwrap_or_else(|| before.variant.clone());
    let response = StoredResponse::assembled(before.key.clone(), variant, head, before.body.clone());
    let response = Arc::new(response.begun_at(lead.since()));
    let begun = lead.begun();
    match effect {
        StoredUpdate::Updated => {
            let (source, _) = lead.into_source(cache, key);
            let mut is_kept = false;
            let said_by = if is_of_peer { Origin::Peer } else { Origin::Validated };
            source.object(response.clone(), said_by, |rules| {
                is_kept = cache.replace(before, response.clone(), rules);
            });
            if is_kept {
                disk_lookup::renew(cache, &response, true, begun);
            }
        }
        // The newer head is for the one who asked: whoever waits asks for himself.
        StoredUpdate::Removed => {
            cache.remove(before);
            lead.release();
            disk_lookup::renew(cache, &response, false, begun);
        }
        StoredUpdate::Unchanged => lead.release(),
    }
    response
}

/// `purges` are those since `begun`, when the question was asked.
fn apply_on_disk(
    update: Update,
    object: &DiskObject,
    cache: &Cache,
    (begun, purges): (u64, &[Rule]),
) -> DiskObject {
    let Update { head, effect, .. } = update;
    let object = object.clone();
    match effect {
        // As in memory: what a purge made stale, an answer from before it does not make fresh.
        StoredUpdate::Updated if !cache.survives(&object.record.key, &head.head.fields, purges) => {
            object.with(head)
        }
        StoredUpdate::Updated => cache.store.disk.renewed(object, head, begun),
        StoredUpdate::Removed => {
            object.remove();
            object.with(head)
        }
        StoredUpdate::Unchanged => object.with(head),
    }
}

/// Remembers that an answer is for one request only, of which it `has_credentials` or not. One to a request with
/// credentials says nothing of those without, nor of what is stored for them.
pub(super) fn remember(
    cache: &Arc<Cache>,
    (key, has_credentials): (&Key, bool),
    stored: Option<&Stored>,
    why: NotShared,
    status: u16,
) {
    if has_credentials {
        note(cache, &key_with_credentials(key), None, why, status);
    } else {
        note(cache, key, stored, why, status);
    }
}

/// Remembers that an answer is for one request only: nobody is to wait for such another, and what was stored before it
/// holds no more.
fn note(cache: &Arc<Cache>, key: &Key, stored: Option<&Stored>, why: NotShared, status: u16) {
    if !why.is_of_response() {
        return;
    }
    // The next client may have done nothing wrong.
    let is_short = status >= 500 || is_never_stored(status);
    let long = if is_short { hit_for_miss::SHORT } else { hit_for_miss::LONG };
    cache.store.hit_for_miss.set(key, Moment::now().plus(long));
    match stored.filter(|_| status < 400) {
        Some(Stored::Memory(response)) => {
            cache.remove(response);
            disk_lookup::renew(cache, response, false, 0);
        }
        Some(Stored::Disk(object)) => object.remove(),
        None => {}
    }
}

/// Whether an error is the origin's, or that of the way to it: then a stale response may be better than none
/// (RFC 5861 §4).
pub(super) fn is_of_origin(error: &ProxyError) -> bool {
    match error.kind().blame() {
        Blame::Upstream | Blame::Proxy => true,
        Blame::Client => false,
    }
}
