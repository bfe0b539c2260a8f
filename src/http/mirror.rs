//! Copies of requests for another upstream: each a task of its own, which shares nothing with the request but bytes that
//! nobody changes. Its answer, its time, its errors and its pace reach neither the client, nor retries, nor what is known
//! of the route's own backends.
//!
//! Previous stop: `http::handle`, when the request is ready to be sent; next stop: `http::proxy`, for the request and for
//! its copy, each by itself.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    active::ActiveExchange,
    cached,
    context::{RequestPlan, RouteContext},
    detached::Detached,
    proxy,
    respond::{self, Discard, Patience, Source},
    tee::Tee,
};
use crate::{
    account::Held,
    boxed,
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    h1::{Framing, Method},
    moment::Moment,
    runtime::{
        Route, WorkerSnapshot,
        mirror::{CopyPlace, Mirror, MirrorCounts},
    },
    upstream::UpstreamResponse,
};

/// The field that tells a copy from what it is a copy of. A client's is taken out (`http::received`), or it could keep
/// its request from being copied; copies of a proxy that is not trusted are copied again, and where they come round Via tells,
/// unless `via` is off: then nothing but trust ends a circle.
const FIELD: &str = "x-pointsman-mirror";

/// How long the answer to a copy may take, once its head is there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this request is one of those that are copied.
pub(super) fn is_chosen(mirror: &Mirror, plan: RequestPlan, exchange: &Exchange) -> bool {
    // What is a copy already is not copied again, however the routes lead.
    let is_plain = !plan.is_upgrade
        && exchange.request.method != Method::Connect
        && !exchange.is_for_peer()
        && exchange.request.fields.get(FIELD).is_none();
    is_plain && fastrand::f64() < mirror.share
}

/// Serves a request that is copied: the copy goes when all of the request is there, and the request as if there were none.
pub(super) async fn serve<D: Downstream>(
    context: &RouteContext<'_>,
    mirror: &Mirror,
    (plan, is_cached): (RequestPlan, bool),
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Option<UpstreamResponse>> {
    let Some(copy) = Copy::of(context, mirror, plan, exchange) else {
        return onward(context, (plan, is_cached), exchange, client).await;
    };
    if !plan.has_body {
        copy.begin(Bytes::new(), None);
        return onward(context, (plan, is_cached), exchange, client).await;
    }
    let mut tee = Tee::new(client, mirror.max_body);
    let result = onward(context, (plan, is_cached), exchange, &mut tee).await;
    let is_whole = tee.is_body_done();
    match tee.body() {
        Some((body, held)) => copy.begin(body, Some(held)),
        None if is_whole => copy.leave(|counts| &counts.too_large),
        None => copy.leave(|counts| &counts.cut_off),
    }
    result
}

/// The request itself.
async fn onward<D: Downstream>(
    context: &RouteContext<'_>,
    (plan, is_cached): (RequestPlan, bool),
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Option<UpstreamResponse>> {
    match context.route.cache.as_ref().filter(|_| is_cached) {
        Some(cache) => {
            boxed::pin(|| cached::serve(context, cache, plan, exchange, client)).await.map(|()| None)
        }
        None => proxy::proxy(context, plan, exchange, client).await,
    }
}

/// A copy that is to go.
struct Copy {
    snapshot: Rc<WorkerSnapshot>,
    exchange: Box<Exchange>,
    listener: usize,
    route: Arc<Route>,
    place: CopyPlace,
    chunked: bool,
}

impl Copy {
    /// The copy of a request as its route sends it; `None` where it is not made, which is counted.
    fn of(
        context: &RouteContext<'_>,
        mirror: &Mirror,
        plan: RequestPlan,
        exchange: &mut ActiveExchange,
    ) -> Option<Self> {
        if matches!(plan.framing, Framing::Length(length) if length > mirror.max_body) {
            mirror.counts.too_large.fetch_add(1, Relaxed);
            return None;
        }
        let place = mirror.enter()?;
        let index = exchange.facts.route?;
        let route = context.snapshot.shared.routes.get(index)?.clone();
        let mut fork = exchange.fork().into_inner();
        // Its spans are not this request's.
        exchange.facts.recording = fork.facts.recording.take();
        fork.facts.trace = None;
        fork.facts.upstream = Some(mirror.upstream);
        fork.request.fields.push(FIELD, b"1");
        let listener = exchange.listener();
        let snapshot = exchange.snapshot().clone();
        let chunked = plan.framing == Framing::Chunked;
        Some(Self { snapshot, exchange: fork, listener, route, place, chunked })
    }

    /// Counts why it does not go.
    fn leave(self, of: impl Fn(&MirrorCounts) -> &AtomicU64) {
        if let Some(mirror) = &self.route.mirror {
            of(&mirror.counts).fetch_add(1, Relaxed);
        }
    }

    /// Sends it, on its own; `held` is what its body holds of memory.
    fn begin(self, body: Bytes, held: Option<Held>) {
        tokio::task::spawn_local(async move {
            let _held = held;
            let counts = self.route.mirror.as_ref().map(|mirror| mirror.counts.clone());
            let Self { snapshot, mut exchange, listener, route, place: _place, chunked } = self;
            exchange.facts.started = Moment::now();
            let sent = send(&snapshot, (listener, &route), &mut exchange, body, chunked);
            let result = sent.await;
            if let Some(counts) = counts {
                let count = if result.is_ok() { &counts.answered } else { &counts.failed };
                count.fetch_add(1, Relaxed);
            }
        });
    }
}

/// Sends a copy and reads its answer to the end.
async fn send(
    snapshot: &WorkerSnapshot,
    (listener, route): (usize, &Route),
    exchange: &mut Exchange,
    body: Bytes,
    chunked: bool,
) -> Result<()> {
    let listener = snapshot.shared.listener(listener).ok_or(Kind::Draining)?;
    let upstream = exchange.facts.upstream.ok_or(Kind::NoBackend)?;
    let worker_upstream = snapshot.upstream(upstream).ok_or(Kind::NoBackend)?;
    let context = RouteContext { snapshot, listener, route, worker_upstream };
    let has_body = chunked || !body.is_empty();
    let framing = match body.len() as u64 {
        _ if chunked => Framing::Chunked,
        0 => Framing::None,
        length => Framing::Length(length),
    };
    let plan = RequestPlan { framing, has_body, is_upgrade: false };
    let mut nobody = Detached::with(body);
    let response = proxy::ask(&context, plan, exchange, &mut nobody).await?.response;
    if exchange.response.status == 101 {
        return Err(ProxyError::new(Kind::BadResponse("101 in response to a request without Upgrade")));
    }
    let idle = context.response_body_timeout();
    let end = Some(Moment::now().plus(PATIENCE));
    let patience = Patience { backend: idle, client: None, min_rate: 0, holds_place: false, end };
    respond::pump(Source::Upstream(response), patience, &mut Discard::new(&mut nobody)).await
}
