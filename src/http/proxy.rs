//! A request on its way to a backend, and the response on its way back.
//!
//! Previous stop: `http::handle`, which found the route, or `http::cached`, which found nothing stored. Next stop:
//! `upstream::forward`, then `http::body`.

use std::rc::Rc;

use super::{
    body, edit,
    handle::Outcome,
    headers::{self, UpstreamHead},
};
use crate::{
    error::{Kind, Result},
    exchange::{Downstream, Exchange},
    fields::{Known, list},
    h1::{Framing, Method},
    moment::Moment,
    runtime::{Listener, Route},
    upstream::{
        WorkerUpstream, affinity,
        forward::{ForwardRequest, UpstreamResponse, forward},
        upload::Upload,
    },
};

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteContext<'a> {
    /// What it came over.
    pub(super) listener: &'a Listener,
    /// The route that took it.
    pub(super) route: &'a Route,
    /// The upstream.
    pub(super) group: &'a Rc<WorkerUpstream>,
}

/// How a request goes upstream.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestPlan {
    /// How its body is framed there.
    pub(super) framing: Framing,
    /// Whether there is one.
    pub(super) has_body: bool,
    /// Whether it asks for a tunnel.
    pub(super) is_upgrade: bool,
}

impl RouteContext<'_> {
    /// When the whole exchange must be over.
    pub(super) fn end(&self, exchange: &Exchange) -> Option<Moment> {
        let timeout = self.route.timeout;
        (!timeout.is_zero()).then(|| exchange.started.plus(timeout))
    }

    /// How long the response may stand still.
    pub(super) fn patience(&self, exchange: &Exchange) -> body::Patience {
        let client = self.listener.conf.timeouts.idle;
        body::Patience { idle: self.route.tunnel_idle, client, end: self.end(exchange) }
    }
}

/// Refuses what may not go on, and edits the request as the route has it.
pub(super) fn prepare<D: Downstream>(
    way: &RouteContext<'_>,
    framing: Framing,
    exchange: &mut Exchange,
    client: &D,
) -> Result<RequestPlan> {
    let (framing, has_body) = upward_framing(exchange, framing, client);
    let limit = way.listener.conf.limits.body_bytes.0;
    if matches!(framing, Framing::Length(length) if limit > 0 && length > limit) {
        return Err(Kind::BodyTooLarge.into());
    }
    let is_upgrade = wants_tunnel(way.route, exchange)?;
    if let Some(edits) = &way.route.request_headers {
        edit::edit(&mut exchange.request.fields, edits);
    }
    Ok(RequestPlan { framing, has_body, is_upgrade })
}

/// Sends the request to a backend, and its response to the client.
pub(super) async fn pass<D: Downstream>(
    way: &RouteContext<'_>,
    onward: RequestPlan,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<Outcome> {
    let (live, sticky) = ask(way, onward, exchange, client).await?;
    let is_tunnel = onward.is_upgrade && is_switched(exchange);
    headers::pass_response(&mut exchange.response, is_tunnel);
    if is_tunnel {
        finish_head(way, sticky, exchange);
        client.begin(&exchange.response, false, None)?;
        return Ok(Outcome::Tunnel(Box::new(live), way.route.tunnel_idle));
    }
    deliver(way, live, sticky, exchange, client).await
}

/// Sends the request to a backend and gives its response's head in `exchange.response`; and the backend that a
/// cookie of the client named.
pub(super) async fn ask<D: Downstream>(
    way: &RouteContext<'_>,
    RequestPlan { framing, has_body, is_upgrade }: RequestPlan,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<(UpstreamResponse, Option<usize>)> {
    let RouteContext { listener, route, group } = *way;
    let expects_continue = has_body && expects_continue(exchange);
    let write_head = |exchange: &Exchange, out: &mut Vec<u8>| {
        let (host, target) = edit::rewritten(exchange, route.rewrite.as_ref());
        // HTTP/1.0 need not name a host; HTTP/1.1 must, and backends insist on one that is not empty.
        let host = if host.is_empty() { group.upstream.conf.name.as_str().into() } else { host };
        let forwarded = route.forwarded;
        let upward =
            UpstreamHead { framing, host: &host, target: &target, is_upgrade, expects_continue, forwarded };
        headers::write_request(exchange, &upward, out);
    };
    let limit = listener.conf.limits.body_bytes.0;
    let replay = usize::try_from(group.upstream.conf.retry.replay_bytes.0).unwrap_or(usize::MAX);
    let sticky = affinity::sticky(&group.upstream, exchange);
    let order = ForwardRequest {
        group,
        write_head: &write_head,
        expects_continue,
        upload: Upload::new(has_body, framing == Framing::Chunked, limit, replay),
        key: affinity::key(&group.upstream, exchange),
        sticky,
        end: way.end(exchange),
        body_timeout: listener.conf.timeouts.body,
    };
    Ok((forward(order, exchange, client).await?, sticky))
}

/// Sends a response whose head has come, and went through [`headers::pass_response`], to the client.
pub(super) async fn deliver<D: Downstream>(
    way: &RouteContext<'_>,
    live: UpstreamResponse,
    sticky: Option<usize>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<Outcome> {
    finish_head(way, sticky, exchange);
    if exchange.response.status == 101 {
        return Err(Kind::BadResponse("101 to a request that asked for no upgrade").into());
    }
    let patience = way.patience(exchange);
    body::relay(live, exchange, client, patience).await?;
    Ok(Outcome::Complete)
}

/// What of a response's head is for this client.
fn finish_head(way: &RouteContext<'_>, sticky: Option<usize>, exchange: &mut Exchange) {
    bind(&way.group.upstream, exchange, sticky);
    edit_response(way, exchange);
}

/// Edits a response's head as the route has it.
pub(super) fn edit_response(way: &RouteContext<'_>, exchange: &mut Exchange) {
    if let Some(edits) = &way.route.response_headers {
        edit::edit(&mut exchange.response.fields, edits);
    }
}

/// How the body goes upstream, and whether there is one. HTTP/2 says by the stream whether there is a
/// body, and its length only if the client wrote Content-Length.
fn upward_framing<D: Downstream>(exchange: &Exchange, framing: Framing, client: &D) -> (Framing, bool) {
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

/// Whether the client asks for a tunnel, by Upgrade or CONNECT, and may have it.
pub(crate) fn wants_tunnel(route: &Route, exchange: &Exchange) -> Result<bool> {
    if exchange.request.method == Method::Connect {
        let is_allowed = route.allows_connect && !exchange.version.has_streams();
        return if is_allowed { Ok(true) } else { Err(Kind::NotAllowed.into()) };
    }
    let fields = &exchange.request.fields;
    let asks = fields.has(Known::Upgrade)
        && list(fields.all_known(Known::Connection)).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    let is_websocket =
        || list(fields.all_known(Known::Upgrade)).any(|name| name.eq_ignore_ascii_case(b"websocket"));
    // Any other protocol may be declined by ignoring it (RFC 9110 §7.8).
    Ok(asks && route.allows_websocket && !exchange.version.has_streams() && is_websocket())
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
fn bind(upstream: &crate::upstream::Upstream, exchange: &mut Exchange, sticky: Option<usize>) {
    if upstream.conf.sticky.is_none() || exchange.backend == sticky {
        return;
    }
    let is_tls = exchange.peer.tls.is_some();
    let cookie = exchange.backend.and_then(|index| affinity::set_cookie(upstream, index, is_tls));
    if let Some(cookie) = cookie {
        exchange.response.fields.push_known(Known::SetCookie, cookie.as_bytes());
    }
}
