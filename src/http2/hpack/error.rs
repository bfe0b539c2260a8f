//! What is wrong with a block of fields.

/// A block that cannot be decompressed; the connection is over (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionError(pub &'static str);
