//! Tokens (RFC 9110 §5.6.2): names of fields, methods, directives and parameters.

/// Whether a byte may stand in a token.
pub const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        || byte.is_ascii_alphanumeric()
}
