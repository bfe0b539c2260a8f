//! Advertisements as they are on the wire (RFC 9568 §5.2). Pure.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use super::conf::PROTOCOL;
use crate::cluster::{
    conf::Checksum,
    wire::ip::{checksum, pseudo_header},
};

/// An advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The virtual router.
    pub router_id: u8,
    /// The sender's priority; 0 says that it gives up.
    pub priority: u8,
    /// The sender's interval in hundredths of a second, at most 4095.
    pub centiseconds: u16,
    /// The addresses of the virtual router, at most 255.
    pub addresses: Vec<IpAddr>,
}

/// Why an advertisement is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its TTL or hop limit is not 255: it may come from anywhere.
    Ttl,
    /// It is cut off.
    Length,
    /// It is not of version 3.
    Version,
    /// It is no advertisement.
    Type,
    /// Its checksum is wrong in either way of making one.
    Checksum,
    /// It is of another virtual router.
    RouterId,
    /// Its interval is zero.
    Interval,
    /// It went to another address than it must.
    Destination,
    /// Its sender is none of `unicast_peers`.
    Source,
    /// Its sender has this node's address.
    OwnAddress,
}

impl Refused {
    /// Its name in counts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::Length => "length",
            Self::Version => "version",
            Self::Type => "type",
            Self::Checksum => "checksum",
            Self::RouterId => "router_id",
            Self::Interval => "interval",
            Self::Destination => "destination",
            Self::Source => "source",
            Self::OwnAddress => "own_address",
        }
    }
}

/// Bytes before the addresses.
const FIXED: usize = 8;
/// The greatest interval that fits, in hundredths of a second.
const LONGEST: u16 = 0x0fff;

impl Advertisement {
    /// The sender's interval.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(u64::from(self.centiseconds) * 10)
    }

    /// Its bytes, without an IP header.
    pub fn bytes(&self, source: IpAddr, destination: IpAddr, way: Checksum) -> Vec<u8> {
        let addresses = self.addresses.iter().take(usize::from(u8::MAX));
        let count = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
        let [high, low] = self.centiseconds.min(LONGEST).to_be_bytes();
        let mut bytes = vec![0x31, self.router_id, self.priority, count, high, low, 0, 0];
        for address in addresses {
            match address {
                IpAddr::V4(address) => bytes.extend(address.octets()),
                IpAddr::V6(address) => bytes.extend(address.octets()),
            }
        }
        let is_with_addresses = source.is_ipv6() || way == Checksum::Rfc5798;
        let sum = sum(&bytes, is_with_addresses.then_some((source, destination))).to_be_bytes();
        bytes.iter_mut().skip(6).zip(sum).for_each(|(byte, of_sum)| *byte = of_sum);
        bytes
    }

    /// How the checksum of an IPv4 advertisement was made that [`Advertisement::read`] believed.
    pub fn way_of(bytes: &[u8]) -> Checksum {
        if sum(bytes, None) == 0 { Checksum::Rfc9568 } else { Checksum::Rfc5798 }
    }

    /// Reads an advertisement of this virtual router without its IP header. It went to one of `destinations`.
    pub fn read(
        bytes: &[u8],
        router_id: u8,
        source: IpAddr,
        destinations: &[IpAddr],
    ) -> Result<Self, Refused> {
        let Some((&[first, id, priority, count, high, low, _, _], rest)) = bytes.split_first_chunk::<FIXED>()
        else {
            return Err(Refused::Length);
        };
        let size = if source.is_ipv6() { 16 } else { 4 };
        let addresses = rest.get(..usize::from(count) * size);
        let centiseconds = u16::from_be_bytes([high, low]) & LONGEST;
        let refused = match first {
            _ if first >> 4 != 3 => Some(Refused::Version),
            _ if first & 0xf != 1 => Some(Refused::Type),
            _ if id != router_id => Some(Refused::RouterId),
            _ if centiseconds == 0 => Some(Refused::Interval),
            _ => None,
        };
        if let Some(refused) = refused {
            return Err(refused);
        }
        let addresses = addresses.ok_or(Refused::Length)?.chunks(size).filter_map(|address| {
            let v4 = || <[u8; 4]>::try_from(address).ok().map(|it| IpAddr::from(Ipv4Addr::from(it)));
            <[u8; 16]>::try_from(address).ok().map(|it| Ipv6Addr::from(it).into()).or_else(v4)
        });
        let is_whole = |destination: &IpAddr| sum(bytes, Some((source, *destination))) == 0;
        // RFC 9568 §5.2.8 has no addresses in an IPv4 checksum, RFC 5798 had them.
        let is_right = source.is_ipv4() && sum(bytes, None) == 0 || destinations.iter().any(is_whole);
        if !is_right {
            return Err(Refused::Checksum);
        }
        Ok(Self { router_id, priority, centiseconds, addresses: addresses.collect() })
    }
}

/// The checksum of a message whose own checksum is zero; zero for one whose checksum is right.
fn sum(bytes: &[u8], addresses: Option<(IpAddr, IpAddr)>) -> u16 {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let pseudo = addresses.map(|(source, destination)| pseudo_header(source, destination, PROTOCOL, length));
    checksum(&[pseudo.as_deref().unwrap_or(&[]), bytes])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::vrrp::conf::{GROUP_V4, GROUP_V6};

    fn advertisement(address: &str) -> Advertisement {
        let addresses = vec![address.parse().unwrap()];
        Advertisement { router_id: 51, priority: 100, centiseconds: 10, addresses }
    }

    const SOURCE: [u8; 4] = [10, 0, 0, 1];

    #[test]
    fn either_checksum_is_accepted_for_ipv4() {
        let ours = advertisement("10.0.0.100");
        for way in [Checksum::Rfc9568, Checksum::Rfc5798] {
            let mut bytes = ours.bytes(SOURCE.into(), GROUP_V4.into(), way);
            assert_eq!(Advertisement::way_of(&bytes), way);
            let read = |bytes: &[u8]| Advertisement::read(bytes, 51, SOURCE.into(), &[GROUP_V4.into()]);
            assert_eq!(read(&bytes).unwrap(), ours);
            bytes[11] ^= 1;
            assert_eq!(read(&bytes), Err(Refused::Checksum));
        }
        // As keepalived 2.2.7 sends it by default: with the addresses.
        let bytes = ours.bytes(SOURCE.into(), GROUP_V4.into(), Checksum::Rfc5798);
        assert_eq!(bytes, [0x31, 51, 100, 1, 0, 10, bytes[6], bytes[7], 10, 0, 0, 100]);
    }

    #[test]
    fn checksum_of_ipv6_is_of_the_destination_too() {
        let (ours, source) = (advertisement("2001:db8::100"), "fe80::1".parse().unwrap());
        let bytes = ours.bytes(source, GROUP_V6.into(), Checksum::Rfc9568);
        assert_eq!(Advertisement::read(&bytes, 51, source, &[GROUP_V6.into()]).unwrap(), ours);
        let other = ["fe80::2".parse().unwrap()];
        assert_eq!(Advertisement::read(&bytes, 51, source, &other), Err(Refused::Checksum));
    }

    #[test]
    fn what_is_refused_is_refused_by_its_reason() {
        let good = advertisement("10.0.0.100").bytes(SOURCE.into(), GROUP_V4.into(), Checksum::Rfc9568);
        let changed = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            Advertisement::read(&bytes, 51, SOURCE.into(), &[GROUP_V4.into()]).unwrap_err()
        };
        assert_eq!(changed(0, 0x21), Refused::Version);
        assert_eq!(changed(0, 0x32), Refused::Type);
        assert_eq!(changed(1, 52), Refused::RouterId);
        assert_eq!(changed(2, 101), Refused::Checksum);
        assert_eq!(changed(3, 2), Refused::Length);
        assert_eq!(changed(5, 0), Refused::Interval);
        let cut = Advertisement::read(&good[..7], 51, SOURCE.into(), &[]);
        assert_eq!(cut, Err(Refused::Length));
    }

    proptest! {
        #[test]
        fn what_is_sent_is_read(
            priority in any::<u8>(), centiseconds in 1_u16..4096, v6 in any::<bool>(), old in any::<bool>(),
            hosts in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let address = |host: u8| match v6 {
                true => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)]),
                false => IpAddr::from([10, 0, 0, host]),
            };
            let addresses = hosts.into_iter().map(address).collect();
            let ours = Advertisement { router_id: 7, priority, centiseconds, addresses };
            let (source, group) = match v6 {
                true => ("fe80::1".parse().unwrap(), IpAddr::from(GROUP_V6)),
                false => (SOURCE.into(), IpAddr::from(GROUP_V4)),
            };
            let way = if old { Checksum::Rfc5798 } else { Checksum::Rfc9568 };
            let bytes = ours.bytes(source, group, way);
            prop_assert_eq!(Advertisement::read(&bytes, 7, source, &[group]).unwrap(), ours);
        }

        #[test]
        fn reading_ends_whatever_the_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let _ = Advertisement::read(&bytes, 51, SOURCE.into(), &[GROUP_V4.into()]);
        }
    }
}
