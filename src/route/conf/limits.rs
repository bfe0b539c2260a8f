//! What a route lets in, and how much and how long of it.

use std::time::Duration;

use crate::schema::{Size, section};

section! {
    /// How much a request of a route may be; what is not said is as the listener has it.
    pub struct RouteLimitsConf {
        /// Bytes of a request body, 413 beyond; 0 = unlimited. Without it `limits.body_bytes` of the listener.
        pub body_bytes: Option<Size>, in "0" to "1024TiB";
    }
}

section! {
    /// How long requests of a route may take; what is not said is as the listener or the upstream has it.
    pub struct RouteTimeoutsConf {
        /// Between two reads of a request body, 408 beyond. Without it `timeouts.body` of the listener.
        pub body: Option<Duration>, in "1ms" to "1d";
        /// To connect to a backend, TLS included. Without it `connect_timeout` of the upstream.
        pub connect: Option<Duration>, in "1ms" to "1h";
        /// From the request's end to the first byte of the response's head, 504 beyond. Without it `response_timeout` of the upstream.
        pub response: Option<Duration>, in "1ms" to "1d";
        /// Between two reads of a response body; it breaks off beyond. Without it `body_timeout` of the upstream.
        pub response_body: Option<Duration>, in "1ms" to "365d";
    }
}
