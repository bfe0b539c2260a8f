//! How long clients of a listener may take, and how much they may send.

use std::time::Duration;

use crate::schema::{Size, section};

section! {
    /// Time limits for clients.
    pub struct TimeoutsConf {
        /// For the TLS handshake.
        pub tls_handshake: Duration = "10s", in "1ms" to "1h";
        /// For the whole request head; 408 when exceeded.
        pub header: Duration = "10s", in "1ms" to "1h";
        /// Between two reads of a request body; 408 when exceeded.
        pub body: Duration = "30s", in "1ms" to "1d";
        /// Between two requests on a connection.
        pub idle: Duration = "75s", in "1ms" to "1d";
        /// How long an HTTP/1.1 request goes on after its client has closed its sending side (`nc -N`), while no byte of the response is sent. Then the client counts as gone: over TCP, a half-closed and a closed connection look the same at first.
        pub half_closed: Duration = "2s", in "0s" to "1h";
    }
}

section! {
    /// How much of a request to keep reading after an early answer. Clients such as wget read an early 413 or 401 only after sending their whole upload; closing the connection before then would lose the response.
    pub struct LingerConf {
        /// How long the client may keep sending; 0 = close at once.
        pub time: Duration = "5s", in "0s" to "10m";
        /// How many bytes to read and discard.
        pub bytes: Size = "64MiB", in "0" to "1TiB";
    }
}

impl Default for LingerConf {
    fn default() -> Self {
        Self { time: Duration::from_secs(5), bytes: Size(64 << 20) }
    }
}

section! {
    /// Size limits for requests.
    pub struct LimitsConf {
        /// Size of a request head; 431 when exceeded.
        pub header_bytes: Size = "64KiB", in "1KiB" to "16MiB";
        /// Number of header fields in a request; 431 when exceeded.
        pub headers: u32 = 100, in 1 to 10000;
        /// Size of a request target; 414 when exceeded.
        pub uri_bytes: Size = "8KiB", in "64B" to "1MiB";
        /// Size of a request body; 413 when exceeded. 0 = unlimited.
        pub body_bytes: Size = "0", in "0" to "1024TiB";
    }
}
