//! Asking the origin for what may be shared: the whole of one representation, or whether what is stored still holds;
//! and what the answer is good for.

use std::sync::Arc;

use super::request::has_credentials;
use crate::{
    cache::{
        cache_control::{RequestControl, ResponseControl},
        date::Date,
        fill,
        freshness::{Times, is_error},
        key::Key,
        normalized_field::normalized,
        storable::Refusal,
        store::Cache,
        stored::Stored,
        stored_head::StoredHead,
        validate::{make_conditional, make_unconditional, updated_by},
        vary::Vary,
    },
    error::Result,
    exchange::{Downstream, Exchange},
    fields::{Fields, Known},
    h1::RequestHead,
    http::{
        answer::Answer,
        cache_key::now,
        context::{RequestPlan, RouteContext, is_event_stream},
        misleading::{remove_misleading, remove_respelled},
        proxy,
    },
    runtime::Route,
    template::Template,
    upstream::response::BodyLength,
};

/// A question to the origin.
pub(super) struct OriginRequest<'a> {
    pub(super) context: &'a RouteContext<'a>,
    pub(super) cache: &'a Arc<Cache>,
    pub(super) control: &'a RequestControl,
    /// What is stored, to be validated.
    pub(super) stored: Option<&'a Stored>,
}

/// What the origin's answer is good for.
pub(super) enum OriginReply {
    /// What is stored holds.
    Validated(Update),
    /// What is stored is stale, and better than this error.
    Failing { status: u16 },
    /// It may be shared, and stored where its head says that newcomers may join.
    Shared { head: Arc<fill::Answer>, answer: Answer },
    /// It is for the one who asked.
    Own { answer: Answer, why: NotShared },
}

impl OriginReply {
    /// The same from a peer, by what that has stored.
    pub(super) fn of_peer(self) -> Self {
        match self {
            Self::Validated(update) => Self::Validated(Update { is_of_peer: true, ..update }),
            Self::Shared { mut head, answer } => {
                // Nobody else has it yet.
                if let Some(head) = Arc::get_mut(&mut head) {
                    head.is_of_peer = true;
                }
                Self::Shared { head, answer }
            }
            Self::Failing { .. } | Self::Own { .. } => self,
        }
    }
}

/// What the origin said of what is stored.
pub(super) struct Update {
    /// The newer head.
    pub(super) head: StoredHead,
    /// Which variant it is; none where its Vary depends on more than fields.
    pub(super) variant: Option<Key>,
    /// What becomes of what is stored.
    pub(super) effect: StoredUpdate,
    /// Whether a peer says so, of what it has stored.
    pub(super) is_of_peer: bool,
}

/// What becomes of what is stored once the origin has said something newer of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredUpdate {
    /// The newer head takes its place.
    Updated,
    /// It leaves: by its newer head it may not be stored.
    Removed,
    /// It stays as it is: the newer head is for one request only.
    Unchanged,
}

impl StoredUpdate {
    /// By whether the newer head may be stored, of which the request `has_credentials` or not. What is said to who is logged in
    /// is said of nobody else.
    fn of(verdict: std::result::Result<(), Refusal>, has_credentials: bool) -> Self {
        match verdict {
            Ok(()) => Self::Updated,
            Err(refusal) if !has_credentials && NotShared::Refused(refusal).is_of_response() => Self::Removed,
            Err(_) => Self::Unchanged,
        }
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
    /// It is a stream of events: who joined it would get old ones, and it may be silent for longer than a fill waits.
    Events,
}

impl NotShared {
    /// A word for it, as the detail of Cache-Status.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.name(),
            Self::TooLarge => "too-large",
            Self::NoEnd => "no-end",
            Self::Events => "event-stream",
        }
    }

    /// Whether others who ask for the same would get the same answer.
    pub(super) fn is_of_response(self) -> bool {
        match self {
            Self::Refused(Refusal::Method | Refusal::RequestNoStore | Refusal::Authorization) => false,
            Self::Refused(_) | Self::TooLarge | Self::NoEnd | Self::Events => true,
        }
    }
}

/// Makes a request one whose answer is the whole of what may be shared. True when it asks whether `stored` holds.
pub(super) fn prepare(
    of: (&Cache, Option<&Route>),
    exchange: &mut Exchange,
    stored: Option<&Stored>,
) -> bool {
    make_common(of, exchange);
    make_conditional(&mut exchange.request.fields, stored.iter().map(|stored| &stored.head().head.fields))
}

/// Has a request ask for nothing that could not be found again by its key. Whatever its answer may come to be used
/// for, be it only to judge what is stored, needs this.
pub(super) fn make_common((cache, route): (&Cache, Option<&Route>), exchange: &mut Exchange) {
    let is_trusted = exchange.facts.is_trusted();
    let fields = &mut exchange.request.fields;
    // What the origin chooses by is what the variant is found by.
    if let Some(codings) = normalized("accept-encoding", fields) {
        fields.set_known(Known::AcceptEncoding, &codings);
    }
    if cache.is_storing {
        let template = cache.key_template.iter().flat_map(Template::headers);
        let settled = route.iter().flat_map(|route| &route.settled_fields).map(|name| &**name);
        let groups = cache.conf.bypass.iter().chain(&cache.conf.no_store);
        let conditions = groups.flat_map(|group| &group.headers.0).map(|(name, _)| &**name);
        let names = cache.key.headers.iter().map(|header| &**header);
        let names = names.chain(template).chain(settled).chain(conditions);
        remove_respelled(fields, names);
    }
    // Where nothing is stored only those share an answer who agree in these too, and what a trusted proxy says goes on.
    if cache.is_storing || !is_trusted {
        remove_misleading(fields, |name| {
            cache.key.headers.iter().any(|header| header == name)
                || cache.key_template.iter().flat_map(Template::headers).any(|header| header == name)
                || route.is_some_and(|route| route.settled_fields.iter().any(|field| **field == *name))
        });
    }
}

/// Asks the origin; the head of its answer is in `exchange.response`. The request is one that [`prepare`] made, which
/// said whether it `is_conditional`.
pub(super) async fn ask<D: Downstream>(
    request: &OriginRequest<'_>,
    mut is_conditional: bool,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<OriginReply> {
    loop {
        let requested = now();
        let answer = proxy::ask(request.context, RequestPlan::WITHOUT_BODY, exchange, client).await?;
        let times = Times { requested, received: now() };
        match judge(request, answer, is_conditional, exchange, times) {
            Some(reply) => return Ok(reply),
            None => {
                make_unconditional(&mut exchange.request.fields);
                is_conditional = false;
            }
        }
    }
}

/// What an answer is good for, wherever it comes from; `None` for a 304 about something that is not stored (RFC 9111
/// §4.3.4).
pub(super) fn judge(
    request: &OriginRequest<'_>,
    answer: Answer,
    is_conditional: bool,
    exchange: &Exchange,
    times: Times,
) -> Option<OriginReply> {
    if exchange.response.status == 304 && is_conditional {
        answer.response.release();
        return validated(request, exchange, times).map(OriginReply::Validated);
    }
    let may_be_stale =
        |stored: &Stored| stored.freshness().may_serve_on_error(request.control, times.received);
    if is_error(exchange.response.status) && request.stored.is_some_and(may_be_stale) {
        return Some(OriginReply::Failing { status: exchange.response.status });
    }
    Some(assess(request.cache, answer, exchange, times))
}

/// What a 304 says of what is stored (RFC 9111 §4.3.4); none where it is about something else.
fn validated(request: &OriginRequest<'_>, exchange: &Exchange, times: Times) -> Option<Update> {
    let stored = request.stored?.head();
    let newer = &exchange.response.fields;
    let candidates: [(&Fields, Date); 1] = [(&stored.head.fields, stored.date)];
    updated_by(newer, &candidates).first()?;
    Some(update(request.cache, stored, &exchange.request, newer, times))
}

/// The head of what is stored, with the fields of a newer response to this request, and whether it may be stored like
/// that.
pub(super) fn update(
    cache: &Cache,
    stored: &StoredHead,
    request: &RequestHead,
    newer: &Fields,
    times: Times,
) -> Update {
    let (mut head, verdict) = stored.refreshed(request, newer, &cache.policy, times);
    head.head.fields = head.head.fields.compact();
    // A Vary that is another one now is about this request.
    let variant = head.vary.key(&request.fields);
    let effect = StoredUpdate::of(verdict, has_credentials(&request.fields));
    Update { head, variant, effect, is_of_peer: false }
}

/// What an answer with content is good for.
fn assess(cache: &Cache, answer: Answer, exchange: &Exchange, times: Times) -> OriginReply {
    let (entry, verdict) =
        StoredHead::checked(&exchange.request, exchange.response.clone(), &cache.policy, times);
    let is_stored = cache.is_storing;
    let verdict = if is_stored { verdict } else { may_be_shared(&entry, exchange) };
    let length = answer.response.length();
    let why = match verdict {
        Err(refusal) => Some(NotShared::Refused(refusal)),
        Ok(()) if is_event_stream(exchange) => Some(NotShared::Events),
        Ok(()) if length == BodyLength::UntilClose => Some(NotShared::NoEnd),
        Ok(()) if length.known().is_some_and(|length| length > cache.longest()) => Some(NotShared::TooLarge),
        Ok(()) => None,
    };
    // A response that depends on more than fields was refused.
    let variant = entry.vary.key(&exchange.request.fields);
    match (why, variant) {
        (None, Some(variant)) => {
            let length = length.known();
            let head = fill::Answer { entry, variant, length, is_open: is_stored, is_of_peer: false };
            OriginReply::Shared { head: Arc::new(head), answer }
        }
        (None, None) => OriginReply::Own { answer, why: NotShared::Refused(Refusal::VaryAny) },
        (Some(why), _) => OriginReply::Own { answer, why },
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
