//! Fields on their way through: what ends at each hop is removed, what tells of the hop is added
//! (RFC 9110 §7.6).

use std::net::IpAddr;

use crate::{
    exchange::{Exchange, HttpVersion},
    fields::{Fields, Known, list, write_number},
    h1::{Framing, Method, ResponseHead, head::write_field},
    telemetry::clock,
};

/// How the request goes upstream.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamHead<'a> {
    /// How its body is framed there.
    pub framing: Framing,
    /// The Host to send.
    pub host: &'a str,
    /// The target to send.
    pub target: &'a str,
    /// Whether to ask for the protocol upgrade that the client asked for.
    pub is_upgrade: bool,
    /// Whether to pass `Expect: 100-continue` on.
    pub expects_continue: bool,
    /// Whether to send `Forwarded` (RFC 7239) too.
    pub forwarded: bool,
}

/// Writes the request head as the backend gets it, its blank line included. Everything is written
/// anew; no delimiter of the client's is copied.
pub fn write_request(exchange: &Exchange, upward: &UpstreamHead<'_>, out: &mut Vec<u8>) {
    let request = &exchange.request;
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(upward.target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(upward.host.as_bytes());
    out.extend_from_slice(b"\r\n");
    write_passed(exchange, upward, out);
    write_framing(exchange, upward, out);
    write_forwarding(exchange, upward.forwarded, out);
    out.extend_from_slice(b"\r\n");
}

/// The fields that go on as they came.
fn write_passed(exchange: &Exchange, upward: &UpstreamHead<'_>, out: &mut Vec<u8>) {
    let fields = &exchange.request.fields;
    let named = Named::of(fields);
    for field in fields.iter() {
        let passes = match field.known {
            Known::Host
            | Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::ProxyAuthorization
            | Known::ProxyAuthenticate
            | Known::Te
            | Known::TransferEncoding
            | Known::ContentLength
            | Known::Upgrade
            | Known::Http2Settings
            | Known::Expect
            | Known::Via
            | Known::XRequestId
            | Known::XForwardedFor
            | Known::XForwardedProto
            | Known::XForwardedHost => false,
            Known::Forwarded => exchange.peer.is_trusted && !upward.forwarded,
            // The backend's parent is the attempt's span.
            Known::Traceparent => exchange.trace.is_none() && !named.names(field.name),
            Known::Trailer => upward.framing == Framing::Chunked,
            _ => !named.names(field.name),
        };
        if passes {
            write_field(field.name, field.value, out);
        }
    }
}

/// The fields of a request that is to go on later, as of a client that is believed: what is said of where it comes from
/// is true then.
pub fn kept_request(exchange: &Exchange) -> Fields {
    let fields = &exchange.request.fields;
    let named = Named::of(fields);
    let is_trusted = exchange.peer.is_trusted;
    let mut kept = Fields::default();
    for field in fields.iter() {
        let stays = match field.known {
            Known::Host
            | Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::ProxyAuthorization
            | Known::ProxyAuthenticate
            | Known::Te
            | Known::TransferEncoding
            | Known::ContentLength
            | Known::Trailer
            | Known::Upgrade
            | Known::Http2Settings
            | Known::Expect
            | Known::XRequestId
            | Known::XForwardedFor => false,
            Known::XForwardedProto | Known::XForwardedHost | Known::Forwarded => is_trusted,
            _ => !named.names(field.name),
        };
        if let Some(name) = std::str::from_utf8(field.name).ok().filter(|_| stays) {
            kept.push(name, field.value);
        }
    }
    let believed = fields.all_known(Known::XForwardedFor).filter(|_| is_trusted);
    let mut addresses: Vec<&[u8]> = believed.collect();
    addresses.push(exchange.peer.text.as_bytes());
    kept.push_known(Known::XForwardedFor, &addresses.join(&b", "[..]));
    kept.push_known(Known::XRequestId, exchange.id.as_bytes());
    kept.compact()
}

/// The fields of this hop.
fn write_framing(exchange: &Exchange, upward: &UpstreamHead<'_>, out: &mut Vec<u8>) {
    let fields = &exchange.request.fields;
    match upward.framing {
        // Methods with a defined meaning of their body say so even when it is empty (RFC 9110 §8.6).
        Framing::None if matches!(exchange.request.method, Method::Post | Method::Put | Method::Patch) => {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            write_number(length, out);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if upward.expects_continue {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    // RFC 9110 §10.1.4: a proxy may say that it takes trailers; no other member of TE goes on.
    if list(fields.all_known(Known::Te)).any(|member| member.eq_ignore_ascii_case(b"trailers")) {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    if upward.is_upgrade {
        out.extend_from_slice(b"connection: upgrade\r\n");
        for value in fields.all_known(Known::Upgrade) {
            write_field(b"upgrade", value, out);
        }
    }
}

/// The fields that tell the backend of the client and of us. What an untrusted client says of where it
/// comes from is replaced.
fn write_forwarding(exchange: &Exchange, forwarded: bool, out: &mut Vec<u8>) {
    let fields = &exchange.request.fields;
    let peer = &exchange.peer;
    let believed = |known: Known| fields.all_known(known).filter(|_| peer.is_trusted);
    out.extend_from_slice(b"x-forwarded-for: ");
    for value in believed(Known::XForwardedFor) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(peer.text.as_bytes());
    out.extend_from_slice(b"\r\nx-forwarded-proto: ");
    let proto = believed(Known::XForwardedProto).next();
    out.extend_from_slice(proto.unwrap_or(exchange.scheme().as_bytes()));
    out.extend_from_slice(b"\r\nx-forwarded-host: ");
    let host = believed(Known::XForwardedHost).next();
    out.extend_from_slice(host.unwrap_or(exchange.authority.as_bytes()));
    out.extend_from_slice(b"\r\nvia: ");
    for value in fields.all_known(Known::Via) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(exchange.version.via());
    out.extend_from_slice(b"\r\nx-request-id: ");
    out.extend_from_slice(exchange.id.as_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some(trace) = &exchange.trace {
        out.extend_from_slice(b"traceparent: ");
        trace.write_traceparent(out);
        out.extend_from_slice(b"\r\n");
    }
    if forwarded {
        write_forwarded(exchange, out);
    }
}

/// `Forwarded` (RFC 7239), which says the same in one field.
fn write_forwarded(exchange: &Exchange, out: &mut Vec<u8>) {
    out.extend_from_slice(b"forwarded: ");
    for value in exchange.request.fields.all_known(Known::Forwarded).filter(|_| exchange.peer.is_trusted) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    let node = match exchange.peer.address {
        IpAddr::V6(address) => format!("\"[{address}]\""),
        IpAddr::V4(address) => address.to_string(),
    };
    let line = format!("for={node};proto={};host=\"{}\"\r\n", exchange.scheme(), exchange.authority);
    out.extend_from_slice(line.as_bytes());
}

/// Takes out of a backend's response what ends here, and adds Via and, when it is missing, Date.
pub fn pass_response(head: &mut ResponseHead, is_upgrade: bool) {
    let names = Named::of(&head.fields).owned();
    head.fields.retain(|field| match field.known {
        Known::Connection | Known::KeepAlive | Known::ProxyConnection | Known::TransferEncoding => false,
        Known::Upgrade => is_upgrade,
        _ => names.is_empty() || !names.iter().any(|name| name.eq_ignore_ascii_case(field.name)),
    });
    head.fields.push_known(Known::Via, HttpVersion::from(head.version).via());
    if !head.fields.has(Known::Date) {
        clock::with_date(|date| head.fields.push_known(Known::Date, date.as_bytes()));
    }
}

/// The names that Connection lists, which end at this hop too (RFC 9110 §7.6.1).
struct Named<'a> {
    fields: &'a Fields,
    is_empty: bool,
}

impl<'a> Named<'a> {
    fn of(fields: &'a Fields) -> Self {
        // Nearly always there is nothing, or one of the two words that name no field.
        let names_nothing =
            |value: &[u8]| value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close");
        Self { fields, is_empty: fields.all_known(Known::Connection).all(names_nothing) }
    }

    fn names(&self, name: &[u8]) -> bool {
        !self.is_empty
            && list(self.fields.all_known(Known::Connection)).any(|option| option.eq_ignore_ascii_case(name))
    }

    fn owned(&self) -> Vec<Vec<u8>> {
        if self.is_empty {
            return Vec::new();
        }
        list(self.fields.all_known(Known::Connection)).map(<[u8]>::to_vec).collect()
    }
}
