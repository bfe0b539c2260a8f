//! Sending a request to a backend, and to another when that fails: pick → permit → connect → send →
//! response head. One future, inside the exchange's own; no task, no channel.

use std::{net::SocketAddr, time::Duration};

use super::{
    Permit, announce,
    attempt::FRESH,
    conf::{RetryConf, RetryOn, SendProxyProtocol},
    forward_request::ForwardRequest,
    response::{Owner, UpstreamResponse},
    retry::is_retryable,
};
use crate::{
    error::{Kind, ProxyError, Result},
    exchange::{Bond, Downstream, Exchange, Taken, Wanted, grpc, logs_connection_in, logs_in},
    moment::Moment,
};

/// Brings the request to a backend and gives its response head in `exchange.response`.
///
/// Nothing was sent to the client when this fails, save interim responses.
pub async fn forward<D: Downstream>(
    request: &mut ForwardRequest<'_>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<UpstreamResponse> {
    let target = request.target;
    let (worker_upstream, end) = (target.worker_upstream, target.end);
    worker_upstream.on_request(exchange.facts.started);
    let conf = &worker_upstream.upstream.conf;
    let announced = announce::client(conf, &exchange.facts);
    let is_announced = conf.proxy_protocol != SendProxyProtocol::Off;
    // What is logged in is used as long as it is there; another one can be replaced.
    let may_be_old = !is_announced || exchange.request.method.is_idempotent();
    let most_idle = if may_be_old { Duration::MAX } else { FRESH };
    let wanted = Wanted { backends: &worker_upstream.upstream.backends, announced, most_idle };
    let way_to = |index| worker_upstream.way_to(index);
    let mut bound = client.bound().and_then(|bound| bound.take(&wanted, way_to, Moment::now()));
    let was_logged_in = bound.as_ref().map(|bound| bound.is_logged_in);
    loop {
        let kept = bound.take().and_then(|Taken { index, stream, .. }| {
            let now = Moment::now();
            Some((worker_upstream.pick_bound(index, now)?, now, stream))
        });
        let (permit, begun, stream) = match kept {
            Some((permit, begun, stream)) => (permit, begun, Some(stream)),
            None => {
                let (permit, begun) = target.pick(&request.tried, client).await?;
                (permit, begun, None)
            }
        };
        exchange.facts.begin_attempt(permit.index(), begun);
        let result = request.run(&permit, begun, stream, exchange, client).await;
        let now = Moment::now();
        // A backend that is told the client's deadline (gRPC) ends the stream then, while we may be a tick late.
        let is_over = end.is_some_and(|end| end <= now);
        let result = result.map_err(|error| match error.kind() {
            Kind::Reset if is_over => ProxyError::because(Kind::RouteTimeout, error),
            _ => error,
        });
        let end_of_attempt = match &result {
            Ok(_) => Ok(exchange.response.status),
            Err(error) => Err(error.kind()),
        };
        let judged = request.observe(&permit, end_of_attempt, exchange, (now.since(begun), now));
        if let Some(recording) = &mut exchange.facts.recording {
            recording.end_attempt(end_of_attempt, now);
        }
        let is_worth_it =
            is_retryable(&conf.retry, end_of_attempt, &exchange.request.method, exchange.facts.attempts)
                || result.is_ok() && is_unavailable(&conf.retry, exchange);
        let again = is_worth_it
            && !request.is_interim_sent
            && request.upload.is_replayable()
            && end.is_none_or(|end| now < end)
            // What a backend says that it did not process is no load on it.
            && (matches!(end_of_attempt, Err(Kind::Refused)) || worker_upstream.may_retry(now));
        if !again {
            exchange.facts.response_time = Some(now.since(exchange.facts.started));
            exchange.facts.bytes_in = request.upload.bytes;
            // What did not go on may go another way.
            let answered = result?;
            let upload = std::mem::take(&mut request.upload);
            let owner = owner(&permit, (announced, was_logged_in), exchange, client);
            let response = &mut exchange.response;
            return Ok(UpstreamResponse::new(answered, permit, upload, response, owner, judged));
        }
        request.tried.push(permit.index());
        request.upload.begin_again();
    }
}

/// Whose the connection is that brought this response. Where its client had one of its own before, this is that or has
/// taken its place, and counts as logged in if that was: rather once too often than what is one client's for others.
fn owner<D: Downstream>(
    permit: &Permit,
    (announced, was_logged_in): (Option<SocketAddr>, Option<bool>),
    exchange: &Exchange,
    client: &mut D,
) -> Owner {
    let worker_upstream = permit.worker_upstream();
    let (request, response) = (&exchange.request.fields, &exchange.response);
    let is_bound = worker_upstream.upstream.conf.proxy_protocol != SendProxyProtocol::Off
        || was_logged_in.is_some()
        || logs_connection_in(request, response.status, &response.fields);
    if !is_bound {
        return Owner::Pool;
    }
    let (Some(way), Some(bound)) = (worker_upstream.way_to(permit.index()), client.bind()) else {
        return Owner::Nobody;
    };
    let is_logged_in = was_logged_in == Some(true) || logs_in(request);
    Owner::Client(bound, Bond { way: way.clone(), announced, is_logged_in })
}

/// Whether a call of gRPC was answered with `UNAVAILABLE` and nothing else, and goes on then.
fn is_unavailable(conf: &RetryConf, exchange: &Exchange) -> bool {
    exchange.is_grpc()
        && exchange.facts.attempts < conf.attempts
        && conf.on.contains(&RetryOn::GrpcUnavailable)
        && grpc::status(&exchange.response.fields) == Some(grpc::UNAVAILABLE)
}
