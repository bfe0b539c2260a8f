//! Who waits for whom: a request that finds nothing stored leads a fetch or waits for one.

use std::{
    cell::Cell,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::{
    CacheRequest, Miss, Recheck, Step, disk_lookup,
    fetch::{Fetch, FetchReply, FetchResult, Refresh},
    interims::Interims,
    now, send,
    uncollapsed::wants_less,
};
use crate::{
    cache::{
        fill::{Answer, FillOutcome, Joined, Origin, Reader, Source, Want},
        freshness::Verdict,
        status::{CacheStatus, Forward, StatusOutcome},
        stored_response::StoredResponse,
    },
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::Known,
    http::{
        handle::{ActiveExchange, Outcome},
        proxy,
    },
    moment::Moment,
    telemetry::cache_result::CacheResult,
};

impl CacheRequest<'_> {
    /// Leads a fetch, or waits for one that is under way.
    pub(super) async fn join<D: Downstream>(
        &self,
        miss: &Miss,
        exchange: &mut ActiveExchange,
        client: &mut D,
    ) -> Result<Step> {
        let joined = {
            let recheck = Recheck { asks: self, is_stored: Cell::new(false) };
            let accepts =
                |answer: &Answer| answer.entry.freshness.verdict(&self.control, now()) == Verdict::Fresh;
            let want = Want {
                key: &self.key,
                request: &exchange.request.fields,
                expected: miss.expected.clone(),
                accepts: &accepts,
            };
            // HEAD may wait for GET, never GET for HEAD.
            let joined = self.cache.store.fills.join(&want, || self.is_head || recheck.look(exchange));
            if recheck.is_stored.get() {
                return Ok(Step::Again);
            }
            joined
        };
        match joined {
            Joined::Lead(source, reader) => self.lead(miss, source, reader, exchange, client).await,
            Joined::Wait(reader) => self.wait(miss, reader, exchange, client).await,
            Joined::Alone => Ok(Step::Alone),
        }
    }

    /// Begins a fetch and serves what it brings.
    async fn lead<D: Downstream>(
        &self,
        miss: &Miss,
        source: Source,
        reader: Reader,
        exchange: &mut ActiveExchange,
        client: &mut D,
    ) -> Result<Step> {
        let interims = client.takes_interim().then(Rc::<Interims>::default);
        let back = self.begin(miss, source, interims.clone(), exchange);
        let back = self.hear(back, interims.as_deref(), exchange, client).await?;
        let FetchReply { exchange: mut fork, answered } = back;
        exchange.absorb(&mut fork);
        exchange.place().0.give_back(fork);
        let served = match answered {
            FetchResult::Shared { answer, is_stored } => {
                exchange.cache = Some(CacheResult::Miss);
                let outcome = StatusOutcome::Forwarded {
                    why: miss.why,
                    status: None,
                    stored: is_stored,
                    collapsed: false,
                };
                let ttl = is_stored.then(|| answer.entry.freshness.ttl(now()));
                let status = CacheStatus { outcome, ttl, key: None, detail: None };
                let body = send::From::Fill(reader, answer.length);
                self.send(body, answer.entry.received, &status, exchange, client).await?
            }
            FetchResult::Validated { object, status } => {
                drop(reader);
                self.send_validated(object, miss.why, (status, false), exchange, client).await?
            }
            FetchResult::Own { live, sticky, detail } => {
                drop(reader);
                exchange.cache = Some(CacheResult::Miss);
                if wants_less(exchange) {
                    return Ok(Step::Alone);
                }
                let status = CacheStatus { detail: Some(detail), ..CacheStatus::forwarded(miss.why) };
                status.add_to(&mut exchange.response.fields);
                proxy::deliver(self.way, *live, sticky, exchange, client).await?
            }
            FetchResult::Found { object, verdict } => {
                drop(reader);
                self.hit(object, verdict, exchange, client).await?
            }
            FetchResult::DiskObject { kept, how } => {
                drop(reader);
                self.send_kept(kept, how, exchange, client).await?
            }
            FetchResult::Failed(error) => {
                drop(reader);
                return self.failed(miss, error, exchange, client).await;
            }
        };
        Ok(Step::Done(served))
    }

    /// Begins a fetch as a task of its own: it goes on when this client leaves and others wait.
    fn begin(
        &self,
        miss: &Miss,
        source: Source,
        interims: Option<Rc<Interims>>,
        exchange: &mut ActiveExchange,
    ) -> oneshot::Receiver<FetchReply> {
        let (worker, snapshot, listener) = exchange.place();
        let fork = worker.take_exchange();
        let (told, hears) = oneshot::channel();
        let fetch = Fetch {
            exchange: exchange.fork(fork),
            snapshot,
            listener,
            alive: worker.begin_fetch(),
            cache: self.cache.clone(),
            control: self.control.clone(),
            stored: miss.stored.clone(),
            told,
            interims,
            refresh: None,
        };
        tokio::task::spawn_local(fetch.run(source));
        hears
    }

    /// Has a stale object refreshed in the background, unless that is done already.
    pub(super) fn refresh(&self, object: &Arc<StoredResponse>, exchange: &mut ActiveExchange) {
        let refresh = Refresh::new(object.clone());
        let expected = (!object.entry.vary.is_nothing()).then(|| object.variant.clone());
        let want = Want { key: &self.key, request: &exchange.request.fields, expected, accepts: &|_| true };
        let Joined::Lead(source, reader) = self.cache.store.fills.join(&want, || false) else { return };
        let (worker, snapshot, listener) = exchange.place();
        let mut fork = exchange.fork(worker.take_exchange());
        // Its spans are not this request's.
        exchange.recording = fork.recording.take();
        fork.request.method = crate::h1::Method::Get;
        let fetch = Fetch {
            exchange: fork,
            snapshot,
            listener,
            alive: worker.begin_fetch(),
            cache: self.cache.clone(),
            control: self.control.clone(),
            stored: Some(object.clone()),
            told: oneshot::channel().0,
            interims: None,
            refresh: Some((refresh, reader)),
        };
        tokio::task::spawn_local(fetch.run(source));
    }

    /// Waits for one's own fetch to have a head.
    async fn hear<D: Downstream>(
        &self,
        mut back: oneshot::Receiver<FetchReply>,
        interims: Option<&Interims>,
        exchange: &Exchange,
        client: &mut D,
    ) -> Result<FetchReply> {
        client.deadline().clear();
        if let Some(end) = self.way.end(exchange) {
            client.deadline().at(end);
        }
        poll_fn(|cx| {
            if let Some(interims) = interims {
                // What cannot be sent yet goes with what follows.
                if let Poll::Ready(Err(error)) = interims.pass_to(client, cx) {
                    return Poll::Ready(Err(error));
                }
            }
            if let Poll::Ready(back) = std::pin::Pin::new(&mut back).poll(cx) {
                return Poll::Ready(back.map_err(|_| ProxyError::new(Kind::Draining)));
            }
            poll_given_up(client, cx).map(Err)
        })
        .await
    }

    /// Waits for another's fetch, and serves what it brings.
    async fn wait<D: Downstream>(
        &self,
        miss: &Miss,
        mut reader: Reader,
        exchange: &mut ActiveExchange,
        client: &mut D,
    ) -> Result<Step> {
        let patience = Moment::now().plus(self.cache.conf.collapse.timeout);
        let end = self.way.end(exchange);
        client.deadline().at(end.map_or(patience, |end| end.min(patience)));
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = reader.poll_outcome(cx) {
                return Poll::Ready(Ok(Some(outcome)));
            }
            if client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(ProxyError::new(Kind::ClientGone)));
            }
            let is_over = || end.is_some_and(|end| end <= Moment::now());
            client
                .deadline()
                .poll_elapsed(cx)
                .map(|()| if is_over() { Err(Kind::RouteTimeout.into()) } else { Ok(None) })
        });
        let Some(outcome) = outcome.await? else { return Ok(Step::Alone) };
        match outcome {
            FillOutcome::Coming(answer) if answer.matches(&exchange.request.fields) => {
                self.send_collapsed(&answer, miss.why, reader, exchange, client).await.map(Step::Done)
            }
            // It is another variant, of which there may be one fetch too.
            FillOutcome::Coming(_) => Ok(Step::Again),
            FillOutcome::StoredResponse(object, origin) => {
                self.take_object((object, origin), exchange, client, miss).await
            }
            FillOutcome::Released => Ok(Step::Alone),
            FillOutcome::Lead(_) if self.is_head => Ok(Step::Alone),
            FillOutcome::Lead(source) => self.lead(miss, source, reader, exchange, client).await,
            FillOutcome::Failed(failure) => {
                let error = ProxyError::because(failure.kind, failure.text);
                self.failed(miss, error, exchange, client).await
            }
        }
    }

    /// Serves the stored response that answered another's request, if it is for this one.
    async fn take_object<D: Downstream>(
        &self,
        (object, origin): (Arc<StoredResponse>, Origin),
        exchange: &mut ActiveExchange,
        client: &mut D,
        miss: &Miss,
    ) -> Result<Step> {
        if !object.as_variant().matches(&exchange.request.fields) {
            return Ok(Step::Again);
        }
        let served = match origin {
            Origin::Validated => self.send_validated(object, miss.why, (None, true), exchange, client).await,
            Origin::Failed if self.on_error(Some(&object)).is_some() => {
                self.send_on_error(object, None, exchange, client).await
            }
            Origin::Failed => return Ok(Step::Alone),
            Origin::Unasked => match disk_lookup::usable(&object.freshness(), &self.control) {
                Some(verdict) => self.hit(object, verdict, exchange, client).await,
                None => return Ok(Step::Again),
            },
        };
        served.map(Step::Done)
    }

    /// Serves what is stored where the origin failed, if that is allowed.
    async fn failed<D: Downstream>(
        &self,
        miss: &Miss,
        error: ProxyError,
        exchange: &mut ActiveExchange,
        client: &mut D,
    ) -> Result<Step> {
        let object = if is_of_origin(&error) { self.on_error(miss.stored.as_ref()) } else { None };
        let Some(object) = object else { return Err(error) };
        tracing::debug!("a stale response is served, since the origin fails: {error}");
        self.send_on_error(object, None, exchange, client).await.map(Step::Done)
    }

    /// Serves what another request fetched.
    async fn send_collapsed<D: Downstream>(
        &self,
        answer: &Arc<Answer>,
        why: Forward,
        reader: Reader,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Outcome> {
        exchange.cache = Some(CacheResult::Collapsed);
        let head = &answer.entry.head;
        exchange.response.status = head.status;
        exchange.response.fields.copy_from(&head.fields);
        let now = now();
        exchange
            .response
            .fields
            .push_known(Known::Age, answer.entry.freshness.age(now).to_string().as_bytes());
        let outcome = StatusOutcome::Forwarded { why, status: None, stored: false, collapsed: true };
        let ttl = answer.is_open.then(|| answer.entry.freshness.ttl(now));
        let status = CacheStatus { outcome, ttl, key: None, detail: None };
        let body = send::From::Fill(reader, answer.length);
        self.send(body, answer.entry.received, &status, exchange, client).await
    }
}

/// Whether an error is the origin's, or that of the way to it: then a stale response may be better than none
/// (RFC 5861 §4).
pub(super) fn is_of_origin(error: &ProxyError) -> bool {
    match error.kind().blame() {
        crate::error::Blame::Upstream | crate::error::Blame::Proxy => true,
        crate::error::Blame::Client => false,
    }
}

/// Ready with the reason when nobody waits for the response any more, or not longer.
fn poll_given_up<D: Downstream>(client: &mut D, cx: &mut Context<'_>) -> Poll<ProxyError> {
    if client.poll_gone(cx).is_ready() {
        return Poll::Ready(Kind::ClientGone.into());
    }
    client.deadline().poll_elapsed(cx).map(|()| Kind::RouteTimeout.into())
}
