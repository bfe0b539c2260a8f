//! A request that fetches for itself: it may not wait for others, nor others for it. What it brings is stored all the
//! same, where that is allowed.

use std::sync::Arc;

use super::{
    CacheRequest, Miss, collapse,
    disk_lookup::{self, DiskLookup, ServedFrom},
    now,
    origin::{self, NotShared, OriginReply, OriginRequest},
    pump, send,
};
use crate::{
    cache::{
        date::Date,
        disk_tier::DiskObject,
        fill::{Answer, Mark},
        freshness::Times,
        key::Key,
        status::{CacheStatus, Forward, StatusOutcome},
        stored_response::StoredResponse,
        validate::{HeadEffect, head_effect},
    },
    error::{Kind, Result},
    exchange::{Downstream, Exchange},
    fields::Known,
    h1::Method,
    http::{
        handle::{ActiveExchange, Outcome},
        proxy,
    },
    moment::Moment,
    telemetry::cache_result::CacheResult,
    upstream::forward::UpstreamResponse,
};

impl CacheRequest<'_> {
    pub(super) async fn alone<D: Downstream>(
        &self,
        mut miss: Miss,
        exchange: &mut ActiveExchange,
        client: &mut D,
    ) -> Result<Outcome> {
        let mut kept = None;
        if miss.stored.is_none() {
            match disk_lookup::look(self.cache, &self.key, &exchange.request.fields, &self.control).await {
                DiskLookup::Here(object, verdict) => {
                    return self.hit(object, verdict, exchange, client).await;
                }
                DiskLookup::There(large, verdict) => {
                    return self.send_kept(large, ServedFrom::Hit(verdict), exchange, client).await;
                }
                DiskLookup::StaleHere(object) => miss.stored = Some(object),
                DiskLookup::StaleThere(large) => {
                    miss.stored = Some(Arc::new(large.head()));
                    kept = Some(large);
                }
                DiskLookup::Nothing => {}
            }
        }
        exchange.cache = Some(CacheResult::Miss);
        let asked = self.cache.store.fills.mark();
        let is_plain = self.is_plain(&miss, exchange);
        let mut reply = self.question(&miss, is_plain, exchange, client).await;
        if let (false, Ok(OriginReply::Own { why, .. })) = (is_plain, &reply) {
            self.note(miss.stored.as_ref(), *why, exchange);
            if wants_less(exchange) {
                // The backend's connection, and its place, are given back before it is asked again.
                drop(reply);
                reply = self.question(&miss, true, exchange, client).await;
            }
        }
        match kept {
            Some(kept) if !matches!(reply, Ok(OriginReply::Shared { .. } | OriginReply::Own { .. })) => {
                self.finish_kept(reply, (kept, asked), exchange, client).await
            }
            kept => self.finish((reply, kept.is_some()), miss, asked, exchange, client).await,
        }
    }

    /// The end of a question about something in memory, or about nothing; or of one about something on disk that
    /// brought something else.
    async fn finish<D: Downstream>(
        &self,
        (reply, is_on_disk): (Result<OriginReply>, bool),
        miss: Miss,
        asked: Mark,
        exchange: &mut ActiveExchange,
        client: &mut D,
    ) -> Result<Outcome> {
        match reply {
            Ok(OriginReply::Shared { answer, live, .. }) if self.cache.is_storing => {
                self.store_and_send((answer, live), asked, &miss, exchange, client).await
            }
            Ok(OriginReply::Shared { live, sticky, .. }) => {
                CacheStatus::forwarded(miss.why).add_to(&mut exchange.response.fields);
                proxy::deliver(self.way, live, sticky, exchange, client).await
            }
            Ok(OriginReply::Own { live, sticky, why }) => {
                if self.is_head && !is_on_disk {
                    self.compare(&miss, asked, exchange);
                }
                let status = CacheStatus { detail: Some(why.name()), ..CacheStatus::forwarded(miss.why) };
                status.add_to(&mut exchange.response.fields);
                proxy::deliver(self.way, live, sticky, exchange, client).await
            }
            Ok(OriginReply::Validated { object, stays }) => {
                let (source, _) = self.cache.store.fills.begin_alone(&self.key, asked);
                stays.settle(self.cache, miss.stored.as_ref(), &object, source);
                self.send_validated(object, miss.why, (Some(304), false), exchange, client).await
            }
            Ok(OriginReply::Failing { status }) => match miss.stored {
                Some(object) => self.send_on_error(object, Some(status), exchange, client).await,
                None => Err(Kind::BodyBroken.into()),
            },
            Err(error) => {
                let stored = miss.stored.as_ref().filter(|_| collapse::is_of_origin(&error));
                match self.on_error(stored) {
                    Some(object) => self.send_on_error(object, None, exchange, client).await,
                    None => Err(error),
                }
            }
        }
    }

    /// The end of a question about something large on disk.
    async fn finish_kept<D: Downstream>(
        &self,
        reply: Result<OriginReply>,
        (kept, asked): (Box<DiskObject>, Mark),
        exchange: &mut ActiveExchange,
        client: &mut D,
    ) -> Result<Outcome> {
        let may_be_stale = kept.record.entry.freshness.may_serve_on_error(&self.control, now());
        let (kept, how) = match reply {
            Ok(OriginReply::Validated { object, stays }) => {
                (Box::new(stays.settle_kept(*kept, &object, asked.at)), ServedFrom::Validated(Forward::Stale))
            }
            Ok(OriginReply::Failing { status }) => (kept, ServedFrom::Failed(Some(status))),
            Err(error) if may_be_stale && collapse::is_of_origin(&error) => (kept, ServedFrom::Failed(None)),
            Err(error) => return Err(error),
            // Told apart before.
            Ok(OriginReply::Shared { .. } | OriginReply::Own { .. }) => return Err(Kind::BodyBroken.into()),
        };
        self.send_kept(kept, how, exchange, client).await
    }

    /// Asks the origin: as the client asks, or so that the answer may be shared.
    async fn question<D: Downstream>(
        &self,
        miss: &Miss,
        is_plain: bool,
        exchange: &mut ActiveExchange,
        client: &mut D,
    ) -> Result<OriginReply> {
        let own = exchange.request.fields.clone();
        let stored = miss.stored.as_ref();
        let is_conditional = match is_plain {
            true => {
                origin::make_common(exchange);
                false
            }
            false => origin::prepare(exchange, stored),
        };
        let question = OriginRequest { way: self.way, cache: self.cache, control: &self.control, stored };
        let reply = origin::ask(&question, is_conditional, exchange, client).await;
        exchange.request.fields = own;
        reply
    }

    /// Whether the origin is asked as the client asks, for a part, or for nothing if it has it: where the answer is
    /// for this client only, and so are its conditions (RFC 9110 §13.2.1).
    fn is_plain(&self, miss: &Miss, exchange: &Exchange) -> bool {
        let (marks, now) = (&self.cache.store.hit_for_miss, Moment::now());
        let is_own = || {
            exchange.request.fields.has(Known::Authorization)
                || marks.has(&self.key, now)
                || (has_credentials(exchange) && marks.has(&self.key_with_credentials(), now))
        };
        self.is_head || self.control.no_store || (miss.stored.is_none() && is_own())
    }

    /// Remembers that an answer is for this request only. One to a request with credentials says nothing of those
    /// without, nor of what is stored for them.
    fn note(&self, stored: Option<&Arc<StoredResponse>>, why: NotShared, exchange: &Exchange) {
        let status = exchange.response.status;
        if has_credentials(exchange) {
            origin::note(self.cache, &self.key_with_credentials(), None, why, status);
        } else {
            origin::note(self.cache, &self.key, stored, why, status);
        }
    }

    fn key_with_credentials(&self) -> Key {
        self.key.clone().with("credentials", b"")
    }

    /// Has the body stored by a task of its own, and reads it from there like others do.
    async fn store_and_send<D: Downstream>(
        &self,
        (answer, live): (Arc<Answer>, UpstreamResponse),
        asked: Mark,
        miss: &Miss,
        exchange: &mut ActiveExchange,
        client: &mut D,
    ) -> Result<Outcome> {
        self.cache.store.hit_for_miss.clear(&self.key);
        let (mut source, reader) = self.cache.store.fills.begin_alone(&self.key, asked);
        source.answer(answer.clone());
        let idle = self.way.route.tunnel_idle;
        let alive = exchange.place().0.begin_fetch();
        let pump = pump::pump(self.cache.clone(), answer.clone(), live, source, idle);
        tokio::task::spawn_local(async move {
            pump.await;
            drop(alive);
        });
        let outcome =
            StatusOutcome::Forwarded { why: miss.why, status: None, stored: true, collapsed: false };
        let ttl = Some(answer.entry.freshness.ttl(now()));
        let status = CacheStatus { outcome, ttl, key: None, detail: None };
        let body = send::From::Fill(reader, answer.length);
        self.send(body, answer.entry.received, &status, exchange, client).await
    }

    /// What a response to HEAD says of the stored response to GET (RFC 9111 §4.3.5).
    fn compare(&self, miss: &Miss, asked: Mark, exchange: &mut Exchange) {
        let Some(stored) = miss.stored.as_ref().filter(|_| !self.control.no_store) else { return };
        match head_effect(&exchange.response, &stored.entry.head.fields, stored.body.length) {
            HeadEffect::Update => {
                // What is updated is a response to GET.
                exchange.request.method = Method::Get;
                let (newer, times) =
                    (&exchange.response.fields, Times { requested: Date(asked.at / 1000), received: now() });
                let (object, stays) = origin::updated(self.cache, stored, &exchange.request, newer, times);
                exchange.request.method = Method::Head;
                let (source, _) = self.cache.store.fills.begin_alone(&self.key, asked);
                stays.settle(self.cache, Some(stored), &object, source);
            }
            HeadEffect::Expire => stored.invalidate(),
            HeadEffect::Nothing => {}
        }
    }
}

/// Whether a client would be served with less than the whole that came, which was asked for to be shared, and is not: it
/// may have it, or want a part of it, which may be much smaller.
pub(super) fn wants_less(exchange: &Exchange) -> bool {
    let fields = &exchange.request.fields;
    exchange.response.status == 200
        && ["range", "if-none-match", "if-modified-since"].iter().any(|name| fields.get(name).is_some())
}

fn has_credentials(exchange: &Exchange) -> bool {
    exchange.request.fields.has(Known::Authorization) || exchange.request.fields.has(Known::Cookie)
}
