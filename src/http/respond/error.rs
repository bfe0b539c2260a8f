//! Errors become HTTP here and nowhere else: status, Proxy-Status (RFC 9209), and a small body
//! ([`small_error`]), in the place of which `error_pages` may put a page.

use super::reply::own_head;
use crate::{error::Kind, exchange::Exchange, fields::Known, filter::small_error};

/// The status and the Proxy-Status error type (RFC 9209 §2.3) of an error.
pub fn status_of(kind: Kind) -> (u16, &'static str) {
    match kind {
        Kind::Malformed(_) => (400, "http_request_error"),
        Kind::HeadTooLarge => (431, "http_request_error"),
        Kind::UriTooLong => (414, "http_request_error"),
        Kind::BodyTooLarge => (413, "http_request_error"),
        Kind::HeadTimeout | Kind::BodyTimeout => (408, "http_request_error"),
        // Nobody reads these two; 499 is what logs call a client that left.
        Kind::ClientGone | Kind::ClientStalled => (499, "http_request_error"),
        Kind::Misdirected => (421, "http_request_error"),
        // RFC 9209 §2.3.22.
        Kind::LoopDetected => (508, "proxy_loop_detected"),
        // RFC 9110 §15.5.6.
        Kind::MethodNotAllowed => (405, "http_request_denied"),
        // RFC 9110 §15.6.2.
        Kind::NotImplemented => (501, "http_request_denied"),
        Kind::FileUnreadable => (503, "proxy_internal_error"),
        Kind::NoRoute | Kind::NoFile => (404, "destination_not_found"),
        Kind::ClientDenied | Kind::NotAllowed => (403, "http_request_denied"),
        // RFC 6585 §4.
        Kind::ClientLimit => (429, "http_request_denied"),
        // RFC 9111 §5.2.1.7.
        Kind::NotCached => (504, "http_request_denied"),
        Kind::NotAccepted => (503, "proxy_internal_error"),
        Kind::NoBackend => (503, "destination_unavailable"),
        Kind::RouteFull | Kind::QueueFull | Kind::QueueTimeout => (503, "connection_limit_reached"),
        Kind::NoSocket => (503, "proxy_internal_error"),
        Kind::Connect => (502, "connection_refused"),
        Kind::ConnectTimeout => (504, "connection_timeout"),
        Kind::Unresolved => (502, "dns_error"),
        Kind::UpstreamTls => (502, "tls_protocol_error"),
        Kind::Reset | Kind::ResetInUpload | Kind::ConnectionOverloaded => (502, "connection_terminated"),
        Kind::Refused => (503, "destination_unavailable"),
        Kind::ResponseTimeout => (504, "http_response_timeout"),
        Kind::BadResponse(_) => (502, "http_protocol_error"),
        Kind::ResponseTooLarge => (502, "http_response_header_section_size"),
        Kind::WrongUpgrade => (502, "http_upgrade_failed"),
        Kind::BodyBroken => (502, "http_response_incomplete"),
        // Of connections that are passed on, which nothing answers.
        Kind::HelloTimeout => (408, "tls_protocol_error"),
        Kind::TunnelIdle => (504, "connection_timeout"),
        Kind::TunnelBroken => (502, "connection_terminated"),
        Kind::RouteTimeout => (504, "http_response_timeout"),
        Kind::MemoryFull => (503, "proxy_internal_error"),
        Kind::Draining | Kind::Ended => (503, "destination_unavailable"),
    }
}

/// Makes `exchange.response` the answer to an error, and gives its body.
pub(super) fn make(exchange: &mut Exchange, kind: Kind) -> Vec<u8> {
    let (status, _) = status_of(kind);
    let (media, body) = small_error::of(exchange, status, kind.label(), &kind.to_string());
    own_head(status, exchange);
    let fields = &mut exchange.response.fields;
    fields.push_known(Known::ContentType, media);
    small_error::vary(fields);
    let is_of_now = matches!(
        kind,
        Kind::ClientLimit
            | Kind::RouteFull
            | Kind::NotAccepted
            | Kind::FileUnreadable
            | Kind::NoBackend
            | Kind::QueueFull
            | Kind::QueueTimeout
            | Kind::MemoryFull
            | Kind::NoSocket
            | Kind::Draining
            | Kind::Ended
    );
    if kind == Kind::MethodNotAllowed {
        fields.push("allow", b"GET, HEAD");
    }
    if is_of_now {
        fields.push("retry-after", b"1");
    }
    fields.push_known(Known::XRequestId, exchange.facts.id.as_bytes());
    body
}

/// Adds the member of Proxy-Status that says what went wrong (RFC 9209 §2.3).
pub(super) fn add_proxy_status(kind: Kind, exchange: &mut Exchange) {
    let (_, name) = status_of(kind);
    let status = format!("pointsman; error={name}; details=\"{}\"", kind.label());
    exchange.response.fields.push("proxy-status", status.as_bytes());
}
