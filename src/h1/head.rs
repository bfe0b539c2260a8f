//! Request and response heads: strict parsing and writing (RFC 9112 §2 to §5).
//!
//! The raw bytes are looked at first, because httparse takes a bare LF as a line end and hides it:
//! every line must end in CRLF, no CR or NUL may stand elsewhere. httparse then finds the tokens.

use std::mem::MaybeUninit;

use super::{
    grammar::{FIELDS_ON_STACK, HeadLimits, Version, is_target_byte},
    method::{LONG_METHOD, MOST_METHOD_BYTES, Method},
    one_pass,
};
use crate::fields::{Fields, Known, write_number};

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It breaks the grammar; the text says how.
    Malformed(&'static str),
    /// Larger than [`HeadLimits::bytes`], or more fields than [`HeadLimits::fields`].
    TooLarge,
    /// The target is longer than [`HeadLimits::target`].
    TargetTooLong,
}

/// A request's line and fields.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The request target as it came (RFC 9112 §3.2).
    pub target: String,
    /// The version.
    pub version: Version,
    /// The header fields.
    pub fields: Fields,
}

/// A response's status and fields. The reason phrase is not kept: it carries nothing (RFC 9112 §4).
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// The status code, 100 to 999.
    pub status: u16,
    /// The version.
    pub version: Version,
    /// The header fields.
    pub fields: Fields,
}

/// How far a head that came in pieces was looked at, so that each byte is looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    at: usize,
    line: usize,
}

impl Scan {
    /// Finds the end of the head in `bytes`, which must begin with what earlier calls saw.
    /// Every line ends in CRLF, and no other CR, LF or NUL may stand in it.
    fn end(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, HeadError> {
        let seen = bytes.get(..limit.min(bytes.len())).unwrap_or_default();
        for found in memchr::memchr3_iter(b'\r', b'\n', 0, seen.get(self.at..).unwrap_or_default()) {
            let at = self.at + found;
            match seen.get(at) {
                Some(b'\n') => {
                    if at == 0 || seen.get(at - 1) != Some(&b'\r') {
                        return Err(HeadError::Malformed("a line ends in LF without CR"));
                    }
                    if at == self.line + 1 {
                        return Ok(Some(at + 1));
                    }
                    self.line = at + 1;
                }
                Some(b'\r') => match seen.get(at + 1) {
                    Some(b'\n') | None => {}
                    Some(_) => return Err(HeadError::Malformed("CR without LF")),
                },
                _ => return Err(HeadError::Malformed("NUL in the head")),
            }
        }
        // A CR at the very end is looked at again, with what follows it.
        self.at = seen.len() - usize::from(seen.last() == Some(&b'\r'));
        if bytes.len() >= limit { Err(HeadError::TooLarge) } else { Ok(None) }
    }
}

impl RequestHead {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        let Self { method, target, version, fields } = self;
        (*method, *version) = (Method::default(), Version::default());
        target.clear();
        fields.clear();
    }

    /// Reads a head from the beginning of `bytes`: the length it took, or `None` when more is needed.
    /// `scan` starts as its default for each head. Until the head is whole, only `scan` and the fields change.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
        scan: &mut Scan,
    ) -> Result<Option<usize>, HeadError> {
        // Of a head that comes in pieces only the first is tried, so that each byte is looked at once.
        if scan.at == 0
            && let Some((line, length)) = one_pass::request(bytes, limits, &mut self.fields)
        {
            self.method = Method::of(line.method);
            self.target.clear();
            self.target.push_str(line.target);
            self.version = line.version;
            return Ok(Some(length));
        }
        self.parse_strictly(bytes, limits, scan)
    }

    pub(super) fn parse_strictly(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
        scan: &mut Scan,
    ) -> Result<Option<usize>, HeadError> {
        let Some(end) =
            scan.end(bytes, limits.bytes).map_err(|error| self.blame_target(bytes, limits, error))?
        else {
            return Ok(None);
        };
        let head = bytes.get(..end).unwrap_or_default();
        let mut few = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
        let mut many = Vec::new();
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(head, storage(head, limits, &mut few, &mut many)) {
            Ok(httparse::Status::Complete(length)) if length == end => {}
            Ok(_) => {
                return Err(HeadError::Malformed("the head does not end where its blank line is"));
            }
            Err(error) => {
                if error == httparse::Error::Version
                    && let Some(head) = as_http11(head)
                {
                    return self.parse(&head, limits, &mut Scan::default());
                }
                return Err(malformed(error));
            }
        }
        if request.method.is_some_and(|method| method.len() > MOST_METHOD_BYTES) {
            return Err(HeadError::Malformed(LONG_METHOD));
        }
        let target = request.path.unwrap_or_default();
        if target.len() > limits.target {
            return Err(HeadError::TargetTooLong);
        }
        if !target.bytes().all(is_target_byte) {
            return Err(HeadError::Malformed(NO_TARGET));
        }
        self.method = Method::of(request.method.unwrap_or_default());
        self.target.clear();
        self.target.push_str(target);
        self.version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
        take_fields(&mut self.fields, head, request.headers)
    }

    /// A head that is too large because of its target is told so (414, not 431).
    fn blame_target(&self, bytes: &[u8], limits: &HeadLimits, error: HeadError) -> HeadError {
        let line = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
        if error == HeadError::TooLarge && memchr::memchr(b' ', bytes).is_none_or(|at| at > MOST_METHOD_BYTES)
        {
            return HeadError::Malformed(LONG_METHOD);
        }
        if error == HeadError::TooLarge && line > limits.target { HeadError::TargetTooLong } else { error }
    }

    /// Writes the request line and fields, without the blank line.
    pub fn write(&self, target: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write_fields(&self.fields, out);
    }
}

impl ResponseHead {
    /// Reads a head from the beginning of `bytes`, as [`RequestHead::parse`] does.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
        scan: &mut Scan,
    ) -> Result<Option<usize>, HeadError> {
        if scan.at == 0
            && let Some((version, status, length)) = one_pass::response(bytes, limits, &mut self.fields)
        {
            (self.version, self.status) = (version, status);
            return Ok(Some(length));
        }
        self.parse_strictly(bytes, limits, scan)
    }

    pub(super) fn parse_strictly(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
        scan: &mut Scan,
    ) -> Result<Option<usize>, HeadError> {
        let Some(end) = scan.end(bytes, limits.bytes)? else {
            return Ok(None);
        };
        let head = bytes.get(..end).unwrap_or_default();
        let mut few = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
        let mut many = Vec::new();
        let mut response = httparse::Response::new(&mut []);
        let fields = storage(head, limits, &mut few, &mut many);
        match httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            head,
            fields,
        ) {
            Ok(httparse::Status::Complete(length)) if length == end => {}
            Ok(_) => {
                return Err(HeadError::Malformed("the head does not end where its blank line is"));
            }
            Err(error) => return Err(malformed(error)),
        }
        self.status = response.code.unwrap_or_default();
        if self.status < 100 {
            return Err(HeadError::Malformed("the status is below 100"));
        }
        self.version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
        take_fields(&mut self.fields, head, response.headers)
    }

    /// Writes the status line and fields, without the blank line.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_status(self.status, out);
        write_fields(&self.fields, out);
    }
}

type Slot<'h> = MaybeUninit<httparse::Header<'h>>;

/// Room for as many fields as a head has lines, and no more than it may have; above [`FIELDS_ON_STACK`] on the heap.
fn storage<'s, 'h>(
    head: &[u8],
    limits: &HeadLimits,
    few: &'s mut [Slot<'h>; FIELDS_ON_STACK],
    many: &'s mut Vec<Slot<'h>>,
) -> &'s mut [Slot<'h>] {
    let lines = || memchr::memchr_iter(b'\n', head).count();
    if limits.fields > FIELDS_ON_STACK {
        let wanted = lines().min(limits.fields);
        if wanted > FIELDS_ON_STACK {
            many.resize_with(wanted, MaybeUninit::uninit);
            return many;
        }
    }
    few.get_mut(..limits.fields.min(FIELDS_ON_STACK)).unwrap_or_default()
}

/// Writes a status line with the standard reason phrase.
pub fn write_status(status: u16, out: &mut Vec<u8>) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    let reason =
        http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("");
    out.extend_from_slice(b"HTTP/1.1 ");
    write_number(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes every field as a line.
pub fn write_fields(fields: &Fields, out: &mut Vec<u8>) {
    fields.write_lines(|_| true, out);
}

/// Writes one field line. Where the name is a constant, it is written without a call.
#[inline(always)]
pub fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn take_fields(
    fields: &mut Fields,
    head: &[u8],
    found: &[httparse::Header<'_>],
) -> Result<Option<usize>, HeadError> {
    fields.clear();
    let base = head.as_ptr().addr();
    for header in found {
        let value = header.value.trim_ascii();
        let (name_at, value_at) = (header.name.as_ptr().addr() - base, value.as_ptr().addr() - base);
        let (name, value) = (name_at..name_at + header.name.len(), value_at..value_at + value.len());
        let is_line = head.get(name.end..value.start) == Some(b": ")
            && head.get(value.end..value.end + 2) == Some(b"\r\n");
        if !fields.push_of(Known::of(header.name.as_bytes()), is_line, name, value) {
            return Err(HeadError::TooLarge);
        }
    }
    fields.hold(head);
    Ok(Some(head.len()))
}

pub(super) fn malformed(error: httparse::Error) -> HeadError {
    HeadError::Malformed(match error {
        httparse::Error::HeaderName => "a field name has an invalid character, or a space before the colon",
        httparse::Error::HeaderValue => "a field value has a control character, or is folded",
        httparse::Error::NewLine => "a line does not end in CRLF",
        httparse::Error::Status => "the status line is malformed",
        httparse::Error::Token => "the request line is malformed",
        httparse::Error::TooManyHeaders => return HeadError::TooLarge,
        httparse::Error::Version => "the version is not HTTP/1.0 or HTTP/1.1",
    })
}

/// A head of a later minor version as one of HTTP/1.1, as which it is served (RFC 9110 §2.5).
fn as_http11(head: &[u8]) -> Option<Vec<u8>> {
    let line = memchr::memchr(b'\r', head)?;
    let version = line.checked_sub(b"HTTP/1.x".len())?;
    let minor = head.get(version..line)?.strip_prefix(b"HTTP/1.")?;
    let is_later = matches!(minor, [b'2'..=b'9']);
    let mut head = is_later.then(|| head.to_vec())?;
    *head.get_mut(line - 1)? = b'1';
    Some(head)
}

/// Why a target with a byte for which [`is_target_byte`] is false is refused.
pub(crate) const NO_TARGET: &str = "the request target has an invalid character";

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
