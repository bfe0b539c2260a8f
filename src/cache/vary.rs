//! Which of the stored variants of a URI answers a request (RFC 9111 §4.1).
//!
//! A variant's key is made of the fields that its Vary names, as the request that brought it had them, each
//! in one spelling. Two values get the same spelling only where the field's definition makes them mean the
//! same.

use std::collections::{HashMap, HashSet};

use crate::{
    cache::{date::Date, key::Key, normalized_field::normalized_with_respelled},
    fields::{Fields, Known, is_token_byte, list},
};

/// The fields of the request that a response depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Vary {
    /// Names in lower case, in order, each once; none when it depends on nothing.
    Names(Vec<String>),
    /// `*`, or what clients do not send: it depends on something else too, so that no request matches.
    Any,
}

impl Vary {
    /// Reads the Vary fields of a response. A member that is no field name counts as `*`, and so does one whose field is
    /// another for each request on the way to a backend, whatever the client sends.
    pub fn of(response: &Fields) -> Self {
        let is_written = |name: &str| WRITTEN.iter().any(|it| name.eq_ignore_ascii_case(it));
        let mut names = Vec::new();
        for name in list(response.all_known(Known::Vary)) {
            match std::str::from_utf8(name) {
                Ok(name) if name != "*" && name.bytes().all(is_token_byte) && !is_written(name) => {
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
        self.key_of(|name, write| write(normalized_with_respelled(name, request).as_deref()))
    }

    /// The same, of a request whose fields `value` gives.
    fn key_of(&self, mut value: impl FnMut(&str, &mut dyn FnMut(Option<&[u8]>))) -> Option<Key> {
        let Self::Names(names) = self else { return None };
        let mut text = Vec::new();
        for name in names {
            value(name, &mut |value| Key::write_header(name, value, &mut text));
        }
        Some(Key::of_text(text))
    }
}

/// Fields that this program writes on the way to a backend (`upstream::request_head`), with what no key and no variant has:
/// by what a request has of them, the answer to one would be another's. The other fields that are written there are of no one
/// request: `Host`, `X-Forwarded-Proto` and `X-Forwarded-Host` are in the key (`http::cache_key`), what `Via` gets added is
/// this program's name and the version that was asked in, and what is of the hop is made of what came, or the same for all.
const WRITTEN: [&str; 4] = [
    // The address of each client is added to them, and they go no further as they come from whoever is not trusted.
    "forwarded",
    "x-forwarded-for",
    // One for each request, and for each attempt.
    "traceparent",
    "x-request-id",
];

/// A request, as variants are chosen by it. However many variants there are, each of its fields is brought into its
/// spelling once, and the key of each Vary is made once; before the choice ([`Selector::learn`]), so that no lock under
/// which variants are looked at is held meanwhile.
#[derive(Debug)]
pub struct Selector<'a> {
    request: &'a Fields,
    /// Made when there is something to learn: most hits do not vary.
    keys: Option<HashMap<Vary, Option<Key>>>,
}

impl<'a> Selector<'a> {
    /// Of a request with these fields.
    pub fn new(request: &'a Fields) -> Self {
        Self { request, keys: None }
    }

    /// Makes ready for variants of each Vary.
    pub fn learn(&mut self, each: impl IntoIterator<Item = Vary>) {
        let mut spelled: HashMap<String, Option<Vec<u8>>> = HashMap::new();
        let keys = self.keys.get_or_insert_default();
        for vary in each {
            if keys.contains_key(&vary) {
                continue;
            }
            let key = vary.key_of(|name, write| {
                if !spelled.contains_key(name) {
                    spelled.insert(name.to_owned(), normalized_with_respelled(name, self.request));
                }
                write(spelled.get(name).and_then(Option::as_deref));
            });
            keys.insert(vary, key);
        }
    }

    /// Whether a variant may answer the request; `None` when nothing was learned of its Vary.
    pub fn matches(&self, vary: &Vary, variant: &Key) -> Option<bool> {
        self.keys.as_ref()?.get(vary).map(|key| key.as_ref() == Some(variant))
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
/// before one without (§4.1: such is a default response by mistake), then the most recent by Date (§4). The error has
/// each Vary of which the selector is to learn first.
pub fn choose<'a>(
    stored: impl Iterator<Item = Variant<'a>>,
    selector: &Selector<'_>,
) -> Result<Option<usize>, Vec<Vary>> {
    let mut unknown: Vec<&Vary> = Vec::new();
    let chosen = stored
        .enumerate()
        .filter(|(_, variant)| {
            let matches = selector.matches(variant.vary, variant.key);
            if matches.is_none() && unknown.last() != Some(&variant.vary) {
                unknown.push(variant.vary);
            }
            matches == Some(true)
        })
        .max_by_key(|(at, variant)| (!variant.vary.is_nothing(), variant.date, *at))
        .map(|(at, _)| at);
    match &unknown[..] {
        [] => Ok(chosen),
        [only] => Err(vec![(*only).clone()]),
        _ => Err(unknown.into_iter().collect::<HashSet<_>>().into_iter().cloned().collect()),
    }
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
