//! Sessions of datagrams as configured.

use std::time::Duration;

use crate::schema::section;

section! {
    /// UDP sessions: each ties one client address and port to the backend picked for it.
    pub struct UdpConf {
        /// End a session after this long without a datagram in either direction.
        pub idle: Duration = "30s", in "10ms" to "1d";
        /// End a session once the backend has sent this many answers per client datagram, such as 1 for DNS; 0 = only `idle` ends it.
        pub responses: u32 = 0, in 0 to 1000000;
        /// Most sessions over all workers. At the limit, a new session replaces the one that has been silent longest, if for at least a second; otherwise its datagram is dropped.
        pub max_sessions: u32 = 65536, in 1 to 10000000;
    }
}
