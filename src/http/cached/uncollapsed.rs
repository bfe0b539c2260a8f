//! A request that fetches for itself: it may not wait for others, nor others for it. What it brings is stored all the
//! same, where that is allowed.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    conclude::{Conclusion, Lead, apply, conclude, remember},
    disk_lookup::{self, DiskLookup},
    fill_sink::fill,
    hit::hit,
    origin::{self, NotShared, OriginReply, OriginRequest},
    request::{CacheRequest, Miss, has_credentials, key_with_credentials},
    send::{send_fetched, send_stored},
};
use crate::{
    cache::{
        date::Date,
        fill::{self, Mark},
        freshness::Times,
        status::{CacheStatus, Forward},
        stored::Stored,
        validate::{HeadEffect, head_effect, is_not_modified, not_modified_fields},
    },
    error::Result,
    exchange::{Downstream, Exchange},
    fields::Known,
    h1::{Method, RequestHead},
    http::{
        active::ActiveExchange,
        answer::Answer,
        cache_key::now,
        proxy,
        respond::{self, Reply, Source},
    },
    moment::Moment,
    telemetry::cache_result::CacheResult,
};

/// Fetches for one request, and serves what comes.
pub(super) async fn fetch<D: Downstream>(
    request: &CacheRequest<'_>,
    mut miss: Miss,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    if miss.stored.is_none() {
        let fields = &exchange.request.fields;
        match disk_lookup::find(request.cache, &request.key, fields, &request.control).await {
            Some(DiskLookup { stored, verdict: Some(verdict) }) => {
                return hit(request, stored, verdict, exchange, client).await;
            }
            Some(DiskLookup { stored, verdict: None }) => miss.stored = Some(stored),
            None => {}
        }
    }
    exchange.cache = Some(CacheResult::Miss);
    let asked = request.cache.store.fills.mark();
    let mut is_plain = is_plain(request, &miss, exchange);
    let mut reply = ask(request, &miss, is_plain, exchange, client).await;
    if let (false, Ok(OriginReply::Own { why, .. })) = (is_plain, &reply) {
        let key = (&request.key, has_credentials(&exchange.request.fields));
        remember(request.cache, key, miss.stored.as_ref(), *why, exchange.response.status);
        if wants_part(exchange) {
            // The backend's connection, and its place, are given back before it is asked again.
            drop(reply);
            is_plain = true;
            reply = ask(request, &miss, is_plain, exchange, client).await;
        }
    }
    let (context, cache, control) = (request.context, request.cache, &request.control);
    let question = OriginRequest { context, cache, control, stored: miss.stored.as_ref() };
    match conclude(&question, (&request.key, miss.why), reply, Lead::Alone(asked)) {
        Conclusion::Stored(stored, from) => send_stored(request, stored, from, exchange, client).await,
        Conclusion::Shared { head, answer, lead } if cache.is_storing => {
            store_and_send(request, (head, answer), lead, &miss, exchange, client).await
        }
        Conclusion::Shared { answer, .. } => {
            let status = CacheStatus::forwarded(miss.why);
            proxy::deliver(context, answer, Some(status), exchange, client).await
        }
        Conclusion::Own { answer, why, .. } => {
            if request.is_head {
                compare(request, &miss, asked, exchange);
            }
            send_own(request, (answer, why), (miss.why, is_plain), exchange, client).await
        }
        Conclusion::Failed(error) => Err(error),
    }
}

/// Asks the origin: as the client asks, or so that the answer may be shared. What is changed of the request for that is
/// changed in a fork of it.
async fn ask<D: Downstream>(
    request: &CacheRequest<'_>,
    miss: &Miss,
    is_plain: bool,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<OriginReply> {
    let stored = miss.stored.as_ref();
    let mut fork = exchange.fork();
    let of = (&**request.cache, Some(request.context.route));
    let is_conditional = match is_plain {
        true => {
            origin::make_common(of, &mut fork);
            false
        }
        false => origin::prepare(of, &mut fork, stored),
    };
    let (context, cache, control) = (request.context, request.cache, &request.control);
    let question = OriginRequest { context, cache, control, stored };
    origin::ask(&question, is_conditional, &mut fork, client).await
}

/// Whether the origin is asked as the client asks, for a part, or for nothing if it has it: where the answer is
/// for this client only, and so are its conditions (RFC 9110 §13.2.1); also where nothing is stored.
fn is_plain(request: &CacheRequest<'_>, miss: &Miss, exchange: &Exchange) -> bool {
    let (hit_for_miss, now) = (&request.cache.store.hit_for_miss, Moment::now());
    let fields = &exchange.request.fields;
    let is_own = || {
        fields.has(Known::Authorization)
            || hit_for_miss.has(&request.key, now)
            || (has_credentials(fields) && hit_for_miss.has(&key_with_credentials(&request.key), now))
    };
    !request.cache.is_storing
        || request.is_head
        || request.control.no_store
        || (miss.stored.is_none() && is_own())
}

/// Has the body stored by a task of its own, and reads it from there like others do.
async fn store_and_send<D: Downstream>(
    request: &CacheRequest<'_>,
    (head, answer): (Arc<fill::Answer>, Answer),
    lead: Lead,
    miss: &Miss,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<()> {
    request.cache.store.hit_for_miss.clear(&request.key);
    let (mut source, reader) = lead.into_source(request.cache, &request.key);
    source.answer(head.clone());
    let idle = request.context.response_body_timeout();
    let alive = exchange.worker().begin_fetch();
    let before = miss.stored.as_ref().and_then(Stored::in_memory).cloned();
    let filling = fill(request.cache.clone(), (head.clone(), before), answer.response, source, idle);
    tokio::task::spawn_local(async move {
        filling.await;
        drop(alive);
    });
    match reader {
        Some(reader) => send_fetched(request, (&head, reader), miss.why, exchange, client).await,
        None => Ok(()),
    }
}

/// What a response to HEAD says of the stored response to GET (RFC 9111 §4.3.5). Of what is on disk it says nothing.
fn compare(request: &CacheRequest<'_>, miss: &Miss, asked: Mark, exchange: &Exchange) {
    let Some(stored) = miss.stored.as_ref().filter(|_| !request.control.no_store) else { return };
    let Some(response) = stored.in_memory() else { return };
    match head_effect(&exchange.response, &response.entry.head.fields, response.body.length) {
        HeadEffect::Update => {
            let times = Times { requested: Date(asked.at / 1000), received: now() };
            // What is updated is a response to GET.
            let get = RequestHead { method: Method::Get, ..exchange.request.clone() };
            let newer = &exchange.response.fields;
            let update = origin::update(request.cache, stored.head(), &get, newer, times);
            apply(update, stored, request.cache, &request.key, Lead::Alone(asked));
        }
        HeadEffect::Expire => response.invalidate(),
        HeadEffect::Nothing => {}
    }
}

/// Whether a client wants a part of the whole that came, which was asked for to be shared, and is not: the part may be
/// much smaller.
pub(super) fn wants_part(exchange: &Exchange) -> bool {
    exchange.response.status == 200
        && exchange.request.fields.known(Known::Range).is_some()
        && !has_it(exchange, false)
}

/// Whether the client has what came already, by its conditions. Where the request went on `is_plain`, the origin knows
/// them, and what it sends for a date is meant to be sent; a tag that is the same is the same.
fn has_it(exchange: &Exchange, is_plain: bool) -> bool {
    let (request, response) = (&exchange.request, &exchange.response);
    if is_plain && !request.fields.has(Known::IfNoneMatch) {
        return false;
    }
    is_not_modified(&request.method, &request.fields, response.status, &response.fields, (now(), false))
}

/// Sends an answer that is for this client alone, to a request that went on `is_plain`, or so that it could be shared. Where
/// the client has it already by its conditions, it is told so, and the origin is not asked a second time for that.
pub(super) async fn send_own<D: Downstream>(
    request: &CacheRequest<'_>,
    (answer, why): (Answer, NotShared),
    (forward, is_plain): (Forward, bool),
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    let status = CacheStatus { detail: Some(why.name()), ..CacheStatus::forwarded(forward) };
    if !has_it(exchange, is_plain) {
        return proxy::deliver(request.context, answer, Some(status), exchange, client).await;
    }
    exchange.response.status = 304;
    exchange.response.fields = not_modified_fields(&exchange.response.fields);
    let context = request.context;
    let backend = context.backend(exchange);
    let reply = Reply { affinity: answer.affinity, backend, ..context.reply().with_status(status) };
    // Its body is of no use to anybody.
    let source = Source::Upstream(answer.response).behind(Bytes::new());
    let patience = context.patience(exchange);
    respond::send(&reply, source, patience, exchange, client).await
}
