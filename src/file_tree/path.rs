//! The path of a request as a name of files. Pure.

use crate::filter::coding::Coding;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The path without its escapes, and what is stripped of it; it begins with a slash, and has nothing hidden.
    pub(super) path: Vec<u8>,
    pub(super) host: String,
    pub(super) codings: Vec<Coding>,
}

impl Asked {
    /// Of a request with this path as it came, normalized or not, without what is stripped of it, and this host; `codings`
    /// are what its client takes, best first. `None` where no file can be meant.
    pub fn of(path: &str, host: &str, codings: Vec<Coding>) -> Option<Self> {
        Some(Self { path: decode(path)?, host: host.to_owned(), codings })
    }
}

/// The bytes that a path stands for. `None` for a slash or NUL that is escaped, an empty segment but the last one, and a
/// segment that begins with a dot, which leads elsewhere or is hidden; `.well-known` is not (RFC 8615).
fn decode(path: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let decoded = hex(rest.next()?)? << 4 | hex(rest.next()?)?;
                if decoded == b'/' {
                    return None;
                }
                decoded
            }
            byte => byte,
        };
        if byte == 0 {
            return None;
        }
        bytes.push(byte);
    }
    let segments = bytes.strip_prefix(b"/")?;
    let last = segments.iter().filter(|byte| **byte == b'/').count();
    let is_served = |(at, segment): (usize, &[u8])| match segment {
        [] => at == last,
        [b'.', ..] => segment == b".well-known",
        _ => true,
    };
    segments.split(|byte| *byte == b'/').enumerate().all(is_served).then_some(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_unescaped_and_lead_nowhere_else() {
        for (path, expected) in [
            ("/", Some("/")),
            ("/a/b.css", Some("/a/b.css")),
            ("/a/", Some("/a/")),
            ("/a%20b", Some("/a b")),
            ("/%41", Some("/A")),
            ("/a\\b", Some("/a\\b")),
            ("/a..b", Some("/a..b")),
            ("/.well-known/acme-challenge/x", Some("/.well-known/acme-challenge/x")),
            ("/a%2fb", None),
            ("/a%2F", None),
            ("/a%00", None),
            ("/%2e%2e/a", None),
            ("/.%2E", None),
            ("/a/../b", None),
            ("/a/.", None),
            ("/.git/config", None),
            ("/a/.env", None),
            ("/%2egit", None),
            ("/.well-known-not", None),
            ("//a", None),
            ("/a//b", None),
            ("/a//", None),
            ("/%", None),
            ("/%4", None),
            ("/%zz", None),
            ("", None),
            ("*", None),
            ("a", None),
        ] {
            let decoded = decode(path);
            assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_has_a_segment_that_climbs(path in "(/|\\.|%2[eEfF]|%00|a|\\\\|;){0,12}") {
            if let Some(decoded) = decode(&path) {
                let mut segments = decoded.split(|byte| *byte == b'/');
                prop_assert!(segments.all(|it| it != b".." && it != b"." && !it.contains(&0)));
            }
        }
    }
}
