//! Clients that may use several paths at once (MPTCP).

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{Server, exactly, passing};
use crate::support::{PATIENCE, Proxy, skipped};

#[test]
fn clients_with_and_without_mptcp_are_served_whole() {
    if Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)).is_err() {
        return skipped("MPTCP in the kernel");
    }
    let server = Server::echo("hello");
    let proxy = Proxy::start(&passing(&[server.address], "mptcp = true", "", ""));
    for protocol in [Protocol::TCP, Protocol::MPTCP] {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(protocol)).unwrap();
        socket.connect(&proxy.address("web").into()).unwrap();
        let mut client = TcpStream::from(socket);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(SockRef::from(&client).protocol().unwrap(), Some(protocol));
        assert_eq!(exactly(&mut client, 5), "hello");
        let sent: Vec<u8> = (0..10_000_000_u32).map(|at| (at % 251) as u8).collect();
        let (mut sender, bytes) = (client.try_clone().unwrap(), sent.clone());
        let sending = std::thread::spawn(move || {
            sender.write_all(&bytes).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        let mut read = Vec::new();
        client.read_to_end(&mut read).unwrap();
        sending.join().unwrap();
        assert!(read == sent, "{} bytes of {}", read.len(), sent.len());
    }
}
