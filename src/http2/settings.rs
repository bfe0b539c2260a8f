//! Settings (RFC 9113 §6.5): what the other end said, and how ours are said.

use super::{
    flow::{DEFAULT_WINDOW, MOST_WINDOW},
    frame,
    reason::{ConnectionError, Reason},
    state::Role,
};

/// The frame size that everybody takes (RFC 9113 §4.2), and that we ask for.
pub const DEFAULT_FRAME: usize = 16_384;

/// What the other end asked for, as far as we care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// The window that its streams begin with.
    pub initial_window: u32,
    /// Streams that it lets us have open at once.
    pub max_streams: u32,
    /// The largest payload of a frame that it takes.
    pub max_frame: usize,
    /// Whether it takes extended CONNECT (RFC 8441 §3).
    pub takes_connect: bool,
    /// Whether it said how large the table of field compression may be.
    pub has_table_size: bool,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            initial_window: DEFAULT_WINDOW,
            max_streams: u32::MAX,
            max_frame: DEFAULT_FRAME,
            takes_connect: false,
            has_table_size: false,
        }
    }
}

impl PeerSettings {
    /// Takes the payload of a SETTINGS frame, whose length is a multiple of six.
    pub fn take(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        for setting in payload.chunks_exact(6) {
            let [id_high, id_low, a, b, c, d] = *setting else { continue };
            let value = u32::from_be_bytes([a, b, c, d]);
            match u16::from_be_bytes([id_high, id_low]) {
                ID_TABLE_SIZE => self.has_table_size = true,
                ID_MAX_STREAMS => self.max_streams = value,
                ID_ENABLE_PUSH if value > 1 => {
                    return Err(ConnectionError::protocol("ENABLE_PUSH is neither 0 nor 1"));
                }
                ID_INITIAL_WINDOW if i64::from(value) > MOST_WINDOW => {
                    let what = "INITIAL_WINDOW_SIZE is too large";
                    return Err(ConnectionError { reason: Reason::FLOW_CONTROL_ERROR, what });
                }
                ID_INITIAL_WINDOW => self.initial_window = value,
                ID_MAX_FRAME if !(16_384..=16_777_215).contains(&value) => {
                    return Err(ConnectionError::protocol("MAX_FRAME_SIZE is out of range"));
                }
                // RFC 8441 §3: 0 or 1, and never 0 after 1.
                ID_ENABLE_CONNECT if value > 1 || value == 0 && self.takes_connect => {
                    return Err(ConnectionError::protocol(
                        "ENABLE_CONNECT_PROTOCOL is neither 0 nor 1, or back to 0",
                    ));
                }
                ID_ENABLE_CONNECT => self.takes_connect = value == 1,
                // What we send is never larger than everybody takes.
                ID_MAX_FRAME => {}
                // §6.5.2: an unknown setting is ignored.
                _ => {}
            }
        }
        Ok(())
    }
}

/// What we ask of the other end.
#[derive(Clone, Copy, Debug)]
pub struct OwnSettings {
    /// Streams that it may have open at once.
    pub max_streams: u32,
    /// Bytes that it may send ahead on a stream.
    pub stream_window: u32,
    /// Bytes that it may send ahead on all streams together.
    pub connection_window: u32,
    /// Bytes of a list of fields, as §6.5.2 counts them.
    pub header_list: u32,
    /// Whether WebSockets may be opened by extended CONNECT (RFC 8441); of a server only.
    pub takes_websockets: bool,
}

impl OwnSettings {
    /// Writes the SETTINGS frame, and the WINDOW_UPDATE that makes the connection's window what it is to be.
    pub(super) fn write(&self, role: Role, out: &mut Vec<u8>) {
        let settings = [
            match role {
                Role::Server => (ID_MAX_STREAMS, self.max_streams),
                // §8.4: a client takes no pushes, and a server opens no other streams.
                Role::Client => (ID_ENABLE_PUSH, 0),
            },
            (ID_INITIAL_WINDOW, self.stream_window),
            (ID_HEADER_LIST, self.header_list),
            (ID_ENABLE_CONNECT, 1),
        ];
        let left_out = usize::from(role == Role::Client || !self.takes_websockets);
        let settings = settings.get(..settings.len() - left_out).unwrap_or_default();
        frame::write_head(settings.len() * 6, frame::SETTINGS, 0, 0, out);
        for (id, value) in settings {
            out.extend_from_slice(&u16::to_be_bytes(*id));
            out.extend_from_slice(&value.to_be_bytes());
        }
        let more = self.connection_window.saturating_sub(DEFAULT_WINDOW);
        if more > 0 {
            frame::write_window_update(0, more, out);
        }
    }
}

const ID_TABLE_SIZE: u16 = 0x1;
const ID_ENABLE_PUSH: u16 = 0x2;
const ID_MAX_STREAMS: u16 = 0x3;
const ID_INITIAL_WINDOW: u16 = 0x4;
const ID_MAX_FRAME: u16 = 0x5;
const ID_HEADER_LIST: u16 = 0x6;
const ID_ENABLE_CONNECT: u16 = 0x8;
