//! Gratuitous ARP (RFC 5227 §3): every node of the link learns at which hardware address an IPv4 address is now.

use std::{io, net::Ipv4Addr};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// `ETH_P_ARP`.
const ARP: u16 = 0x0806;
const BROADCAST: [u8; 6] = [0xff; 6];

/// A socket that sends ARP out of one interface, and receives nothing.
#[derive(Debug)]
pub struct ArpSender {
    socket: Socket,
    destination: SockAddr,
}

impl ArpSender {
    /// For announcements out of this interface.
    pub fn open(interface: u32) -> io::Result<Self> {
        // Protocol 0 receives nothing (packet(7)).
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, destination: everybody(interface)? })
    }

    /// Says that `address` is at `hardware`.
    pub fn announce(&self, address: Ipv4Addr, hardware: [u8; 6]) -> io::Result<()> {
        self.socket.send_to(&gratuitous(address, hardware), &self.destination).map(drop)
    }
}

/// An ARP request of an address for itself.
fn gratuitous(address: Ipv4Addr, hardware: [u8; 6]) -> Vec<u8> {
    let address = address.octets();
    // Ethernet, IPv4, lengths of both addresses, request.
    let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
    [&fixed[..], &hardware, &address, &BROADCAST, &address].concat()
}

/// Everybody at the link of an interface.
#[expect(
    unsafe_code,
    reason = "socket2 has no way to make an address of a link but to write it into its storage"
)]
fn everybody(interface: u32) -> io::Result<SockAddr> {
    let mut address = [0_u8; 8];
    address.iter_mut().zip(BROADCAST).for_each(|(byte, of_broadcast)| *byte = of_broadcast);
    let link = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: ARP.to_be(),
        sll_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: address,
    };
    // SAFETY: the storage is zeroed, larger than a `sockaddr_ll` and aligned for every address (socket(7)); the family and
    // length that are written are those of what is written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(link);
            length.write(u32::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?);
            Ok(())
        })
    }?;
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gratuitous_arp_asks_for_its_own_address() {
        let bytes = gratuitous([10, 0, 0, 100].into(), [2, 0, 0, 0, 0, 9]);
        assert_eq!(bytes.len(), 28);
        assert_eq!((&bytes[14..18], &bytes[24..28]), (&[10, 0, 0, 100][..], &[10, 0, 0, 100][..]));
        assert_eq!(everybody(3).unwrap().family(), 17);
    }
}
