//! What a route lets in, and how much and how long of it.

use std::time::Duration;

use crate::schema::{Size, section};

section! {
    /// Size limits for requests of this route; the default is the listener's.
    pub struct RouteLimitsConf {
        /// Size of a request body; 413 when exceeded. 0 = unlimited. By default the listener's `limits.body_bytes`.
        pub body_bytes: Option<Size>, in "0" to "1024TiB";
    }
}

section! {
    /// Time limits for requests of this route; the defaults are those of the listener and the upstream.
    pub struct RouteTimeoutsConf {
        /// Between two reads of a request body; 408 when exceeded. By default the listener's `timeouts.body`.
        pub body: Option<Duration>, in "1ms" to "1d";
        /// To connect to a backend, including the TLS handshake. By default the upstream's `connect_timeout`.
        pub connect: Option<Duration>, in "1ms" to "1h";
        /// From the end of the request to the first byte of the response; 504 when exceeded. By default the upstream's `response_timeout`.
        pub response: Option<Duration>, in "1ms" to "1d";
        /// Between two reads of a response body; when exceeded, the response is cut off. By default the upstream's `body_timeout`.
        pub response_body: Option<Duration>, in "1ms" to "365d";
    }
}
