//! dnsdist, as Debian packages it, believes the PROXY header before datagrams and connections: it answers by the client's
//! address, and whoever comes without a header not at all.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream, UdpSocket},
    path::Path,
    time::Duration,
};

use crate::{
    real_servers::{Server, answer_over_tcp, question},
    support::{PATIENCE, Proxy, proxy::folder},
};

/// It answers clients of 127.0.0.8 and 127.0.0.9 with an address that ends so, and refuses all others.
fn dnsdist(folder: &Path) -> Option<Server> {
    let address = crate::support::free();
    let answers: String = [8, 9]
        .map(|host| {
            format!(
                "m{host} = newNMG() m{host}:addMask(\"127.0.0.{host}/32\")\n\
                 addAction(NetmaskGroupRule(m{host}), SpoofAction(\"10.0.0.{host}\"))\n"
            )
        })
        .concat();
    let text = format!(
        "setLocal(\"{address}\")\nsetACL({{\"0.0.0.0/0\"}})\nsetProxyProtocolACL({{\"127.0.0.0/8\"}})\n{answers}\
         addAction(AllRule(), RCodeAction(DNSRCode.REFUSED))\n"
    );
    Server::start_at(address, "dnsdist", &["--supervised", "--disable-syslog", "-C"], folder, &text)
}

fn in_front_of(server: &Server, folder: std::path::PathBuf, address: SocketAddr) -> Proxy {
    let config = format!(
        "[log]\nformat = \"json\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"udp\"\nprotocol = \"udp\"\naddress = \"{address}\"\n\
         [[listener]]\nname = \"tcp\"\nprotocol = \"tcp\"\naddress = \"{address}\"\n\
         [[route]]\nname = \"udp\"\nlisteners = [\"udp\"]\nupstream = \"udp\"\n\
         [[route]]\nname = \"tcp\"\nlisteners = [\"tcp\"]\nupstream = \"tcp\"\n\
         [[upstream]]\nname = \"udp\"\nproxy_protocol_udp = \"every\"\n[[upstream.backend]]\naddress = \"{backend}\"\n\
         [[upstream]]\nname = \"tcp\"\nproxy_protocol = \"v2\"\n[[upstream.backend]]\naddress = \"{backend}\"\n",
        backend = server.address
    );
    Proxy::start_in(folder, &config)
}

fn client(host: u8, to: SocketAddr, patience: Duration) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// `POINTSMAN_QUESTIONS` questions, or 20,000.
#[test]
fn dnsdist_knows_the_client_of_every_datagram_and_connection() {
    let all: usize = std::env::var("POINTSMAN_QUESTIONS").map_or(20_000, |count| count.parse().unwrap());
    let (folder, address) = (folder(), crate::support::free());
    let Some(server) = dnsdist(&folder) else { return };
    let _proxy = in_front_of(&server, folder, address);
    let clients = [8, 9].map(|host| (host, client(host, address, PATIENCE)));
    let mut bytes = [0; 512];
    const AHEAD: usize = 16;
    for _ in 0..all / clients.len() / AHEAD {
        for (_, client) in &clients {
            for id in 0..AHEAD {
                client.send(&question(id as u16, "name.test")).unwrap();
            }
        }
        for (host, client) in &clients {
            for _ in 0..AHEAD {
                let length = client.recv(&mut bytes).unwrap();
                assert_eq!(bytes[..length].last_chunk(), Some(&[10, 0, 0, *host]));
            }
        }
    }
    println!("{all} questions, and each was its client's");
    // Over TCP the header comes once (RFC 7766 §8 for what is behind it).
    let answer = answer_over_tcp(connect_from(9, address), &question(7, "name.test"));
    assert_eq!(answer.last_chunk(), Some(&[10, 0, 0, 9]));
    // Without a header it says nothing: what was answered had one.
    let alone = client(9, server.address, Duration::from_millis(300));
    alone.send(&question(1, "name.test")).unwrap();
    assert_eq!(alone.recv(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn connect_from(host: u8, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, host], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}
