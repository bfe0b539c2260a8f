//! Request methods.

/// Request methods (RFC 9110 §9, RFC 5789).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the method of its name")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token.
    Other(Box<str>),
}

impl Method {
    /// The method of this token. Methods are case-sensitive (RFC 9110 §9.1).
    pub fn of(token: &str) -> Self {
        match token {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            other => Self::Other(other.into()),
        }
    }

    /// The token.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other(token) => token,
        }
    }

    /// Whether sending it twice does what sending it once does (RFC 9110 §9.2.2).
    pub fn is_idempotent(&self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

/// Bytes of a method; the longest that is registered has 17.
pub(crate) const MOST_METHOD_BYTES: usize = 64;
/// Why a longer one is refused.
pub(crate) const LONG_METHOD: &str = "the method is too long";
