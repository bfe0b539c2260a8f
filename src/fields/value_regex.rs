//! Regular expressions over values that clients and backends send: of fields, of parameters, of cookies.

use std::{borrow::Cow, str};

use regex::bytes::{Regex, RegexBuilder};

/// A regular expression that sees the whole of a value, whatever is in it: `.` is a line break too, and a byte that is no
/// UTF-8 is a character of its own, which `.` and `[^x]` match. Else one such byte hides a value from `not`, or from what
/// replaces it.
///
/// Expressions are of characters and not of bytes (`(?-u)` for all of them), which would take Unicode classes, letters in
/// classes, and `.` for one character away from those who have them.
#[derive(Clone, Debug)]
pub struct ValueRegex(Regex);

impl ValueRegex {
    /// An expression as it is written.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(text).dot_matches_new_line(true).build().map(Self)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it finds something in a value.
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.0.is_match(value) || (str::from_utf8(value).is_err() && self.0.is_match(&characters(value)))
    }

    /// The value with all that it finds replaced; `None` where it finds nothing. Bytes that are no UTF-8 stay what they are
    /// where they are kept.
    pub fn replace_all(&self, value: &[u8], with: &str) -> Option<Vec<u8>> {
        if str::from_utf8(value).is_err()
            && let Cow::Owned(replaced) = self.0.replace_all(&characters(value), with.as_bytes())
        {
            return Some(bytes(&replaced));
        }
        match self.0.replace_all(value, with.as_bytes()) {
            Cow::Owned(replaced) => Some(replaced),
            Cow::Borrowed(_) => None,
        }
    }
}

/// The last characters there are, which nobody uses: 128 for the bytes that may be no UTF-8.
const STAND_INS: u32 = 0x0010_ff00;

/// A value with a character in the place of each byte that is no UTF-8.
fn characters(value: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(value.len() * 4);
    for chunk in value.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(STAND_INS + u32::from(*byte))));
    }
    text.into_bytes()
}

/// The way back.
fn bytes(text: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            let byte = u32::from(character).checked_sub(STAND_INS).and_then(|byte| u8::try_from(byte).ok());
            match byte.filter(|byte| !byte.is_ascii()) {
                Some(byte) => value.push(byte),
                None => value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        value.extend_from_slice(chunk.invalid());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_value_is_seen() {
        let finds = |pattern: &str, value: &[u8]| ValueRegex::new(pattern).unwrap().is_match(value);
        for value in [&b"bot"[..], b"\xff bot", b"a\xc3bot\xe2\x82", b"a\nbot\n", "\u{fc}bot".as_bytes()] {
            assert!(finds("^.*bot.*$", value) && finds("^[^|]+$", value), "{value:?}");
        }
        assert!(finds("^.{3}$", b"\xe2\x82a") && !finds("^.{2}$", b"\xe2\x82a"), "each byte is one");
        assert!(!finds("^[a-z]+$", b"a\xff") && !finds(r"^\w+$", b"a\xff") && !finds("^[a-z]+$", b"a\n"));
        // What was written for bytes, or for Unicode, finds what it did.
        assert!(finds(r"(?-u:\xff)", b"a\xff") && finds(r"^\pL$", "\u{e4}".as_bytes()));
    }

    #[test]
    fn every_byte_is_replaced_or_stays_what_it_is() {
        let replaced = |pattern: &str, with: &str, value: &[u8]| {
            ValueRegex::new(pattern).unwrap().replace_all(value, with)
        };
        assert_eq!(replaced("^.*$", "user", b"\xffadmin").unwrap(), b"user");
        assert_eq!(replaced("^.*$", "user", b"a\nb").unwrap(), b"user");
        assert_eq!(replaced("a(.)b", "<$1>", b"\xe2a\xffb\xc3").unwrap(), b"\xe2<\xff>\xc3");
        assert_eq!(replaced("x", "y", b"\xff\xc3\xa4x\x80").unwrap(), b"\xff\xc3\xa4y\x80");
        assert_eq!(replaced("x", "y", b"\xff"), None);
        assert_eq!(replaced(r"(?-u:\xff)", "y", b"\xffa").unwrap(), b"ya");
        let every: Vec<u8> = (1..=255).collect();
        assert_eq!(bytes(&characters(&every)), every);
    }
}
