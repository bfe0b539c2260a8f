//! One attempt to have a backend answer: pick → permit → connect → send → response head.
//!
//! Previous stop: `upstream::forward`, which decides whether another attempt follows.

use std::{
    error::Error,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    Permit,
    conf::WhenAllDown,
    forward::{ForwardRequest, UpstreamResponse},
    upload::{Upload, Waiting},
    verdict,
};
use crate::{
    backend::Backend,
    balance,
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::Known,
    h1::{Framing, HeadError, HeadLimits, ResponseHead, Scan, framing::keeps_alive},
    moment::Moment,
    net::{BodyReader, Deadline, Http1Stream, dial},
};

/// The attempts of one exchange; one is made at a time.
pub(super) struct Attempt<'a> {
    pub(super) order: ForwardRequest<'a>,
    /// Backends that failed already.
    pub(super) tried: Vec<usize>,
    /// An interim response went to the client, after which nothing is tried again.
    pub(super) is_interim_sent: bool,
}

/// How far an attempt is.
struct Progress {
    scan: Scan,
    /// What is waited for since the deadline was set, and how much of the body had come then.
    waited_for: Option<(Waiting, u64)>,
    /// Until when the client, which waits for a 100, is kept waiting for the backend to say it.
    continue_at: Option<Moment>,
}

/// A connection that a response head came over.
pub(super) struct Answer {
    wire: Http1Stream,
    incoming: BodyReader,
    is_reusable: bool,
}

impl Answer {
    pub(super) fn into_live(self, permit: Permit, upload: Upload) -> UpstreamResponse {
        let Self { wire, incoming, is_reusable } = self;
        UpstreamResponse { permit, wire, incoming, upload, is_reusable }
    }
}

impl Attempt<'_> {
    /// A place at a backend, at once or after waiting in the queue.
    pub(super) async fn pick<D: Downstream>(&self, client: &mut D) -> Result<Permit> {
        let group = self.order.group;
        let now = Moment::now();
        let upstream = &group.upstream;
        // Who comes later does not overtake those who wait.
        if upstream.queue.is_empty()
            && let Some(permit) = self.try_pick(now)
        {
            return Ok(permit);
        }
        let are_all_down = !upstream.backends.iter().any(|backend| backend.is_healthy(now));
        if are_all_down {
            let use_all = upstream.conf.when_all_down == WhenAllDown::UseAll;
            let pick = || group.pick_despite_health(self.order.key, &self.tried, now);
            let any = use_all.then(pick).flatten();
            return any.ok_or_else(|| Kind::NoBackend.into());
        }
        let is_full = |backend: &Arc<Backend>| backend.is_healthy(now) && backend.is_full();
        if upstream.queue.is_empty() && !upstream.backends.iter().any(is_full) {
            return Err(Kind::NoBackend.into());
        }
        self.wait(client, now).await
    }

    fn try_pick(&self, now: Moment) -> Option<Permit> {
        let ForwardRequest { group, key, sticky, .. } = self.order;
        let sticky = sticky.filter(|_| self.tried.is_empty());
        if let Some(permit) = sticky.and_then(|index| group.pick_index(index, now)) {
            return Some(permit);
        }
        group.pick(key, &self.tried, now)
    }

    async fn wait<D: Downstream>(&self, client: &mut D, now: Moment) -> Result<Permit> {
        let upstream = &self.order.group.upstream;
        let end = now.plus(upstream.conf.queue.timeout);
        client.deadline().at(self.order.end.map_or(end, |total| total.min(end)));
        let mut again = false;
        loop {
            let Some(place) = upstream.queue.join(again) else { return Err(Kind::QueueFull.into()) };
            // A place may have become free while we joined.
            if place.is_first()
                && let Some(permit) = self.try_pick(Moment::now())
            {
                // Called meanwhile, it passes the call on by leaving.
                drop(place);
                self.call_next();
                return Ok(permit);
            }
            if !place.is_first() {
                // Nobody calls those before it when a backend is up again.
                self.call_next();
            }
            poll_fn(|cx| {
                if place.poll_called(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                if client.poll_gone(cx).is_ready() {
                    return Poll::Ready(Err(Kind::ClientGone));
                }
                client.deadline().poll_elapsed(cx).map(|()| Err(Kind::QueueTimeout))
            })
            .await?;
            place.served();
            if let Some(permit) = self.try_pick(Moment::now()) {
                // Several places may have become free; the next one looks for itself.
                self.call_next();
                return Ok(permit);
            }
            again = true;
        }
    }

    /// Calls the next in the queue if there still is a place.
    fn call_next(&self) {
        let upstream = &self.order.group.upstream;
        upstream.queue.call_if_free(&upstream.backends, Moment::now());
    }

    /// One attempt. A kept connection that the backend had closed already is replaced by a new one,
    /// once, and that is no failure of the backend: the two closed and sent at the same time.
    pub(super) async fn run<D: Downstream>(
        &mut self,
        permit: &Permit,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Answer> {
        if let Some(wire) = permit.reuse(Moment::now()) {
            match self.exchange(wire, exchange, client).await {
                Err(error) if error.kind() == Kind::Reset && self.may_replace(exchange) => {
                    self.order.upload.begin_again();
                }
                result => return result,
            }
        }
        let wire = self.connect(permit, exchange, client).await?;
        let result = self.exchange(wire, exchange, client).await;
        result.map_err(|error| {
            // Only on a new connection is it the handshake that failed.
            let refusal = error.source().filter(|cause| dial::is_late_refusal(*cause));
            let refusal = refusal.map(ToString::to_string);
            refusal.map_or(error, |why| ProxyError::because(Kind::UpstreamTls, why))
        })
    }

    fn may_replace(&self, exchange: &Exchange) -> bool {
        let upload = &self.order.upload;
        let is_safe = exchange.request.method.is_idempotent() || upload.bytes == 0;
        is_safe && upload.is_replayable() && !self.is_interim_sent
    }

    async fn connect<D: Downstream>(
        &self,
        permit: &Permit,
        exchange: &Exchange,
        client: &mut D,
    ) -> Result<Http1Stream> {
        let within = Moment::now().plus(self.order.group.upstream.conf.connect_timeout);
        client.deadline().at(self.order.end.map_or(within, |end| end.min(within)));
        let mut dial = std::pin::pin!(permit.dial(&exchange.host));
        poll_fn(|cx| {
            if let Poll::Ready(result) = dial.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if client.deadline().poll_elapsed(cx).is_ready() {
                return Poll::Ready(Err(self.elapsed(Kind::ConnectTimeout).into()));
            }
            // A client that leaves meanwhile is noticed when it is written to.
            Poll::Pending
        })
        .await
    }

    /// Sends the request over `wire` and reads the response head.
    async fn exchange<D: Downstream>(
        &mut self,
        mut wire: Http1Stream,
        exchange: &mut Exchange,
        client: &mut D,
    ) -> Result<Answer> {
        wire.output().reserve(1024);
        (self.order.write_head)(exchange, wire.output());
        let is_waiting_for_100 = self.order.expects_continue && !client.has_body_bytes();
        let mut progress = Progress {
            scan: Scan::default(),
            waited_for: None,
            continue_at: is_waiting_for_100.then(|| Moment::now().plus(CONTINUE_PATIENCE)),
        };
        poll_fn(|cx| self.poll_response(cx, &mut wire, exchange, client, &mut progress)).await?;
        let incoming = Framing::of_response(&exchange.response, &exchange.request.method)
            .map(BodyReader::new)
            .map_err(|what| ProxyError::new(Kind::BadResponse(what)))?;
        let is_reusable = keeps_alive(exchange.response.version, &exchange.response.fields)
            && !matches!(incoming, BodyReader::UntilClose)
            && exchange.response.status != 101;
        Ok(Answer { wire, incoming, is_reusable })
    }

    /// Ready with a final response head. The request body goes up meanwhile.
    fn poll_response<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Http1Stream,
        exchange: &mut Exchange,
        client: &mut D,
        progress: &mut Progress,
    ) -> Poll<Result<()>> {
        loop {
            let waiting = match progress.continue_at {
                None => self.order.upload.poll(cx, client, wire)?,
                Some(_) => Waiting::Client,
            };
            // A backend that takes no more may have answered already: reading tells.
            let _ = wire.poll_flush(cx);
            match poll_head(cx, wire, &mut exchange.response, &mut progress.scan)? {
                Poll::Ready(()) if exchange.response.status >= 200 || exchange.response.status == 101 => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(()) => {
                    progress.scan = Scan::default();
                    self.pass_interim(exchange, client, &mut progress.continue_at);
                    let _ = client.poll_flush(cx)?;
                    continue;
                }
                Poll::Pending => {}
            }
            if self.order.upload.is_sent() && client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Kind::ClientGone.into()));
            }
            let now_waited_for = (waiting, self.order.upload.bytes);
            if progress.waited_for != Some(now_waited_for) {
                progress.waited_for = Some(now_waited_for);
                self.set_deadline(client.deadline(), waiting, progress.continue_at);
            }
            if client.deadline().poll_elapsed(cx).is_pending() {
                return Poll::Pending;
            }
            if progress.continue_at.take().is_some() {
                // The backend does not say 100, as HTTP/1.0 does not: the client is told to go on.
                self.say_continue(client);
                let _ = client.poll_flush(cx)?;
                progress.waited_for = None;
                continue;
            }
            let kind = if waiting == Waiting::Client { Kind::BodyTimeout } else { Kind::ResponseTimeout };
            return Poll::Ready(Err(self.elapsed(kind).into()));
        }
    }

    fn set_deadline(&self, deadline: &Deadline, waiting: Waiting, continue_at: Option<Moment>) {
        let now = Moment::now();
        let at = match waiting {
            Waiting::Client => continue_at.unwrap_or_else(|| now.plus(self.order.body_timeout)),
            Waiting::Nothing | Waiting::Backend => now.plus(self.order.group.upstream.conf.response_timeout),
        };
        deadline.at(self.order.end.map_or(at, |end| end.min(at)));
    }

    /// What a deadline that elapsed means: the route's, if that has come, else what was waited for.
    fn elapsed(&self, kind: Kind) -> Kind {
        let is_over = self.order.end.is_some_and(|end| end <= Moment::now());
        if is_over { Kind::RouteTimeout } else { kind }
    }

    fn pass_interim<D: Downstream>(
        &mut self,
        exchange: &mut Exchange,
        client: &mut D,
        continue_at: &mut Option<Moment>,
    ) {
        let is_continue = exchange.response.status == 100;
        // RFC 9110 §15.2: a proxy passes interim responses on, save a 100 that it asked for itself.
        if client.takes_interim() && (!is_continue || continue_at.is_some()) {
            for hop in [Known::Connection, Known::KeepAlive, Known::TransferEncoding, Known::ContentLength] {
                exchange.response.fields.remove_known(hop);
            }
            client.interim(&exchange.response);
            self.is_interim_sent |= !is_continue;
        }
        if is_continue {
            *continue_at = None;
        }
    }

    fn say_continue<D: Downstream>(&self, client: &mut D) {
        if client.takes_interim() {
            client.interim(&ResponseHead { status: 100, ..ResponseHead::default() });
        }
    }

    /// Tells balancer, health and metrics how an attempt went.
    pub(super) fn observe(
        &self,
        permit: &Permit,
        result: &Result<Answer>,
        exchange: &Exchange,
        elapsed: Duration,
        now: Moment,
    ) {
        let group = self.order.group;
        let index = permit.index();
        let (verdict, outcome) = match result {
            Ok(_) => verdict::of_status(exchange.response.status),
            Err(error) => verdict::of_error(error.kind()),
        };
        if let Some(series) = group.series.get(index) {
            series.record(outcome);
            series.response.record(elapsed);
        }
        if let Some(failed) = verdict::is_failure(verdict) {
            group.with_balancer(|balancer| {
                balancer.on_done(index, &balance::Outcome { elapsed, failed }, now);
            });
        }
        group.record_health(index, verdict, now);
    }
}

/// Reads a response head.
fn poll_head(
    cx: &mut Context<'_>,
    wire: &mut Http1Stream,
    head: &mut ResponseHead,
    scan: &mut Scan,
) -> Result<Poll<()>> {
    loop {
        if !wire.input().is_empty() {
            match head.parse(wire.input(), &LIMITS, scan) {
                Ok(Some(length)) => {
                    wire.consume(length);
                    return Ok(Poll::Ready(()));
                }
                Ok(None) => {}
                Err(HeadError::Malformed(what)) => return Err(Kind::BadResponse(what).into()),
                Err(HeadError::TooLarge | HeadError::TargetTooLong) => {
                    return Err(Kind::BadResponse("the response head is too large").into());
                }
            }
        }
        match wire.poll_fill(cx) {
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(Ok(false)) if wire.input().is_empty() => return Err(Kind::Reset.into()),
            Poll::Ready(Ok(false)) => {
                return Err(Kind::BadResponse("the response head ends in the middle").into());
            }
            Poll::Ready(Err(error)) => return Err(ProxyError::because(Kind::Reset, error)),
            Poll::Pending => return Ok(Poll::Pending),
        }
    }
}

/// What a backend may send as a head; it is trusted more than a client, and still bounded.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 200, target: 0 };

/// How long a client that waits for a 100 is kept waiting for the backend to say it.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);
