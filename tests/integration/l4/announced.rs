//! PROXY headers before datagrams.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    thread,
};

use pointsman::net::proxy_protocol::{
    Addresses, Header, Parsed, parse,
    write::{Additions, v2_datagram},
};

use crate::{
    collapse::metric,
    support::{PATIENCE, Proxy, eventually},
};

/// A server that keeps what it hears, and answers what does not end in `!` with the same, without its header.
struct Behind {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Behind {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, heard) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let kept = heard.clone();
        thread::spawn(move || {
            let mut bytes = vec![0; 65536];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let heard = &bytes[..length];
                kept.lock().unwrap().push(heard.to_vec());
                if !heard.ends_with(b"!") {
                    let _ = socket.send_to(&heard[header(heard).map_or(0, |it| it.length)..], from);
                }
            }
        });
        Self { address, heard }
    }

    /// What it has heard, so many at least: of each its header, and what is behind that.
    fn heard(&self, count: usize) -> Vec<(Option<Header>, Vec<u8>)> {
        eventually("it is heard", || self.heard.lock().unwrap().len() >= count);
        let heard = self.heard.lock().unwrap();
        let split = heard.iter().map(|bytes| {
            let header = header(bytes);
            let rest = bytes[header.as_ref().map_or(0, |it| it.length)..].to_vec();
            (header, rest)
        });
        split.collect()
    }
}

fn header(bytes: &[u8]) -> Option<Header> {
    match parse(bytes) {
        Ok(Parsed::Done(header)) => Some(header),
        _ => None,
    }
}

fn passing(backend: SocketAddr, listener: &str, upstream: &str) -> String {
    super::passing(&[backend], listener, "", upstream).replace("protocol = \"tcp\"", "protocol = \"udp\"")
}

fn client(proxy: &Proxy) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(proxy.address("web")).unwrap();
    socket
}

fn ask(socket: &UdpSocket, bytes: &[u8]) -> Vec<u8> {
    socket.send(bytes).unwrap();
    let mut buffer = vec![0; 65536];
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn dropped(proxy: &Proxy, reason: &str) -> u64 {
    metric(proxy, &format!("pointsman_udp_datagrams_dropped_total{{reason=\"{reason}\"}}"))
}

/// A header for a client of this port, with an addition that nobody knows.
fn named(port: u16) -> Vec<u8> {
    let ends = Addresses {
        source: format!("192.0.2.7:{port}").parse().unwrap(),
        destination: "198.51.100.2:53".parse().unwrap(),
    };
    v2_datagram(Some(ends), &Additions { passed: &[0xE0, 0, 1, 7], crc32c: true, ..Additions::default() })
}

const FROM: &str = "proxy_protocol_from = [\"127.0.0.0/8\"]";

#[test]
fn datagrams_are_announced_until_the_first_answer() {
    let behind = Behind::start();
    let tlvs = "proxy_protocol_udp = \"first\"\nproxy_protocol_tlvs = [\"unique-id\", \"crc32c\"]\nudp = { idle = \"5s\" }";
    let proxy = Proxy::start(&passing(behind.address, "", tlvs));
    let client = client(&proxy);
    client.send(b"one!").unwrap();
    client.send(b"two!").unwrap();
    assert_eq!(ask(&client, b"three"), b"three");
    assert_eq!(ask(&client, b"four"), b"four");
    let heard = behind.heard(4);
    let ends = Addresses { source: client.local_addr().unwrap(), destination: proxy.address("web") };
    for ((header, rest), expected) in heard.iter().zip([&b"one!"[..], b"two!", b"three"]) {
        let header = header.as_ref().unwrap();
        assert_eq!((header.addresses, &**rest), (Some(ends), expected));
        assert_eq!(behind.heard.lock().unwrap()[0][13], 0x12, "a datagram of IPv4");
    }
    assert_eq!((heard[3].0.as_ref(), &*heard[3].1), (None, &b"four"[..]));
    let id = heard[0].0.as_ref().unwrap().unique_id.clone().unwrap();
    proxy.until_logged(&format!("\"request_id\":\"{}\"", String::from_utf8(id).unwrap()), 1);
    // The next session is announced again.
    ask(&client, b"five");
    assert!(behind.heard(5)[4].0.is_some());
}

/// `POINTSMAN_ANNOUNCED` datagrams, or 100,000.
#[test]
fn no_datagram_of_every_goes_without_its_header() {
    let all: usize = std::env::var("POINTSMAN_ANNOUNCED").map_or(100_000, |count| count.parse().unwrap());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let proxy = Proxy::start(&passing(address, "", "proxy_protocol_udp = \"every\""));
    let counts = thread::spawn(move || {
        let (mut bytes, mut by_client, mut without) = ([0; 2000], HashMap::new(), 0);
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            match header(&bytes[..length]).map(|it| (it.addresses.unwrap().source, it.length)) {
                Some((source, at)) => {
                    *by_client.entry(source).or_insert(0) += 1;
                    socket.send_to(&bytes[at..length], from).unwrap();
                }
                None if &bytes[..length] == b"end" => break,
                None => without += 1,
            }
        }
        (by_client, without)
    });
    let clients: Vec<UdpSocket> = (0..10).map(|_| client(&proxy)).collect();
    const AHEAD: usize = 20;
    for _ in 0..all / clients.len() / AHEAD {
        for client in &clients {
            for _ in 0..AHEAD {
                client.send(b"something to say").unwrap();
            }
        }
        for client in &clients {
            for _ in 0..AHEAD {
                let mut buffer = [0; 100];
                assert_eq!(client.recv(&mut buffer).unwrap(), 16);
            }
        }
    }
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"end", address).unwrap();
    let (by_client, without) = counts.join().unwrap();
    assert_eq!(without, 0);
    for client in &clients {
        assert_eq!(by_client[&client.local_addr().unwrap()], all / clients.len());
    }
    println!("{all} datagrams, and {without} without a header");
}

#[test]
fn a_header_that_came_with_datagrams_is_passed_on() {
    let behind = Behind::start();
    let proxy = Proxy::start(&passing(
        behind.address,
        FROM,
        "proxy_protocol_udp = \"every\"\nudp = { idle = \"5s\" }",
    ));
    let client = client(&proxy);
    client.send(b"without").unwrap();
    eventually("it is dropped", || dropped(&proxy, "proxy_header") == 1);
    let came = named(5);
    // Nothing has answered: the proxy in front says it with each.
    client.send(&[&came[..], b"a!"].concat()).unwrap();
    assert_eq!(ask(&client, &[&came[..], b"b"].concat()), b"b");
    // Its proxy heard the answer, and says it no more; one that was on its way still has it.
    assert_eq!(ask(&client, b"c"), b"c");
    assert_eq!(ask(&client, &[&came[..], b"d"].concat()), b"d");
    // From here on another header is its client's own.
    let own = [&named(6)[..], b"e"].concat();
    client.send(&own).unwrap();
    let heard = behind.heard(5);
    for ((header, rest), expected) in heard.iter().zip([&b"a!"[..], b"b", b"c", b"d", &own]) {
        let header = header.as_ref().unwrap();
        assert_eq!(header.addresses.unwrap().source.to_string(), "192.0.2.7:5");
        assert_eq!(header.addresses.unwrap().destination.to_string(), "198.51.100.2:53");
        assert_eq!((&*header.tlvs, &**rest), (&[0xE0, 0, 1, 7][..], expected));
    }
    proxy.until_logged("\"client\":\"192.0.2.7\"", 1);
}

#[test]
fn with_every_another_header_is_another_client() {
    let behind = Behind::start();
    let listener = format!("{FROM}\nproxy_protocol_udp = \"every\"");
    let proxy = Proxy::start(&passing(behind.address, &listener, "proxy_protocol_udp = \"first\""));
    let client = client(&proxy);
    for port in [5, 6] {
        for text in [&b"one"[..], b"two"] {
            assert_eq!(ask(&client, &[&named(port), text].concat()), text);
        }
        client.send(b"without").unwrap();
    }
    eventually("they are dropped", || dropped(&proxy, "proxy_header") == 2);
    let heard = behind.heard(4);
    let ports: Vec<_> = heard
        .iter()
        .map(|(header, _)| header.as_ref().map(|it| it.addresses.unwrap().source.port()))
        .collect();
    assert_eq!(ports, [Some(5), None, Some(6), None]);
    proxy.until_logged("\"ended_by\":\"new_client\"", 1);
}

#[test]
fn one_proxy_tells_the_next_who_the_client_is() {
    let behind = Behind::start();
    let inner = Proxy::start(&passing(behind.address, FROM, "udp = { idle = \"2s\" }"));
    let outer = Proxy::start(&passing(inner.address("web"), "", "proxy_protocol_udp = \"first\""));
    let client = client(&outer);
    for text in [&b"one"[..], b"two", b"three"] {
        assert_eq!(ask(&client, text), text);
    }
    assert!(behind.heard(3).iter().all(|(header, _)| header.is_none()));
    inner.until_logged("\"ended_by\":\"idle\"", 1);
    assert_eq!(dropped(&inner, "proxy_header"), 0);
}

#[test]
fn a_datagram_that_a_header_makes_too_large_is_dropped() {
    let behind = Behind::start();
    let proxy = Proxy::start(&passing(behind.address, "", "proxy_protocol_udp = \"every\""));
    let client = client(&proxy);
    client.send(&[b'x'; 65_500]).unwrap();
    eventually("it is dropped", || dropped(&proxy, "too_large") == 1);
    assert_eq!(ask(&client, &[b'x'; 60_000]), [b'x'; 60_000]);
}

#[test]
fn checks_by_datagram_are_nobodys() {
    let behind = Behind::start();
    let check = "proxy_protocol_udp = \"first\"\n[upstream.health_check]\nkind = \"udp\"\nsend = \"ping!\"\ninterval = \"50ms\"";
    let _proxy = Proxy::start(&passing(behind.address, "", check));
    let (header, rest) = behind.heard(1).remove(0);
    assert_eq!((header.unwrap().addresses, &*rest), (None, &b"ping!"[..]));
}
