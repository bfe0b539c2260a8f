//! What is done with a value before it is written: `{header.x-a|lower|default:none}`.

use std::{borrow::Cow, fmt::Write as _};

/// One filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// ASCII letters in lower case.
    Lower,
    /// Percent-encoded, all but the unreserved characters (RFC 3986 §2.3).
    UrlEncode,
    /// This text, where there is nothing.
    Default(Box<str>),
}

/// How filters are written, for messages.
pub(super) const FILTERS: &str = "`lower`, `urlencode` and `default:TEXT`";

impl Filter {
    /// The filter that is written so.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("default", text)) => Some(Self::Default(text.into())),
            Some(_) => None,
            None if text == "lower" => Some(Self::Lower),
            None if text == "urlencode" => Some(Self::UrlEncode),
            None => None,
        }
    }

    /// The value after it.
    pub(super) fn apply<'a>(&'a self, value: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        match self {
            Self::Lower => value.to_ascii_lowercase().into(),
            Self::UrlEncode => {
                let mut out = Vec::with_capacity(value.len());
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                percent_encode(&value, is_plain, &mut out);
                out.into()
            }
            Self::Default(text) if value.is_empty() => text.as_bytes().into(),
            Self::Default(_) => value,
        }
    }
}

/// Writes bytes for a URL (RFC 3986 §2.1): those that are `plain` as they are.
pub(super) fn percent_encode(value: &[u8], is_plain: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    for &byte in value {
        if is_plain(byte) {
            out.push(byte);
        } else {
            let mut escape = String::with_capacity(3);
            // Writing to a string does not fail.
            let _ = write!(escape, "%{byte:02X}");
            out.extend_from_slice(escape.as_bytes());
        }
    }
}
