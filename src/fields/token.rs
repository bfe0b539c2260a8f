//! Tokens (RFC 9110 §5.6.2): names of fields, methods, directives and parameters.

/// Whether a byte may stand in a token.
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
