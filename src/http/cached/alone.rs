//! A request that fetches for itself: it may not wait for others, nor others for it. What it brings is stored all the
//! same, where that is allowed.

use std::sync::Arc;

use super::{
    Asks, Miss, fetch, join, now,
    origin::{self, Question, Reply},
    pump, send,
};
use crate::{
    cache::{
        fill::Answer,
        status::{CacheStatus, Outcome},
        validate::{HeadEffect, head_effect},
    },
    error::Result,
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
        miss: Miss,
        exchange: &mut Running,
        client: &mut D,
    ) -> Result<Served> {
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
        match reply {
            Ok(Reply::Validated { object, may_stay }) => {
                let (source, _) = self.cache.store.fills.begin_alone(&self.key, purges);
                fetch::settle(self.cache, miss.stored.as_ref(), &object, may_stay, source);
                self.send_validated(object, miss.why, (Some(304), false), exchange, client).await
            }
            Ok(Reply::Failing { status }) => match miss.stored {
                Some(object) => self.send_on_error(object, Some(status), exchange, client).await,
                None => Err(crate::error::Kind::BodyBroken.into()),
            },
            Ok(Reply::Shared { answer, live, .. }) if self.cache.is_storing => {
                self.store_and_send((answer, live), purges, &miss, exchange, client).await
            }
            Ok(Reply::Shared { live, sticky, .. }) => {
                CacheStatus::forwarded(miss.why).add_to(&mut exchange.response.fields);
                pass::deliver(self.way, live, sticky, exchange, client).await
            }
            Ok(Reply::Own { live, sticky, why }) => {
                if self.is_head {
                    self.compare(&miss, exchange);
                }
                let status = CacheStatus { detail: Some(why.name()), ..CacheStatus::forwarded(miss.why) };
                status.add_to(&mut exchange.response.fields);
                pass::deliver(self.way, live, sticky, exchange, client).await
            }
            Err(error) if join::is_of_origin(&error) => match self.on_error(miss.stored.as_ref()) {
                Some(object) => self.send_on_error(object, None, exchange, client).await,
                None => Err(error),
            },
            Err(error) => Err(error),
        }
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
        let (cache, idle, kept) = (self.cache.clone(), self.way.route.tunnel_idle, answer.clone());
        tokio::task::spawn_local(pump::pump(live, source, idle, move |key, body, rules| {
            cache.put(pump::object(key, &kept, body), rules);
        }));
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
