//! `mirror` of a route, as configured.

use crate::schema::{Size, section};

section! {
    /// Sends copies of some requests to another upstream and discards its responses.
    pub struct MirrorConf {
        /// The upstream to send copies to.
        pub upstream: String;
        /// Percentage of requests to copy.
        pub percent: f64 = 100.0, in 0 to 100;
        /// Largest request body to copy; requests with a larger one are not copied.
        pub max_body: Size = "64KiB", in "0" to "1GiB";
        /// Most copies in progress; further requests are not copied.
        pub max_in_flight: u32 = 128, in 1 to 1000000;
    }
}
