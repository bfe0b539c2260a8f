//! Structured dictionaries (RFC 8941 §3.2, §4.2.2), as targeted fields are written (RFC 9213 §2.1).
//!
//! A strict reader: one wrong byte makes the whole field invalid, which is what RFC 9213 relies on.
//! Parameters are read and forgotten ("Parameters received on cache directives are to be ignored").

use std::collections::HashMap;

use crate::fields::{QuotedByte, QuotedString, is_token_byte};

/// A member's value, as far as a cache directive can have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `?1`, `?0`, or a bare key, which is true.
    Boolean(bool),
    /// A whole number of at most fifteen digits.
    Integer(i64),
    /// A quoted string, unescaped.
    String(Vec<u8>),
    /// A token.
    Token(Vec<u8>),
    /// A value of a type that no directive has: decimal, byte sequence or inner list.
    Other,
}

/// The members of a dictionary that stands in these field lines, in order; a later member of the same key
/// replaces the earlier (RFC 8941 §4.2.2). `None` when it does not parse.
pub fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Vec<(Vec<u8>, Value)>> {
    // RFC 8941 §4.2: lines of one field are joined with a comma before they are parsed.
    let joined = lines.collect::<Vec<_>>().join(&b", "[..]);
    if !joined.is_ascii() {
        return None;
    }
    let mut reader = Reader { rest: &joined };
    reader.skip(b" ");
    let mut members: Vec<Option<(Vec<u8>, Value)>> = Vec::new();
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    while !reader.rest.is_empty() {
        let key = reader.key()?;
        let value = if reader.take(b'=') { reader.item_or_list()? } else { Value::Boolean(true) };
        reader.parameters()?;
        if let Some(earlier) = places.insert(key, members.len()).and_then(|at| members.get_mut(at)) {
            *earlier = None;
        }
        members.push(Some((key.to_vec(), value)));
        reader.skip(b" \t");
        if reader.rest.is_empty() {
            break;
        }
        if !reader.take(b',') {
            return None;
        }
        reader.skip(b" \t");
        if reader.rest.is_empty() {
            return None; // a trailing comma
        }
    }
    // The white space behind the last member may be spaces only.
    (!joined.ends_with(b"\t")).then(|| members.into_iter().flatten().collect())
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let Some(rest) = self.rest.strip_prefix(&[byte]) else { return false };
        self.rest = rest;
        true
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.take_while(|byte| bytes.contains(&byte));
    }

    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !belongs(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Keys are of lower case: `MaX-aGe` is no key.
    fn key(&mut self) -> Option<&'a [u8]> {
        self.peek().filter(|byte| byte.is_ascii_lowercase() || *byte == b'*')?;
        let of_key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte);
        Some(self.take_while(of_key))
    }

    fn item_or_list(&mut self) -> Option<Value> {
        if !self.take(b'(') {
            return self.item();
        }
        loop {
            self.skip(b" ");
            if self.take(b')') {
                return Some(Value::Other);
            }
            self.item()?;
            self.parameters()?;
            if !matches!(self.peek(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    fn item(&mut self) -> Option<Value> {
        match self.peek()? {
            b'"' => self.string(),
            b'?' => {
                self.next();
                match self.next()? {
                    b'1' => Some(Value::Boolean(true)),
                    b'0' => Some(Value::Boolean(false)),
                    _ => None,
                }
            }
            b':' => {
                self.next();
                self.take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.take(b':').then_some(Value::Other)
            }
            b'-' | b'0'..=b'9' => self.number(),
            byte if byte.is_ascii_alphabetic() || byte == b'*' => Some(Value::Token(
                self.take_while(|byte| is_token_byte(byte) || b":/".contains(&byte)).to_vec(),
            )),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Value> {
        let sign = if self.take(b'-') { -1 } else { 1 };
        let whole = self.take_while(|byte| byte.is_ascii_digit());
        if self.take(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            let fits = (1..=12).contains(&whole.len()) && (1..=3).contains(&fraction.len());
            return fits.then_some(Value::Other);
        }
        if !(1..=15).contains(&whole.len()) {
            return None;
        }
        let number = whole.iter().fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'));
        Some(Value::Integer(sign * number))
    }

    /// RFC 8941 §3.3.3: a quoted string of printable ASCII, where only quotes and backslashes stand behind a backslash.
    fn string(&mut self) -> Option<Value> {
        self.next();
        let (mut string, mut text) = (QuotedString::default(), Vec::new());
        loop {
            match string.step(self.next()?)? {
                QuotedByte::End => return Some(Value::String(text)),
                QuotedByte::Backslash => {}
                QuotedByte::Content(byte @ 0x20..=0x7e) | QuotedByte::Escaped(byte @ (b'"' | b'\\')) => {
                    text.push(byte);
                }
                QuotedByte::Content(_) | QuotedByte::Escaped(_) => return None,
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.item()?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Vec<(String, Value)>> {
        let members = parse([text.as_bytes()].into_iter())?;
        Some(members.into_iter().map(|(key, value)| (String::from_utf8(key).unwrap(), value)).collect())
    }

    #[test]
    fn members_of_every_type_are_read() {
        let read =
            read(r#"a, b=1;x=2;y, c="q\"", d=tok/en, e=?0, f=1.5, g=(1 "x";p), h=:aGk=:, i=-3"#).unwrap();
        let values: Vec<_> = read.into_iter().map(|(_, value)| value).collect();
        assert_eq!(
            values,
            [
                Value::Boolean(true),
                Value::Integer(1),
                Value::String(b"q\"".to_vec()),
                Value::Token(b"tok/en".to_vec()),
                Value::Boolean(false),
                Value::Other,
                Value::Other,
                Value::Other,
                Value::Integer(-3),
            ]
        );
    }

    #[test]
    fn the_last_member_of_a_key_counts() {
        assert_eq!(read("a=1, b, a=2").unwrap().last(), Some(&("a".to_owned(), Value::Integer(2))));
        let lines = parse([&b"a=1"[..], b"a=3"].into_iter()).unwrap();
        assert_eq!(lines, [(b"a".to_vec(), Value::Integer(3))]);
    }

    #[test]
    fn one_wrong_byte_makes_all_of_it_invalid() {
        for text in [
            "max-age=10000, &&&&&",
            "MaX-aGe=1",
            "max-age =1",
            "max-age= 1",
            "max-age=1,",
            ",max-age=1",
            "max-age=1;",
            "max-age=1234567890123456",
            "a=\"",
            "a=\"\\x\"",
            "a=1.",
            "a=(1",
            "a=?2",
            "a=1\u{fc}",
            "a=1 b=2",
            "a=1\t",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(""), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn no_bytes_stop_the_reader_of_dictionaries(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse([&bytes[..]].into_iter());
        }

        #[test]
        fn nothing_that_looks_like_a_dictionary_stops_it(text in "[a-c=?(), ;:\"1\\\\-]{0,40}") {
            let _ = parse([text.as_bytes()].into_iter());
        }
    }
}
