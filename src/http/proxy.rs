//! A request on its way to a backend, and the response on its way back.
//!
//! Previous stop: `http::handle`, which found the route, or `http::cached`, which found nothing stored. Next stop:
//! `upstream::forward`, then `http::respond`.

use super::{
    answer::{Answer, expects_continue},
    context::{RequestPlan, RouteContext},
    destination, edit,
    relay::{is_for_relay, relay},
    respond::{self, Reply, Source},
    upgrade_request,
    whole_body::{self, Gathered},
};
use crate::{
    boxed,
    cache::status::CacheStatus,
    error::{Kind, Result},
    exchange::{Downstream, Exchange, WebSocketOpening, grpc},
    fields::Known,
    h1::Framing,
    moment::Moment,
    net::LeastRate,
    route::rewrite::Rewrite,
    runtime::Route,
    upstream::{
        Upstream, UpstreamResponse,
        acquire::Acquire,
        affinity,
        conf::UpstreamProtocol,
        forward::forward,
        forward_request::{ClientPart, ForwardRequest},
        request_head::{Settled, UpstreamHead},
        upload::Upload,
    },
    websocket::Key,
};

/// Refuses what may not go on, and edits the request as the route has it.
pub(super) fn prepare<D: Downstream>(
    context: &RouteContext<'_>,
    framing: Framing,
    exchange: &mut Exchange,
    client: &D,
) -> Result<RequestPlan> {
    let (framing, has_body) = upstream_framing(exchange, framing, client);
    check(context.worker_upstream.upstream.conf.protocol, framing, context.body_limit(), exchange)?;
    let is_upgrade = upgrade_request::wants_tunnel(context.route, exchange)?;
    let RouteContext { listener, route, .. } = *context;
    let has_filters = listener.filters.act_on_requests() || route.filters.act_on_requests();
    // A peer has done it already.
    if (has_filters || route.rewrite.is_some()) && !exchange.is_for_peer() {
        let place = edit::own_place(listener, route);
        listener.filters.on_forward(exchange, place);
        route.filters.on_forward(exchange, place);
        destination::rewrite(listener, route, exchange)?;
    }
    Ok(RequestPlan { framing, has_body, is_upgrade })
}

/// Refuses what no backend of this protocol can take, and a body whose length is beyond the limit (0: none).
pub(crate) fn check(
    protocol: UpstreamProtocol,
    framing: Framing,
    body_limit: u64,
    exchange: &Exchange,
) -> Result<()> {
    // What a peer relays came to it over HTTP/2, and comes here as it was: both bodies at once, and trailers.
    if protocol != UpstreamProtocol::Http1
        && !exchange.version.has_streams()
        && !exchange.is_for_peer()
        && grpc::is_message(&exchange.request.fields)
    {
        return Err(Kind::Malformed("gRPC needs HTTP/2, and this request came over HTTP/1.1").into());
    }
    match framing {
        Framing::Length(length) if body_limit > 0 && length > body_limit => Err(Kind::BodyTooLarge.into()),
        Framing::Length(_) | Framing::Chunked | Framing::UntilClose | Framing::None => Ok(()),
    }
}

/// Sends the request to a backend, and its response to the client. Gives the response where it became a tunnel.
pub(super) async fn proxy<D: Downstream>(
    context: &RouteContext<'_>,
    plan: RequestPlan,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<Option<UpstreamResponse>> {
    let answer = ask(context, plan, exchange, client).await?;
    if answer.response.is_tunnel() {
        return begin_tunnel(context, answer, exchange, client).map(Some);
    }
    deliver(context, answer, None, exchange, client).await.map(|()| None)
}

/// Sends the client the head of an answer that became a tunnel, and gives its response.
pub(super) fn begin_tunnel<D: Downstream>(
    context: &RouteContext<'_>,
    answer: Answer,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<UpstreamResponse> {
    let Answer { response, affinity } = answer;
    let backend = context.backend(exchange);
    let reply = Reply { affinity, backend, ..context.reply() };
    respond::begin(&reply, (None, None), exchange, client)?;
    Ok(response)
}

/// Sends the request to a backend and gives its answer, whose head is in `exchange.response`.
pub(super) fn ask<D: Downstream>(
    context: &RouteContext<'_>,
    plan: RequestPlan,
    exchange: &mut Exchange,
    client: &mut D,
) -> impl Future<Output = Result<Answer>> {
    ask_with(context, (plan, None, None), exchange, client)
}

/// The same of a request whose body is here already.
pub(super) fn ask_whole<D: Downstream>(
    context: &RouteContext<'_>,
    (plan, body): (RequestPlan, Gathered),
    exchange: &mut Exchange,
    client: &mut D,
) -> impl Future<Output = Result<Answer>> {
    let (plan, upload) = body.onward(plan);
    ask_with(context, (plan, Some(upload), None), exchange, client)
}

/// The same of a request whose body may be here already, and that may have been let in before, edited as its route of then had
/// it: no limit on what clients send is about it then, and what that route had settled is.
pub(super) async fn ask_with<D: Downstream>(
    context: &RouteContext<'_>,
    (plan, whole, let_in): (RequestPlan, Option<Box<Upload>>, Option<Settled>),
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<Answer> {
    let RouteContext { route, worker_upstream, .. } = *context;
    let (plan, whole) = match route.buffer > 0 && plan.has_body && whole.is_none() && let_in.is_none() {
        true => boxed::pin(|| gathered(context, plan, exchange, client)).await?,
        false => (plan, whole),
    };
    let limit = if let_in.is_some() { 0 } else { context.body_limit() };
    let conf = &worker_upstream.upstream.conf;
    let expects_continue = whole.is_none() && plan.has_body && expects_continue(exchange);
    let settled = let_in.unwrap_or(route.settled_forwarding);
    let head = UpstreamHead { settled, ..upstream_head(route, &conf.name, plan, expects_continue, exchange) };
    let replay = usize::try_from(conf.retry.replay_bytes.0).unwrap_or(usize::MAX);
    let sticky = affinity::sticky(&worker_upstream.upstream, exchange);
    let key = affinity::key(&worker_upstream.upstream, exchange);
    let mut request = ForwardRequest {
        target: Acquire {
            worker_upstream,
            key,
            sticky,
            end: context.end(exchange),
            connect_timeout: route.timeouts.connect,
        },
        head,
        upload: Upload::new(plan.has_body, plan.framing == Framing::Chunked, limit, replay),
        body_timeout: context.request_body_timeout(),
        response_timeout: route.timeouts.response.unwrap_or(conf.response_timeout),
        rate: LeastRate::new(route.min_rate),
        tried: Vec::new(),
        is_interim_sent: false,
        withheld: Some(&route.withheld_of_responses),
        interim_bytes: 0,
        client_part: ClientPart::default(),
        patience: None,
    };
    if let Some(whole) = whole {
        request.upload = *whole;
    } else if plan.has_body {
        request.upload.withhold(&route.withheld);
    }
    let response = match forward(&mut request, exchange, client).await {
        Ok(response) => response,
        Err(error) => {
            // A peer would make another request of it.
            let is_of_connection = || context.route.rewrite.as_ref().is_some_and(Rewrite::is_of_connection);
            let may_relay = conf.relay
                // It goes by what its own route settles.
                && settled == route.settled_forwarding
                && !plan.is_upgrade
                && !request.is_interim_sent
                && !request.upload.is_begun()
                && !is_of_connection();
            return match may_relay && is_for_relay(&error, exchange) {
                true => boxed::pin(|| relay(context, (plan, request.upload), error, exchange, client)).await,
                false => Err(error),
            };
        }
    };
    // Few are sticky.
    let affinity = match conf.sticky {
        Some(_) => bind(&worker_upstream.upstream, exchange, sticky, &request.tried),
        None => None,
    };
    Ok(Answer { response, affinity })
}

/// The request body, read whole before a backend is picked, and how it goes on then.
async fn gathered<D: Downstream>(
    context: &RouteContext<'_>,
    plan: RequestPlan,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<(RequestPlan, Option<Box<Upload>>)> {
    let body = whole_body::gather(context, plan.framing, exchange, client).await?;
    let (plan, upload) = body.onward(plan);
    Ok((plan, Some(upload)))
}

/// The head of a request as its route sends it to an upstream of this name.
pub(crate) fn upstream_head<'a>(
    route: &'a Route,
    upstream: &'a str,
    plan: RequestPlan,
    expects_continue: bool,
    exchange: &Exchange,
) -> UpstreamHead<'a> {
    let (host, target) = edit::rewritten(exchange, route);
    let RequestPlan { framing, is_upgrade, .. } = plan;
    let forwarded = route.forwarded;
    UpstreamHead {
        framing,
        host,
        backend_host: None,
        default_host: upstream,
        target,
        is_upgrade,
        websocket: exchange.websocket.filter(|_| is_upgrade).map(|_| Key::by_chance()),
        expects_continue,
        forwarded,
        settled: route.settled_forwarding,
        mark: None,
    }
}

/// Sends a backend's answer to the client.
pub(super) async fn deliver<D: Downstream>(
    context: &RouteContext<'_>,
    answer: Answer,
    cache_status: Option<CacheStatus>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    if exchange.response.status == 101 {
        return Err(Kind::BadResponse("101 in response to a request without Upgrade").into());
    }
    let Answer { response, affinity } = answer;
    let backend = context.backend(exchange);
    let reply = Reply { affinity, backend, cache_status, ..context.reply() };
    let patience = context.patience(exchange);
    respond::send(&reply, Source::Upstream(response), patience, exchange, client).await
}

/// How the body goes upstream, and whether there is one. A stream of HTTP/2 says by itself whether there is a body, and
/// its length only if the client wrote Content-Length.
fn upstream_framing<D: Downstream>(exchange: &Exchange, framing: Framing, client: &D) -> (Framing, bool) {
    if exchange.websocket == Some(WebSocketOpening::ExtendedConnect) {
        // What comes behind it is not of the request, and goes nowhere before there is a WebSocket.
        return (Framing::None, false);
    }
    if !exchange.version.has_streams() {
        return (framing, framing != Framing::None);
    }
    if client.is_body_done() {
        return (Framing::None, false);
    }
    let length = exchange.request.fields.known(Known::ContentLength);
    let length =
        length.and_then(|value| std::str::from_utf8(value).ok()).and_then(|value| value.parse().ok());
    (length.map_or(Framing::Chunked, Framing::Length), true)
}

/// What binds the client to the backend of a sticky upstream that answered, where it was not bound to that one already. It
/// stays bound to one that is well and was only full: what it has there is worth more than one request.
#[inline(never)]
fn bind(upstream: &Upstream, exchange: &Exchange, sticky: Option<usize>, tried: &[usize]) -> Option<String> {
    if exchange.facts.backend == sticky {
        return None;
    }
    let now = Moment::recent();
    let is_well = |index: usize| {
        let backend = upstream.backends.get(index).filter(|_| !tried.contains(&index));
        backend.is_some_and(|backend| backend.is_healthy(now) && backend.weight_at(now) > 0)
    };
    if sticky.is_some_and(is_well) {
        return None;
    }
    affinity::set_cookie(upstream, exchange.facts.backend?, exchange.facts.peer.tls.is_some())
}
