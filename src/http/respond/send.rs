//! How a response leaves: its head, and its body from where it comes.

use std::time::Duration;

use bytes::Bytes;

use super::{
    error, fields, grpc as grpc_error,
    patience::Patience,
    pump::{ClientSink, pump},
    reply::{Reply, own_head},
    source::Source,
};
use crate::{
    error::{Kind, Result},
    exchange::{Downstream, Exchange, grpc},
    fields::Known,
    filter::{Answer, BodyPlan, Kept},
    h1::Method,
    runtime::Route,
};

/// How long a client may take for a response that Pointsman made, which is small.
const OWN_PATIENCE: Duration = Duration::from_secs(30);

/// Whether a response has a body (RFC 9110 §6.4.1). What follows a 2xx to CONNECT is a tunnel's (§9.3.6).
pub(in crate::http) fn has_body(method: &Method, status: u16) -> bool {
    let is_tunnel = *method == Method::Connect && matches!(status, 200..=299);
    *method != Method::Head && status >= 200 && !matches!(status, 204 | 304) && !is_tunnel
}

/// Begins a response: the one place where that is done. Gives what becomes of its body; `length` is
/// that of the body, and `kept` what there is of it in other encodings.
pub(in crate::http) fn begin<D: Downstream>(
    reply: &Reply<'_>,
    (length, kept): (Option<u64>, Option<&dyn Kept>),
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<Outgoing> {
    let has_body = has_body(&exchange.request.method, exchange.response.status);
    if exchange.response.status == 204 {
        // RFC 9110 §8.6.
        exchange.response.fields.remove_known(Known::ContentLength);
    }
    fields::add(reply, exchange);
    // What a peer asks for leaves as it is: the peer changes it on its way to the client.
    let plan = match exchange.is_for_peer() {
        true => None,
        false => reply.filter(length, kept, exchange),
    };
    let length = match &plan {
        None => length,
        Some(plan) => plan.length(length, exchange),
    };
    if exchange.is_grpc() {
        exchange.facts.grpc_status = grpc::status(&exchange.response.fields);
    }
    client.begin(&exchange.response, has_body, length.filter(|_| has_body))?;
    Ok(match plan {
        _ if !has_body => Outgoing::Nothing,
        None => Outgoing::AsItIs,
        Some(plan) => Outgoing::Changed(plan),
    })
}

/// What goes out behind a head.
#[derive(Debug)]
pub(in crate::http) enum Outgoing {
    /// There is no body.
    Nothing,
    /// The body, as it is.
    AsItIs,
    /// What filters make of it.
    Changed(BodyPlan),
}

/// Sends a response whole: its head, and its body from where it comes.
pub(in crate::http) async fn send<D: Downstream>(
    reply: &Reply<'_>,
    mut source: Source,
    patience: Patience,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    match begin(reply, (source.length(), source.encodings()), exchange, client)? {
        Outgoing::AsItIs => {}
        Outgoing::Changed(plan) => source = source.after(plan, reply.cache()),
        Outgoing::Nothing => source.skip(),
    }
    let withheld = reply.route.map(|route| &route.withheld_of_responses);
    pump(source, patience, &mut ClientSink { client, exchange, withheld }).await
}

/// Sends a response that Pointsman made, whose head `own_head` began.
pub(in crate::http) async fn send_own<D: Downstream>(
    mut reply: Reply<'_>,
    body: Bytes,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    // RFC 9110 §15.3.6: a 205 has no content, and without a length lasts until the connection ends.
    let body = if exchange.response.status == 205 { Bytes::new() } else { body };
    if exchange.request.method == Method::Head && has_body(&Method::Get, exchange.response.status) {
        // What a GET would get (§9.3.2).
        let length = body.len().to_string();
        exchange.response.fields.push_known(Known::ContentLength, length.as_bytes());
    }
    reply.is_own = true;
    let min_rate = reply.route.map_or(0, Route::min_rate_of_place);
    let holds_place = min_rate > 0;
    let patience =
        Patience { backend: OWN_PATIENCE, client: Some(OWN_PATIENCE), min_rate, holds_place, end: None };
    send(&reply, Source::Bytes(body), patience, exchange, client).await
}

/// Sends an answer that no backend gives.
pub(in crate::http) async fn send_answer<D: Downstream>(
    reply: Reply<'_>,
    answer: Answer,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    own_head(answer.status, exchange);
    for (name, value) in answer.fields {
        exchange.response.fields.push(name, &value);
    }
    send_own(reply, answer.body, exchange, client).await
}

/// Answers an error.
pub(in crate::http) async fn send_error<D: Downstream>(
    kind: Kind,
    reply: Reply<'_>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    let mut body = match exchange.is_grpc() {
        true => {
            grpc_error::make(exchange, kind);
            Vec::new()
        }
        false => error::make(exchange, kind),
    };
    if exchange.is_for_peer() {
        // Nobody would read it, and without it the connection is good for the next request.
        body.clear();
    }
    send_own(reply, body.into(), exchange, client).await
}
