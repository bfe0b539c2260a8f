//! The sockets of a virtual router: raw ones of protocol 112, bound to its interface.

use std::{
    cell::Cell,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddrV6},
    os::fd::OwnedFd,
};

use rustix::net::{RecvFlags, recvfrom};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockFilter, Socket, Type};
use tokio::{io::unix::AsyncFd, runtime::Handle};

use super::{
    conf::{Conf, GROUP_V4, GROUP_V6, PROTOCOL},
    packet::{Advertisement, Refused},
};
use crate::{
    cluster::{
        netlink::socket::{Netlink, index_of},
        wire::{
            ip::{FROM_HERE, packet},
            raw::RawSender,
        },
    },
    net::descriptors::register,
};

/// The sockets, opened, and the interface looked at; without an event loop so far.
#[derive(Debug)]
pub struct Opened {
    receiver: OwnedFd,
    sender: RawSender,
    interface: u32,
    source: IpAddr,
    destinations: Vec<IpAddr>,
}

/// The sockets.
#[derive(Debug)]
pub struct VrrpSocket {
    receiver: Receiver,
    sender: RawSender,
    /// The number of the interface.
    pub interface: u32,
    /// The address that this node sends from.
    pub source: IpAddr,
    /// Where what it receives may have gone to.
    destinations: Vec<IpAddr>,
    /// The last advertisement that was believed had another checksum than this node sends.
    pub differs: Cell<bool>,
}

/// What came.
#[derive(Debug)]
pub struct Received {
    /// Who sent it.
    pub source: IpAddr,
    /// What it says, or why it is not believed.
    pub result: Result<Advertisement, Refused>,
}

/// Bytes of an advertisement of 255 addresses of IPv6 with an IPv4 header's options, and more.
const LARGEST: usize = 4608;

/// Where advertisements are received.
#[derive(Debug)]
struct Receiver(Option<AsyncFd<OwnedFd>>);

impl Drop for Receiver {
    /// Leaving the group waits for the kernel's lock, so somebody else does.
    fn drop(&mut self) {
        let Some(socket) = self.0.take().map(AsyncFd::into_inner) else { return };
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(socket)));
        }
    }
}

impl Opened {
    /// Opens them. Fails where the interface is gone, has no carrier, or no address to send from. It waits for the
    /// kernel's lock, which another program may hold for long.
    pub fn open(conf: &Conf) -> io::Result<Self> {
        let interface = index_of(&conf.interface)?;
        let mut netlink = Netlink::open()?;
        let own = own(conf, netlink.addresses_of(interface)?);
        let source = source(conf, &own).ok_or_else(|| {
            let kind = if conf.is_v6 { "link-local IPv6 address" } else { "IPv4 address of its own" };
            io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{} has no {kind}", conf.interface))
        })?;
        let sender = RawSender::open(&conf.interface, interface, conf.is_v6)?;
        if let IpAddr::V4(source) = source {
            sender.set_source(source)?;
        }
        let destinations = if conf.peers.is_empty() { vec![conf.group()] } else { own };
        let receiver = receiver(conf, interface)?.into();
        if netlink.link(interface)?.is_running {
            return Ok(Self { receiver, sender, interface, source, destinations });
        }
        Err(io::Error::other(format!("{} has no carrier", conf.interface)))
    }

    /// On this thread's event loop.
    pub fn register(self) -> io::Result<VrrpSocket> {
        let Self { receiver, sender, interface, source, destinations } = self;
        let receiver = Receiver(Some(register(receiver)?));
        Ok(VrrpSocket { receiver, sender, interface, source, destinations, differs: Cell::new(false) })
    }
}

impl VrrpSocket {
    /// Waits until something came.
    pub async fn readable(&self) {
        // An error is that of the next reading.
        let Some(receiver) = &self.receiver.0 else { return std::future::pending().await };
        let _ = receiver.readable().await.map(|mut ready| ready.clear_ready());
    }

    /// What came next; `None` when there is nothing more.
    pub fn receive(&self, conf: &Conf) -> Option<Received> {
        let mut buffer = [0; LARGEST];
        let (read, _, from) =
            recvfrom(self.receiver.0.as_ref()?.get_ref(), &mut buffer, RecvFlags::DONTWAIT).ok()?;
        let bytes = buffer.get(..read)?;
        if conf.is_v6 {
            let source = IpAddr::from(*SocketAddrV6::try_from(from?).ok()?.ip());
            // The filter leaves a byte of what came from afar.
            let result = if read <= 1 { Err(Refused::Ttl) } else { self.judge(conf, source, bytes) };
            return Some(Received { source, result });
        }
        let (source, destination) = (address(bytes, 12)?, address(bytes, 16)?);
        let payload = usize::from(bytes.first()? & 0xf) * 4;
        let result = match bytes.get(payload..) {
            _ if *bytes.get(8)? != FROM_HERE => Err(Refused::Ttl),
            _ if !self.destinations.contains(&destination) => Err(Refused::Destination),
            Some(payload) => self.judge(conf, source, payload),
            None => Err(Refused::Length),
        };
        Some(Received { source, result })
    }

    fn judge(&self, conf: &Conf, source: IpAddr, payload: &[u8]) -> Result<Advertisement, Refused> {
        let advertisement = Advertisement::read(payload, conf.router_id, source, &self.destinations)?;
        match source {
            _ if source == self.source => Err(Refused::OwnAddress),
            _ if !conf.peers.is_empty() && !conf.peers.contains(&source) => Err(Refused::Source),
            _ => {
                let way = if source.is_ipv4() { Advertisement::way_of(payload) } else { conf.checksum };
                self.differs.set(way != conf.checksum);
                Ok(advertisement)
            }
        }
    }

    /// Advertises with this priority. The error is of the last destination that failed.
    pub fn advertise(&self, conf: &Conf, priority: u8) -> io::Result<()> {
        let mut failed = Ok(());
        for (packet, to) in self.packets(conf, priority) {
            // Where one peer cannot be reached the others can.
            failed = self.sender.send(&packet, to).and(failed);
        }
        failed
    }

    /// An advertisement of this priority for each destination, IP header included.
    pub fn packets(&self, conf: &Conf, priority: u8) -> Vec<(Vec<u8>, IpAddr)> {
        // RFC 9568 §5.2.5: there is at least one address.
        let addresses = match conf.addresses.as_slice() {
            [] => vec![self.source],
            addresses => addresses.to_vec(),
        };
        let centiseconds = u16::try_from(conf.settings.interval.as_millis() / 10).unwrap_or(u16::MAX);
        let advertisement = Advertisement { router_id: conf.router_id, priority, centiseconds, addresses };
        let to = |destination: IpAddr| {
            let payload = advertisement.bytes(self.source, destination, conf.checksum);
            (packet(self.source, destination, PROTOCOL, &payload), destination)
        };
        conf.destinations().into_iter().map(to).collect()
    }
}

/// The addresses of an interface that stay where they are, of the router's family.
fn own(conf: &Conf, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let is_virtual = |address: &IpAddr| conf.addresses.contains(address) || conf.others.contains(address);
    addresses.retain(|address| address.is_ipv6() == conf.is_v6 && !is_virtual(address));
    addresses
}

/// The address to send from: of IPv6 a link-local one (RFC 9568 §5.1.2.1), unless peers are elsewhere.
fn source(conf: &Conf, own: &[IpAddr]) -> Option<IpAddr> {
    let is_local = |address: &IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let wants_local = conf.peers.iter().all(is_local);
    own.iter().find(|address| is_local(address) == wants_local).copied()
}

fn receiver(conf: &Conf, interface: u32) -> io::Result<Socket> {
    let domain = if conf.is_v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(conf.interface.as_bytes()))?;
    if conf.is_v6 {
        socket.attach_filter(&ONLY_FROM_HERE)?;
        if conf.peers.is_empty() {
            socket.join_multicast_v6(&GROUP_V6, interface)?;
        }
    } else {
        socket.set_multicast_all_v4(false)?;
        if conf.peers.is_empty() {
            socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(interface))?;
        }
    }
    Ok(socket)
}

/// A program of the kernel's packet filter: what has the hop limit 255 comes whole, of all else a byte. The hop limit is
/// not in what a raw socket of IPv6 reads.
const ONLY_FROM_HERE: [SockFilter; 4] = [
    // Load the byte at 7 of the network header (`SKF_NET_OFF`).
    SockFilter::new(0x30, 0, 0, 0xfff0_0007),
    SockFilter::new(0x15, 0, 1, FROM_HERE as u32),
    SockFilter::new(0x06, 0, 0, 0xffff),
    SockFilter::new(0x06, 0, 0, 1),
];

fn address(header: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = *header.get(at..)?.first_chunk()?;
    Some(Ipv4Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{engine, plan};

    /// The kernel lists the newest address of IPv6 first: that of another router, which this node has too. Else the other
    /// nodes refuse what is sent from there, and the address moves with its router.
    #[test]
    fn nothing_is_sent_from_the_address_of_another_router() {
        let conf = plan::tests::conf(
            "[[virtual_ip]]\naddress = \"fd00::100/64\"\ninterface = \"eth0\"\nrouter_id = 51\n\
             [[virtual_ip]]\naddress = \"fd00::101/64\"\ninterface = \"eth0\"\nrouter_id = 52\n\
             [vrrp]\nunicast_peers = [\"fd00::2\"]\n",
        );
        let there: Vec<IpAddr> =
            ["fd00::101", "fd00::100", "fe80::1", "fd00::1", "10.0.0.1"].map(|it| it.parse().unwrap()).into();
        for plan in plan::groups(&conf) {
            let engine::Conf::Vrrp(router) = plan.engine else { panic!("it is no virtual router") };
            let own = own(&router, there.clone());
            assert_eq!(source(&router, &own), Some("fd00::1".parse().unwrap()), "{}", plan.name);
            assert!(!own.iter().any(|it| conf.virtual_ip.iter().any(|ip| ip.address.0.addr() == *it)));
        }
    }
}
