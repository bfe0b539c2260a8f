//! Sending a request to a backend, and to another when that fails: pick → permit → connect → send →
//! response head. One future, inside the exchange's own; no task, no channel.

use std::time::Duration;

use super::{
    announce,
    attempt::FRESH,
    conf::{RetryConf, RetryOn, SendProxyProtocol},
    forward_request::ForwardRequest,
    response::{Owner, UpstreamResponse},
    retry::is_retryable,
};
use crate::{
    error::{Kind, ProxyError, Result},
    exchange::{Downstream, Exchange, Wanted, grpc, logs_connection_in},
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
    let mut bound = client.bound().and_then(|bound| bound.take(&wanted, Moment::now()));
    let was_bound = bound.is_some();
    loop {
        let kept = bound.take().and_then(|(index, stream)| {
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
            let response = &mut exchange.response;
            let is_bound = is_announced
                || was_bound
                || logs_connection_in(&exchange.request.fields, response.status, &response.fields);
            let owner = match is_bound {
                true => client.bind().map_or(Owner::Nobody, |bound| Owner::Client(bound, announced)),
                false => Owner::Pool,
            };
            return Ok(UpstreamResponse::new(answered, permit, upload, response, owner, judged));
        }
        request.tried.push(permit.index());
        request.upload.begin_again();
    }
}

/// Whether a call of gRPC was answered with `UNAVAILABLE` and nothing else, and goes on then.
fn is_unavailable(conf: &RetryConf, exchange: &Exchange) -> bool {
    exchange.is_grpc()
        && exchange.facts.attempts < conf.attempts
        && conf.on.contains(&RetryOn::GrpcUnavailable)
        && grpc::status(&exchange.response.fields) == Some(grpc::UNAVAILABLE)
}
