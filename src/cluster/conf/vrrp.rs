//! `[cluster.vrrp]`: RFC 9568, as configured.

use std::{net::IpAddr, time::Duration};

use super::values::InterfaceName;
use crate::schema::{Table, choice, section};

choice! {
    /// How the checksum of an IPv4 advertisement is made.
    pub enum Checksum {
        /// Without the addresses of its packet, as RFC 9568 has it; keepalived 2.2 and FRR 8 refuse it.
        Rfc9568 = "rfc9568",
        /// With them, as RFC 5798 was read, and as keepalived and FRR send it.
        Rfc5798 = "rfc5798",
    }
}

section! {
    /// VRRP version 3 (RFC 9568); a keepalived or a router can be the other side.
    pub struct VrrpConf {
        /// The network interface that advertisements go over; without it, each virtual address has its own.
        pub interface: Option<InterfaceName>;
        /// The number of the virtual router: the same on all its nodes, and on no other's in the network.
        pub router_id: u8 = 51, in 1 to 255;
        /// Time from one advertisement of the primary to the next: a multiple of 10 ms. The same on all nodes.
        pub interval: Duration = "100ms", in "10ms" to "40950ms";
        /// What is sent for IPv4; either is accepted.
        pub checksum: Checksum = "rfc5798";
        /// Addresses of the other nodes, where the network has no multicast; empty = multicast. Then nobody else is believed.
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
