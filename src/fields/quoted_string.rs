//! Quoted strings (RFC 9110 §5.6.4): one reader, byte by byte or at once.

use std::borrow::Cow;

/// How far a quoted string is that began with a quote before the first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotedString {
    is_escaped: bool,
}

/// What a byte of a quoted string is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedByte {
    /// A byte of the content.
    Content(u8),
    /// A backslash, behind which the next byte is content whatever it is.
    Backslash,
    /// A byte of the content, behind a backslash.
    Escaped(u8),
    /// The quote at the end.
    End,
}

impl QuotedString {
    /// What the next byte is; `None` where it may not stand in a quoted string: a control character other than a tab.
    pub fn step(&mut self, byte: u8) -> Option<QuotedByte> {
        if std::mem::take(&mut self.is_escaped) {
            return is_content(byte).then_some(QuotedByte::Escaped(byte));
        }
        match byte {
            b'"' => Some(QuotedByte::End),
            b'\\' => {
                self.is_escaped = true;
                Some(QuotedByte::Backslash)
            }
            _ => is_content(byte).then_some(QuotedByte::Content(byte)),
        }
    }
}

/// The content of a quoted string whose first quote stands before `text`, without its backslashes, and what stands
/// behind its last quote. `None` when it does not end, or has a byte that it may not have.
pub fn read_quoted(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let is_plain = |byte: u8| is_content(byte) && !matches!(byte, b'"' | b'\\');
    let (plain, rest) = text.split_at(text.iter().position(|byte| !is_plain(*byte))?);
    if let Some(behind) = rest.strip_prefix(b"\"") {
        return Some((Cow::Borrowed(plain), behind));
    }
    let (mut string, mut content) = (QuotedString::default(), plain.to_vec());
    for (at, byte) in rest.iter().enumerate() {
        match string.step(*byte)? {
            QuotedByte::Content(byte) | QuotedByte::Escaped(byte) => content.push(byte),
            QuotedByte::Backslash => {}
            QuotedByte::End => return Some((Cow::Owned(content), rest.get(at + 1..).unwrap_or_default())),
        }
    }
    None
}

/// HTAB, SP, VCHAR or obs-text.
fn is_content(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_string_ends_at_its_own_quote() {
        for (text, expected) in [
            (&b"\""[..], Some((&b""[..], &b""[..]))),
            (b"a b\", c", Some((b"a b", b", c"))),
            (b"a, b\"\"", Some((b"a, b", b"\""))),
            (b"\\\"\\a\\\\\" x", Some((b"\"a\\", b" x"))),
            (b"\t\xe9\\\t\"", Some((b"\t\xe9\t", b""))),
            (b"a", None),
            (b"", None),
            (b"a\\\"", None),
            (b"a\\", None),
            (b"a\x7f\"", None),
            (b"\0\"", None),
            (b"a\\\r\"", None),
        ] {
            let read = read_quoted(text);
            assert_eq!(read.as_ref().map(|(content, rest)| (&**content, *rest)), expected, "{text:?}");
        }
    }

    #[test]
    fn bytes_are_what_they_are_behind_their_backslash() {
        let mut string = QuotedString::default();
        let kinds: Vec<_> = b"a\\\"\\\\\"".iter().map_while(|byte| string.step(*byte)).collect();
        let [escape, end] = [QuotedByte::Backslash, QuotedByte::End];
        let [quote, backslash] = [b'"', b'\\'].map(QuotedByte::Escaped);
        assert_eq!(kinds, [QuotedByte::Content(b'a'), escape, quote, escape, backslash, end]);
    }
}
