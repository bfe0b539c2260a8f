//! The key of an opening, and the proof that a server makes of it (RFC 6455 §4.1, §4.2.2).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, engine::general_purpose::STANDARD};

/// A key of ours: 16 bytes by chance, in base64. It is no secret: what it shows is that who answers speaks WebSocket, and
/// that the answer is for this question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

/// What every server knows (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl Key {
    /// A new one.
    pub fn by_chance() -> Self {
        Self(STANDARD.encode(fastrand::u128(..).to_be_bytes()))
    }

    /// As `Sec-WebSocket-Key` has it.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What `Sec-WebSocket-Accept` is for a key, as it was sent.
pub fn accept(key: &[u8]) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_the_one_of_the_standard() {
        // RFC 6455 §1.3.
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_differ_and_are_sixteen_bytes() {
        let (one, other) = (Key::by_chance(), Key::by_chance());
        assert_ne!(one, other);
        assert_eq!(STANDARD.decode(one.as_bytes()).unwrap().len(), 16);
    }
}
