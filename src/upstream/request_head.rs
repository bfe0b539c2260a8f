//! The head of a request as a backend gets it: which fields go on, and what is said of the client and of us.
//!
//! What was received is cleaned already (`http::received`). Here is decided once what goes on; a [`HeadWriter`] makes bytes
//! of it, in one version of HTTP each. No delimiter of the client's is copied but those that would be written.

use std::{borrow::Cow, net::IpAddr};

use super::switched::SwitchedTo;
use crate::{
    cluster::peers::mark,
    exchange::{Exchange, node},
    fields::{Fields, Known, list, write_number},
    h1::{Framing, Method, head::write_field},
    websocket::Key,
};

/// How a request goes upstream, but for what its exchange holds.
#[derive(Clone, Debug)]
pub struct UpstreamHead<'a> {
    /// How its body is framed there.
    pub framing: Framing,
    /// The host to send instead of the client's.
    pub host: Option<Cow<'a, str>>,
    /// The host that the backend gets by its upstream, where the route sends no other.
    pub backend_host: Option<Cow<'a, str>>,
    /// The host to send where the client names none: HTTP/1.0 need not, and HTTP/1.1 must.
    pub default_host: &'a str,
    /// The target to send instead of the client's.
    pub target: Option<String>,
    /// Whether to ask for the protocol upgrade that the client asked for.
    pub is_upgrade: bool,
    /// The key that a WebSocket is opened with, where that is the protocol.
    pub websocket: Option<Key>,
    /// Whether to pass `Expect: 100-continue` on.
    pub expects_continue: bool,
    /// Whether to send `Forwarded` (RFC 7239) too.
    pub forwarded: bool,
    /// What its route says itself of what follows.
    pub settled: Settled,
    /// What is said to a peer that is asked in the place of a backend. It acts as this node would: it is told what was
    /// received of where the request comes from, as it was received and as far as the client is believed or the route has
    /// settled it, and this is the rest.
    pub mark: Option<&'a str>,
}

/// Which of the fields that are written anew for each hop a route sets or removes: those go on as its edits have left them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled(u8);

impl Settled {
    /// Those of these names.
    pub fn of<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        Self(names.fold(0, |bits, name| bits | Self::bit(Known::of(name.as_bytes()))))
    }

    /// The same, as it is kept with a write ([`Self::of_bits`]).
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Those that were kept so.
    pub fn of_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether this field is the route's.
    pub fn has(self, known: Known) -> bool {
        self.0 & Self::bit(known) != 0
    }

    /// Writes keep them: a bit means the same for ever.
    fn bit(known: Known) -> u8 {
        match known {
            Known::Forwarded => 1,
            Known::XForwardedFor => 2,
            Known::XForwardedHost => 4,
            Known::XForwardedProto => 8,
            Known::XRequestId => 16,
            _ => 0,
        }
    }
}

/// Makes bytes of a head, in one version of HTTP.
pub trait HeadWriter {
    /// Writes a field.
    fn field(&mut self, name: &[u8], value: &[u8]);

    /// Writes the fields whose tags `passes` lets pass.
    fn fields(&mut self, fields: &Fields, passes: impl Fn(Known) -> bool) {
        fields
            .iter()
            .filter(|field| passes(field.known))
            .for_each(|field| self.field(field.name, field.value));
    }

    /// Begins a field whose value comes in pieces.
    fn begin(&mut self, name: &[u8]);

    /// Adds to the value of the field that was begun.
    fn piece(&mut self, piece: &[u8]);

    /// Ends the field that was begun.
    fn end(&mut self);
}

impl UpstreamHead<'_> {
    /// The Host to send; never empty.
    pub fn host<'e>(&'e self, exchange: &'e Exchange) -> &'e str {
        match self.host.as_deref().or(self.backend_host.as_deref()).unwrap_or(&exchange.authority) {
            "" => self.default_host,
            host => host,
        }
    }

    /// The target to send.
    pub fn target<'e>(&'e self, exchange: &'e Exchange) -> &'e str {
        self.target.as_deref().unwrap_or(&exchange.request.target)
    }

    /// What a backend switches to that takes the upgrade.
    pub(super) fn switched_to(&self) -> SwitchedTo {
        if self.websocket.is_some() { SwitchedTo::WebSocket } else { SwitchedTo::Other }
    }

    /// Writes the head for HTTP/1.1, its blank line included.
    pub fn write_http1(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        out.extend_from_slice(exchange.request.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target(exchange).as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        out.extend_from_slice(self.host(exchange).as_bytes());
        out.extend_from_slice(b"\r\n");
        let mut writer = Http1Writer(out);
        self.write_fields(exchange, &mut writer);
        self.write_framing(exchange, writer.0);
        self.write_forwarding(exchange, &mut writer);
        writer.0.extend_from_slice(b"\r\n");
    }

    /// Writes the fields that go on as they came.
    pub fn write_fields(&self, exchange: &Exchange, writer: &mut impl HeadWriter) {
        let (is_for_peer, settled, is_trusted) =
            (self.mark.is_some(), self.settled, exchange.facts.is_trusted());
        writer.fields(&exchange.request.fields, |known| match known {
            Known::Forwarded | Known::XForwardedFor | Known::XForwardedProto | Known::XForwardedHost
                if is_for_peer =>
            {
                // What a client is not believed is of no use to it, and would get by where its route is another one.
                is_trusted || settled.has(known)
            }
            Known::Forwarded
            | Known::XForwardedFor
            | Known::XForwardedProto
            | Known::XForwardedHost
            | Known::XRequestId
                if settled.has(known) =>
            {
                true
            }
            known if is_for_this_hop(known) => false,
            Known::Via | Known::XForwardedProto | Known::XForwardedHost => false,
            Known::Forwarded => is_trusted && !self.forwarded,
            // The backend's parent is the attempt's span.
            Known::Traceparent => exchange.facts.trace.is_none(),
            // Each hop has a key of its own.
            Known::SecWebsocketKey => self.websocket.is_none(),
            Known::Trailer => self.framing == Framing::Chunked,
            _ => true,
        });
    }

    /// Writes the fields of this hop, of HTTP/1.1.
    fn write_framing(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        let fields = &exchange.request.fields;
        match self.framing {
            // Methods with a defined meaning of their body say so even when it is empty (RFC 9110 §8.6).
            Framing::None
                if matches!(exchange.request.method, Method::Post | Method::Put | Method::Patch) =>
            {
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
        if self.expects_continue {
            out.extend_from_slice(b"expect: 100-continue\r\n");
        }
        // RFC 9110 §10.1.4: a proxy may say that it takes trailers; no other member of TE goes on.
        let takes_trailers =
            list(fields.all_known(Known::Te)).any(|member| member.eq_ignore_ascii_case(b"trailers"));
        out.extend_from_slice(match (takes_trailers, self.is_upgrade) {
            (true, true) => b"te: trailers\r\nconnection: TE, upgrade\r\n",
            (true, false) => b"te: trailers\r\nconnection: TE\r\n",
            (false, true) => b"connection: upgrade\r\n",
            (false, false) => b"",
        });
        if let Some(key) = &self.websocket {
            write_field(b"upgrade", b"websocket", out);
            write_field(b"sec-websocket-key", key.as_bytes(), out);
            if !fields.has(Known::SecWebsocketVersion) {
                write_field(b"sec-websocket-version", b"13", out);
            }
        } else if self.is_upgrade {
            for value in fields.all_known(Known::Upgrade) {
                write_field(b"upgrade", value, out);
            }
        }
    }

    /// Writes the fields that describe the client and us to the backend, but for those that its route sets or removes. What
    /// an untrusted client says of where it comes from is replaced.
    pub fn write_forwarding(&self, exchange: &Exchange, writer: &mut impl HeadWriter) {
        match self.mark {
            Some(mark) => write_mark(mark, exchange, writer),
            None => self.write_forwarded_fields(exchange, writer),
        }
        write_via(exchange, writer);
        if !self.settled.has(Known::XRequestId) {
            writer.field(b"x-request-id", exchange.facts.id.as_bytes());
        }
        if let Some(trace) = &exchange.facts.trace {
            let mut value = Vec::with_capacity(64);
            trace.write_traceparent(&mut value);
            writer.field(b"traceparent", &value);
        }
        if self.forwarded && !self.settled.has(Known::Forwarded) {
            write_forwarded(exchange, writer);
        }
    }

    #[inline]
    fn write_forwarded_fields(&self, exchange: &Exchange, writer: &mut impl HeadWriter) {
        let fields = &exchange.request.fields;
        let (peer, is_trusted) = (&exchange.facts.peer, exchange.facts.is_trusted());
        let believed = |known: Known| fields.all_known(known).filter(|_| is_trusted);
        if !self.settled.has(Known::XForwardedFor) {
            writer.begin(b"x-forwarded-for");
            for value in believed(Known::XForwardedFor) {
                writer.piece(value);
                writer.piece(b", ");
            }
            writer.piece(peer.text.as_bytes());
            writer.end();
        }
        if !self.settled.has(Known::XForwardedProto) {
            let proto = believed(Known::XForwardedProto).next();
            writer.field(b"x-forwarded-proto", proto.unwrap_or(exchange.scheme().as_bytes()));
        }
        if !self.settled.has(Known::XForwardedHost) {
            let host = believed(Known::XForwardedHost).next();
            writer.field(b"x-forwarded-host", host.unwrap_or(exchange.authority.as_bytes()));
        }
    }
}

/// Writes Via: who came before, and this program by the name that its listener has for it (RFC 9110 §7.6.3).
fn write_via(exchange: &Exchange, writer: &mut impl HeadWriter) {
    let own = exchange.facts.peer.terms.via.towards_backends();
    let mut before = exchange.request.fields.all_known(Known::Via).peekable();
    if own.is_none() && before.peek().is_none() {
        return;
    }
    writer.begin(b"via");
    let mut is_first = true;
    for value in before {
        if !std::mem::take(&mut is_first) {
            writer.piece(b", ");
        }
        writer.piece(value);
    }
    if let Some(name) = own {
        if !is_first {
            writer.piece(b", ");
        }
        writer.piece(exchange.version.number());
        writer.piece(b" ");
        writer.piece(name.as_bytes());
    }
    writer.end();
}

/// Writes what a peer is told, and CDN-Loop (RFC 8586), by which a loop between nodes is found at the first of them that
/// is met again. `Cdn-Loop` of others goes on as any field does.
fn write_mark(mark: &str, exchange: &Exchange, writer: &mut impl HeadWriter) {
    debug_assert!(!exchange.is_for_peer(), "a request goes over one hop between peers");
    writer.field(mark::FIELD.as_bytes(), mark.as_bytes());
    writer.field(b"cdn-loop", node::name().as_bytes());
}

/// Writes `Forwarded` (RFC 7239), which says the same in one field.
fn write_forwarded(exchange: &Exchange, writer: &mut impl HeadWriter) {
    writer.begin(b"forwarded");
    for value in exchange.request.fields.all_known(Known::Forwarded).filter(|_| exchange.facts.is_trusted()) {
        writer.piece(value);
        writer.piece(b", ");
    }
    let node = match exchange.facts.peer.address {
        IpAddr::V6(address) => format!("\"[{address}]\""),
        IpAddr::V4(address) => address.to_string(),
    };
    writer
        .piece(format!("for={node};proto={};host=\"{}\"", exchange.scheme(), exchange.authority).as_bytes());
    writer.end();
}

/// Whether a field of a request is for this hop alone, or is written anew for each (RFC 9110 §7.6.1).
fn is_for_this_hop(known: Known) -> bool {
    matches!(
        known,
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
            | Known::XRequestId
            | Known::XForwardedFor
    )
}

/// The fields of a request that is to go on later, as of a client that is believed: what is said of where it comes from
/// is true then, and what its route says.
pub fn fields_for_later(exchange: &Exchange, settled: Settled) -> Fields {
    let fields = &exchange.request.fields;
    let is_trusted = exchange.facts.is_trusted();
    let mut kept = Fields::default();
    for field in fields.iter() {
        let stays = match field.known {
            Known::XRequestId => settled.has(Known::XRequestId),
            known if is_for_this_hop(known) => false,
            Known::Trailer => false,
            known @ (Known::XForwardedProto | Known::XForwardedHost | Known::Forwarded) => {
                is_trusted || settled.has(known)
            }
            _ => true,
        };
        if let Some(name) = std::str::from_utf8(field.name).ok().filter(|_| stays) {
            kept.push(name, field.value);
        }
    }
    let is_believed = is_trusted || settled.has(Known::XForwardedFor);
    let believed = fields.all_known(Known::XForwardedFor).filter(|_| is_believed);
    let mut addresses: Vec<&[u8]> = believed.collect();
    addresses.push(exchange.facts.peer.text.as_bytes());
    kept.push_known(Known::XForwardedFor, &addresses.join(&b", "[..]));
    if !settled.has(Known::XRequestId) {
        kept.push_known(Known::XRequestId, exchange.facts.id.as_bytes());
    }
    kept.compact()
}

/// Writes field lines of HTTP/1.1.
struct Http1Writer<'a>(&'a mut Vec<u8>);

impl HeadWriter for Http1Writer<'_> {
    #[inline]
    fn fields(&mut self, fields: &Fields, passes: impl Fn(Known) -> bool) {
        fields.write_lines(passes, self.0);
    }

    #[inline]
    fn field(&mut self, name: &[u8], value: &[u8]) {
        write_field(name, value, self.0);
    }

    #[inline]
    fn begin(&mut self, name: &[u8]) {
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(b": ");
    }

    #[inline]
    fn piece(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }

    #[inline]
    fn end(&mut self) {
        self.0.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{exchange::Peer, moment::Moment};

    const NAMES: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

    /// Which of these fields a peer is told, of a request that has them all.
    fn told(is_trusted: bool, settled: Settled) -> Vec<&'static str> {
        let mut exchange = Exchange::default();
        exchange.reset(&Rc::new(Peer { is_trusted, ..Peer::default() }), Moment(1));
        NAMES.iter().for_each(|name| exchange.request.fields.push(name, b"theirs"));
        let head = UpstreamHead {
            framing: Framing::None,
            host: None,
            backend_host: None,
            default_host: "a",
            target: None,
            is_upgrade: false,
            websocket: None,
            expects_continue: false,
            forwarded: false,
            settled,
            mark: Some("m"),
        };
        let mut out = Vec::new();
        head.write_http1(&exchange, &mut out);
        let text = String::from_utf8(out).unwrap();
        let is_told = |name: &&str| text.contains(&format!("\r\n{name}: theirs\r\n"));
        NAMES.into_iter().filter(is_told).collect()
    }

    /// Else what a client made up would reach a backend where the peer's route sets or removes it, and this node's does not.
    #[test]
    fn a_peer_is_told_only_what_is_believed_or_settled() {
        assert_eq!(told(true, Settled::default()), NAMES);
        assert_eq!(told(false, Settled::default()), Vec::<&str>::new());
        for name in NAMES {
            assert_eq!(told(false, Settled::of([name].into_iter())), [name]);
        }
    }
}
