//! TLS that ends or begins here, around connections that are passed on.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use rustls::{ClientConnection, StreamOwned};

use super::{Server, connect, exactly, logged, passing};
use crate::support::{
    Origin, PATIENCE, Proxy,
    proxy::config_of,
    tls::{self, Manner, SECURE},
    uninterrupted,
};

const CERTIFICATE: &str = "certificate = [{ chain = \"demo.pem\", key = \"demo.key\" }]";

/// A client of the listener `web` that speaks TLS.
fn client(proxy: &Proxy, folder: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let session =
        ClientConnection::new(Manner::default().config(folder), "localhost".try_into().unwrap()).unwrap();
    let stream = TcpStream::connect(proxy.address("web")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(session, stream)
}

/// A server that answers once it has heard the end.
fn at_the_end() -> Server {
    Server::start(|mut stream| {
        let mut heard = Vec::new();
        if stream.read_to_end(&mut heard).is_ok() {
            let _ = stream.write_all(format!("{} bytes", heard.len()).as_bytes());
        }
    })
}

#[test]
fn ends_pass_through_tls_in_either_direction() {
    let (server, folder) = (at_the_end(), tls::folder());
    let proxy = Proxy::start_in(folder.clone(), &passing(&[server.address], CERTIFICATE, "", ""));
    let mut client = client(&proxy, &folder);
    client.write_all(&[7; 100_000]).unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut answer = String::new();
    // An end that were cut off would be an error here.
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "100000 bytes");
    let line = logged(&proxy, 1).remove(0);
    assert!(line.get("error").is_none() && line["carried_by"] == "copy", "{line}");
}

#[test]
fn an_end_that_tls_did_not_announce_is_no_end() {
    let (server, folder) = (at_the_end(), tls::folder());
    let proxy = Proxy::start_in(folder.clone(), &passing(&[server.address], CERTIFICATE, "", ""));
    let mut client = client(&proxy, &folder);
    client.write_all(b"half of it").unwrap();
    client.sock.shutdown(std::net::Shutdown::Write).unwrap();
    // The server does not take what came for all, and does not answer.
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(logged(&proxy, 1)[0]["error"], "client_gone");
}

#[test]
fn silence_ends_encrypted_tunnels_and_half_of_one() {
    let folder = tls::folder();
    let silent = Server::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
        // The end was seen; nothing is said.
        std::thread::sleep(Duration::from_secs(30));
    });
    for (route, is_half) in [("tunnel_idle = \"300ms\"", false), ("half_close_timeout = \"300ms\"", true)] {
        let proxy =
            Proxy::start_in(tls::folder_like(&folder), &passing(&[silent.address], CERTIFICATE, route, ""));
        let mut client = client(&proxy, &folder);
        client.write_all(b"a").unwrap();
        if is_half {
            client.conn.send_close_notify();
            client.flush().unwrap();
        }
        // With its close_notify: it was ended, and not cut off.
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "{route}");
        assert_eq!(logged(&proxy, 1)[0]["error"], "tunnel_idle");
    }
}

#[test]
fn what_is_cut_off_has_no_end_in_tls() {
    let (server, folder) = (Server::echo("half of it"), tls::folder());
    let config = passing(&[server.address], CERTIFICATE, "timeout = \"500ms\"", "");
    let proxy = Proxy::start_in(folder.clone(), &config);
    let mut client = client(&proxy, &folder);
    // With a close_notify it would be all.
    client.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(logged(&proxy, 1)[0]["error"], "route_timeout");
}

#[test]
fn a_silent_client_of_tls_is_given_up() {
    let folder = tls::folder();
    let server = Server::echo("never");
    let listener =
        format!("{CERTIFICATE}\ndefer_accept = \"0s\"\ntimeouts = {{ tls_handshake = \"300ms\" }}");
    let proxy = Proxy::start_in(folder, &passing(&[server.address], &listener, "", ""));
    let begun = Instant::now();
    let mut client = connect(&proxy);
    match uninterrupted(|| client.read(&mut [0])) {
        Ok(length) => assert_eq!(length, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    // So long it would have without that limit.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(server.connections(), 0);
}

#[test]
fn tls_begins_here_and_is_verified() {
    let origin = Origin::named("behind TLS");
    let folder = tls::folder();
    let secure = Proxy::start_in(folder.clone(), &config_of(&[origin.address().to_string()], SECURE, ""));
    let backend = secure.address("web");
    let ask = |listener: &str, name: &str| {
        let upstream = format!("tls = {{ ca = \"ca.pem\", server_name = \"{name}\" }}");
        let proxy = Proxy::start_in(tls::folder_like(&folder), &passing(&[backend], listener, "", &upstream));
        (proxy, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    };
    let (proxy, request) = ask("", "localhost");
    let mut plain = connect(&proxy);
    plain.write_all(request).unwrap();
    assert_eq!(exactly(&mut plain, 15), "HTTP/1.1 200 OK");
    let mut rest = String::new();
    plain.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("behind TLS"), "{rest}");
    // From TLS to TLS.
    let (proxy, request) = ask(CERTIFICATE, "localhost");
    let mut encrypted = client(&proxy, &folder);
    encrypted.write_all(request).unwrap();
    let mut answer = String::new();
    encrypted.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("behind TLS"), "{answer}");
    let (proxy, _) = ask("", "wrong.test");
    assert_eq!(connect(&proxy).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(logged(&proxy, 1)[0]["error"], "upstream_tls");
}
