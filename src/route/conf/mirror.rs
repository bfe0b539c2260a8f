//! `mirror` of a route, as configured.

use crate::schema::{Size, section};

section! {
    /// Copies of some requests to another upstream, whose answers nobody gets.
    pub struct MirrorConf {
        /// The upstream that gets them.
        pub upstream: String;
        /// How many of the requests, in percent.
        pub percent: f64 = 100.0, in 0 to 100;
        /// Requests with a longer body are not copied.
        pub max_body: Size = "64KiB", in "0" to "1GiB";
        /// Copies under way at most; beyond, requests are not copied.
        pub max_in_flight: u32 = 128, in 1 to 1000000;
    }
}
