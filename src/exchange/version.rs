//! The version of HTTP that an exchange is carried by.

use crate::h1::Version;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0 (RFC 1945).
    Http10,
    /// HTTP/1.1 (RFC 9112).
    #[default]
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
}

impl HttpVersion {
    /// Its name as logs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }

    /// The version as Via has it.
    pub fn number(self) -> &'static [u8] {
        match self {
            Self::Http10 => b"1.0",
            Self::Http11 => b"1.1",
            Self::Http2 => b"2",
        }
    }

    /// The member that is added to Via of a response that came in this version (RFC 9110 §7.6.3).
    pub fn via(self) -> &'static [u8] {
        match self {
            Self::Http10 => b"1.0 pointsman",
            Self::Http11 => b"1.1 pointsman",
            Self::Http2 => b"2 pointsman",
        }
    }

    /// Whether messages are frames of a stream, and have no framing of their own.
    pub fn has_streams(self) -> bool {
        match self {
            Self::Http10 | Self::Http11 => false,
            Self::Http2 => true,
        }
    }
}

impl From<Version> for HttpVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::Http10 => Self::Http10,
            Version::Http11 => Self::Http11,
        }
    }
}
