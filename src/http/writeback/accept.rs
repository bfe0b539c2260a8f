//! The write policy `back`: a PUT or DELETE is acknowledged once it is in the journal; [`super::deliver`]
//! brings it to the origin.
//!
//! Order: the body is read whole, the write made durable, what is stored of its URI forgotten, then the client answered.
//! What cannot be said without the origin is not said: conditions, credentials, parts, and what would go elsewhere later
//! than now ([`may_accept`]) go to the origin as with `around`, once it has what waits for their URI. So does what has
//! trailers, which the journal does not keep: that is known only once the body is there.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{invalidate::forget, place};
use crate::{
    account::{Held, Owner},
    cache::{
        cache_control::RequestControl,
        conf::WritePolicy,
        key::Key,
        status::{CacheStatus, Forward},
        store::Cache,
    },
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::{Field, Fields, Known, is_respelled, vouches_for_client},
    h1::{Framing, Method, ResponseHead},
    http::{
        active::ActiveExchange,
        answer::expects_continue,
        cache_key::{key, now, uri},
        context::{RequestPlan, RouteContext},
        misleading::is_misleading,
        respond::{self, Reply},
        whole_body::{Gathered, WholeBody},
    },
    runtime::{Route, Snapshot},
    writeback::{
        counters::Result as Counted,
        journal::{AppendError, Id, Write},
    },
};

/// Fields that make a write's outcome the origin's to say, or its content nobody else's to show.
const FOR_THE_ORIGIN: [&str; 8] = [
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "content-range",
    "authorization",
    "cookie",
];

/// How long a write for the origin waits for those of its URI that were accepted before it, and each write for the journal,
/// while another program is about to let go of it, or a reload about to open it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a write that waits for the journal looks for it.
const LOOK: Duration = Duration::from_millis(20);
const NOT_DELIVERED: &str = "the origin does not have earlier writes of this URI yet";
const ELSEWHERE: &str = "another program still has the journal";

/// Whether a write on this route can be acknowledged in the origin's place.
pub(super) fn may_accept((snapshot, route): (&Snapshot, &Route), cache: &Cache, exchange: &Exchange) -> bool {
    let (request, client) = (&exchange.request, exchange.facts.client_address());
    let Some(conf) = &cache.conf.write_back else { return false };
    matches!(request.method, Method::Put | Method::Delete)
        && conf.accepts(request.method.as_str(), client)
        && !FOR_THE_ORIGIN.iter().any(|name| request.fields.get(name).is_some())
        && !is_respelled_for_origin(&request.fields)
        && !says_who(route, &request.fields)
        && !RequestControl::of(&request.fields).no_store
        && !is_misleading(&request.fields)
        && place::is_lasting(snapshot, route, exchange)
}

/// Whether a request has such a field in another spelling (`If_Match`), which comes where `underscores` lets it pass, and which
/// some origins take for it.
fn is_respelled_for_origin(fields: &Fields) -> bool {
    let is_one =
        |field: Field<'_>| FOR_THE_ORIGIN.iter().any(|name| is_respelled(field.name, name.as_bytes()));
    fields.has(Known::Underscored) && fields.iter().any(is_one)
}

/// Whether a request has fields in the place of credentials: those by which a proxy vouches for its client, and those that
/// the route makes of such. Whether that client may write, the origin alone can say.
fn says_who(route: &Route, fields: &Fields) -> bool {
    let says_who = |field: Field<'_>| {
        let is_one_of =
            |names: &[Box<str>]| names.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()));
        is_one_of(&route.judged_fields) || (vouches_for_client(field.name) && !is_one_of(&route.own_fields))
    };
    fields.iter().any(says_who)
}

/// Has a write that goes to the origin itself wait until what was accepted before it is there.
pub(super) async fn take_turn(context: &RouteContext<'_>, cache: &Cache, exchange: &Exchange) -> Result<()> {
    ready(cache, cache.conf.write_policy == WritePolicy::Back).await?;
    until_alone(context, cache, exchange).await
}

/// The same for one that was to be accepted, and now is not. There may be no journal any more.
pub(super) async fn take_turn_after_all(
    context: &RouteContext<'_>,
    cache: &Cache,
    exchange: &Exchange,
) -> Result<()> {
    if cache.store.back.is_closed() {
        return Err(refuse(cache, ELSEWHERE));
    }
    ready(cache, false).await?;
    until_alone(context, cache, exchange).await
}

async fn until_alone(context: &RouteContext<'_>, cache: &Cache, exchange: &Exchange) -> Result<()> {
    let back = &cache.store.back;
    let key = key(context.route, cache, exchange);
    if back.latest(key.uri()).is_none() {
        return Ok(());
    }
    patient(cache, back.until_delivered(key.uri())).await
}

/// Has a write on a route without a cache wait until what was accepted before it is there: the route, or another of that URI,
/// may have had a cache then.
pub(super) async fn take_turn_uncached(context: &RouteContext<'_>, exchange: &ActiveExchange) -> Result<()> {
    let uri = uri(context.route, exchange);
    let delivered = exchange.worker().shared.registry.journals.until_delivered(uri.uri());
    let waited = tokio::time::timeout(PATIENCE, delivered).await;
    waited.map_err(|_| ProxyError::because(Kind::NotAccepted, NOT_DELIVERED))
}

/// Waits until what was accepted of late is known here; with `needs_journal`, until writes are accepted too.
async fn ready(cache: &Cache, needs_journal: bool) -> Result<()> {
    let back = &cache.store.back;
    if back.is_ready(needs_journal) {
        return Ok(());
    }
    let look = async {
        // Who has let go of the journal for another program never gets it again.
        while !back.is_closed() {
            if back.is_ready(needs_journal) {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    };
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(refuse(cache, ELSEWHERE)),
    }
}

async fn patient(cache: &Cache, wait: impl Future<Output = ()>) -> Result<()> {
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.map_err(|_| refuse(cache, NOT_DELIVERED))
}

fn refuse(cache: &Cache, why: &'static str) -> ProxyError {
    cache.store.writes.count(cache.conf.write_policy, Counted::Refused);
    ProxyError::because(Kind::NotAccepted, why)
}

/// Accepts a write, unless it has trailers: that is given back, for the origin to have.
pub(super) async fn accept<D: Downstream>(
    context: &RouteContext<'_>,
    cache: &Arc<Cache>,
    plan: RequestPlan,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Option<Gathered>> {
    ready(cache, true).await?;
    let key = key(context.route, cache, exchange);
    let gathered = gather(context, cache, plan, exchange, client).await?.without(&context.route.withheld);
    if gathered.trailers.is_some() {
        return Ok(Some(gathered));
    }
    patient(cache, cache.store.back.until_former_delivered(key.uri())).await?;
    let Some((appending, idempotency)) = enter(context, cache, &key, &gathered.body, exchange) else {
        // A reload took it out of force while the body came.
        return Ok(Some(gathered));
    };
    appending.await.map_err(|error| not_durable(cache, error))?;
    // Counted until it is in the journal, which has a bound of its own.
    drop(gathered);
    // Before the client hears of it; the journal answers from here on.
    forget(context.route, cache, exchange, &exchange.request.target);
    cache.store.writes.count(cache.conf.write_policy, Counted::Accepted);
    respond::own_head(202, exchange);
    let fields = &mut exchange.response.fields;
    fields.push_known(Known::ContentType, b"text/plain; charset=utf-8");
    fields.push("idempotency-key", idempotency.as_bytes());
    let status = CacheStatus::journal(CacheStatus::forwarded(Forward::Method).outcome);
    let reply = Reply::on(context.listener, context.route).with_status(status);
    let body = "202: accepted, delivery follows\n".into();
    respond::send_own(reply, body, exchange, client).await.map(|()| None)
}

/// Begins to make a write durable, where there is a journal; with its idempotency key. The journal is not held while that
/// is waited for, so that another program can have the folder.
fn enter(
    context: &RouteContext<'_>,
    cache: &Cache,
    key: &Key,
    body: &Bytes,
    exchange: &Exchange,
) -> Option<(impl Future<Output = std::result::Result<Id, AppendError>> + use<>, String)> {
    let journal = cache.store.back.journal()?;
    let idempotency = own_key(&exchange.request.fields).unwrap_or_else(|| journal.new_key());
    let write = Write {
        idempotency: idempotency.clone(),
        uri: key.uri().into(),
        body: body.clone(),
        accepted: now().0,
        ..place::write_of(context.route, exchange)
    };
    let appending = journal.append(write);
    cache.store.back.keep(&journal);
    Some((appending, idempotency))
}

/// What the client of a write hears that the journal did not take.
fn not_durable(cache: &Cache, error: AppendError) -> ProxyError {
    cache.store.writes.count(cache.conf.write_policy, Counted::Refused);
    match error {
        AppendError::TooLarge => ProxyError::because(Kind::BodyTooLarge, error),
        AppendError::Full | AppendError::Io(_) => ProxyError::because(Kind::NotAccepted, error),
    }
}

/// The idempotency key that the client gave, where it is one.
fn own_key(request: &Fields) -> Option<String> {
    let value = std::str::from_utf8(request.get("idempotency-key")?).ok()?;
    let is_sane = (1..=255).contains(&value.len()) && value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    is_sane.then(|| value.to_owned())
}

/// Reads the whole body.
async fn gather<D: Downstream>(
    context: &RouteContext<'_>,
    cache: &Cache,
    plan: RequestPlan,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<Gathered> {
    // 0 is any.
    let bounds = [context.body_limit(), context.route.buffer].into_iter().filter(|bound| *bound > 0);
    let most = bounds.fold(cache.conf.max_object.0, u64::min);
    if matches!(plan.framing, Framing::Length(length) if length > most) {
        return Err(Kind::BodyTooLarge.into());
    }
    if !plan.has_body {
        return Ok(Gathered { body: Bytes::new(), trailers: None, held: Held::new(Owner::Writes, 0) });
    }
    if expects_continue(exchange) && !client.has_body_bytes() && client.takes_interim() {
        client.interim(&ResponseHead { status: 100, ..ResponseHead::default() });
    }
    WholeBody::of(Owner::Writes, most, context, exchange).read(exchange, client).await
}
