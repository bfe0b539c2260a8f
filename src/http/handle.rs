//! THE request path, from a whole request head to the end of its response; the table of contents of
//! the proxy. Previous stop: `http::h1` or `http::h2`, which hold the client's connection.

use std::{
    future::poll_fn,
    ops::{Deref, DerefMut},
    rc::Rc,
    time::Duration,
};

use super::{
    cached, edit, normalize,
    proxy::{self, RouteContext},
    respond, trace,
};
use crate::{
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange},
    fields::Known,
    h1::Method,
    moment::Moment,
    net::Buffer,
    runtime::{Action, Listener, ListenerId, Route, Worker, WorkerSnapshot},
    upstream::forward::UpstreamResponse,
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
    pub live: UpstreamResponse,
    /// How long both sides may be silent.
    pub idle: Duration,
    /// The exchange; it ends with the tunnel.
    pub exchange: ActiveExchange,
}

/// An exchange under way: it ends, with its log line and its counts, when this is dropped, however
/// that comes about.
#[derive(Debug)]
pub struct ActiveExchange {
    exchange: Option<Box<Exchange>>,
    snapshot: Rc<WorkerSnapshot>,
    worker: Rc<Worker>,
    listener: ListenerId,
}

impl ActiveExchange {
    /// Begins an exchange whose request head is whole.
    pub fn new(worker: &Rc<Worker>, listener: ListenerId, exchange: Box<Exchange>) -> Self {
        let snapshot = worker.snapshot_for(listener);
        Self { exchange: Some(exchange), snapshot, worker: worker.clone(), listener }
    }

    /// The worker that serves it, with the snapshot that it began with and the slot of its listener.
    pub(super) fn place(&self) -> (Rc<Worker>, Rc<WorkerSnapshot>, ListenerId) {
        (self.worker.clone(), self.snapshot.clone(), self.listener)
    }
}

impl Deref for ActiveExchange {
    type Target = Exchange;

    #[expect(clippy::expect_used, reason = "taken by drop only")]
    fn deref(&self) -> &Exchange {
        self.exchange.as_ref().expect("an exchange is there until it is dropped")
    }
}

impl DerefMut for ActiveExchange {
    #[expect(clippy::expect_used, reason = "taken by drop only")]
    fn deref_mut(&mut self) -> &mut Exchange {
        self.exchange.as_mut().expect("an exchange is there until it is dropped")
    }
}

impl Drop for ActiveExchange {
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
pub async fn handle<D: Downstream>(mut running: ActiveExchange, client: &mut D) -> End {
    let snapshot = running.snapshot.clone();
    let Some(listener) = snapshot.shared.listener(running.listener) else { return End::Broken };
    match serve(&snapshot, listener, &mut running, client).await {
        Ok(Outcome::Complete) => End::Complete,
        Ok(Outcome::Tunnel(live, idle)) => {
            End::Tunnel(Box::new(Tunnel { live: *live, idle, exchange: running }))
        }
        Err(error) => fail(&mut running, client, error).await,
    }
}

/// Answers a request whose head is not one that is served.
pub async fn refuse<D: Downstream>(mut running: ActiveExchange, client: &mut D, kind: Kind) -> End {
    settle_id(&mut running);
    let snapshot = running.snapshot.clone();
    trace::settle(&mut running, &snapshot.shared.config.trace);
    fail(&mut running, client, kind.into()).await
}

/// What came of serving a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The response went out whole.
    Complete,
    /// The connection is a tunnel from here; it may be silent for so long.
    Tunnel(Box<UpstreamResponse>, Duration),
}

/// The stops in their order.
async fn serve<D: Downstream>(
    snapshot: &WorkerSnapshot,
    listener: &Listener,
    exchange: &mut ActiveExchange,
    client: &mut D,
) -> Result<Outcome> {
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
    let way = RouteContext { listener, route, group };
    let onward = proxy::prepare(&way, framing, exchange, client)?;
    match &route.cache {
        // Boxed, so that a request that has no cache does not carry the room that one with a cache needs.
        Some(cache) if !onward.is_upgrade => {
            Box::pin(cached::serve(&way, cache, onward, exchange, client)).await
        }
        Some(_) | None => proxy::pass(&way, onward, exchange, client).await,
    }
}

/// The request's id: the client's, if it is trusted and sane, else a new one.
fn settle_id(exchange: &mut ActiveExchange) {
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

pub(super) fn find_route(listener: &Listener, exchange: &Exchange) -> Option<usize> {
    listener.table.find(&crate::route::matcher::Facts {
        host: &exchange.host,
        path: exchange.path(),
        method: exchange.request.method.as_str(),
        query: exchange.query(),
        headers: &exchange.request.fields,
    })
}

pub(super) fn choose(choices: &[(usize, u32)], total: u32) -> usize {
    let mut at = fastrand::u32(0..total.max(1));
    for (upstream, weight) in choices {
        if at < *weight {
            return *upstream;
        }
        at -= weight;
    }
    choices.first().map_or(0, |(upstream, _)| *upstream)
}

async fn redirect<D: Downstream>(
    exchange: &mut ActiveExchange,
    client: &mut D,
    to: &str,
    status: u16,
) -> Result<Outcome> {
    let location = edit::expand(to, exchange);
    exchange.response.status = status;
    exchange.response.fields.clear();
    exchange.response.fields.push_known(Known::Location, location.as_bytes());
    send(exchange, client, b"").await?;
    Ok(Outcome::Complete)
}

async fn own_response<D: Downstream>(
    exchange: &mut ActiveExchange,
    client: &mut D,
    route: &Route,
    body: &[u8],
) -> Result<Outcome> {
    if let Some(edits) = &route.response_headers {
        edit::edit(&mut exchange.response.fields, edits);
    }
    send(exchange, client, body).await?;
    Ok(Outcome::Complete)
}

/// Answers an error, if nothing of a response went out yet.
async fn fail<D: Downstream>(exchange: &mut ActiveExchange, client: &mut D, error: ProxyError) -> End {
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
pub(super) async fn send<D: Downstream>(exchange: &mut Exchange, client: &mut D, body: &[u8]) -> Result<()> {
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
    let mut block = Buffer::copy_of(if has_body { body } else { b"" });
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
