//! THE request path, from a whole request head to the end of its response; the table of contents of
//! the proxy. Previous stop: `http::h1` or `http::h2`, which hold the client's connection.

use bytes::Bytes;

use super::{
    active::ActiveExchange,
    admission, cached, client_address,
    context::RouteContext,
    files, max_forwards, mirror, normalize,
    own::{self, Decision},
    peers, proxy,
    respond::{self, Reply},
    routing, trace,
    upgrade::Tunnel,
    upgrade_request, writeback,
};
use crate::{
    account, boxed,
    error::{Blame, Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::Known,
    net::tunnel::Silence,
    runtime::{Listener, WorkerSnapshot},
    upstream::UpstreamResponse,
};

/// How an exchange ended, for the connection that carried it.
#[derive(Debug)]
pub enum End {
    /// The response went out whole.
    Complete,
    /// The response broke off; the client must be able to tell.
    Broken,
    /// The response head went out and the connection is a tunnel from here.
    Tunnel(Box<Tunnel>),
}

/// Serves a request whose head is whole.
pub async fn handle<D: Downstream>(mut active: ActiveExchange, client: &mut D) -> End {
    let snapshot = active.snapshot().clone();
    let Some(listener) = snapshot.shared.listener(active.listener()) else { return End::Broken };
    match serve(&snapshot, listener, &mut active, client).await {
        Ok(None) => End::Complete,
        Ok(Some(response)) => {
            let route = active.facts.route.and_then(|index| snapshot.shared.routes.get(index));
            let silence = route.map_or(Silence::default(), |route| route.silence());
            match response.into_tunnel() {
                Some(joined) => End::Tunnel(Box::new(Tunnel::new(joined, silence, active))),
                None => End::Broken,
            }
        }
        Err(error) => fail(&mut active, client, error).await,
    }
}

/// Answers a request whose head is not one that is served.
pub async fn refuse<D: Downstream>(mut active: ActiveExchange, client: &mut D, kind: Kind) -> End {
    let snapshot = active.snapshot().clone();
    if let Some(listener) = snapshot.shared.listener(active.listener()) {
        client_address::review_trust(listener, &mut active);
    }
    identify(&mut active);
    trace::start(&mut active, &snapshot.shared.config.trace);
    fail(&mut active, client, kind.into()).await
}

/// The stops in their order. Gives the response where the connection is a tunnel from here.
async fn serve<D: Downstream>(
    snapshot: &WorkerSnapshot,
    listener: &Listener,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Option<UpstreamResponse>> {
    client_address::review_trust(listener, exchange);
    identify(exchange);
    if account::is_full() {
        account::refuse();
        return Err(Kind::MemoryFull.into());
    }
    routing::check_login(listener, exchange, client)?;
    if listener.hears_peers {
        return Box::pin(peers::hear(listener, exchange, client)).await.map(|()| None);
    }
    client_address::review_terms(listener, exchange, client)?;
    let found = client_address::find(listener, exchange);
    trace::start(exchange, &snapshot.shared.config.trace);
    found?;
    let place = client_address::admit(listener, exchange)?;
    exchange.keep(place);
    let conf = &listener.conf;
    let of_client = conf.client_address_from.header();
    let framing = normalize::normalize(exchange, conf.underscores, of_client, &conf.paths)?;
    routing::take_spellings(listener, exchange);
    routing::check_name(listener, exchange)?;
    let index = routing::find(listener, exchange)?;
    exchange.facts.route = Some(index);
    let route = snapshot.shared.routes.get(index).ok_or(Kind::NoRoute)?;
    let decision = own::decide(listener, route, exchange)?;
    upgrade_request::check_own(&decision, exchange)?;
    exchange.keep_on_route(admission::admit(route)?);
    let (upstream, is_elsewhere) = match decision {
        Decision::Answer(answer) => {
            respond::send_answer(Reply::on(listener, route), *answer, exchange, client).await?;
            return Ok(None);
        }
        Decision::Files(tree) => {
            boxed::pin(|| files::serve((listener, route), &tree, exchange, client)).await?;
            return Ok(None);
        }
        Decision::Upstream(index) => {
            if let Some(tree) = &route.files
                && boxed::pin(|| files::serve_first((listener, route), tree, exchange, client)).await?
            {
                return Ok(None);
            }
            (index, false)
        }
        Decision::Elsewhere(index) => (index, true),
    };
    if let Some(status) = max_forwards::count_down(exchange) {
        respond::own_head(status, exchange);
        respond::send_own(Reply::on(listener, route), Bytes::new(), exchange, client).await?;
        return Ok(None);
    }
    exchange.facts.upstream = Some(upstream);
    let worker_upstream = snapshot.upstream(upstream).ok_or(Kind::NoBackend)?;
    let context = RouteContext { snapshot, listener, route, worker_upstream };
    let plan = proxy::prepare(&context, framing, exchange, client)?;
    if writeback::has_to_wait(route, plan, exchange) {
        boxed::pin(|| writeback::take_turn(&context, exchange)).await?;
    }
    if let Some(mirror) = route.mirror.as_ref().filter(|mirror| mirror::is_chosen(mirror, plan, exchange)) {
        let is_cached = !plan.is_upgrade && !is_elsewhere;
        return boxed::pin(|| mirror::serve(&context, mirror, (plan, is_cached), exchange, client)).await;
    }
    match &route.cache {
        // Boxed: else all carry the room that one with a cache needs. What is stored is of the route's own upstream.
        Some(cache) if !plan.is_upgrade && !is_elsewhere => {
            boxed::pin(|| cached::serve(&context, cache, plan, exchange, client)).await?;
            Ok(None)
        }
        Some(cache) if !is_elsewhere && writeback::is_write(plan, exchange) => {
            boxed::pin(|| writeback::serve_upgrade(&context, cache, plan, exchange, client)).await
        }
        Some(_) | None => proxy::proxy(&context, plan, exchange, client).await,
    }
}

/// Gives the request its id: the client's, if it is trusted and sane, else a new one.
fn identify(exchange: &mut ActiveExchange) {
    let id = exchange.request.fields.known(Known::XRequestId).filter(|_| exchange.facts.is_trusted());
    let is_sane = |id: &[u8]| (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    if let Some(id) = id.filter(|id| is_sane(id)) {
        let id = String::from_utf8_lossy(id).into_owned();
        exchange.facts.id.push_str(&id);
        return;
    }
    let worker = exchange.worker().clone();
    worker.write_id(&mut exchange.facts.id);
}

/// Whether a response that broke off says why: one of gRPC does in its trailers, whatever came of its messages.
fn may_end_by_trailers(exchange: &Exchange, kind: Kind) -> bool {
    let is_of_backend = kind.blame() == Blame::Upstream || kind == Kind::RouteTimeout;
    is_of_backend && exchange.is_grpc() && !exchange.response.fields.has(Known::ContentLength)
}

/// Answers an error, if nothing of a response went out yet.
async fn fail<D: Downstream>(exchange: &mut ActiveExchange, client: &mut D, error: ProxyError) -> End {
    let kind = error.kind();
    exchange.find_path();
    exchange.facts.error = Some((kind, error.to_string()));
    let is_begun = client.is_begun();
    if is_begun && may_end_by_trailers(exchange, kind) {
        // A stream that is reset is `INTERNAL` for its client, which it does not try again.
        let trailers = respond::grpc_trailers(exchange, kind);
        return if client.end(Some(&trailers)).is_ok() { End::Complete } else { End::Broken };
    }
    if is_begun || matches!(kind, Kind::ClientGone | Kind::ClientStalled) {
        if !is_begun {
            exchange.response.status = respond::status_of(kind).0;
        }
        return End::Broken;
    }
    if matches!(kind, Kind::Malformed(_)) {
        client.distrust();
    }
    let snapshot = exchange.snapshot().clone();
    let route = exchange.facts.route.and_then(|index| snapshot.shared.routes.get(index));
    let listener = snapshot.shared.listener(exchange.listener());
    let reply = Reply::to_error(kind, listener, route.map(|route| &**route));
    match respond::send_error(kind, reply, exchange, client).await {
        Ok(()) => End::Complete,
        Err(_) => End::Broken,
    }
}
