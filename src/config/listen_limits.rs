//! How long clients of a listener may take, and how much they may send.

use std::time::Duration;

use crate::schema::{Size, section};

section! {
    /// How long clients may take.
    pub struct TimeoutsConf {
        /// The TLS handshake.
        pub tls_handshake: Duration = "10s", in "1ms" to "1h";
        /// The whole request head; 408 beyond.
        pub header: Duration = "10s", in "1ms" to "1h";
        /// Between two reads of a body; 408 beyond.
        pub body: Duration = "30s", in "1ms" to "1d";
        /// Between two requests of a connection.
        pub idle: Duration = "75s", in "1ms" to "1d";
        /// How long a client over HTTP/1.1 that has ended its side (`nc -N`) is waited for without a byte of its response; then it has left. Over TCP the two look the same at first.
        pub half_closed: Duration = "2s", in "0s" to "1h";
    }
}

section! {
    /// How much of a request is still read once it has been answered: clients such as wget read an early 413 or 401 when they have sent all of their upload, and a connection that is closed before takes the response away from them.
    pub struct LingerConf {
        /// How long the client may go on; 0 = not at all.
        pub time: Duration = "5s", in "0s" to "10m";
        /// Bytes that are read and forgotten.
        pub bytes: Size = "64MiB", in "0" to "1TiB";
    }
}

impl Default for LingerConf {
    fn default() -> Self {
        Self { time: Duration::from_secs(5), bytes: Size(64 << 20) }
    }
}

section! {
    /// How much clients may send.
    pub struct LimitsConf {
        /// Bytes of a request head; 431 beyond.
        pub header_bytes: Size = "64KiB", in "1KiB" to "16MiB";
        /// Header fields of a request; 431 beyond.
        pub headers: u32 = 100, in 1 to 10000;
        /// Bytes of a request target; 414 beyond.
        pub uri_bytes: Size = "8KiB", in "64B" to "1MiB";
        /// Bytes of a request body, 413 beyond; 0 = unlimited.
        pub body_bytes: Size = "0", in "0" to "1024TiB";
    }
}
