//! Sessions of datagrams as configured.

use std::time::Duration;

use crate::schema::section;

section! {
    /// Sessions of datagrams: one client address and port, and the backend that was picked for it.
    pub struct UdpConf {
        /// Silence in both directions that ends a session.
        pub idle: Duration = "30s", in "10ms" to "1d";
        /// Answers to each datagram of the client, after which a session ends; 0 = it ends by `idle` alone. 1 is for DNS and the like.
        pub responses: u32 = 0, in 0 to 1000000;
        /// Sessions of this upstream over all workers; beyond, the one that is silent for longest ends for a new one, if that is a second or more, else the new one's datagram is dropped.
        pub max_sessions: u32 = 65536, in 1 to 10000000;
    }
}
