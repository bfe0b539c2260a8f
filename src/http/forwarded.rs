//! Forwarded (RFC 7239), read: whom it names is for `http::client_address`, and what else it says for `http::cache_key`.

use std::borrow::Cow;

use crate::fields::{Fields, Known, read_quoted};

/// What a value of Forwarded consists of.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// A parameter of an element, and how it is written.
    Parameter { name: &'a [u8], value: Cow<'a, [u8]>, text: &'a [u8] },
    /// The end of an element.
    End,
}

/// Reads a value from left to right (RFC 7239 §4); `None` for one that is not of its grammar.
pub(super) fn read<'a>(value: &'a [u8], mut each: impl FnMut(Part<'a>)) -> Option<()> {
    let mut rest = value;
    loop {
        let begun = rest;
        let (name, after) =
            rest.split_at(rest.iter().position(|byte| b"=,;".contains(byte)).unwrap_or(rest.len()));
        let name = name.trim_ascii();
        rest = after;
        if let Some(after) = rest.strip_prefix(b"=") {
            let (value, after) = read_value(after)?;
            let text = begun.get(..begun.len() - after.len())?.trim_ascii();
            each(Part::Parameter { name, value, text });
            rest = after.trim_ascii_start();
        } else if !name.is_empty() {
            return None;
        }
        match rest.split_first() {
            Some((b';', after)) => rest = after,
            Some((b',', after)) => {
                each(Part::End);
                rest = after;
            }
            Some(_) => return None,
            None => {
                each(Part::End);
                return Some(());
            }
        }
    }
}

/// A token or quoted string (RFC 7239 §4), without its quotes, and what is behind it.
fn read_value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    if let Some(quoted) = text.strip_prefix(b"\"") {
        return read_quoted(quoted);
    }
    let end = text.iter().position(|byte| b",; \t".contains(byte)).unwrap_or(text.len());
    let (token, rest) = text.split_at(end);
    Some((token.into(), rest))
}

/// What a request's Forwarded says besides of who asks, as it is written: a backend may make its answer by that, as by the
/// host and the scheme in it. `None` where it says nothing.
pub(super) fn told(request: &Fields) -> Option<Vec<u8>> {
    let mut told = Vec::new();
    for value in request.all_known(Known::Forwarded) {
        let begun = told.len();
        let is_read = read(value, |part| match part {
            Part::Parameter { name, .. } if is_of_hop(name) => {}
            Part::Parameter { text, .. } => {
                told.extend_from_slice(text);
                told.push(b';');
            }
            // What is said of which hop counts too.
            Part::End => told.push(b','),
        });
        if is_read.is_none() {
            told.truncate(begun);
            told.extend_from_slice(value);
        }
        told.push(b'\n');
    }
    told.iter().any(|byte| !b",\n".contains(byte)).then_some(told)
}

/// Whether a parameter names who asks, or was asked.
fn is_of_hop(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"for") || name.eq_ignore_ascii_case(b"by")
}
