//! Messages of rtnetlink: what is asked, and what comes. Numbers are in the machine's order; nothing here reads sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What is asked of the kernel.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// Adds an address to an interface.
    Add(IpNet, u32),
    /// Removes one.
    Remove(IpNet, u32),
    /// All addresses of all interfaces.
    Addresses,
    /// An interface.
    Link(u32),
}

/// What the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The answer to a request that asks for nothing: 0, or the number of an error.
    Answer {
        /// Number of the request.
        sequence: u32,
        /// As in errno(3), positive.
        errno: i32,
    },
    /// The end of many.
    Done,
    /// An interface has this address.
    Address(Address),
    /// It has it no more.
    Gone(Address),
    /// An interface.
    Link(Link),
    /// What is of no interest.
    Other,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub interface: u32,
    /// The address, with the length of its prefix.
    pub address: IpNet,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub interface: u32,
    /// Whether it is there, up, and has a carrier.
    pub is_running: bool,
    /// Its hardware address; empty where it has none.
    pub hardware: Vec<u8>,
}

const NEW_LINK: u16 = 16;
const REMOVE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const REMOVE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
/// Fails where it is there.
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// No duplicate address detection: for its time the address would not answer.
const NO_DETECTION: u8 = 0x02;
const IFLA_ADDRESS: u16 = 1;
const UP: u32 = 0x1;
const RUNNING: u32 = 0x40;

impl Request {
    /// Its bytes.
    pub fn bytes(self, sequence: u32) -> Vec<u8> {
        let (kind, flags, body) = match self {
            Self::Add(address, interface) => {
                (NEW_ADDRESS, ACKNOWLEDGE | CREATE | EXCLUSIVE, address_body(address, interface, true))
            }
            Self::Remove(address, interface) => {
                (REMOVE_ADDRESS, ACKNOWLEDGE, address_body(address, interface, false))
            }
            Self::Addresses => (GET_ADDRESS, DUMP, vec![0; 8]),
            Self::Link(interface) => {
                let mut body = vec![0; 4];
                body.extend(interface.to_ne_bytes());
                body.extend([0; 8]);
                (GET_LINK, 0, body)
            }
        };
        let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((REQUEST | flags).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(body);
        bytes
    }
}

fn address_body(address: IpNet, interface: u32, is_new: bool) -> Vec<u8> {
    let (family, octets) = match address.addr() {
        IpAddr::V4(it) => (AF_INET, it.octets().to_vec()),
        IpAddr::V6(it) => (AF_INET6, it.octets().to_vec()),
    };
    let flags = if is_new && family == AF_INET6 { NO_DETECTION } else { 0 };
    let mut body = vec![family, address.prefix_len(), flags, 0];
    body.extend(interface.to_ne_bytes());
    for kind in [IFA_LOCAL, IFA_ADDRESS] {
        let length = u16::try_from(4 + octets.len()).unwrap_or(u16::MAX);
        body.extend(length.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(&octets);
    }
    body
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;

/// The messages in what was read at once. What is cut off is left out.
pub fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind), Some(sequence)) =
        (u32_at(bytes, 0), u16_at(bytes, 4), u32_at(bytes, 8))
    {
        let length = length as usize;
        let Some(body) = bytes.get(HEADER..length) else { break };
        found.push(message(kind, sequence, body).unwrap_or(Message::Other));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    found
}

fn message(kind: u16, sequence: u32, body: &[u8]) -> Option<Message> {
    Some(match kind {
        ERROR => Message::Answer { sequence, errno: i32::from_ne_bytes(array(body, 0)?).wrapping_neg() },
        DONE => Message::Done,
        NEW_ADDRESS => Message::Address(address(body)?),
        REMOVE_ADDRESS => Message::Gone(address(body)?),
        NEW_LINK | REMOVE_LINK => {
            let flags = u32_at(body, 8)?;
            let hardware = attributes(body.get(16..)?).find(|(kind, _)| *kind == IFLA_ADDRESS);
            Message::Link(Link {
                interface: u32_at(body, 4)?,
                is_running: kind == NEW_LINK && flags & UP != 0 && flags & RUNNING != 0,
                hardware: hardware.map_or_else(Vec::new, |(_, bytes)| bytes.to_vec()),
            })
        }
        _ => Message::Other,
    })
}

fn address(body: &[u8]) -> Option<Address> {
    let (family, prefix) = (*body.first()?, *body.get(1)?);
    let (mut local, mut address) = (None, None);
    for (kind, bytes) in attributes(body.get(8..)?) {
        match kind {
            IFA_LOCAL => local = ip(family, bytes),
            IFA_ADDRESS => address = ip(family, bytes),
            _ => {}
        }
    }
    // Over a point-to-point interface the other is the peer's.
    let address = IpNet::new(local.or(address)?, prefix).ok()?;
    Some(Address { interface: u32_at(body, 4)?, address })
}

fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(Ipv4Addr::from(array::<4>(bytes, 0)?).into()),
        AF_INET6 => Some(Ipv6Addr::from(array::<16>(bytes, 0)?).into()),
        _ => None,
    }
}

/// Kind and value of each attribute.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(u16_at(bytes, 0)?), u16_at(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn request_to_add_reads_as_the_address_it_adds() {
        for text in ["10.0.0.100/24", "2001:db8::100/64"] {
            let address: IpNet = text.parse().unwrap();
            let bytes = Request::Add(address, 7).bytes(3);
            assert_eq!(messages(&bytes), [Message::Address(Address { interface: 7, address })]);
            let two = [bytes, Request::Remove(address, 7).bytes(4)].concat();
            assert_eq!(messages(&two)[1], Message::Gone(Address { interface: 7, address }));
        }
        let no_detection = Request::Add("2001:db8::1/64".parse().unwrap(), 1).bytes(0);
        assert_eq!(no_detection[18], NO_DETECTION);
    }

    proptest! {
        #[test]
        fn messages_end_whatever_the_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).len() <= bytes.len());
        }
    }
}
