//! An answer that no backend gives.

use bytes::Bytes;

/// An answer of a filter's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Fields, by name in lower case; those of framing are not among them.
    pub fields: Vec<(&'static str, Vec<u8>)>,
    /// The body.
    pub body: Bytes,
}
