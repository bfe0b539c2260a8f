//! Edits of the file while much is passed on.

use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    thread,
};

use super::{Server, connect};
use crate::{
    collapse::metric,
    support::{PATIENCE, Proxy, eventually},
};

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// `POINTSMAN_OPEN` of each, or a hundred, over `POINTSMAN_EDITS`, or ten (`tests/soak/editing`).
#[test]
fn edits_lose_no_tunnel_and_no_session() {
    let (open, edits) = (number("POINTSMAN_OPEN", 100), number("POINTSMAN_EDITS", 10));
    let server = Server::echo("");
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = echo.local_addr().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 2000];
        while let Ok((length, from)) = echo.recv_from(&mut bytes) {
            let _ = echo.send_to(&bytes[..length], from);
        }
    });
    // Each edit changes the routes' upstreams, and adds or removes a listener and a backend.
    let config = |edit: usize| {
        let more = match edit % 2 {
            0 => "",
            _ => "[[upstream.backend]]\nname = \"more\"\naddress = \"127.0.0.1:1\"\nbackup = true\n",
        };
        let listener = match edit % 3 {
            0 => {
                "[[listener]]\nname = \"more\"\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
                  [[route]]\nname = \"more\"\nlisteners = [\"more\"]\nupstream = \"u\"\n"
            }
            _ => "",
        };
        let datagrams = format!(
            "[[listener]]\nname = \"udp\"\nprotocol = \"udp\"\naddress = \"127.0.0.1:0\"\n\
             [[route]]\nname = \"udp\"\nlisteners = [\"udp\"]\nupstream = \"d\"\n\
             [[upstream]]\nname = \"d\"\nresponse_timeout = \"{}s\"\nudp = {{ idle = \"1h\" }}\n\
             [[upstream.backend]]\naddress = \"{address}\"\n{more}",
            1 + edit % 9
        );
        let tunnels = super::passing(&[server.address], "max_connections = 100000", "", "");
        format!("{tunnels}{more}{datagrams}{listener}")
    };
    let proxy = Proxy::start(&config(1));
    let mut tunnels: Vec<TcpStream> = (0..open).map(|_| connect(&proxy)).collect();
    let sessions: Vec<UdpSocket> = (0..open)
        .map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(proxy.address("udp")).unwrap();
            socket
        })
        .collect();
    let mut ask = |edit: usize| {
        let question = edit.to_be_bytes();
        // As many at once as wait at the socket of a server that is slow to read.
        for (tunnels, sessions) in tunnels.chunks_mut(50).zip(sessions.chunks(50)) {
            for (tunnel, session) in tunnels.iter_mut().zip(sessions) {
                tunnel.write_all(&question).unwrap();
                session.send(&question).unwrap();
            }
            for (tunnel, session) in tunnels.iter_mut().zip(sessions) {
                let mut heard = [[0; 8]; 2];
                tunnel.read_exact(&mut heard[0]).unwrap();
                assert_eq!(session.recv(&mut heard[1]).unwrap(), 8);
                assert_eq!(heard, [question; 2]);
            }
        }
    };
    ask(0);
    for edit in 2..2 + edits {
        proxy.edit(&config(edit));
        proxy.signal("HUP");
        let generation = edit as u64;
        eventually("it is in force", || metric(&proxy, "pointsman_config_generation") >= generation);
        ask(edit);
    }
    assert_eq!(metric(&proxy, "pointsman_connections{listener=\"web\"}"), open as u64);
    assert_eq!(metric(&proxy, "pointsman_connections{listener=\"udp\"}"), open as u64);
    assert_eq!(server.connections(), open, "nobody connected again");
    println!("{edits} edits with {open} tunnels and {open} sessions: none is lost");
}
