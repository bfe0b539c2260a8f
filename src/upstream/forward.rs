//! Sending a request to a backend, and to another when that fails: pick → permit → connect → send →
//! response head. One future, inside the exchange's own; no task, no channel.

use std::{rc::Rc, time::Duration};

use super::{Permit, WorkerUpstream, attempt::Attempt, retry::is_retryable, upload::Upload};
use crate::{
    error::Result,
    exchange::{Downstream, Exchange},
    moment::Moment,
    net::{BodyReader, Http1Stream},
};

/// What of the request goes upstream.
pub struct ForwardRequest<'a> {
    /// The upstream.
    pub group: &'a Rc<WorkerUpstream>,
    /// Writes the whole request head, its blank line included.
    pub write_head: &'a dyn Fn(&Exchange, &mut Vec<u8>),
    /// Whether the client waits for a 100 before it sends the body.
    pub expects_continue: bool,
    /// The body.
    pub upload: Upload,
    /// What the policy hashes on.
    pub key: u64,
    /// The backend that a sticky cookie names.
    pub sticky: Option<usize>,
    /// When the whole exchange must be over.
    pub end: Option<Moment>,
    /// How long the client may pause in its body.
    pub body_timeout: Duration,
}

/// A response whose head has come, and whose body is to come.
#[derive(Debug)]
pub struct UpstreamResponse {
    /// The place at the backend.
    pub permit: Permit,
    /// The connection.
    pub wire: Http1Stream,
    /// Where reading the body stands.
    pub incoming: BodyReader,
    /// What is left of the request body.
    pub upload: Upload,
    /// Whether the connection may be used again once both bodies are through.
    pub is_reusable: bool,
}

/// Brings the request to a backend and gives its response head in `exchange.response`.
///
/// Nothing was sent to the client when this fails, save interim responses.
pub async fn forward<D: Downstream>(
    order: ForwardRequest<'_>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<UpstreamResponse> {
    let ForwardRequest { group, end, .. } = order;
    let mut attempt = Attempt { order, tried: Vec::new(), is_interim_sent: false };
    group.on_request(exchange.started);
    loop {
        let permit = attempt.pick(client).await?;
        let begun = Moment::now();
        exchange.begin_attempt(permit.index(), begun);
        let result = attempt.run(&permit, exchange, client).await;
        let now = Moment::now();
        attempt.observe(&permit, &result, exchange, now.since(begun), now);
        let end_of_attempt = match &result {
            Ok(_) => Ok(exchange.response.status),
            Err(error) => Err(error.kind()),
        };
        if let Some(recording) = &mut exchange.recording {
            recording.end_attempt(end_of_attempt, now);
        }
        let conf = &group.upstream.conf.retry;
        let again = is_retryable(conf, end_of_attempt, &exchange.request.method, exchange.attempts)
            && !attempt.is_interim_sent
            && attempt.order.upload.is_replayable()
            && end.is_none_or(|end| now < end)
            && group.may_retry(now);
        if !again {
            exchange.response_time = Some(now.since(exchange.started));
            exchange.bytes_in = attempt.order.upload.bytes;
            return result.map(|answer| answer.into_live(permit, attempt.order.upload));
        }
        attempt.tried.push(permit.index());
        attempt.order.upload.begin_again();
    }
}
