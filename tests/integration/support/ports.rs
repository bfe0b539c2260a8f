//! Ports for programs that are told theirs before they bind it.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
    sync::{
        Once,
        atomic::{AtomicU16, Ordering},
    },
};

/// Beneath what Linux gives to connections and to port 0 (`net.ipv4.ip_local_port_range`, 32,768 to 60,999 unless it is
/// changed): a port that was free a moment ago cannot be any other test's in the next, as one of those could.
const RANGE: Range<u16> = 10_000..32_000;

/// An address of loopback whose port is free for TCP and UDP over both families, and that no other call of this
/// program gets. Where nobody listens until the caller has somebody listen.
pub fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static CHECKED: Once = Once::new();
    CHECKED.call_once(check_range);
    let ports = RANGE.end - RANGE.start;
    // Test programs that run side by side begin at different places.
    let first = (std::process::id() % 110 * 200) as u16;
    for _ in 0..ports {
        let port = RANGE.start + (first + NEXT.fetch_add(1, Ordering::Relaxed) % ports) % ports;
        // `[::]` takes the port of both families; a machine without IPv6 has one.
        let any = |is_free: fn(SocketAddr) -> std::io::Result<()>| {
            is_free((std::net::Ipv6Addr::UNSPECIFIED, port).into())
                .or_else(|error| match error.kind() {
                    std::io::ErrorKind::AddrInUse => Err(error),
                    _ => is_free((Ipv4Addr::UNSPECIFIED, port).into()),
                })
                .is_ok()
        };
        if any(|address| TcpListener::bind(address).map(drop))
            && any(|address| UdpSocket::bind(address).map(drop))
        {
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
    panic!("no port of {RANGE:?} is free");
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
