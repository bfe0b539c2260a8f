//! Which of the stored variants of a URI answers a request (RFC 9111 §4.1).
//!
//! A variant's key is made of the fields that its Vary names, as the request that brought it had them, each
//! in one spelling. Two values get the same spelling only where the field's definition makes them mean the
//! same.

use std::collections::{HashMap, HashSet};

use crate::{
    cache::{date::Date, key::Key},
    fields::{Fields, Known, list},
};

/// The fields of the request that a response depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        self.key_of(|name, write| write(normalized(name, request).as_deref()))
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
                    spelled.insert(name.to_owned(), normalized(name, self.request));
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

/// The value of a request's field in one spelling; none when it is absent, which matches only absent (§4.1).
/// `name` is in lower case.
pub fn normalized(name: &str, request: &Fields) -> Option<Vec<u8>> {
    request.get(name)?;
    match name {
        "accept-encoding" => {
            Some(accept_encoding(request).unwrap_or_else(|| weighted(request.all(name), true)))
        }
        // Codings, languages and charsets are case-insensitive (RFC 9110 §8.4.1, §12.5.4, §8.3.2); of a media
        // type the parameters need not be.
        "accept-language" | "accept-charset" => Some(weighted(request.all(name), true)),
        "accept" => Some(weighted(request.all(name), false)),
        // Lines of Cookie are joined as HTTP/2 has it (RFC 9113 §8.2.3).
        "cookie" => Some(joined(request.all_known(Known::Cookie), b"; ")),
        // Of a field whose grammar is not known, only the lines are joined (RFC 9110 §5.3).
        _ => Some(joined(request.all(name), b", ")),
    }
}

fn joined<'a>(values: impl Iterator<Item = &'a [u8]>, with: &[u8]) -> Vec<u8> {
    values.map(<[u8]>::trim_ascii).collect::<Vec<_>>().join(with)
}

/// The codings of Accept-Encoding that an origin may be expected to choose among.
const CODINGS: [&str; 4] = ["br", "deflate", "gzip", "zstd"];

/// Accept-Encoding as one of sixteen values: those of br, deflate, gzip and zstd that are accepted. What goes
/// to the origin must be this value, so that the response was chosen by it and the requests do match; each
/// client accepts whatever may come, because nothing was added. None where `*` or a refusal of identity asks
/// for more than that.
pub fn accept_encoding(request: &Fields) -> Option<Vec<u8>> {
    let mut accepted = [false; CODINGS.len()];
    for member in list(request.all("accept-encoding")) {
        let (coding, weight) = weight(member)?;
        let coding = coding.to_ascii_lowercase();
        let coding = coding.strip_prefix(b"x-").filter(|coding| *coding == b"gzip").unwrap_or(&coding);
        if coding == b"*" || (coding == b"identity" && weight == 0) {
            return None;
        }
        for (known, accepted) in CODINGS.iter().zip(&mut accepted) {
            if known.as_bytes() == coding {
                *accepted = weight > 0;
            }
        }
    }
    let names: Vec<_> =
        CODINGS.iter().zip(accepted).filter(|(_, accepted)| *accepted).map(|(name, _)| *name).collect();
    Some(if names.is_empty() { b"identity".to_vec() } else { names.join(", ").into_bytes() })
}

/// A list with weights, by descending weight; members of equal weight keep their order, which some origins
/// take as a preference. A list in which a weight is wrong keeps its order.
fn weighted<'a>(values: impl Iterator<Item = &'a [u8]>, fold_case: bool) -> Vec<u8> {
    let members: Vec<&[u8]> = members(values);
    let weighed: Option<Vec<_>> = members.iter().map(|member| weight(member)).collect();
    let mut text = Vec::new();
    let mut write = |member: &[u8]| {
        if !text.is_empty() {
            text.push(b',');
        }
        text.extend(member.iter().map(|byte| if fold_case { byte.to_ascii_lowercase() } else { *byte }));
    };
    let Some(mut weighed) = weighed else {
        members.into_iter().for_each(write);
        return text;
    };
    weighed.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    for (member, weight) in weighed {
        match weight {
            1000 => write(member),
            weight => write(&[member, format!(";q={weight}").as_bytes()].concat()),
        }
    }
    text
}

/// As [`list`], but a comma in a quoted string ends no member: Accept may have parameters with such.
fn members<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
    values
        .flat_map(|value| {
            let (mut quoted, mut escaped) = (false, false);
            value.split(move |byte| {
                let ends = *byte == b',' && !quoted;
                quoted ^= *byte == b'"' && !escaped;
                escaped = quoted && *byte == b'\\' && !escaped;
                ends
            })
        })
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
        .collect()
}

/// A member without its weight, and the weight in thousandths (RFC 9110 §12.4.2); none when that is no
/// weight.
fn weight(member: &[u8]) -> Option<(&[u8], u16)> {
    let Some(at) = memchr::memrchr(b';', member) else { return Some((member, 1000)) };
    let (name, parameter) = (member.get(..at)?.trim_ascii_end(), member.get(at + 1..)?.trim_ascii());
    let Some(value) = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q=")) else {
        return Some((member, 1000));
    };
    let (whole, fraction) = match value.split_first()? {
        (whole @ (b'0' | b'1'), []) => (whole, &[][..]),
        (whole @ (b'0' | b'1'), [b'.', fraction @ ..]) => (whole, fraction),
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut weight = u16::from(whole - b'0');
    for at in 0..3 {
        weight = weight * 10 + fraction.get(at).map_or(0, |digit| u16::from(digit - b'0'));
    }
    (weight <= 1000).then_some((name, weight))
}

#[cfg(test)]
mod tests;
