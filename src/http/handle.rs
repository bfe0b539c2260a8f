//! THE request path, from a whole request head to the end of its response; the table of contents of
//! the proxy. Previous stop: `http::h1` or `http::h2`, which hold the client's connection.

use std::{
    future::poll_fn,
    ops::{Deref, DerefMut},
    rc::Rc,
    time::Duration,
};

use super::{
    body, edit,
    headers::{self, Upward},
    normalize, respond, trace,
};
use crate::{
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::{Known, list},
    h1::{Framing, Method},
    moment::Moment,
    net::Block,
    runtime::{Action, Listener, Route, Slot, Worker, WorkerSnapshot},
    upstream::{
        Group, affinity,
        forward::{Live, Order, forward},
        upload::Upload,
    },
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

/// What an upgraded connection is joined with.
#[derive(Debug)]
pub struct Tunnel {
    /// The backend's side.
    pub live: Live,
    /// How long both sides may be silent.
    pub idle: Duration,
    /// The exchange; it ends with the tunnel.
    pub exchange: Running,
}

/// An exchange under way: it ends, with its log line and its counts, when this is dropped, however
/// that comes about.
#[derive(Debug)]
pub struct Running {
    exchange: Option<Box<Exchange>>,
    snapshot: Rc<WorkerSnapshot>,
    worker: Rc<Worker>,
    listener: Slot,
}

impl Running {
    /// Begins an exchange whose request head is whole.
    pub fn new(worker: &Rc<Worker>, listener: Slot, exchange: Box<Exchange>) -> Self {
        let snapshot = worker.snapshot_for(listener);
        Self { exchange: Some(exchange), snapshot, worker: worker.clone(), listener }
    }
}

impl Deref for Running {
    type Target = Exchange;

    #[expect(clippy::expect_used, reason = "taken by drop only")]
    fn deref(&self) -> &Exchange {
        self.exchange.as_ref().expect("an exchange is there until it is dropped")
    }
}

impl DerefMut for Running {
    #[expect(clippy::expect_used, reason = "taken by drop only")]
    fn deref_mut(&mut self) -> &mut Exchange {
        self.exchange.as_mut().expect("an exchange is there until it is dropped")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut exchange) = self.exchange.take() {
            // Dropped in the middle, by a client that left or by the end of the program.
            if exchange.response.status == 0 {
                exchange.response.status = 499;
                exchange.error.get_or_insert((Kind::ClientGone, "dropped".to_owned()));
            }
            self.worker.finish(exchange, &self.snapshot, self.listener);
        }
    }
}

/// Serves a request whose head is whole.
pub async fn handle<D: Downstream>(mut running: Running, client: &mut D) -> End {
    let snapshot = running.snapshot.clone();
    let Some(listener) = snapshot.shared.listener(running.listener) else { return End::Broken };
    match serve(&snapshot, listener, &mut running, client).await {
        Ok(Served::Complete) => End::Complete,
        Ok(Served::Tunnel(live, idle)) => {
            End::Tunnel(Box::new(Tunnel { live: *live, idle, exchange: running }))
        }
        Err(error) => fail(&mut running, client, error).await,
    }
}

/// Answers a request whose head is not one that is served.
pub async fn refuse<D: Downstream>(mut running: Running, client: &mut D, kind: Kind) -> End {
    settle_id(&mut running);
    let snapshot = running.snapshot.clone();
    trace::settle(&mut running, &snapshot.shared.config.trace);
    fail(&mut running, client, kind.into()).await
}

enum Served {
    Complete,
    Tunnel(Box<Live>, Duration),
}

/// The stops in their order.
async fn serve<D: Downstream>(
    snapshot: &WorkerSnapshot,
    listener: &Listener,
    exchange: &mut Running,
    client: &mut D,
) -> Result<Served> {
    settle_id(exchange);
    trace::settle(exchange, &snapshot.shared.config.trace);
    let framing = normalize::normalize(exchange)?;
    check_name(listener, exchange)?;
    let index = find_route(listener, exchange).ok_or(Kind::NoRoute)?;
    exchange.route = Some(index);
    let route = snapshot.shared.routes.get(index).ok_or(Kind::NoRoute)?;
    let upstream = match &route.action {
        Action::Redirect { to, status } => return redirect(exchange, client, to, *status).await,
        Action::Respond { status, body, content_type } => {
            exchange.response.status = *status;
            exchange.response.fields.clear();
            exchange.response.fields.push_known(Known::ContentType, content_type.as_bytes());
            return own_response(exchange, client, route, body).await;
        }
        Action::Upstream(index) => *index,
        Action::Split(choices, total) => choose(choices, *total),
    };
    exchange.upstream = Some(upstream);
    let group = snapshot.group(upstream).ok_or(Kind::NoBackend)?;
    let way = Way { listener, route, group };
    pass(&way, framing, exchange, client).await
}

/// Where a request goes.
struct Way<'a> {
    listener: &'a Listener,
    route: &'a Route,
    group: &'a Rc<Group>,
}

/// Sends the request to a backend, and its response to the client.
async fn pass<D: Downstream>(
    way: &Way<'_>,
    framing: Framing,
    exchange: &mut Running,
    client: &mut D,
) -> Result<Served> {
    let Way { listener, route, group } = *way;
    let (framing, has_body) = upward_framing(exchange, framing, client);
    let limit = listener.conf.limits.body_bytes.0;
    if matches!(framing, Framing::Length(length) if limit > 0 && length > limit) {
        return Err(Kind::BodyTooLarge.into());
    }
    let is_upgrade = wants_tunnel(route, exchange)?;
    if let Some(edits) = &route.request_headers {
        edit::edit(&mut exchange.request.fields, edits);
    }
    let expects_continue = has_body && expects_continue(exchange);
    let write_head = |exchange: &Exchange, out: &mut Vec<u8>| {
        let (host, target) = edit::rewritten(exchange, route.rewrite.as_ref());
        // HTTP/1.0 need not name a host; HTTP/1.1 must, and backends insist on one that is not empty.
        let host = if host.is_empty() { group.upstream.conf.name.as_str().into() } else { host };
        let forwarded = route.forwarded;
        let upward =
            Upward { framing, host: &host, target: &target, is_upgrade, expects_continue, forwarded };
        headers::write_request(exchange, &upward, out);
    };

    let replay = usize::try_from(group.upstream.conf.retry.replay_bytes.0).unwrap_or(usize::MAX);
    let order = Order {
        group,
        write_head: &write_head,
        expects_continue,
        upload: Upload::new(has_body, framing == Framing::Chunked, limit, replay),
        key: affinity::key(&group.upstream, exchange),
        sticky: affinity::sticky(&group.upstream, exchange),
        end: (!route.timeout.is_zero()).then(|| exchange.started.plus(route.timeout)),
        body_timeout: listener.conf.timeouts.body,
    };
    let sticky = order.sticky;
    let end = order.end;
    let live = forward(order, exchange, client).await?;

    deliver(way, live, (is_upgrade, sticky, end), exchange, client).await
}

/// Sends a response whose head has come to the client.
async fn deliver<D: Downstream>(
    way: &Way<'_>,
    live: Live,
    (is_upgrade, sticky, end): (bool, Option<usize>, Option<Moment>),
    exchange: &mut Running,
    client: &mut D,
) -> Result<Served> {
    let Way { listener, route, group } = *way;
    let is_tunnel = is_upgrade && is_switched(exchange);
    headers::pass_response(&mut exchange.response, is_tunnel);
    bind(&group.upstream, exchange, sticky);
    if let Some(edits) = &route.response_headers {
        edit::edit(&mut exchange.response.fields, edits);
    }
    if is_tunnel {
        client.begin(&exchange.response, false, None)?;
        return Ok(Served::Tunnel(Box::new(live), route.tunnel_idle));
    }
    if exchange.response.status == 101 {
        return Err(Kind::BadResponse("101 to a request that asked for no upgrade").into());
    }
    let patience = body::Patience { idle: route.tunnel_idle, client: listener.conf.timeouts.idle, end };
    body::relay(live, exchange, client, patience).await?;
    Ok(Served::Complete)
}

/// The request's id: the client's, if it is trusted and sane, else a new one.
fn settle_id(exchange: &mut Running) {
    let id = exchange.request.fields.known(Known::XRequestId).filter(|_| exchange.peer.is_trusted);
    let is_sane = |id: &[u8]| (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    if let Some(id) = id.filter(|id| is_sane(id)) {
        let id = String::from_utf8_lossy(id).into_owned();
        exchange.id.push_str(&id);
        return;
    }
    let worker = exchange.worker.clone();
    worker.write_id(&mut exchange.id);
}

/// A request over TLS must be for a host that the connection's certificate is the one for: with
/// another certificate may go other client-authentication rules (RFC 9110 §7.4, RFC 9113 §9.1.2).
fn check_name(listener: &Listener, exchange: &Exchange) -> Result<()> {
    let Some(tls) = &listener.tls else { return Ok(()) };
    let Some(server_name) = exchange.peer.tls.as_ref().and_then(|facts| facts.server_name.as_deref()) else {
        return Ok(());
    };
    if server_name == exchange.host
        || tls.certificate_for(Some(server_name)) == tls.certificate_for(Some(&exchange.host))
    {
        return Ok(());
    }
    Err(Kind::Misdirected.into())
}

fn find_route(listener: &Listener, exchange: &Exchange) -> Option<usize> {
    listener.table.find(&crate::route::matcher::Facts {
        host: &exchange.host,
        path: exchange.path(),
        method: exchange.request.method.as_str(),
        query: exchange.query(),
        headers: &exchange.request.fields,
    })
}

fn choose(choices: &[(usize, u32)], total: u32) -> usize {
    let mut at = fastrand::u32(0..total.max(1));
    for (upstream, weight) in choices {
        if at < *weight {
            return *upstream;
        }
        at -= weight;
    }
    choices.first().map_or(0, |(upstream, _)| *upstream)
}

/// How the body goes upstream, and whether there is one. HTTP/2 says by the stream whether there is a
/// body, and its length only if the client wrote Content-Length.
fn upward_framing<D: Downstream>(exchange: &Exchange, framing: Framing, client: &D) -> (Framing, bool) {
    if !exchange.is_http2 {
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

/// Whether the client asks for a tunnel, by Upgrade or CONNECT, and may have it.
pub(crate) fn wants_tunnel(route: &Route, exchange: &Exchange) -> Result<bool> {
    if exchange.request.method == Method::Connect {
        let is_allowed = route.allows_connect && !exchange.is_http2;
        return if is_allowed { Ok(true) } else { Err(Kind::NotAllowed.into()) };
    }
    let fields = &exchange.request.fields;
    let asks = fields.has(Known::Upgrade)
        && list(fields.all_known(Known::Connection)).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    let is_websocket =
        || list(fields.all_known(Known::Upgrade)).any(|name| name.eq_ignore_ascii_case(b"websocket"));
    // Any other protocol may be declined by ignoring it (RFC 9110 §7.8).
    Ok(asks && route.allows_websocket && !exchange.is_http2 && is_websocket())
}

fn is_switched(exchange: &Exchange) -> bool {
    match exchange.request.method {
        Method::Connect => (200..300).contains(&exchange.response.status),
        _ => exchange.response.status == 101,
    }
}

pub(crate) fn expects_continue(exchange: &Exchange) -> bool {
    exchange.request.fields.all_known(Known::Expect).any(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// Binds the client to the backend that answered, where the upstream is sticky and it was not bound
/// to that one already.
fn bind(upstream: &crate::upstream::Upstream, exchange: &mut Running, sticky: Option<usize>) {
    if upstream.conf.sticky.is_none() || exchange.backend == sticky {
        return;
    }
    let is_tls = exchange.peer.tls.is_some();
    let cookie = exchange.backend.and_then(|index| affinity::set_cookie(upstream, index, is_tls));
    if let Some(cookie) = cookie {
        exchange.response.fields.push_known(Known::SetCookie, cookie.as_bytes());
    }
}

async fn redirect<D: Downstream>(
    exchange: &mut Running,
    client: &mut D,
    to: &str,
    status: u16,
) -> Result<Served> {
    let location = edit::expand(to, exchange);
    exchange.response.status = status;
    exchange.response.fields.clear();
    exchange.response.fields.push_known(Known::Location, location.as_bytes());
    send(exchange, client, b"").await?;
    Ok(Served::Complete)
}

async fn own_response<D: Downstream>(
    exchange: &mut Running,
    client: &mut D,
    route: &Route,
    body: &[u8],
) -> Result<Served> {
    if let Some(edits) = &route.response_headers {
        edit::edit(&mut exchange.response.fields, edits);
    }
    send(exchange, client, body).await?;
    Ok(Served::Complete)
}

/// Answers an error, if nothing of a response went out yet.
async fn fail<D: Downstream>(exchange: &mut Running, client: &mut D, error: ProxyError) -> End {
    let kind = error.kind();
    exchange.error = Some((kind, error.to_string()));
    let is_begun = client.is_begun();
    if is_begun || matches!(kind, Kind::ClientGone | Kind::ClientStalled) {
        if !is_begun {
            exchange.response.status = respond::status_of(kind).0;
        }
        return End::Broken;
    }
    if matches!(kind, Kind::Malformed(_)) {
        client.distrust();
    }
    let body = respond::error(exchange, kind);
    match send(exchange, client, &body).await {
        Ok(()) => End::Complete,
        Err(_) => End::Broken,
    }
}

/// Sends a response that Pointsman made.
async fn send<D: Downstream>(exchange: &mut Exchange, client: &mut D, body: &[u8]) -> Result<()> {
    crate::telemetry::clock::with_date(|date| {
        exchange.response.fields.push_known(Known::Date, date.as_bytes());
    });
    exchange.response.fields.push_known(Known::Via, b"1.1 pointsman");
    let has_body = exchange.request.method != Method::Head
        && !matches!(exchange.response.status, 204 | 205 | 304)
        && exchange.response.status >= 200;
    if !has_body && !matches!(exchange.response.status, 204 | 304) {
        // What a GET would get (RFC 9110 §9.3.2); and without a length a 205 lasts until the connection ends.
        let length = body.len().to_string();
        exchange.response.fields.push_known(Known::ContentLength, length.as_bytes());
    }
    client.begin(&exchange.response, has_body, Some(body.len() as u64))?;
    if has_body {
        exchange.bytes_out += body.len() as u64;
    }
    let mut block = Block::copy_of(if has_body { body } else { b"" });
    client.deadline().at(Moment::now().plus(OWN_PATIENCE));
    poll_fn(|cx| {
        if client.poll_data(cx, &mut block)?.is_ready() {
            return std::task::Poll::Ready(Ok(()));
        }
        client.deadline().poll_elapsed(cx).map(|()| Err(ProxyError::new(Kind::ClientStalled)))
    })
    .await?;
    client.end(None)?;
    poll_fn(|cx| {
        if client.poll_flush(cx)?.is_ready() {
            return std::task::Poll::Ready(Ok(()));
        }
        client.deadline().poll_elapsed(cx).map(|()| Err(ProxyError::new(Kind::ClientStalled)))
    })
    .await
}

/// How long a client may take for a response of our own, which is small.
const OWN_PATIENCE: Duration = Duration::from_secs(30);
