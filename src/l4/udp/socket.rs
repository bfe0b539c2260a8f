//! Sockets as this room needs them.

use std::{
    cell::Cell,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use quinn_udp::{UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;

use crate::{net::descriptors, runtime::ListenerId};

/// A listener's socket of one worker.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) socket: AsyncFd<OwnedFd>,
    pub(super) state: UdpSocketState,
    /// Its number on this worker.
    pub(super) number: u32,
    /// The listener that it belongs to; a reload may make that another.
    pub(super) slot: Cell<ListenerId>,
    /// Where it listens.
    pub(super) local: Option<SocketAddr>,
    /// Whether clients reach it at several addresses, and are to be answered from the one that they asked.
    has_several: bool,
}

impl Socket {
    /// Registers a socket with this thread's event loop.
    pub(super) fn new(socket: OwnedFd, number: u32, slot: ListenerId) -> io::Result<Self> {
        let state = accelerate(&socket)?;
        let local = SockRef::from(&socket).local_addr()?.as_socket();
        let has_several = local.is_none_or(|address: SocketAddr| address.ip().is_unspecified());
        let socket = descriptors::register(socket)?;
        Ok(Self { socket, state, number, slot: Cell::new(slot), local, has_several })
    }

    /// The address that a client asked, where there are several.
    pub(super) fn asked(&self, to: Option<IpAddr>) -> Option<IpAddr> {
        to.filter(|_| self.has_several)
    }
}

/// Has the kernel join equal datagrams, say where they were sent to and what it knows of congestion; and still cut into
/// fragments what is larger than the way, as it does for every other socket.
pub(super) fn accelerate(socket: &OwnedFd) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(UdpSockRef::from(socket))?;
    let local = SockRef::from(socket).local_addr()?.as_socket();
    set_ip_mtu_discover(socket.as_fd(), Ipv4PathMtuDiscovery::WANT)?;
    if local.is_some_and(|address| address.is_ipv6()) {
        set_ipv6_mtu_discover(socket.as_fd(), Ipv6PathMtuDiscovery::WANT)?;
        allow_fragments(socket)?;
    }
    Ok(state)
}

/// Undoes IPV6_DONTFRAG.
#[expect(unsafe_code, reason = "none of the crates that wrap setsockopt(2) has this option")]
fn allow_fragments(socket: &OwnedFd) -> io::Result<()> {
    const LENGTH: libc::socklen_t = 4;
    let off: i32 = 0;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel reads the four bytes of `off`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_DONTFRAG,
            (&raw const off).cast(),
            LENGTH,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
