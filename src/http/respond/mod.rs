//! THE one way out: every response begins here, whoever made it: a backend, the cache, the journal, or Pointsman itself.
//!
//! Previous stops: `http::proxy`, `http::cached`, `http::handle`. In this order: has it a body? → the fields that are
//! added (`fields`) → the route's edits → the head → the body (`pump`), from its source to its sink.

mod error;
mod fields;
mod patience;
mod pump;
mod source;

use std::time::Duration;

use bytes::Bytes;

pub use error::status_of;
pub use patience::Patience;
pub(super) use pump::{Sink, pump};
pub(super) use source::{Part, Source};

use super::edit;
use crate::{
    cache::status::CacheStatus,
    error::{Kind, Result},
    exchange::{Downstream, Exchange},
    fields::Known,
    h1::{Method, ResponseHead, Version},
    runtime::Route,
};

/// A response that is ready to leave; its head is in `exchange.response`, without hop-by-hop fields.
#[derive(Debug, Default)]
pub(super) struct Reply<'a> {
    /// The route that took the request, which edits the head; none where none did.
    pub(super) route: Option<&'a Route>,
    /// What the caches on its way say of it.
    pub(super) cache_status: Option<CacheStatus>,
    /// Its age in seconds, where it comes from the cache (RFC 9111 §4).
    pub(super) age: Option<u64>,
    /// The Set-Cookie that binds the client to its backend.
    pub(super) affinity: Option<String>,
    /// What went wrong, where that is why Pointsman answers.
    pub(super) error: Option<Kind>,
    /// Whether Pointsman made it ([`send_own`]).
    pub(super) is_own: bool,
}

impl<'a> Reply<'a> {
    /// A response on this route of which nothing else is to be said.
    pub(super) fn on(route: &'a Route) -> Self {
        Self { route: Some(route), ..Self::default() }
    }

    /// The same, and what a cache says of it.
    pub(super) fn with_status(self, status: CacheStatus) -> Self {
        Self { cache_status: Some(status), ..self }
    }
}

/// How long a client may take for a response that Pointsman made, which is small.
const OWN_PATIENCE: Duration = Duration::from_secs(30);

/// Whether a response has a body (RFC 9110 §6.4.1).
pub(super) fn has_body(method: &Method, status: u16) -> bool {
    *method != Method::Head && status >= 200 && !matches!(status, 204 | 304)
}

/// Begins a response: the one place where that is done. Gives whether it has a body; `length` is that of the body.
pub(super) fn begin<D: Downstream>(
    reply: &Reply<'_>,
    length: Option<u64>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<bool> {
    let has_body = has_body(&exchange.request.method, exchange.response.status);
    if exchange.response.status == 204 {
        // RFC 9110 §8.6.
        exchange.response.fields.remove_known(Known::ContentLength);
    }
    fields::add(reply, exchange);
    if let Some(edits) = reply.route.and_then(|route| route.response_headers.as_ref()) {
        edit::edit(&mut exchange.response.fields, edits);
    }
    client.begin(&exchange.response, has_body, length.filter(|_| has_body))?;
    Ok(has_body)
}

/// Sends a response whole: its head, and its body from where it comes.
pub(super) async fn send<D: Downstream>(
    reply: &Reply<'_>,
    mut source: Source,
    patience: Patience,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    if !begin(reply, source.length(), exchange, client)? {
        source.skip();
    }
    pump(source, patience, &mut pump::ClientSink { client, exchange }).await
}

/// Makes `exchange.response` an empty head of Pointsman's own with this status.
pub(super) fn own_head(status: u16, exchange: &mut Exchange) {
    let ResponseHead { status: own, fields, version } = &mut exchange.response;
    (*own, *version) = (status, Version::Http11);
    fields.clear();
}

/// Sends a response that Pointsman made, whose head [`own_head`] began.
pub(super) async fn send_own<D: Downstream>(
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
    let patience = Patience { backend: OWN_PATIENCE, client: Some(OWN_PATIENCE), end: None };
    send(&reply, Source::Bytes(body), patience, exchange, client).await
}

/// Answers an error.
pub(super) async fn send_error<D: Downstream>(
    kind: Kind,
    route: Option<&Route>,
    exchange: &mut Exchange,
    client: &mut D,
) -> Result<()> {
    let body = error::make(exchange, kind);
    let reply = Reply { route, error: Some(kind), ..Reply::default() };
    send_own(reply, body.into(), exchange, client).await
}
