//! What heads are made of (RFC 9110 §5.6, RFC 9112 §3): versions, bounds, and which bytes may stand where.

/// Bounds on a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Most bytes of the whole head, its blank line included.
    pub bytes: usize,
    /// Most fields.
    pub fields: usize,
    /// Most bytes of a request target.
    pub target: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: 64 * 1024, fields: 100, target: 8 * 1024 }
    }
}

/// Fields for which a parser has room on its stack; for more it asks the heap.
pub(super) const FIELDS_ON_STACK: usize = 256;

/// HTTP/1 versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// Bytes of a URI (RFC 3986), and those that browsers leave unescaped in queries; no control, space,
/// fragment or non-ASCII byte. The same in every version of HTTP.
pub(crate) const fn is_target_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && byte != b'#'
}
