//! What comes back by ICMP for one datagram, and costs no other. It is told to whoever uses the session's socket next.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::support::{PATIENCE, Proxy, skipped};

/// Has the sender of a datagram told that it could not be delivered, though not that nobody is there: as a filter on the
/// way says it, or a router for which it is too large. `None` where this machine does not let us.
fn reject(from: SocketAddr, to: SocketAddr) -> Option<()> {
    let Ok(raw) = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)) else {
        skipped("raw sockets need root, and it");
        return None;
    };
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else { panic!("IPv4") };
    raw.send_to(&rejection(from, to), &SockAddr::from(SocketAddrV4::new(*from.ip(), 0))).unwrap();
    Some(())
}

/// Destination Unreachable with the code for a protocol (RFC 792), and the beginning of the datagram that it is about.
fn rejection(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut bytes = vec![3, 2, 0, 0, 0, 0, 0, 0];
    bytes.extend([0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0]);
    bytes.extend(from.ip().octets());
    bytes.extend(to.ip().octets());
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes.extend([0, 8, 0, 0]);
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = !u16::try_from((sum >> 16) + (sum & 0xffff)).unwrap();
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn heard(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut bytes = [0; 2000];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    (String::from_utf8(bytes[..length].to_vec()).unwrap(), from)
}

#[test]
fn a_rejected_datagram_takes_no_other_with_it() {
    let [backend, client] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    for socket in [&backend, &client] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let address = backend.local_addr().unwrap();
    let config = super::passing(&[address], "", "", "").replace("workers = 2", "workers = 1");
    let proxy = Proxy::start(&config.replace("protocol = \"tcp\"", "protocol = \"udp\""));
    client.connect(proxy.address("web")).unwrap();
    client.send(b"first").unwrap();
    let (said, session) = heard(&backend);
    assert_eq!(said, "first");
    for round in 0..5 {
        // An answer that stands behind it.
        proxy.signal("STOP");
        backend.send_to(format!("answer {round}").as_bytes(), session).unwrap();
        let rejected = reject(session, address);
        proxy.signal("CONT");
        assert_eq!(heard(&client).0, format!("answer {round}"));
        // Another that is sent then.
        proxy.signal("STOP");
        let rejected = rejected.and_then(|()| reject(session, address));
        client.send(format!("question {round}").as_bytes()).unwrap();
        proxy.signal("CONT");
        assert_eq!(heard(&backend), (format!("question {round}"), session));
        if rejected.is_none() {
            return;
        }
    }
}
