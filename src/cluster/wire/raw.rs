//! A socket that sends whole IP packets out of one interface, and receives none.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6},
};

use socket2::{Domain, Protocol, Socket, Type};

/// `IPPROTO_RAW`: what is sent has its own header, and nothing is received (raw(7)).
const RAW: i32 = 255;

/// The priority of `TC_PRIO_CONTROL`, before what clients send.
const CONTROL: u32 = 7;

/// The socket.
#[derive(Debug)]
pub struct RawSender {
    socket: Socket,
    interface: u32,
}

impl RawSender {
    /// For packets of IPv6 or IPv4 out of this interface.
    pub fn open(name: &str, interface: u32, is_v6: bool) -> io::Result<Self> {
        let domain = if is_v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(RAW)))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(name.as_bytes()))?;
        // What is sent is for others: a second program on this machine shall not hear it.
        if is_v6 {
            socket.set_multicast_if_v6(interface)?;
            socket.set_multicast_loop_v6(false)?;
        } else {
            socket.set_multicast_loop_v4(false)?;
        }
        // It may not be allowed, and then the packets wait in turn.
        let _ = socket.set_priority(CONTROL);
        Ok(Self { socket, interface })
    }

    /// Multicast goes out with this address's interface.
    pub fn set_source(&self, source: Ipv4Addr) -> io::Result<()> {
        self.socket.set_multicast_if_v4(&source)
    }

    /// Sends a packet that begins with its IP header.
    pub fn send(&self, packet: &[u8], destination: IpAddr) -> io::Result<()> {
        let destination = match destination {
            IpAddr::V4(address) => SocketAddr::from((address, 0)),
            IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, self.interface).into(),
        };
        self.socket.send_to(packet, &destination.into()).map(drop)
    }
}
