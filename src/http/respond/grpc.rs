//! What a client of gRPC gets where Pointsman fails: HTTP 200, and why in `grpc-status` and `grpc-message`. A status of
//! HTTP would reach it as `UNKNOWN` or `INTERNAL`, which nobody tries again.

use super::{error::status_of, reply::own_head};
use crate::{
    error::Kind,
    exchange::{
        Exchange,
        grpc::{DEADLINE_EXCEEDED, UNAVAILABLE},
    },
    fields::{Fields, Known},
};

/// The code of an error: by its status, but for what is said more exactly.
pub(super) fn code_of(kind: Kind) -> u32 {
    const RESOURCE_EXHAUSTED: u32 = 8;
    match kind {
        Kind::RouteFull | Kind::MemoryFull | Kind::BodyTooLarge | Kind::HeadTooLarge => RESOURCE_EXHAUSTED,
        // UNIMPLEMENTED: nobody has this method.
        Kind::NoRoute => 12,
        _ => match status_of(kind).0 {
            401 => 16,
            403 => 7,
            429 => RESOURCE_EXHAUSTED,
            408 | 504 => DEADLINE_EXCEEDED,
            502 | 503 => UNAVAILABLE,
            // CANCELLED
            499 => 1,
            _ => 13,
        },
    }
}

/// Makes `exchange.response` the answer to an error, which has no body.
pub(super) fn make(exchange: &mut Exchange, kind: Kind) {
    own_head(200, exchange);
    let status = trailers(exchange, kind);
    let fields = &mut exchange.response.fields;
    fields.push_known(Known::ContentType, b"application/grpc");
    for field in status.iter() {
        if let Ok(name) = std::str::from_utf8(field.name) {
            fields.push(name, field.value);
        }
    }
    fields.push_known(Known::XRequestId, exchange.facts.id.as_bytes());
}

/// The trailers that end a response because of an error.
pub(in crate::http) fn trailers(exchange: &mut Exchange, kind: Kind) -> Fields {
    let code = code_of(kind);
    exchange.facts.grpc_status = Some(code);
    let mut fields = Fields::default();
    fields.push("grpc-status", code.to_string().as_bytes());
    fields.push("grpc-message", encoded(&kind.to_string()).as_bytes());
    fields
}

/// A message as `grpc-message` has it: what is not printable ASCII, and `%`, in percent-encoding.
fn encoded(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_codes_that_clients_act_on() {
        for (kind, code) in [
            (Kind::NoBackend, 14),
            (Kind::Connect, 14),
            (Kind::Reset, 14),
            (Kind::Refused, 14),
            (Kind::BadResponse("x"), 14),
            (Kind::BodyBroken, 14),
            (Kind::QueueFull, 14),
            (Kind::Draining, 14),
            (Kind::ResponseTimeout, 4),
            (Kind::ConnectTimeout, 4),
            (Kind::RouteTimeout, 4),
            (Kind::BodyTimeout, 4),
            (Kind::ClientLimit, 8),
            (Kind::RouteFull, 8),
            (Kind::BodyTooLarge, 8),
            (Kind::MemoryFull, 8),
            (Kind::NoRoute, 12),
            (Kind::ClientDenied, 7),
            (Kind::Malformed("x"), 13),
            (Kind::LoopDetected, 13),
            (Kind::ClientGone, 1),
        ] {
            assert_eq!(code_of(kind), code, "{kind:?}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(encoded("no 100 % \u{e9}\n"), "no 100 %25 %C3%A9%0A");
    }
}
