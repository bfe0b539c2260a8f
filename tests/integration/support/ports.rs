//! Ports for programs that are told theirs before they bind it.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddress, UnixDatagram},
    },
    sync::{Mutex, Once, PoisonError},
};

use socket2::{Domain, Socket, Type};

/// Beneath what Linux gives to connections and to port 0 (`net.ipv4.ip_local_port_range`, 32,768 to 60,999 unless it is
/// changed): a port that was free a moment ago cannot be any other test's in the next, as one of those could.
const RANGE: Range<u16> = 10_000..32_000;

/// So many of them are taken at once.
const BLOCK: u16 = 200;

/// An address of loopback whose port is free for TCP and UDP over both families, and that no other call gets, of this
/// program or of another test program that runs beside it. Where nobody listens until the caller has somebody listen.
pub fn free() -> SocketAddr {
    static CHECKED: Once = Once::new();
    static OWN: Mutex<Own> = Mutex::new(Own { blocks: Vec::new(), ports: 0..0 });
    CHECKED.call_once(check_range);
    for _ in RANGE {
        let port = OWN.lock().unwrap_or_else(PoisonError::into_inner).take();
        if is_free(port) {
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
    panic!("no port of {RANGE:?} is free");
}

/// The ports of this program.
struct Own {
    /// What keeps other test programs from its blocks, as long as it runs.
    blocks: Vec<UnixDatagram>,
    /// What is left of the last of them.
    ports: Range<u16>,
}

impl Own {
    fn take(&mut self) -> u16 {
        loop {
            if let Some(port) = self.ports.next() {
                return port;
            }
            self.take_block();
        }
    }

    /// Takes a block that no test program has, or lets go of all that this one has where there is none.
    fn take_block(&mut self) {
        let count = (RANGE.end - RANGE.start) / BLOCK;
        // Test programs that run side by side begin at different places.
        let first = (std::process::id() % u32::from(count)) as u16;
        let mut blocks = (0..count).map(|number| (first + number) % count);
        match blocks.find_map(|block| Some((block, lock(block)?))) {
            Some((block, lock)) => {
                self.blocks.push(lock);
                let begin = RANGE.start + block * BLOCK;
                self.ports = begin..begin + BLOCK;
            }
            None => {
                assert!(!self.blocks.is_empty(), "other test programs have every port of {RANGE:?}");
                self.blocks.clear();
            }
        }
    }
}

/// A name that only one program has, and that is free when it ends, however it does.
fn lock(block: u16) -> Option<UnixDatagram> {
    let name = UnixAddress::from_abstract_name(format!("pointsman-test-ports-{block}")).ok()?;
    UnixDatagram::bind_addr(&name).ok()
}

/// By nothing that is in the way of who binds it next: a child that another thread starts meanwhile has a copy of each
/// socket until it runs its program, and programs bind once.
fn is_free(port: u16) -> bool {
    // `[::]` takes the port of both families; a machine without IPv6 has one.
    let any = bind((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Err(error),
        _ => bind((Ipv4Addr::UNSPECIFIED, port).into()),
    });
    any.is_ok() && !has_udp(port)
}

/// Whether nobody listens there. A socket that does not listen either is in nobody's way who may reuse an address, as
/// every server does.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())
}

/// Whether a socket of UDP has the port: read, since one that tried it would be in the way of any other.
fn has_udp(port: u16) -> bool {
    let end = format!(":{port:04X}");
    ["udp", "udp6"].iter().any(|family| {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{family}")).unwrap_or_default();
        let own = |line: &str| line.split_whitespace().nth(1).is_some_and(|address| address.ends_with(&end));
        text.lines().skip(1).any(own)
    })
}

/// What Linux gives away must begin above [`RANGE`], or tests take each other's ports now and then.
fn check_range() {
    // Where it cannot be read, nothing is known to be wrong.
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = text.split_whitespace().next().and_then(|first| first.parse::<u16>().ok());
    assert!(
        first.is_none_or(|first| first >= RANGE.end),
        "net.ipv4.ip_local_port_range begins within {RANGE:?}, whose ports are the tests' own: set it higher"
    );
}
