//! What a stored response is found by: scheme, host, path, query and chosen header fields, in one spelling.
//!
//! Method is no part of it: HEAD is answered from what GET stored (RFC 9111 §2, §4), and what may use the key
//! at all is [`Use::of`]. Equal keys are equal texts; the hash only finds them quickly, so that no collision,
//! however it was made, serves one URI's response for another.

mod settings;
mod spelling;
mod usage;

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use self::spelling::write_target;
use crate::fields::Fields;

pub use self::{
    settings::{KeySettings, QueryKey},
    usage::{Use, has_origin_precondition},
};

/// A key: its text, and a hash of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    hash: u128,
    text: Box<[u8]>,
}

impl Key {
    /// The key of a URI. `host` is in lower case and without port, `port` only when one was given, `target`
    /// is path and query as `http::normalize` left them.
    pub fn of(
        scheme: &str,
        host: &str,
        port: Option<u16>,
        target: &str,
        request: &Fields,
        settings: &KeySettings,
    ) -> Self {
        let mut text = Vec::with_capacity(scheme.len() + host.len() + target.len() + 16);
        text.extend(scheme.bytes().map(|byte| byte.to_ascii_lowercase()));
        text.extend_from_slice(b"://");
        text.extend(host.bytes().map(|byte| byte.to_ascii_lowercase()));
        // RFC 9110 §4.2.3: the default port and none are the same.
        if let Some(port) = port.filter(|port| Some(*port) != default_port(scheme)) {
            text.extend_from_slice(format!(":{port}").as_bytes());
        }
        write_target(target, settings, &mut text);
        for name in &settings.headers {
            Self::write_header(
                name,
                super::normalized_field::normalized_with_respelled(name, request).as_deref(),
                &mut text,
            );
        }
        Self::of_text(text)
    }

    /// The key of a text that was put together elsewhere, as of a variant.
    pub(super) fn of_text(text: Vec<u8>) -> Self {
        Self { hash: xxh3_128(&text), text: text.into() }
    }

    /// The key of the URI of this key, under which there may be several.
    pub fn of_its_uri(&self) -> Self {
        Self::of_text(self.uri().to_vec())
    }

    /// This key with something more that tells responses apart; `name` is no field's name.
    pub fn with(self, name: &str, value: &[u8]) -> Self {
        let mut text = self.text.into_vec();
        Self::write_header(name, Some(value), &mut text);
        Self::of_text(text)
    }

    /// Writes a field behind a key. The length makes every text readable in one way only; absent is not
    /// empty.
    pub(super) fn write_header(name: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
        out.push(b'\n');
        out.extend_from_slice(name.as_bytes());
        if let Some(value) = value {
            out.extend_from_slice(format!(":{}:", value.len()).as_bytes());
            out.extend_from_slice(value);
        }
    }

    /// The hash, to find the key by.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// The lower half of the hash, for tables that compare the whole behind it.
    pub fn half_hash(&self) -> u64 {
        lower_half(self.hash)
    }

    /// The hash of the URI at the beginning of the text: the same for all keys of a URI.
    pub fn uri_hash(&self) -> u128 {
        if self.has_fields() { xxh3_128(self.uri()) } else { self.hash }
    }

    /// Whether there is more in it than the URI.
    pub fn has_fields(&self) -> bool {
        memchr::memchr(b'\n', &self.text).is_some()
    }

    /// The text, to compare and to show.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The URI at the beginning of the text, without chosen fields: what invalidation and purging go by.
    pub fn uri(&self) -> &[u8] {
        self.text.split(|byte| *byte == b'\n').next().unwrap_or_default()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", String::from_utf8_lossy(&self.text))
    }
}

/// The lower 64 bits.
pub(super) fn lower_half(hash: u128) -> u64 {
    const LOWER: u128 = 0xffff_ffff_ffff_ffff;
    (hash & LOWER) as u64
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        scheme if scheme.eq_ignore_ascii_case("http") => Some(80),
        scheme if scheme.eq_ignore_ascii_case("https") => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
