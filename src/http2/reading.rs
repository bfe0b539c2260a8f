//! Reading a list of fields, whichever kind it is: what is counted, and what no field may be (RFC 9113 §8.2).

use crate::{error::Kind, fields::Known, h1::HeadLimits};

/// Why a list of fields is not a head, as far as it was read.
#[derive(Debug)]
pub(super) struct Reading {
    /// Bytes so far, as RFC 9113 §6.5.2 counts them.
    size: usize,
    pub(super) limits: HeadLimits,
    pub(super) is_regular: bool,
    pub(super) problem: Option<Kind>,
}

/// What each field counts beside its bytes (§6.5.2).
const PER_FIELD: usize = 32;

impl Reading {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self { size: 0, limits, is_regular: false, problem: None }
    }

    /// Notes what is wrong; the first is told, but that a head is too large is told only where nothing else is.
    pub(super) fn note(&mut self, kind: Kind) {
        if self.problem.is_none_or(|problem| problem == Kind::HeadTooLarge) {
            self.problem = Some(kind);
        }
    }

    pub(super) fn malformed(&mut self, what: &'static str) {
        self.note(Kind::Malformed(what));
    }

    /// Whether a field is to be kept: those beyond the bound are only looked at.
    pub(super) fn count(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.size = self.size.saturating_add(name.len() + value.len() + PER_FIELD);
        if self.size > self.limits.bytes {
            let is_target = name == b":path" && value.len() > self.limits.target;
            self.note(if is_target { Kind::UriTooLong } else { Kind::HeadTooLarge });
        }
        self.problem.is_none()
    }

    /// Takes a field that is none of HTTP/2's own; gives its tag where it is to be kept.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) -> Option<Known> {
        self.is_regular = true;
        let known = Known::of(name);
        // Most names are known, and are spelled as they are to be.
        let is_spelled = known.is_named() && name == known.name().as_bytes();
        if !is_spelled && !is_name(name) {
            self.malformed("a field name is not in lower case, or has an invalid character");
            return None;
        }
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if is_space(value.first()) || is_space(value.last()) || !is_value(value) {
            self.malformed("a field value has a control character, or surrounding spaces");
            return None;
        }
        match known {
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade => self.malformed("connection-specific fields are not allowed in HTTP/2"),
            Known::Te if !value.eq_ignore_ascii_case(b"trailers") => {
                self.malformed("TE has a value other than trailers");
            }
            _ => return Some(known),
        }
        None
    }
}

/// Whether it is a field name: a token in lower case (§8.2.1).
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| NAME_BYTES.get(usize::from(*byte)).copied().unwrap_or_default())
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where a bad index is a build error")]
const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let signs = b"!#$%&'*+-.^_`|~abcdefghijklmnopqrstuvwxyz0123456789";
    let mut at = 0;
    while at < signs.len() {
        table[signs[at] as usize] = true;
        at += 1;
    }
    table
};

/// Whether these are bytes of a field value, as in HTTP/1.1 (RFC 9110 §5.5). All are looked at, many at a time.
fn is_value(value: &[u8]) -> bool {
    let is_byte = |byte: u8| (byte >= 0x20) & (byte != 0x7f) | (byte == b'\t');
    value.iter().fold(true, |is, byte| is & is_byte(*byte))
}
