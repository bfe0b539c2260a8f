//! What a virtual router is made of.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use crate::cluster::conf::Checksum;

/// The group of all VRRP routers (RFC 9568 §5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The same for IPv6 (RFC 9568 §5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// The protocol's number (RFC 9568 §5.1.1.4).
pub const PROTOCOL: u8 = 112;

/// A virtual router, as this node is to be it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf {
    /// The interface that advertisements go over.
    pub interface: String,
    /// Its number.
    pub router_id: u8,
    /// Whether its addresses are of IPv6.
    pub is_v6: bool,
    /// How it behaves.
    pub settings: Settings,
    /// How the checksum of an IPv4 advertisement is made.
    pub checksum: Checksum,
    /// The other nodes; empty = multicast.
    pub peers: Vec<IpAddr>,
    /// Its addresses, in order.
    pub addresses: Vec<IpAddr>,
    /// Those of other virtual routers, which may be on the same interface: nothing is sent from them.
    pub others: Vec<IpAddr>,
}

/// How a virtual router behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From 1 to 254; the greatest becomes primary.
    pub priority: u8,
    /// Time from one advertisement to the next.
    pub interval: Duration,
    /// Whether the role is taken from a node of a lower priority.
    pub preempt: bool,
    /// How long that waits.
    pub preempt_delay: Duration,
    /// Whether the configuration knows of no more than one other node; there may be more for all that.
    pub is_pair: bool,
}

impl Conf {
    /// The group that advertisements go to, where they do.
    pub fn group(&self) -> IpAddr {
        if self.is_v6 { GROUP_V6.into() } else { GROUP_V4.into() }
    }

    /// Where advertisements go.
    pub fn destinations(&self) -> Vec<IpAddr> {
        if self.peers.is_empty() { vec![self.group()] } else { self.peers.clone() }
    }
}
