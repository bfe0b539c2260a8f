//! Texts of forms and queries, `application/x-www-form-urlencoded`.

use std::borrow::Cow;

/// Writes bytes so that [`decoded`] gives them again: all but the unreserved characters (RFC 3986 §2.3) as `%XX`.
pub fn encode(bytes: &[u8], out: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or('0');
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
}

/// The parameters of a query, each as it is written: its name, and its value, which is empty where there is none. Between
/// two `&` is none.
pub fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = query;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (parameter, behind) = cut(rest, b'&');
            rest = behind;
            if !parameter.is_empty() {
                return Some(cut(parameter, b'='));
            }
        }
        None
    })
}

/// The same in every reading: some backends part parameters at a `;` too. Those that have one come whole first, as other
/// backends have them, and then in their parts.
pub fn readings(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let has_more = memchr::memchr(b';', query.as_bytes()).is_some();
    let more = has_more.then(|| query.split('&').filter(|one| one.contains(';')));
    let parts = more.into_iter().flatten().flat_map(|one| one.split(';').flat_map(parameters));
    parameters(query).chain(parts)
}

/// What is before a sign, and what is behind it.
fn cut(text: &str, sign: u8) -> (&str, &str) {
    let at = memchr::memchr(sign, text.as_bytes());
    let halves = at.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?)));
    halves.unwrap_or((text, ""))
}

/// All bytes of a form-encoded text, decoded. What has nothing to decode is not copied.
pub fn value(text: &str) -> Cow<'_, [u8]> {
    match memchr::memchr2(b'%', b'+', text.as_bytes()) {
        Some(_) => decoded(text).collect::<Vec<u8>>().into(),
        None => text.as_bytes().into(),
    }
}

/// Bytes of a form-encoded text: `%XX` and `+` decoded, a `%` that begins no escape as it is.
pub fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, after) = rest.split_first()?;
        rest = after;
        match (first, after) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    Some(high << 4 | low)
                }
                _ => Some(b'%'),
            },
            (byte, _) => Some(*byte),
        }
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_given_as_they_are_written() {
        let all = |query| parameters(query).collect::<Vec<_>>();
        assert_eq!(all("a=1&&b&=c&d=e=f&"), [("a", "1"), ("b", ""), ("", "c"), ("d", "e=f")]);
        assert_eq!(all("&&"), []);
        assert_eq!(all("ä=%26&+"), [("ä", "%26"), ("+", "")]);
        assert_eq!(readings("a=1&b").collect::<Vec<_>>(), [("a", "1"), ("b", "")]);
        let both = [("a", "1;b=2;"), ("c", "%3B"), ("a", "1"), ("b", "2")];
        assert_eq!(readings("a=1;b=2;&c=%3B").collect::<Vec<_>>(), both);
        assert_eq!((&*value("a+%41%"), &*value("ab")), (&b"a A%"[..], &b"ab"[..]));
    }
}
