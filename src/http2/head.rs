//! The head of a request, or the trailers of one, from its list of fields (RFC 9113 §8.1 to §8.3).
//!
//! What is not well-formed is refused here, and what HTTP/1.1 refuses is refused alike: the target by the same bytes, and
//! everything after it by `http::normalize`.

use super::{
    hpack::{CompressionError, Decoder},
    reading::Reading,
};
use crate::{
    error::Kind,
    fields::{Fields, Known, is_token_byte},
    h1::{
        HeadLimits, Method, RequestHead,
        framing::content_length,
        grammar::is_target_byte,
        head::NO_TARGET,
        method::{LONG_METHOD, MOST_METHOD_BYTES},
        trailers::{Message, keep_trailers},
    },
};

/// What a request says before its body.
#[derive(Debug, Default)]
pub struct Head {
    /// Method, target and fields.
    pub request: RequestHead,
    /// The host that it is for, with its port where it has one.
    pub authority: String,
    /// The length of its body, where it says one.
    pub length: Option<u64>,
    /// Crumbs of cookies, joined (§8.2.3).
    cookie: Vec<u8>,
    scheme: Option<bool>,
    /// The protocol of an extended CONNECT (RFC 8441 §4).
    protocol: Option<Protocol>,
    has_method: bool,
    has_path: bool,
    has_authority: bool,
}

/// What an extended CONNECT asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    WebSocket,
    Other,
}

impl Head {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        // By name, each of them: one that is left out is told to whoever comes next.
        let Self {
            request,
            authority,
            length,
            cookie,
            scheme,
            protocol,
            has_method,
            has_path,
            has_authority,
        } = self;
        request.clear();
        authority.clear();
        cookie.clear();
        (*length, *scheme, *protocol) = (None, None, None);
        (*has_method, *has_path, *has_authority) = (false, false, false);
    }

    /// Bytes of memory that it holds.
    pub fn memory(&self) -> usize {
        let texts = self.request.target.capacity() + self.authority.capacity() + self.cookie.capacity();
        self.request.fields.memory() + texts
    }

    /// Whether it opens a WebSocket; it reads as the GET does that opens one over HTTP/1.1.
    pub fn opens_websocket(&self) -> bool {
        self.protocol == Some(Protocol::WebSocket)
    }

    /// Reads the list of fields of a request; with `takes_protocol` the client was told that it may say `:protocol`
    /// (RFC 8441 §3). `Some` says why it is not one that is served; what was read until then is
    /// there. The error is of the connection.
    pub fn read(
        &mut self,
        decoder: &mut Decoder,
        block: &[u8],
        limits: HeadLimits,
        takes_protocol: bool,
    ) -> Result<Option<Kind>, CompressionError> {
        self.clear();
        let mut reading = Reading::new(limits);
        decoder.decode(block, |name, value| {
            if reading.count(name, value) {
                self.take(&mut reading, name, value, takes_protocol);
            }
        })?;
        if reading.problem.is_none() {
            reading.problem = self.finish(limits).err();
        }
        Ok(reading.problem)
    }

    fn take(&mut self, reading: &mut Reading, name: &[u8], value: &[u8], takes_protocol: bool) {
        if name.first() == Some(&b':') {
            if reading.is_regular {
                return reading.malformed("a pseudo-header field comes after a regular field");
            }
            if name == b":protocol" && takes_protocol {
                let is_websocket = value.eq_ignore_ascii_case(b"websocket");
                let protocol = if is_websocket { Protocol::WebSocket } else { Protocol::Other };
                return match self.protocol.replace(protocol) {
                    None => {}
                    Some(_) => reading.malformed("a pseudo-header field appears twice"),
                };
            }
            if let Err(kind) = self.take_pseudo(name, value, reading.limits) {
                reading.note(kind);
            }
            return;
        }
        match reading.field(name, value) {
            Some(Known::Cookie) => {
                if !self.cookie.is_empty() {
                    self.cookie.extend_from_slice(b"; ");
                }
                self.cookie.extend_from_slice(value);
            }
            Some(known) if name.len() <= usize::from(u16::MAX) => {
                self.request.fields.push_tagged(known, name, value);
            }
            // Names beyond what fields can hold are larger than any head.
            Some(_) => reading.note(Kind::HeadTooLarge),
            None => {}
        }
    }

    /// Takes a pseudo-field (§8.3.1).
    fn take_pseudo(&mut self, name: &[u8], value: &[u8], limits: HeadLimits) -> Result<(), Kind> {
        const TWICE: Kind = Kind::Malformed("a pseudo-header field appears twice");
        let once = |has: &mut bool| if std::mem::replace(has, true) { Err(TWICE) } else { Ok(()) };
        match name {
            b":method" => {
                once(&mut self.has_method)?;
                self.request.method = method(value)?;
            }
            b":scheme" => {
                let is_known = value.eq_ignore_ascii_case(b"http") || value.eq_ignore_ascii_case(b"https");
                if self.scheme.replace(is_known).is_some() {
                    return Err(TWICE);
                }
                if !is_known {
                    return Err(Kind::Malformed("the scheme is neither http nor https"));
                }
            }
            b":path" => {
                once(&mut self.has_path)?;
                if value.len() > limits.target {
                    return Err(Kind::UriTooLong);
                }
                self.request.target.push_str(target(value)?);
            }
            b":authority" => {
                once(&mut self.has_authority)?;
                let value =
                    std::str::from_utf8(value).map_err(|_| Kind::Malformed("the authority is invalid"))?;
                self.authority.push_str(value);
            }
            _ => return Err(Kind::Malformed("an unknown pseudo-header field")),
        }
        Ok(())
    }

    /// Looks at the whole of it.
    fn finish(&mut self, limits: HeadLimits) -> Result<(), Kind> {
        if self.request.fields.len() + usize::from(!self.cookie.is_empty()) > limits.fields {
            return Err(Kind::HeadTooLarge);
        }
        if !self.cookie.is_empty() {
            self.request.fields.push_known(Known::Cookie, &self.cookie);
        }
        if !self.has_method {
            return Err(Kind::Malformed("no :method"));
        }
        self.find_authority()?;
        self.check_target()?;
        self.length = content_length(&self.request.fields).map_err(Kind::Malformed)?;
        if self.opens_websocket() {
            if self.length.is_some() {
                return Err(Kind::Malformed("an extended CONNECT with a Content-Length"));
            }
            self.request.fields.push_known(Known::Connection, b"upgrade");
            self.request.fields.push_known(Known::Upgrade, b"websocket");
        }
        Ok(())
    }

    /// The one host that `:authority` and Host name (§8.3.1).
    fn find_authority(&mut self) -> Result<(), Kind> {
        let mut hosts = self.request.fields.all_known(Known::Host);
        let host = hosts.next().map(std::str::from_utf8).transpose();
        let host = host.map_err(|_| Kind::Malformed("Host is invalid"))?;
        if hosts.next().is_some() {
            return Err(Kind::Malformed("Host twice"));
        }
        match host {
            Some(host) if self.has_authority && !host.eq_ignore_ascii_case(&self.authority) => {
                return Err(Kind::Malformed("Host differs from :authority"));
            }
            Some(host) if !self.has_authority => self.authority.push_str(host),
            Some(_) => {}
            None if !self.has_authority => return Err(Kind::Malformed("no :authority and no Host")),
            None => {}
        }
        if self.authority.is_empty() { Err(Kind::Malformed("Host is empty")) } else { Ok(()) }
    }

    fn check_target(&mut self) -> Result<(), Kind> {
        if let Some(protocol) = self.protocol {
            if self.request.method != Method::Connect {
                return Err(Kind::Malformed(":protocol without CONNECT"));
            }
            // RFC 8441 §4.
            if !self.has_path || self.scheme.is_none() || !self.has_authority {
                let what = "an extended CONNECT without a scheme, a path or an authority";
                return Err(Kind::Malformed(what));
            }
            if protocol == Protocol::Other {
                return Err(Kind::NotImplemented);
            }
            self.request.method = Method::Get;
        }
        if self.request.method == Method::Connect {
            // §8.5: the authority is the target.
            if self.has_path || self.scheme.is_some() || !self.has_authority {
                return Err(Kind::Malformed("CONNECT with a scheme or a path, or without an authority"));
            }
            self.request.target.push_str(&self.authority);
            return Ok(());
        }
        if self.scheme.is_none() {
            return Err(Kind::Malformed("no :scheme"));
        }
        match self.request.target.as_str() {
            "*" if self.request.method == Method::Options => Ok(()),
            "*" => Err(Kind::Malformed("the target * is for OPTIONS only")),
            target if target.starts_with('/') => Ok(()),
            _ => Err(Kind::Malformed("no :path, or one that does not begin with /")),
        }
    }
}

fn method(value: &[u8]) -> Result<Method, Kind> {
    if value.len() > MOST_METHOD_BYTES {
        return Err(Kind::Malformed(LONG_METHOD));
    }
    let token = std::str::from_utf8(value).ok();
    let token = token.filter(|token| !token.is_empty() && token.bytes().all(is_token_byte));
    match token {
        // It begins a connection, and never a request (RFC 9113 §3.4, §11).
        Some("PRI") | None => Err(Kind::Malformed("the method is invalid")),
        Some(token) => Ok(Method::of(token)),
    }
}

fn target(value: &[u8]) -> Result<&str, Kind> {
    let target = std::str::from_utf8(value).ok().filter(|target| target.bytes().all(is_target_byte));
    target.ok_or(Kind::Malformed(NO_TARGET))
}

/// Reads the list of fields of trailers, and leaves out what does not belong there. `Err` says why they are none.
pub fn read_trailers(
    decoder: &mut Decoder,
    block: &[u8],
    limits: HeadLimits,
    of: Message,
) -> Result<Result<Box<Fields>, Kind>, CompressionError> {
    let mut fields = Box::<Fields>::default();
    let mut reading = Reading::new(limits);
    decoder.decode(block, |name, value| {
        if !reading.count(name, value) {
            return;
        }
        if name.first() == Some(&b':') {
            return reading.malformed("a pseudo-header field in trailers");
        }
        if let Some(known) = reading.field(name, value) {
            fields.push_tagged(known, name, value);
        }
    })?;
    if fields.len() > limits.fields {
        reading.note(Kind::HeadTooLarge);
    }
    keep_trailers(&mut fields, of);
    Ok(reading.problem.map_or(Ok(fields), Err))
}
