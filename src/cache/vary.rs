//! Which of the stored variants of a URI answers a request (RFC 9111 §4.1).
//!
//! A variant's key is made of the fields that its Vary names, as the request that brought it had them, each
//! in one spelling. Two values get the same spelling only where the field's definition makes them mean the
//! same.

use crate::{
    cache::{date::Date, key::Key, normalized_field::normalized},
    fields::{Fields, list},
};

/// The fields of the request that a response depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// Names in lower case, in order, each once; none when it depends on nothing.
    Names(Vec<String>),
    /// `*`: it depends on something else too, so that no request matches.
    Any,
}

impl Vary {
    /// Reads the Vary fields of a response. A member that is no field name counts as `*`.
    pub fn of(response: &Fields) -> Self {
        let mut names = Vec::new();
        for name in list(response.all("vary")) {
            match std::str::from_utf8(name) {
                Ok(name) if name != "*" && name.bytes().all(super::structured_fields::is_token) => {
                    names.push(name.to_ascii_lowercase());
                }
                Ok(_) | Err(_) => return Self::Any,
            }
        }
        names.sort_unstable();
        names.dedup();
        Self::Names(names)
    }

    /// Whether it names nothing.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Names(names) if names.is_empty())
    }

    /// The key of the variant that a request with these fields would be answered with; none for `*`.
    pub fn key(&self, request: &Fields) -> Option<Key> {
        let Self::Names(names) = self else { return None };
        let mut text = Vec::new();
        for name in names {
            Key::write_header(name, normalized(name, request).as_deref(), &mut text);
        }
        Some(Key::of_text(text))
    }
}

/// What the choice needs to know of one stored variant.
#[derive(Clone, Copy, Debug)]
pub struct Variant<'a> {
    /// Its Vary.
    pub vary: &'a Vary,
    /// The key that [`Vary::key`] gave for the request that brought it.
    pub key: &'a Key,
    /// Its Date, or when it came.
    pub date: Date,
}

impl Variant<'_> {
    /// Whether the variant may answer a request with these fields.
    pub fn matches(&self, request: &Fields) -> bool {
        self.vary.key(request).is_some_and(|key| key == *self.key)
    }
}

/// The variant that answers a request, as its place in `stored`. Of several that match, one with Vary comes
/// before one without (§4.1: such is a default response by mistake), then the most recent by Date (§4).
pub fn choose<'a>(stored: impl Iterator<Item = Variant<'a>>, request: &Fields) -> Option<usize> {
    stored
        .enumerate()
        .filter(|(_, variant)| variant.matches(request))
        .max_by_key(|(at, variant)| (!variant.vary.is_nothing(), variant.date, *at))
        .map(|(at, _)| at)
}

/// Which variant makes room for a further one when `most` are there: the oldest by Date.
pub fn superfluous(dates: impl ExactSizeIterator<Item = Date>, most: usize) -> Option<usize> {
    if dates.len() < most {
        return None;
    }
    dates.enumerate().min_by_key(|(at, date)| (*date, *at)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
