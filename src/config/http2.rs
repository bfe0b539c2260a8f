//! `[listener.http2]`: what clients may do over HTTP/2.

use crate::{
    http2::{
        budget::{Allowance, Rate},
        settings::OwnSettings,
    },
    schema::{Size, section},
};

section! {
    /// Limits for each HTTP/2 client connection; changes apply to new connections. Header lists are limited by `limits`, frames to 16,384 bytes.
    pub struct Http2Conf {
        /// Most streams open at once, counted until their work is done; further ones are refused, and the client may retry them.
        pub max_concurrent_streams: u32 = 128, in 1 to 10000;
        /// Flow-control window of a stream: bytes that a client may send ahead.
        pub initial_stream_window: Size = "256KiB", in "1KiB" to "16MiB";
        /// Flow-control window of a connection: bytes that a client may send ahead on all streams, and so make Pointsman buffer. WebSockets are each limited by `initial_stream_window`, and count here only while `runtime.memory` is used up.
        pub initial_connection_window: Size = "1MiB", in "64KiB" to "1GiB";
        /// Requests that a client may cancel, or cause to be reset, before its connection is closed (rapid reset). Each completed response gives one back.
        pub resets: u32 = 500, in 1 to 1000000;
        /// How many are given back each second.
        pub resets_per_second: u32 = 50, in 0 to 1000000;
        /// Frames that carry no request (PING, SETTINGS, PRIORITY, empty, small window updates, unknown) before the connection is closed. Each completed response gives four back; window updates are free that give back what was sent in pieces of 1 KiB or more, and four others with each stream, and with each piece sent on it.
        pub control_frames: u32 = 2000, in 10 to 1000000;
        /// How many are given back each second.
        pub control_frames_per_second: u32 = 200, in 0 to 1000000;
    }
}

impl Http2Conf {
    /// What is asked of the other end, with `header_list` bytes of a list of fields; `takes_websockets` where a route does.
    pub fn settings(&self, header_list: u32, takes_websockets: bool) -> OwnSettings {
        let window = |size: Size| u32::try_from(size.0).unwrap_or(u32::MAX >> 1);
        OwnSettings {
            max_streams: self.max_concurrent_streams,
            stream_window: window(self.initial_stream_window),
            connection_window: window(self.initial_connection_window),
            header_list,
            takes_websockets,
        }
    }

    /// What may be done that brings the client nothing.
    pub fn allowance(&self) -> Allowance {
        let rate = |most, per_second| Rate { most, per_second };
        Allowance {
            nuisance: rate(self.control_frames, self.control_frames_per_second),
            resets: rate(self.resets, self.resets_per_second),
        }
    }
}
