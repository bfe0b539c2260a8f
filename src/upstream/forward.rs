//! Sending a request to a backend, and to another when that fails: pick → permit → connect → send →
//! response head. One future, inside the exchange's own; no task, no channel.

use super::{forward_request::ForwardRequest, response::UpstreamResponse, retry::is_retryable};
use crate::{
    error::{Kind, Result},
    exchange::{Downstream, Exchange},
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
    let (group, end) = (target.group, target.end);
    group.on_request(exchange.facts.started);
    loop {
        let permit = target.pick(&request.tried, client).await?;
        let begun = Moment::now();
        exchange.facts.begin_attempt(permit.index(), begun);
        let result = request.run(&permit, exchange, client).await;
        let now = Moment::now();
        request.observe(&permit, &result, exchange, now.since(begun), now);
        let end_of_attempt = match &result {
            Ok(_) => Ok(exchange.response.status),
            Err(error) => Err(error.kind()),
        };
        if let Some(recording) = &mut exchange.facts.recording {
            recording.end_attempt(end_of_attempt, now);
        }
        let conf = &group.upstream.conf.retry;
        let again = is_retryable(conf, end_of_attempt, &exchange.request.method, exchange.facts.attempts)
            && !request.is_interim_sent
            && request.upload.is_replayable()
            && end.is_none_or(|end| now < end)
            // What a backend says that it did not process is no load on it.
            && (matches!(end_of_attempt, Err(Kind::Refused)) || group.may_retry(now));
        if !again {
            exchange.facts.response_time = Some(now.since(exchange.facts.started));
            exchange.facts.bytes_in = request.upload.bytes;
            let upload = std::mem::take(&mut request.upload);
            return result
                .map(|answered| UpstreamResponse::new(answered, permit, upload, &mut exchange.response));
        }
        request.tried.push(permit.index());
        request.upload.begin_again();
    }
}
