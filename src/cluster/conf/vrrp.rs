//! `[cluster.vrrp]`: RFC 9568, as configured.

use std::{net::IpAddr, time::Duration};

use super::values::InterfaceName;
use crate::schema::{Table, choice, section};

choice! {
    /// How the checksum of an IPv4 advertisement is made.
    pub enum Checksum {
        /// Without a pseudo-header, as in RFC 9568; keepalived 2.2 and FRR 8 reject it.
        Rfc9568 = "rfc9568",
        /// With a pseudo-header, as RFC 5798 was read and as keepalived and FRR send it.
        Rfc5798 = "rfc5798",
    }
}

section! {
    /// VRRP version 3 (RFC 9568); works together with keepalived and routers.
    pub struct VrrpConf {
        /// The network interface for advertisements; by default that of each virtual address.
        pub interface: Option<InterfaceName>;
        /// The virtual router ID (VRID): the same on all its nodes, and unique in the network.
        pub router_id: u8 = 51, in 1 to 255;
        /// Time between the primary's advertisements: a multiple of 10 ms, and the same on all nodes.
        pub interval: Duration = "100ms", in "10ms" to "40950ms";
        /// Checksum to send for IPv4; both are accepted.
        pub checksum: Checksum = "rfc5798";
        /// Addresses of the other nodes, for networks without multicast; advertisements from anyone else are then ignored. Empty = multicast.
        pub unicast_peers: Vec<IpAddr> = [];
    }
    check Self::check;
}

impl VrrpConf {
    /// The time between advertisements as it is sent: hundredths of a second.
    pub fn centiseconds(&self) -> u16 {
        u16::try_from(self.interval.as_millis() / 10).unwrap_or(u16::MAX)
    }

    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if !self.interval.subsec_micros().is_multiple_of(10_000) {
            let message = "`interval` must be a multiple of 10 ms";
            let hint = "advertisements carry it in hundredths of a second: use \"100ms\" or \"1s\"";
            table.reader.problem_with(table.place_of("interval"), message, hint);
        }
    }
}
