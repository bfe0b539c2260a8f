//! A request that fetches for itself: it may not wait for others, nor others for it. What it brings is stored all the
//! same, where that is allowed.

use std::sync::Arc;

use super::{
    Asks, Miss, fetch, join, now,
    origin::{self, Question, Reply},
    pump, send,
    shelf::{self, How, OnShelf},
};
use crate::{
    cache::{
        fill::Answer,
        shelf::Kept,
        status::{CacheStatus, Forward, Outcome},
        validate::{HeadEffect, head_effect},
    },
    error::{Kind, Result},
    exchange::Downstream,
    http::{
        handle::{Running, Served},
        pass,
    },
    moment::Moment,
    telemetry::served,
    upstream::forward::Live,
};

impl Asks<'_> {
    pub(super) async fn alone<D: Downstream>(
        &self,
        mut miss: Miss,
        exchange: &mut Running,
        client: &mut D,
    ) -> Result<Served> {
        let mut kept = None;
        if miss.stored.is_none() {
            match shelf::take(self.cache, &self.key, &exchange.request.fields).await {
                Some(OnShelf::Object(object)) => match shelf::usable(&object.freshness(), &self.control) {
                    Some(verdict) => return self.hit(object, verdict, exchange, client).await,
                    None => miss.stored = Some(object),
                },
                Some(OnShelf::Large(large)) => match shelf::usable_there(&large, &self.control) {
                    Some(verdict) => {
                        return self.send_kept(large, How::Hit(verdict), exchange, client).await;
                    }
                    None => {
                        miss.stored = Some(Arc::new(large.head()));
                        kept = Some(large);
                    }
                },
                None => {}
            }
        }
        exchange.cache = Some(served::Served::Miss);
        // What turned out not to be shared is asked for as the client asks: a part of it, or nothing if it has it.
        let is_plain = self.is_head || self.cache.store.unshared.has(&self.key, Moment::now());
        let own = exchange.request.fields.clone();
        let is_conditional = !is_plain && origin::prepare(exchange, miss.stored.as_ref());
        let stored = miss.stored.as_ref().filter(|_| !is_plain);
        let purges = self.cache.store.fills.purge_count();
        let question = Question { way: self.way, cache: self.cache, control: &self.control, stored };
        let reply = origin::ask(&question, is_conditional, exchange, client).await;
        exchange.request.fields = own;
        match (reply, kept) {
            (Ok(Reply::Shared { answer, live, .. }), _) if self.cache.is_storing => {
                self.store_and_send((answer, live), purges, &miss, exchange, client).await
            }
            (Ok(Reply::Shared { live, sticky, .. }), _) => {
                CacheStatus::forwarded(miss.why).add_to(&mut exchange.response.fields);
                pass::deliver(self.way, live, sticky, exchange, client).await
            }
            (Ok(Reply::Own { live, sticky, why }), _) => {
                if self.is_head {
                    self.compare(&miss, exchange);
                }
                let status = CacheStatus { detail: Some(why.name()), ..CacheStatus::forwarded(miss.why) };
                status.add_to(&mut exchange.response.fields);
                pass::deliver(self.way, live, sticky, exchange, client).await
            }
            (reply, Some(kept)) => self.finish_kept(reply, kept, exchange, client).await,
            (Ok(Reply::Validated { object, may_stay }), None) => {
                let (source, _) = self.cache.store.fills.begin_alone(&self.key, purges);
                fetch::settle(self.cache, miss.stored.as_ref(), &object, may_stay, source);
                self.send_validated(object, miss.why, (Some(304), false), exchange, client).await
            }
            (Ok(Reply::Failing { status }), None) => match miss.stored {
                Some(object) => self.send_on_error(object, Some(status), exchange, client).await,
                None => Err(Kind::BodyBroken.into()),
            },
            (Err(error), None) => {
                let stored = miss.stored.as_ref().filter(|_| join::is_of_origin(&error));
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
        reply: Result<Reply>,
        kept: Box<Kept>,
        exchange: &mut Running,
        client: &mut D,
    ) -> Result<Served> {
        let may_be_stale = kept.record.entry.freshness.may_serve_on_error(&self.control, now());
        let (kept, how) = match reply {
            Ok(Reply::Validated { object, may_stay }) => {
                if !may_stay {
                    kept.remove();
                }
                (Box::new(kept.renewed(object.entry.clone())), How::Validated(Forward::Stale))
            }
            Ok(Reply::Failing { status }) => (kept, How::Failed(Some(status))),
            Err(error) if may_be_stale && join::is_of_origin(&error) => (kept, How::Failed(None)),
            Err(error) => return Err(error),
            // Told apart before.
            Ok(Reply::Shared { .. } | Reply::Own { .. }) => return Err(Kind::BodyBroken.into()),
        };
        self.send_kept(kept, how, exchange, client).await
    }

    /// Has the body stored by a task of its own, and reads it from there like others do. `purges` is how many there
    /// had been when it was asked for.
    async fn store_and_send<D: Downstream>(
        &self,
        (answer, live): (Arc<Answer>, Live),
        purges: u64,
        miss: &Miss,
        exchange: &mut Running,
        client: &mut D,
    ) -> Result<Served> {
        self.cache.store.unshared.clear(&self.key);
        let (mut source, reader) = self.cache.store.fills.begin_alone(&self.key, purges);
        source.answer(answer.clone());
        let idle = self.way.route.tunnel_idle;
        tokio::task::spawn_local(pump::pump(self.cache.clone(), answer.clone(), live, source, idle));
        let outcome = Outcome::Forwarded { why: miss.why, status: None, stored: true, collapsed: false };
        let ttl = Some(answer.entry.freshness.ttl(now()));
        let status = CacheStatus { outcome, ttl, key: None, detail: None };
        let body = send::From::Fill(reader, answer.length);
        self.send(body, answer.entry.received, &status, exchange, client).await
    }

    /// What a response to HEAD says of the stored response to GET (RFC 9111 §4.3.5).
    fn compare(&self, miss: &Miss, exchange: &Running) {
        let Some(stored) = &miss.stored else { return };
        match head_effect(&exchange.response, &stored.entry.head.fields, stored.body.length) {
            HeadEffect::Expire => stored.invalidate(),
            HeadEffect::Update | HeadEffect::Nothing => {}
        }
    }
}
