//! One spelling of a URI (RFC 3986 §6.2.2).

use super::settings::{KeySettings, QueryKey};

/// Path and query in one spelling (RFC 3986 §6.2.2.1, §6.2.2.2). `?` with nothing behind it stays, as it is
/// another URI than none; where parameters are chosen, both mean that there are none.
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
    let mut parameters: Vec<Vec<u8>> = match &settings.query {
        QueryKey::None => return,
        QueryKey::All if !settings.sorted => {
            out.push(b'?');
            write_escaped(query, out);
            return;
        }
        QueryKey::All => query.split('&').map(spelled).collect(),
        QueryKey::Names(names) => {
            let names: Vec<_> = names.iter().map(|name| spelled(name)).collect();
            query
                .split('&')
                .map(spelled)
                .filter(|one| names.iter().any(|name| name == name_of(one)))
                .collect()
        }
    };
    if settings.sorted {
        parameters.sort_by(|one, other| name_of(one).cmp(name_of(other)));
    }
    if parameters.is_empty() {
        return;
    }
    out.push(b'?');
    out.extend_from_slice(&parameters.join(&b'&'));
}

fn name_of(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'=').next().unwrap_or_default()
}

/// Text in one spelling.
pub(super) fn spelled(text: &str) -> Vec<u8> {
    let mut spelled = Vec::with_capacity(text.len());
    write_escaped(text, &mut spelled);
    spelled
}

/// Writes text with escapes in upper case and unreserved characters unescaped. A line feed, which no parser
/// lets in, would end the URI of a key, and is escaped.
fn write_escaped(text: &str, out: &mut Vec<u8>) {
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
