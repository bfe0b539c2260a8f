//! Error codes (RFC 9113 §7), and errors with the scope that they have.

use std::fmt;

/// Why a stream or a connection ended (RFC 9113 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// The protocol was not kept to.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Something is wrong here.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More came than the window allows.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// A frame came for a stream that was ended.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame has a length that its type does not have.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The request was not looked at, and may be sent again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is not needed any more.
    pub const CANCEL: Self = Self(0x8);
    /// A block of fields cannot be decompressed.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The other end makes too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);

    /// Its name in the standard.
    pub fn name(self) -> &'static str {
        match self.0 {
            0x0 => "NO_ERROR",
            0x1 => "PROTOCOL_ERROR",
            0x2 => "INTERNAL_ERROR",
            0x3 => "FLOW_CONTROL_ERROR",
            0x4 => "SETTINGS_TIMEOUT",
            0x5 => "STREAM_CLOSED",
            0x6 => "FRAME_SIZE_ERROR",
            0x7 => "REFUSED_STREAM",
            0x8 => "CANCEL",
            0x9 => "COMPRESSION_ERROR",
            0xa => "CONNECT_ERROR",
            0xb => "ENHANCE_YOUR_CALM",
            0xc => "INADEQUATE_SECURITY",
            0xd => "HTTP_1_1_REQUIRED",
            _ => "an unknown error",
        }
    }
}

/// What ends a connection (RFC 9113 §5.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    /// The code that GOAWAY carries.
    pub reason: Reason,
    /// What was wrong, for people.
    pub what: &'static str,
}

impl ConnectionError {
    /// An error of PROTOCOL_ERROR.
    pub fn protocol(what: &'static str) -> Self {
        Self { reason: Reason::PROTOCOL_ERROR, what }
    }

    /// An error of FRAME_SIZE_ERROR.
    pub fn size(what: &'static str) -> Self {
        Self { reason: Reason::FRAME_SIZE_ERROR, what }
    }

    /// An error of ENHANCE_YOUR_CALM.
    pub fn calm(what: &'static str) -> Self {
        Self { reason: Reason::ENHANCE_YOUR_CALM, what }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.what)
    }
}
