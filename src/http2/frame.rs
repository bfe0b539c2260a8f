//! Frames (RFC 9113 §4 and §6): their grammar, with no state.

use super::reason::{ConnectionError, Reason};

/// Bytes before each payload.
pub const HEAD_BYTES: usize = 9;

/// Types of frames (RFC 9113 §6).
pub const DATA: u8 = 0x0;
/// §6.2
pub const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
/// §6.4
pub const RST_STREAM: u8 = 0x3;
/// §6.5
pub const SETTINGS: u8 = 0x4;
const PUSH_PROMISE: u8 = 0x5;
/// §6.7
pub const PING: u8 = 0x6;
/// §6.8
pub const GOAWAY: u8 = 0x7;
/// §6.9
pub const WINDOW_UPDATE: u8 = 0x8;
/// §6.10
pub const CONTINUATION: u8 = 0x9;

/// Flag of DATA and HEADERS: the sender's half of the stream ends with it.
pub const END_STREAM: u8 = 0x1;
/// Flag of HEADERS and CONTINUATION: the block of fields ends with it.
pub const END_HEADERS: u8 = 0x4;
/// Flag of SETTINGS and PING: it answers one of ours.
pub const ACK: u8 = 0x1;
const PADDED: u8 = 0x8;
const HAS_PRIORITY: u8 = 0x20;

/// What stands before a payload (RFC 9113 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the payload.
    pub length: usize,
    /// The type.
    pub kind: u8,
    flags: u8,
    /// The stream, 31 bits; 0 is the connection.
    pub stream: u32,
}

impl FrameHead {
    /// Reads a head from the beginning of `bytes`; `None` when more is needed.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD_BYTES] = bytes.first_chunk()?;
        let [a, b, c, kind, flags, d, e, f, g] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Self { length, kind, flags, stream: u32::from_be_bytes([d, e, f, g]) & STREAM_MASK })
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The reserved bit before a stream's or window's number is ignored.
const STREAM_MASK: u32 = 0x7fff_ffff;

/// A frame, as slices of what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Some of a body.
    Data {
        /// The bytes, without padding.
        data: &'a [u8],
        /// Whether the sender's half of the stream ends.
        is_end: bool,
    },
    /// A block of fields, or its beginning.
    Headers {
        /// The block's bytes.
        block: &'a [u8],
        /// Whether the sender's half of the stream ends.
        is_end: bool,
        /// Whether the block is whole.
        is_whole: bool,
    },
    /// More of a block of fields.
    Continuation {
        /// The block's bytes.
        block: &'a [u8],
        /// Whether the block is whole now.
        is_whole: bool,
    },
    /// The stream is over.
    Reset(Reason),
    /// Settings; to be acknowledged.
    Settings(&'a [u8]),
    /// The other end has our settings.
    SettingsAck,
    /// To be answered with the same bytes.
    Ping([u8; 8]),
    /// The answer to one of ours.
    PingAck([u8; 8]),
    /// The other end ends the connection: the highest stream that it looked at or will, and why.
    GoAway(u32, Reason),
    /// More may be sent; 0 is an error, of the stream's only where there is one.
    WindowUpdate(u32),
    /// A stream that the other end promises to open.
    PushPromise,
    /// A priority, which is ignored (§5.3.2); `false` with a length that it does not have.
    Priority(bool),
    /// A type that is ignored (§4.1).
    Unknown,
}

impl<'a> Frame<'a> {
    /// Reads a frame, whose payload is whole.
    pub fn parse(head: FrameHead, payload: &'a [u8]) -> Result<Self, ConnectionError> {
        check_stream(head)?;
        Ok(match head.kind {
            DATA => Self::Data { data: unpadded(head, payload)?, is_end: head.has(END_STREAM) },
            HEADERS => {
                let mut block = unpadded(head, payload)?;
                if head.has(HAS_PRIORITY) {
                    block = block.get(5..).ok_or(ConnectionError::size("HEADERS without its priority"))?;
                }
                Self::Headers { block, is_end: head.has(END_STREAM), is_whole: head.has(END_HEADERS) }
            }
            CONTINUATION => Self::Continuation { block: payload, is_whole: head.has(END_HEADERS) },
            PRIORITY => Self::Priority(payload.len() == 5),
            RST_STREAM => Self::Reset(Reason(number(payload, "RST_STREAM is not four bytes long")?)),
            SETTINGS if head.has(ACK) && payload.is_empty() => Self::SettingsAck,
            SETTINGS if head.has(ACK) => {
                return Err(ConnectionError::size("SETTINGS with ACK has a payload"));
            }
            SETTINGS if payload.len().is_multiple_of(6) => Self::Settings(payload),
            SETTINGS => return Err(ConnectionError::size("the length of SETTINGS is not a multiple of six")),
            PUSH_PROMISE => Self::PushPromise,
            PING => {
                let bytes =
                    payload.try_into().map_err(|_| ConnectionError::size("PING is not eight bytes long"))?;
                if head.has(ACK) { Self::PingAck(bytes) } else { Self::Ping(bytes) }
            }
            GOAWAY if payload.len() < 8 => return Err(ConnectionError::size("GOAWAY is too short")),
            GOAWAY => {
                let (last, reason) = payload.split_at(4);
                let last = number(last, "")? & STREAM_MASK;
                Self::GoAway(last, Reason(number(reason.get(..4).unwrap_or_default(), "")?))
            }
            WINDOW_UPDATE => {
                Self::WindowUpdate(number(payload, "WINDOW_UPDATE is not four bytes long")? & STREAM_MASK)
            }
            _ => Self::Unknown,
        })
    }
}

/// Which frames are of a stream, and which of the connection.
fn check_stream(head: FrameHead) -> Result<(), ConnectionError> {
    match (head.kind, head.stream) {
        (DATA | HEADERS | PRIORITY | RST_STREAM | PUSH_PROMISE | CONTINUATION, 0) => {
            Err(ConnectionError::protocol("a frame that needs a stream has none"))
        }
        (SETTINGS | PING | GOAWAY, 1..) => {
            Err(ConnectionError::protocol("a frame of the connection names a stream"))
        }
        _ => Ok(()),
    }
}

/// The payload without its padding (§6.1).
fn unpadded(head: FrameHead, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    if !head.has(PADDED) {
        return Ok(payload);
    }
    let (padding, rest) =
        payload.split_first().ok_or(ConnectionError::size("a padded frame has no padding length"))?;
    let length = rest.len().checked_sub(usize::from(*padding));
    length
        .and_then(|length| rest.get(..length))
        .ok_or(ConnectionError::protocol("padding is longer than its frame"))
}

fn number(payload: &[u8], what: &'static str) -> Result<u32, ConnectionError> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| ConnectionError::size(what))
}

/// Writes the head of a frame. Payloads of more than 2²⁴−1 bytes do not exist.
pub fn write_head(length: usize, kind: u8, flags: u8, stream: u32, out: &mut Vec<u8>) {
    let [_, a, b, c] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// Writes a WINDOW_UPDATE.
pub fn write_window_update(stream: u32, increment: u32, out: &mut Vec<u8>) {
    write_head(4, WINDOW_UPDATE, 0, stream, out);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Writes an RST_STREAM.
pub fn write_reset(stream: u32, reason: Reason, out: &mut Vec<u8>) {
    write_head(4, RST_STREAM, 0, stream, out);
    out.extend_from_slice(&reason.0.to_be_bytes());
}

/// Writes a GOAWAY; `last` is the highest stream that was or will be looked at.
pub fn write_goaway(last: u32, reason: Reason, out: &mut Vec<u8>) {
    write_head(8, GOAWAY, 0, 0, out);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
}

/// Writes a PING, or the answer to one.
pub fn write_ping(is_ack: bool, bytes: [u8; 8], out: &mut Vec<u8>) {
    write_head(8, PING, if is_ack { ACK } else { 0 }, 0, out);
    out.extend_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<Frame<'_>, ConnectionError> {
        Frame::parse(FrameHead { length: payload.len(), kind, flags, stream }, payload)
    }

    #[test]
    fn a_head_is_nine_bytes_and_ignores_the_reserved_bit() {
        let mut out = Vec::new();
        write_head(0x01_02_03, DATA, END_STREAM, 5, &mut out);
        assert_eq!(FrameHead::parse(&out[..8]), None);
        out[5] |= 0x80;
        let head = FrameHead::parse(&out).unwrap();
        assert_eq!(head, FrameHead { length: 0x01_02_03, kind: DATA, flags: END_STREAM, stream: 5 });
    }

    #[test]
    fn padding_and_priority_are_taken_off() {
        let data = frame(DATA, PADDED | END_STREAM, 1, b"\x02abc\0\0").unwrap();
        assert_eq!(data, Frame::Data { data: b"abc", is_end: true });
        let headers = frame(HEADERS, PADDED | HAS_PRIORITY, 1, b"\x01\0\0\0\0\x10ab\0").unwrap();
        assert_eq!(headers, Frame::Headers { block: b"ab", is_end: false, is_whole: false });
    }

    #[test]
    fn what_has_no_right_size_or_stream_ends_the_connection() {
        let protocol = Reason::PROTOCOL_ERROR;
        let size = Reason::FRAME_SIZE_ERROR;
        for (kind, flags, stream, payload, reason) in [
            (DATA, 0, 0, &b""[..], protocol),
            (DATA, PADDED, 1, b"", size),
            (DATA, PADDED, 1, b"\x01", protocol),
            (HEADERS, 0, 0, b"", protocol),
            (HEADERS, HAS_PRIORITY, 1, b"1234", size),
            (PRIORITY, 0, 0, b"12345", protocol),
            (RST_STREAM, 0, 0, b"1234", protocol),
            (RST_STREAM, 0, 1, b"123", size),
            (SETTINGS, 0, 1, b"", protocol),
            (SETTINGS, 0, 0, b"12345", size),
            (SETTINGS, ACK, 0, b"123456", size),
            (PING, 0, 1, b"12345678", protocol),
            (PING, 0, 0, b"1234567", size),
            (GOAWAY, 0, 1, b"12345678", protocol),
            (GOAWAY, 0, 0, b"1234567", size),
            (WINDOW_UPDATE, 0, 0, b"12345", size),
            (CONTINUATION, 0, 0, b"", protocol),
            (PUSH_PROMISE, 0, 0, b"", protocol),
        ] {
            let error = frame(kind, flags, stream, payload).unwrap_err();
            assert_eq!(error.reason, reason, "{kind} {payload:?}");
        }
        assert_eq!(frame(0x20, 0xff, 0, b"x"), Ok(Frame::Unknown));
    }
}
