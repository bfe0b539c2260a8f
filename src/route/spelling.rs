//! Paths as routes compare them: what nearly every backend takes for the same is spelled the same (RFC 3986 §6.2.2).

/// A path with one spelling for each character that may be written in two: `%40` is `@`, as `%41` is `A`; `|`, which a
/// URI has escaped only, is `%7C`; and escapes are in upper case. Slashes, `%`, `?`, `#` and what is not printable stay
/// escaped, so that the path has the same segments.
pub fn spelled(path: &str) -> String {
    let mut spelled = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(character) = rest.chars().next() {
        let (byte, length) = match escaped(rest) {
            Some(byte) => (byte, 3),
            None if is_escaped_only(character) => (u8::try_from(character).unwrap_or_default(), 1),
            None => {
                spelled.push(character);
                rest = rest.get(character.len_utf8()..).unwrap_or_default();
                continue;
            }
        };
        if is_plain(byte) {
            spelled.push(char::from(byte));
        } else {
            spelled.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    spelled
}

/// Whether every percent sign of a path is the beginning of an escape.
pub fn is_well_escaped(path: &str) -> bool {
    path.match_indices('%').all(|(at, _)| path.get(at..).is_some_and(|rest| escaped(rest).is_some()))
}

/// The byte that is escaped at the beginning of a text.
fn escaped(text: &str) -> Option<u8> {
    let [b'%', high, low, ..] = *text.as_bytes() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// What may stand in a segment as it is (`pchar` of RFC 3986 §3.3).
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

/// What clients send as it is though it may stand nowhere in a path.
const fn is_escaped_only(character: char) -> bool {
    matches!(character, '"' | '<' | '>' | '[' | ']' | '^' | '`' | '{' | '|' | '}')
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_the_same_is_spelled_the_same() {
        for (path, same) in [
            ("/a/b", "/a/b"),
            ("/%40private/x", "/@private/x"),
            ("/Special%3aExport", "/Special:Export"),
            ("/%21%24%26%27%28%29%2a%2b%2C%3b%3D", "/!$&'()*+,;="),
            ("/%41%7e", "/A~"),
            ("/a|b[c]{d}\"<e>^`", "/a%7Cb%5Bc%5D%7Bd%7D%22%3Ce%3E%5E%60"),
            ("/a%7cb", "/a%7Cb"),
            ("/caf%c3%a9%20", "/caf%C3%A9%20"),
            ("/a%2fb%5c%25%3f%23%00", "/a%2Fb%5C%25%3F%23%00"),
            ("/é%4", "/é%4"),
        ] {
            assert_eq!(spelled(path), same);
            assert_eq!(spelled(same), same);
        }
    }

    #[test]
    fn an_escape_has_two_digits() {
        for (path, is_well) in
            [("/", true), ("/%20", true), ("/%", false), ("/%4", false), ("/%4g/%20", false)]
        {
            assert_eq!(is_well_escaped(path), is_well, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_spelling_has_the_same_segments(path in "(/([%25]2[fF]|[!-~é]){0,8}){0,6}") {
            prop_assert_eq!(path.split('/').count(), spelled(&path).split('/').count());
            prop_assert_eq!(spelled(&spelled(&path)), spelled(&path));
        }
    }
}
