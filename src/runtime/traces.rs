//! A finished exchange as spans: what was noted of it, with the names of its snapshot.
//!
//! Attributes are those of OpenTelemetry's conventions for HTTP where they have one, else `pointsman.*`.
//! Every stop that takes time worth showing adds its span here: the request, the TLS handshake before it,
//! each attempt; filters come between request and attempts when there are any. What the cache did is in the
//! request's own span: where it fetched, the attempts show how long that took.

use super::snapshot::Snapshot;
use crate::{
    backend::{Address, Backend},
    error::{Blame, Kind},
    exchange::{Exchange, HttpVersion},
    fields::Known,
    h1::Method,
    moment::Moment,
    telemetry::trace::{
        Attempt, Context, Handshake, Recording, SpanId,
        otlp::{Attributes, Side, Span, WallClock},
    },
    upstream::Upstream,
};

/// Writes the spans of an exchange that has ended, over this listener; gives how many.
pub(super) fn write(
    exchange: &Exchange,
    mut recording: Recording,
    snapshot: &Snapshot,
    listener: &str,
    out: &mut Vec<u8>,
) -> u64 {
    let Some(context) = exchange.facts.trace else { return 0 };
    let clock = WallClock::read();
    let now = Moment::now();
    recording.end(exchange.facts.error.as_ref().map(|(kind, _)| *kind), now);
    let upstream = exchange.facts.upstream.and_then(|index| snapshot.upstreams.get(index));
    let backend = |index| upstream.and_then(|upstream| upstream.backends.get(index));
    let route = exchange.facts.route.and_then(|index| snapshot.routes.get(index));
    let names = Names {
        listener,
        route: route.map(|route| &*route.name),
        upstream: upstream.map(|upstream| &*upstream.conf.name),
        backend: exchange.facts.backend.and_then(backend).map(|backend| &*backend.name),
    };
    let mut count = 1;
    let cache = route.and_then(|route| route.cache.as_ref()).map(|cache| cache.conf.name.as_str());
    write_request(exchange, &context, (&names, cache), (clock, now), out);
    if let Some(handshake) = &recording.handshake {
        count += 1;
        write_handshake(exchange, &context, handshake, &names, clock, out);
    }
    for (number, attempt) in recording.attempts.iter().enumerate() {
        count += 1;
        let to = upstream.zip(backend(attempt.backend));
        let written = Tried { attempt, number, to };
        write_attempt(exchange, &context, &written, clock, out);
    }
    count
}

/// A span in this trace: the request's own, or with `parent` a part of it.
fn span<'a>(context: &Context, id: SpanId, name: &'a str, times: (Moment, Moment)) -> Span<'a> {
    Span {
        trace: context.trace,
        id,
        parent: Some((context.span, false)),
        flags: context.flags(),
        state: b"",
        name,
        side: Side::Internal,
        times,
        error: None,
    }
}

fn write_request(
    exchange: &Exchange,
    context: &Context,
    (names, cache): (&Names<'_>, Option<&str>),
    (clock, now): (WallClock, Moment),
    out: &mut Vec<u8>,
) {
    let method = method(exchange);
    let name = names.route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    let states: Vec<&[u8]> = exchange.request.fields.all_known(Known::Tracestate).collect();
    let status = exchange.response.status;
    let error =
        exchange.facts.error.as_ref().filter(|(kind, _)| status >= 500 || kind.blame() != Blame::Client);
    let error = error.map(|(_, detail)| detail.as_str()).or_else(|| (status >= 500).then_some(""));
    let server = Span {
        parent: context.parent.map(|parent| (parent, true)),
        state: &states.join(&b","[..]),
        side: Side::Server,
        error,
        ..span(context, context.span, &name, (exchange.facts.started, now))
    };
    server.write(clock, out, |attributes| {
        write_head(exchange, attributes);
        if let Some(route) = names.route {
            attributes.text("http.route", route.as_bytes());
        }
        // With an error, 499 is in logs for a client that left before it got a status.
        if status != 0 && !(status == 499 && exchange.facts.error.is_some()) {
            attributes.number("http.response.status_code", status.into());
        }
        attributes.number("http.request.body.size", exchange.facts.bytes_in);
        attributes.number("http.response.body.size", exchange.facts.bytes_out);
        attributes.text("pointsman.listener", names.listener.as_bytes());
        let own = [("pointsman.upstream", names.upstream), ("pointsman.backend", names.backend)];
        for (key, name) in own {
            if let Some(name) = name {
                attributes.text(key, name.as_bytes());
            }
        }
        if let (Some(name), Some(served)) = (cache, exchange.cache) {
            attributes.text("pointsman.cache", name.as_bytes());
            // One that is `collapsed` has no attempts of its own: another request's trace has them.
            attributes.text("pointsman.cache.result", served.name().as_bytes());
        }
        attributes.text("pointsman.request_id", exchange.facts.id.as_bytes());
        write_error(exchange.facts.error.as_ref().map(|(kind, _)| *kind), status, attributes);
    });
}

/// What the client asked for.
fn write_head(exchange: &Exchange, attributes: &mut Attributes<'_>) {
    write_method(exchange, attributes);
    // Without the query, where secrets are.
    let path = exchange.request.target.split('?').next().unwrap_or_default();
    if !path.is_empty() {
        attributes.text("url.path", path.as_bytes());
    }
    attributes.text("url.scheme", exchange.scheme().as_bytes());
    let host = exchange.host.trim_matches(['[', ']']);
    if !host.is_empty() {
        attributes.text("server.address", host.as_bytes());
    }
    attributes.text("client.address", exchange.facts.client_text().as_bytes());
    if exchange.facts.client_port() != 0 {
        attributes.number("client.port", exchange.facts.client_port().into());
    }
    let version = match exchange.version {
        HttpVersion::Http10 => "1.0",
        HttpVersion::Http11 => "1.1",
        HttpVersion::Http2 => "2",
    };
    attributes.text("network.protocol.version", version.as_bytes());
    if let Some(agent) = exchange.request.fields.known(Known::UserAgent) {
        attributes.text("user_agent.original", agent);
    }
}

/// The method as span names have it: whatever a client makes up must not become a name.
fn method(exchange: &Exchange) -> &str {
    match &exchange.request.method {
        Method::Other(_) => "HTTP",
        method => method.as_str(),
    }
}

fn write_method(exchange: &Exchange, attributes: &mut Attributes<'_>) {
    match &exchange.request.method {
        Method::Other(token) => {
            attributes.text("http.request.method", b"_OTHER");
            attributes.text("http.request.method_original", token.as_bytes());
        }
        method => attributes.text("http.request.method", method.as_str().as_bytes()),
    }
}

fn write_error(kind: Option<Kind>, status: u16, attributes: &mut Attributes<'_>) {
    match kind {
        Some(kind) => attributes.text("error.type", kind.label().as_bytes()),
        None if status >= 500 => attributes.text("error.type", status.to_string().as_bytes()),
        None => {}
    }
}

fn write_handshake(
    exchange: &Exchange,
    context: &Context,
    handshake: &Handshake,
    names: &Names<'_>,
    clock: WallClock,
    out: &mut Vec<u8>,
) {
    let id = SpanId(fastrand::u64(1..));
    let times = (handshake.begun, handshake.ended);
    span(context, id, "TLS handshake", times).write(clock, out, |attributes| {
        attributes.text("client.address", exchange.facts.client_text().as_bytes());
        attributes.text("pointsman.listener", names.listener.as_bytes());
        attributes.boolean("tls.resumed", handshake.is_resumed);
        let Some(tls) = &exchange.facts.peer.tls else { return };
        attributes.text("tls.protocol.version", tls.version.trim_start_matches("TLSv").as_bytes());
        if let Some(name) = &tls.server_name {
            attributes.text("tls.client.server_name", name.as_bytes());
        }
    });
}

/// An attempt, and at what.
struct Tried<'a> {
    attempt: &'a Attempt,
    /// From 0.
    number: usize,
    to: Option<(&'a std::sync::Arc<Upstream>, &'a std::sync::Arc<Backend>)>,
}

fn write_attempt(
    exchange: &Exchange,
    context: &Context,
    tried: &Tried<'_>,
    clock: WallClock,
    out: &mut Vec<u8>,
) {
    let Tried { attempt, number, to } = *tried;
    let (ended, outcome) = attempt.ended.unwrap_or((attempt.begun, Err(Kind::ClientGone)));
    let (status, kind) = match outcome {
        Ok(status) => (status, None),
        Err(kind) => (0, Some(kind)),
    };
    let message = kind.map(|kind| kind.to_string()).filter(|_| kind != Some(Kind::ClientGone));
    let error = message.as_deref().or_else(|| (status >= 500).then_some(""));
    let times = (attempt.begun, ended);
    let client = Span { side: Side::Client, error, ..span(context, attempt.id, method(exchange), times) };
    client.write(clock, out, |attributes| {
        write_method(exchange, attributes);
        if let Some((upstream, backend)) = to {
            write_address(&backend.address, attributes);
            attributes.text("pointsman.upstream", upstream.conf.name.as_bytes());
            attributes.text("pointsman.backend", backend.name.as_bytes());
        }
        if number > 0 {
            attributes.number("http.request.resend_count", number as u64);
        }
        if status != 0 {
            attributes.number("http.response.status_code", status.into());
        }
        write_error(kind, status, attributes);
    });
}

fn write_address(address: &Address, attributes: &mut Attributes<'_>) {
    match address {
        Address::Host { host, port } => {
            attributes.text("server.address", host.as_bytes());
            attributes.number("server.port", u64::from(*port));
        }
        Address::OfName { host, at } => {
            attributes.text("server.address", host.as_bytes());
            attributes.number("server.port", u64::from(at.port()));
        }
        Address::Srv(name) => attributes.text("server.address", name.as_bytes()),
        Address::Unix(path) => {
            attributes.text("server.address", path.to_string_lossy().as_bytes());
            attributes.text("network.transport", b"unix");
        }
    }
}

/// The names that an exchange's indices stand for.
#[derive(Clone, Copy, Debug)]
struct Names<'a> {
    listener: &'a str,
    route: Option<&'a str>,
    upstream: Option<&'a str>,
    /// Of the backend that answered, or was asked last.
    backend: Option<&'a str>,
}
