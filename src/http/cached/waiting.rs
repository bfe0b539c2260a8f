//! A request that reads what was written, and is not delivered yet.

use std::{rc::Rc, sync::Arc};

use super::{CacheRequest, deliver, key_for, now};
use crate::{
    cache::{
        conf::WritePolicy,
        freshness::Times,
        status::{CacheStatus, StatusOutcome},
        stored_response::{Body, StoredResponse},
        through::representation as written,
    },
    error::Result,
    exchange::{Downstream, Exchange},
    fields::Known,
    h1::Method,
    http::{
        handle::{self, ActiveExchange, Outcome},
        proxy,
    },
    runtime::Worker,
    telemetry::cache_result::CacheResult,
    writeback::journal::{Entry, Write},
};

/// What waits for the URI of a request.
pub(super) enum PendingWrite {
    Nothing,
    /// It cannot be known, or it is about another representation of the URI: the origin has to answer, and nothing of
    /// it may be stored.
    Unknown,
    /// This answers.
    Write(Arc<Entry>),
}

impl CacheRequest<'_> {
    /// What waits for the URI of the request.
    pub(super) fn waiting(&self, exchange: &ActiveExchange) -> PendingWrite {
        let back = &self.cache.store.back;
        let Some(entry) = back.latest(self.key.uri()) else {
            let needs_journal = self.cache.conf.write_policy == WritePolicy::Back;
            // While another program has the journal still, what waits in it nobody here knows.
            return if needs_journal && !back.place().is_open() {
                PendingWrite::Unknown
            } else {
                PendingWrite::Nothing
            };
        };
        let (worker, ..) = exchange.place();
        if self.is_about(&worker, &entry.write) { PendingWrite::Write(entry) } else { PendingWrite::Unknown }
    }

    /// Whether a write of the same URI is of the same key too.
    fn is_about(&self, worker: &Rc<Worker>, write: &Write) -> bool {
        let Ok(written) = deliver::exchange_of(worker, write) else { return false };
        let key = key_for(self.way.route, self.cache, &written, &written.request.target);
        worker.give_back(written);
        key == self.key
    }

    /// Answers with what was written.
    pub(super) async fn send_waiting<D: Downstream>(
        &self,
        entry: &Entry,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Outcome> {
        exchange.cache = Some(CacheResult::Journal);
        let status = CacheStatus::journal(StatusOutcome::Hit);
        let write = &entry.write;
        if Method::of(&write.method) == Method::Delete {
            exchange.response.status = 404;
            exchange.response.fields.clear();
            exchange.response.fields.push_known(Known::ContentType, b"text/plain; charset=utf-8");
            exchange.response.fields.push_known(Known::CacheControl, b"no-store");
            status.add_to(&mut exchange.response.fields);
            proxy::edit_response(self.way, exchange);
            handle::send(exchange, client, b"404: it was deleted\n").await?;
            return Ok(Outcome::Complete);
        }
        let times = Times { requested: now(), received: now() };
        let head = written::waiting(&write.fields, times);
        let body = Body::of([write.body.clone()]);
        let object = StoredResponse::assembled(self.key.clone(), self.key.clone(), head, body);
        self.send_object(Arc::new(object), &status, exchange, client).await
    }
}
