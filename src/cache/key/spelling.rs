//! One spelling of a URI (RFC 3986 §6.2.2).

use super::settings::{KeySettings, QueryKey};
use crate::schema::form::decoded;

/// Path and query in one spelling (RFC 3986 §6.2.2.1, §6.2.2.2). `?` with nothing behind it stays, as it is
/// another URI than none; where parameters are chosen, both mean that there are none. Parameters are in order by what their
/// names mean; where a `;` may part them too they stay as they are, since their order may matter.
pub(super) fn write_target(target: &str, settings: &KeySettings, out: &mut Vec<u8>) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    match path {
        "" => out.push(b'/'),
        path => write_escaped(path, out),
    }
    let Some(query) = query else { return };
    let is_sorted = settings.sorted && !query.contains(';');
    let mut parameters: Vec<&str> = match &settings.query {
        QueryKey::None => return,
        QueryKey::All if !is_sorted => {
            out.push(b'?');
            write_escaped(query, out);
            return;
        }
        QueryKey::All => query.split('&').collect(),
        QueryKey::Names(names) => query.split('&').filter(|one| has_name_of(one, names)).collect(),
    };
    if is_sorted {
        parameters.sort_by(|one, other| decoded(name_of(one)).cmp(decoded(name_of(other))));
    }
    for (index, parameter) in parameters.into_iter().enumerate() {
        out.push(if index == 0 { b'?' } else { b'&' });
        write_escaped(parameter, out);
    }
}

/// Whether a parameter is one of those that are chosen. Names are compared decoded, as backends read them: one that they
/// take for a chosen one and that is not in the key would be what all get who ask without it. For the same reason a `+`
/// of the configuration is both itself and a space, and what is behind a `;` counts, at which some backends part
/// parameters too.
fn has_name_of(parameter: &str, names: &[String]) -> bool {
    parameter.split(';').map(name_of).any(|name| {
        names.iter().any(|chosen| decoded(name).eq(decoded(chosen)) || decoded(name).eq(chosen.bytes()))
    })
}

fn name_of(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

/// Writes text with escapes in upper case and unreserved characters unescaped. A line feed, which no parser
/// lets in, would end the URI of a key, and is escaped.
pub(super) fn write_escaped(text: &str, out: &mut Vec<u8>) {
    if memchr::memchr2(b'%', b'\n', text.as_bytes()).is_none() {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        let escaped = match (byte, behind) {
            (b'\n', _) => Some(b'\n'),
            (b'%', [high, low, behind @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = behind;
                    Some(high * 16 + low)
                }
                _ => None,
            },
            _ => None,
        };
        match escaped {
            None => out.push(*byte),
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte),
            Some(byte) => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
