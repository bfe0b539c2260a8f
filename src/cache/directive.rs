//! The grammar of Cache-Control (RFC 9111 §5.2): names with an argument that is a token or a quoted string.
//!
//! Next stop: `cache_control`, which knows what the names mean. What the grammar does not have is an
//! invalid argument; no byte makes the reader lose a directive that stands behind it.

use std::borrow::Cow;

use crate::fields::{is_token_byte, read_quoted};

/// RFC 9111 §1.2.2: what a longer delta-seconds is read as.
pub const LONGEST: u64 = 1 << 31;

/// Whether a name is this directive's; `directive` is in lower case.
pub(super) fn is(name: &[u8], directive: &str) -> bool {
    name.eq_ignore_ascii_case(directive.as_bytes())
}

/// A number of seconds (RFC 9111 §1.2.2): digits only; what is too large is [`LONGEST`].
pub fn delta_seconds(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: u64, digit: &u8| (number * 10 + u64::from(digit - b'0')).min(LONGEST);
    Some(text.iter().fold(0, add))
}

/// One directive of a field.
#[derive(Debug)]
pub(super) struct Directive<'a> {
    pub(super) name: &'a [u8],
    pub(super) argument: Argument<'a>,
}

#[derive(Debug)]
pub(super) enum Argument<'a> {
    None,
    /// A token, or a quoted string unescaped.
    Text(Cow<'a, [u8]>),
    /// There is something behind the name that the grammar does not have.
    Invalid,
}

impl Argument<'_> {
    pub(super) fn seconds(&self) -> Option<u64> {
        match self {
            Self::Text(text) => delta_seconds(text),
            Self::None | Self::Invalid => None,
        }
    }
}

impl Directive<'_> {
    pub(super) fn is(&self, directive: &str) -> bool {
        is(self.name, directive)
    }

    pub(super) fn seconds(&self) -> Option<u64> {
        self.argument.seconds()
    }
}

/// The directives of these lines. A comma in a quoted string does not end one.
pub(super) fn directives<'a, L: Iterator<Item = &'a [u8]>>(lines: L) -> Directives<'a, L> {
    Directives { lines, rest: &[], is_unended: false, malformed: false }
}

pub(super) struct Directives<'a, L> {
    lines: L,
    rest: &'a [u8],
    /// A quoted string of this line did not end. None that begins behind it ends either: its quote was an escaped one
    /// there, so that both would end at the same place.
    is_unended: bool,
    /// A quoted string did not end.
    pub(super) malformed: bool,
}

impl<'a, L: Iterator<Item = &'a [u8]>> Iterator for Directives<'a, L> {
    type Item = Directive<'a>;

    fn next(&mut self) -> Option<Directive<'a>> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            if let Some(rest) = self.rest.strip_prefix(b",") {
                self.rest = rest;
                continue;
            }
            if self.rest.is_empty() {
                self.rest = self.lines.next()?;
                self.is_unended = false;
                continue;
            }
            let end = self.rest.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(self.rest.len());
            let (name, rest) = self.rest.split_at(end);
            self.rest = rest;
            let argument = self.argument();
            return Some(Directive { name, argument });
        }
    }
}

impl<'a, L> Directives<'a, L> {
    /// Reads what stands behind a name, up to the comma.
    fn argument(&mut self) -> Argument<'a> {
        let Some(value) = self.rest.strip_prefix(b"=") else {
            // `max-age =3600` has a space that the grammar does not have.
            return if self.is_at_end() { Argument::None } else { self.invalid() };
        };
        self.rest = value;
        if let Some(text) = value.strip_prefix(b"\"") {
            let Some((text, rest)) = self.quoted(text) else { return self.invalid() };
            self.rest = rest;
            return if self.is_at_end() { Argument::Text(text) } else { self.invalid() };
        }
        let end = value.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(value.len());
        let (text, rest) = value.split_at(end);
        self.rest = rest;
        match self.is_at_end() && !text.is_empty() {
            true => Argument::Text(Cow::Borrowed(text)),
            false => self.invalid(),
        }
    }

    /// As [`read_quoted`]; a line is searched for an end in vain once.
    fn quoted(&mut self, text: &'a [u8]) -> Option<(Cow<'a, [u8]>, &'a [u8])> {
        let found = if self.is_unended { None } else { read_quoted(text) };
        self.is_unended |= found.is_none();
        self.malformed |= found.is_none();
        found
    }

    fn is_at_end(&mut self) -> bool {
        let rest = self.rest.trim_ascii_start();
        rest.is_empty() || rest.starts_with(b",")
    }

    /// Goes on behind the next comma that stands outside a quoted string, so that `x=a "b, no-store"` is
    /// one directive; a quote that never ends hides nothing.
    fn invalid(&mut self) -> Argument<'a> {
        while let Some((byte, rest)) = self.rest.split_first() {
            match byte {
                b',' => break,
                b'"' => self.rest = self.quoted(rest).map_or(rest, |(_, rest)| rest),
                _ => self.rest = rest,
            }
        }
        Argument::Invalid
    }
}
