//! IP headers (RFC 791, RFC 8200), the Internet checksum (RFC 1071), and neighbour advertisements (RFC 4861 §4.4). Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TTL or hop limit of what no router has passed on.
pub const FROM_HERE: u8 = 255;

/// The class of what keeps a network running (RFC 4594): before all else.
const NETWORK_CONTROL: u8 = 0xc0;

const ICMPV6: u8 = 58;

/// The checksum of these parts, one behind the other; each but the last has an even length.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let word = match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                [high] => u16::from_be_bytes([*high, 0]),
                _ => 0,
            };
            sum += u32::from(word);
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// What stands for the addresses in a checksum (RFC 793, RFC 8200 §8.1).
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            [&source.octets()[..], &destination.octets(), &[0, protocol, high, low]].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            [&source.octets()[..], &destination.octets(), &[0, 0, high, low, 0, 0, 0, protocol]].concat()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
    }
}

/// An IP packet. The kernel fills in the length, the number and the checksum of an IPv4 header.
pub fn packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut bytes = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => v4_header(source, destination, protocol, length),
        (IpAddr::V6(source), IpAddr::V6(destination)) => v6_header(source, destination, protocol, length),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
    };
    bytes.extend(payload);
    bytes
}

fn v4_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.saturating_add(20).to_be_bytes();
    let fixed = [0x45, NETWORK_CONTROL, high, low, 0, 0, 0, 0, FROM_HERE, protocol, 0, 0];
    [&fixed[..], &source.octets(), &destination.octets()].concat()
}

fn v6_header(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let fixed = [0x60 | NETWORK_CONTROL >> 4, 0, 0, 0, high, low, protocol, FROM_HERE];
    [&fixed[..], &source.octets(), &destination.octets()].concat()
}

/// All nodes of a link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A packet by which every node of the link learns that `address` is at `hardware` (RFC 4861 §4.4, §7.2.6).
pub fn neighbour_advertisement(address: Ipv6Addr, hardware: [u8; 6]) -> Vec<u8> {
    // Type 136; the flag "override", since another node had the address.
    let mut payload = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    payload.extend(address.octets());
    // The option "target link-layer address", eight bytes long.
    payload.extend([2, 1]);
    payload.extend(hardware);
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let pseudo = pseudo_header(address.into(), ALL_NODES.into(), ICMPV6, length);
    let sum = checksum(&[&pseudo, &payload]).to_be_bytes();
    payload.iter_mut().skip(2).zip(sum).for_each(|(byte, of_sum)| *byte = of_sum);
    packet(address.into(), ALL_NODES.into(), ICMPV6, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_example_in_rfc_1071() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(checksum(&[&[0x00, 0x01], &[0xf2]]), !0xf201);
    }

    #[test]
    fn neighbour_advertisement_has_a_checksum_that_adds_up() {
        let address: Ipv6Addr = "2001:db8::100".parse().unwrap();
        let bytes = neighbour_advertisement(address, [2, 0, 0, 0, 0, 9]);
        assert_eq!((bytes[7], bytes[40], bytes.len()), (255, 136, 72));
        let pseudo = pseudo_header(address.into(), ALL_NODES.into(), ICMPV6, 32);
        assert_eq!(checksum(&[&pseudo, &bytes[40..]]), 0);
    }
}
