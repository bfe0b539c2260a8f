//! Asking the origin for what may be shared: the whole of one representation, or whether what is stored still holds;
//! and what the answer is good for.

use std::sync::Arc;

use super::now;
use crate::{
    cache::{
        cache_control::{RequestControl, ResponseControl},
        date::Date,
        disk_tier::DiskObject,
        fill::{Answer, Origin, Source},
        freshness::{Times, is_error},
        hit_for_miss,
        key::Key,
        storable::Refusal,
        store::Cache,
        stored_head::StoredHead,
        stored_response::StoredResponse,
        validate::{make_conditional, make_unconditional, updated_by},
        vary::{self, Vary},
    },
    error::Result,
    exchange::{Downstream, Exchange},
    fields::{Fields, Known},
    h1::{Framing, RequestHead},
    http::{
        body, headers,
        proxy::{self, RequestPlan, RouteContext},
    },
    moment::Moment,
    net::BodyReader,
    upstream::forward::UpstreamResponse,
};

/// A question to the origin.
pub(super) struct OriginRequest<'a> {
    pub(super) way: &'a RouteContext<'a>,
    pub(super) cache: &'a Arc<Cache>,
    pub(super) control: &'a RequestControl,
    /// What is stored, to be validated.
    pub(super) stored: Option<&'a Arc<StoredResponse>>,
}

/// What the origin's answer is good for.
pub(super) enum OriginReply {
    /// What is stored holds.
    Validated { object: Arc<StoredResponse>, stays: StoredUpdate },
    /// What is stored is stale, and better than this error.
    Failing { status: u16 },
    /// It may be shared, and stored where its head says that newcomers may join.
    Shared { answer: Arc<Answer>, live: UpstreamResponse, sticky: Option<usize> },
    /// It is for the one who asked.
    Own { live: UpstreamResponse, sticky: Option<usize>, why: NotShared },
}

/// What becomes of what is stored once the origin has said something newer of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredUpdate {
    /// The newer head takes its place.
    Updated,
    /// It leaves: by its newer head it may not be stored.
    No,
    /// It stays as it is: the newer head is for one request only.
    AsItIs,
}

impl StoredUpdate {
    pub(super) fn of(verdict: std::result::Result<(), Refusal>) -> Self {
        match verdict {
            Ok(()) => Self::Updated,
            Err(refusal) if NotShared::Refused(refusal).is_of_response() => Self::No,
            Err(_) => Self::AsItIs,
        }
    }

    /// Does it, and tells those who wait for `source` that `object` answers.
    pub(super) fn settle(
        self,
        cache: &Arc<Cache>,
        before: Option<&Arc<StoredResponse>>,
        object: &Arc<StoredResponse>,
        source: Source,
    ) {
        let begun = source.begun();
        source.object(object.clone(), Origin::Validated, |rules| match (self, before) {
            (Self::Updated, Some(before)) => cache.replace(before, object.clone(), rules),
            (Self::No, Some(before)) => cache.remove(before),
            (Self::AsItIs, _) | (_, None) => {}
        });
        let stays = match self {
            Self::Updated => true,
            Self::No => false,
            Self::AsItIs => return,
        };
        renew(cache, object, stays, begun);
    }

    /// The same of something that is only on disk, about which the question was asked at `begun`; gives it with its newer head.
    pub(super) fn settle_kept(self, kept: DiskObject, object: &StoredResponse, begun: u64) -> DiskObject {
        let entry = object.entry.clone();
        match self {
            Self::Updated => kept.renewed(entry, begun),
            Self::No => {
                kept.remove();
                kept.with(entry)
            }
            Self::AsItIs => kept.with(entry),
        }
    }
}

/// Gives what lies on disk in the place of `object` its head, or takes it out; soon.
fn renew(cache: &Arc<Cache>, object: &Arc<StoredResponse>, stays: bool, begun: u64) {
    if cache.store.disk.may_have(&object.key) {
        let (cache, object) = (cache.clone(), object.clone());
        tokio::task::spawn_local(async move { cache.store.disk.renew(&object, stays, begun).await });
    }
}

/// Why an answer is not shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotShared {
    /// The standard, or the configuration, has it so.
    Refused(Refusal),
    /// It is larger than what is kept.
    TooLarge,
    /// Its end is the end of the connection: whether it is whole cannot be known.
    NoEnd,
}

impl NotShared {
    /// A word for it, as the detail of Cache-Status.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.name(),
            Self::TooLarge => "too-large",
            Self::NoEnd => "no-end",
        }
    }

    /// Whether others who ask for the same would be told the same.
    pub(super) fn is_of_response(self) -> bool {
        match self {
            Self::Refused(Refusal::Method | Refusal::RequestNoStore | Refusal::Authorization) => false,
            Self::Refused(_) | Self::TooLarge | Self::NoEnd => true,
        }
    }
}

const WITHOUT_BODY: RequestPlan = RequestPlan { framing: Framing::None, has_body: false, is_upgrade: false };

/// Fields by which some backends are led to answer for something else than the URI that the answer would be stored
/// under. From a client that is not trusted they go no further where the answer is shared.
const MISLEADING: [&str; 9] = [
    "x-forwarded-port",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Whether a request has fields by which some backends are led to another URI, or method, than it names.
pub(super) fn is_misleading(request: &Fields) -> bool {
    MISLEADING.iter().any(|name| request.get(name).is_some())
}

/// Makes a request one whose answer is the whole of what may be shared. True when it asks whether `stored` holds.
pub(super) fn prepare(exchange: &mut Exchange, stored: Option<&Arc<StoredResponse>>) -> bool {
    make_common(exchange);
    make_conditional(&mut exchange.request.fields, stored.iter().map(|object| &object.entry.head.fields))
}

/// Has a request ask for nothing that could not be found again by its key. Whatever its answer may come to be used
/// for, be it only to judge what is stored, needs this.
pub(super) fn make_common(exchange: &mut Exchange) {
    let is_trusted = exchange.peer.is_trusted;
    let fields = &mut exchange.request.fields;
    // What the origin chooses by is what the variant is found by.
    if let Some(codings) = vary::normalized("accept-encoding", fields) {
        fields.set("accept-encoding", &codings);
    }
    if !is_trusted {
        MISLEADING.iter().for_each(|name| fields.remove(name));
    }
}

/// Asks the origin; the head of its answer is in `exchange.response`. The request is one that [`prepare`] made, which
/// said whether it `is_conditional`.
pub(super) async fn ask<D: Downstream>(
    question: &OriginRequest<'_>,
    mut is_conditional: bool,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<OriginReply> {
    loop {
        let requested = now();
        let (live, sticky) = proxy::ask(question.way, WITHOUT_BODY, exchange, client).await?;
        let times = Times { requested, received: now() };
        headers::pass_response(&mut exchange.response, false);
        if exchange.response.status == 304 && is_conditional {
            body::release(live);
            if let Some(reply) = validated(question, exchange, times) {
                return Ok(reply);
            }
            // It is about something that is not stored (RFC 9111 §4.3.4).
            make_unconditional(&mut exchange.request.fields);
            is_conditional = false;
            continue;
        }
        let may_be_stale = |object: &&Arc<StoredResponse>| {
            object.freshness().may_serve_on_error(question.control, times.received)
        };
        if is_error(exchange.response.status) && question.stored.is_some_and(|object| may_be_stale(&object)) {
            return Ok(OriginReply::Failing { status: exchange.response.status });
        }
        return Ok(judge(question, live, sticky, exchange, times));
    }
}

/// The stored response after a 304 (RFC 9111 §4.3.4).
fn validated(question: &OriginRequest<'_>, exchange: &Exchange, times: Times) -> Option<OriginReply> {
    let stored = question.stored?;
    let newer = &exchange.response.fields;
    let candidates: [(&Fields, Date); 1] = [(&stored.entry.head.fields, stored.entry.date)];
    updated_by(newer, &candidates).first()?;
    let (object, stays) = updated(question.cache, stored, &exchange.request, newer, times);
    Some(OriginReply::Validated { object, stays })
}

/// What is stored, with the fields of a newer response to this request, and whether it may be stored like that.
pub(super) fn updated(
    cache: &Cache,
    stored: &StoredResponse,
    request: &RequestHead,
    newer: &Fields,
    times: Times,
) -> (Arc<StoredResponse>, StoredUpdate) {
    let (mut entry, verdict) = stored.entry.refreshed(request, newer, &cache.policy, times);
    entry.head.fields = entry.head.fields.compact();
    // A Vary that is another one now is about this request.
    let variant = entry.vary.key(&request.fields).unwrap_or_else(|| stored.variant.clone());
    let object = StoredResponse::assembled(stored.key.clone(), variant, entry, stored.body.clone());
    (Arc::new(object), StoredUpdate::of(verdict))
}

/// What an answer with content is good for.
fn judge(
    question: &OriginRequest<'_>,
    live: UpstreamResponse,
    sticky: Option<usize>,
    exchange: &Exchange,
    times: Times,
) -> OriginReply {
    let policy = &question.cache.policy;
    let (entry, verdict) = StoredHead::checked(&exchange.request, exchange.response.clone(), policy, times);
    let is_stored = question.cache.is_storing;
    let verdict = if is_stored { verdict } else { may_be_shared(&entry, exchange) };
    let length = match &live.incoming {
        BodyReader::Done => Some(0),
        BodyReader::Length(length) => Some(*length),
        BodyReader::Chunked(_) | BodyReader::UntilClose => None,
    };
    let is_endless = matches!(live.incoming, BodyReader::UntilClose);
    let most = question.cache.longest();
    let why = match verdict {
        Err(refusal) => Some(NotShared::Refused(refusal)),
        Ok(()) if is_endless => Some(NotShared::NoEnd),
        Ok(()) if length.is_some_and(|length| length > most) => Some(NotShared::TooLarge),
        Ok(()) => None,
    };
    // A response that depends on more than fields was refused.
    let variant = entry.vary.key(&exchange.request.fields);
    match (why, variant) {
        (None, Some(variant)) => {
            let answer = Arc::new(Answer { entry, variant, length, is_open: is_stored });
            OriginReply::Shared { answer, live, sticky }
        }
        (None, None) => OriginReply::Own { live, sticky, why: NotShared::Refused(Refusal::VaryAny) },
        (Some(why), _) => OriginReply::Own { live, sticky, why },
    }
}

/// Remembers that an answer is for one request only: nobody is to wait for such another, and what was stored before it
/// holds no more.
pub(super) fn note(
    cache: &Arc<Cache>,
    key: &Key,
    stored: Option<&Arc<StoredResponse>>,
    why: NotShared,
    status: u16,
) {
    if !why.is_of_response() {
        return;
    }
    let long = if status >= 500 { hit_for_miss::SHORT } else { hit_for_miss::LONG };
    cache.store.hit_for_miss.set(key, Moment::now().plus(long));
    if let Some(stored) = stored.filter(|_| status < 400) {
        cache.remove(stored);
        renew(cache, stored, false, 0);
    }
}

/// Whether a response that is not stored may be shared with those who asked before it came: 2xx, 3xx and 404 that do
/// not forbid it.
fn may_be_shared(entry: &StoredHead, exchange: &Exchange) -> Result<(), Refusal> {
    let response = &exchange.response;
    let control = ResponseControl::of(&response.fields);
    let refuse = |why: bool, refusal: Refusal| if why { Err(refusal) } else { Ok(()) };
    refuse(matches!(response.status, 206), Refusal::Partial)?;
    refuse(response.status == 304, Refusal::NotModified)?;
    refuse(!matches!(response.status, 200..=399 | 404), Refusal::Unsaid)?;
    refuse(control.no_store, Refusal::NoStore)?;
    // RFC 9111 §5.2.2.4: `no-cache` wants each use validated, and so does a reply that is for one.
    refuse(control.private.is_whole() || control.no_cache.is_whole(), Refusal::Private)?;
    refuse(response.fields.has(Known::SetCookie), Refusal::SetCookie)?;
    refuse(
        exchange.request.fields.has(Known::Authorization) && !control.allows_credentials,
        Refusal::Authorization,
    )?;
    refuse(matches!(entry.vary, Vary::Any), Refusal::VaryAny)
}
