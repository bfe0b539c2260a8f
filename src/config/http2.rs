//! `[listener.http2]`: what clients may do over HTTP/2.

use crate::{
    http2::{
        budget::{Allowance, Rate},
        settings::OwnSettings,
    },
    schema::{Size, section},
};

section! {
    /// What clients may do over HTTP/2, of each connection; new connections see a change. The size of a list of fields is that of `limits`, that of a frame 16,384 bytes.
    pub struct Http2Conf {
        /// Streams open at once, until what they led to is over; beyond, a stream is refused and may be asked for again.
        pub max_concurrent_streams: u32 = 128, in 1 to 10000;
        /// Bytes that a client may send ahead on a stream.
        pub initial_stream_window: Size = "256KiB", in "1KiB" to "16MiB";
        /// Bytes that a client may send ahead on all streams of a connection together; what it may make Pointsman hold. WebSockets are bounded by `initial_stream_window` each, and count here only while `runtime.memory` is used up.
        pub initial_connection_window: Size = "1MiB", in "64KiB" to "1GiB";
        /// Requests that a client may have end unanswered by what it does, whoever resets them, before its connection is ended; each whole response gives one back.
        pub resets: u32 = 500, in 1 to 1000000;
        /// How many of them each second gives back.
        pub resets_per_second: u32 = 50, in 0 to 1000000;
        /// Frames that ask for nothing (PING, SETTINGS, PRIORITY, empty ones, small windows, unknown ones) before a connection is ended; each whole response gives four back, and four changes of its window come with a stream and with each piece that is sent on it.
        pub control_frames: u32 = 2000, in 10 to 1000000;
        /// How many of them each second gives back.
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
