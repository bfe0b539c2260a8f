//! The PROXY protocol at a listener: who is believed, what is required of them, and what follows it.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::{
    Client, Origin, PATIENCE, Proxy,
    proxy::config_of,
    tls::{self, Manner, SECURE, TlsClient},
};

const FROM: &str = "proxy_protocol_from = [\"127.0.0.0/8\"]\n";

fn behind_proxy(options: &str) -> (Origin, Proxy) {
    let origin = Origin::named("hello");
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], &(FROM.to_owned() + options), ""));
    (origin, proxy)
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

/// A version 2 header with this command, family and rest.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

fn v2_ipv4() -> Vec<u8> {
    v2(0x21, 0x11, &[203, 0, 113, 7, 127, 0, 0, 1, 0x30, 0x39, 0x1f, 0x90])
}

fn v2_ipv6() -> Vec<u8> {
    let source: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    let mut rest = [source.octets(), std::net::Ipv6Addr::LOCALHOST.octets()].concat();
    rest.extend([0x30, 0x39, 0x1f, 0x90]);
    v2(0x21, 0x21, &rest)
}

#[test]
fn the_header_names_the_client() {
    let (origin, proxy) = behind_proxy("");
    let unknown_addition = [&v2_ipv4()[16..], &[0xe0, 0, 3, 1, 2, 3]].concat();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("/v1", b"PROXY TCP4 203.0.113.7 127.0.0.1 12345 8080\r\n".to_vec(), "203.0.113.7"),
        ("/v1-6", b"PROXY TCP6 2001:db8::7 ::1 12345 8080\r\n".to_vec(), "2001:db8::7"),
        ("/v1-unknown", b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        ("/v2", v2_ipv4(), "203.0.113.7"),
        ("/v2-6", v2_ipv6(), "2001:db8::7"),
        ("/v2-more", v2(0x21, 0x11, &unknown_addition), "203.0.113.7"),
        ("/local", v2(0x20, 0x00, &[]), "127.0.0.1"),
        // What is in a LOCAL header is not believed.
        ("/local-lies", v2(0x20, 0x11, &v2_ipv4()[16..]), "127.0.0.1"),
        ("/unix", v2(0x21, 0x31, &[0; 216]), "127.0.0.1"),
    ];
    for (target, header, address) in cases {
        let mut client = proxy.connect();
        client.send([header, get(target)].concat());
        assert_eq!(client.response("GET").text(), "hello", "{target}");
        let request = origin.last();
        assert_eq!(request.header("x-forwarded-for"), Some(address), "{target}");
        assert_eq!(request.target, target);
        assert_eq!(proxy.logged(target)["client"], address);
        // It holds for the whole connection, which is not asked for another.
        assert_eq!(client.get("/again").status, 200);
        assert_eq!(origin.last().header("x-forwarded-for"), Some(address), "{target}");
    }
}

#[test]
fn a_header_may_come_in_pieces() {
    let (origin, proxy) = behind_proxy("");
    for header in [b"PROXY TCP4 203.0.113.7 127.0.0.1 12345 8080\r\n".to_vec(), v2_ipv4()] {
        let bytes = [header, get("/pieces")].concat();
        let mut client = proxy.connect();
        for piece in bytes.chunks(7) {
            client.send(piece);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(client.response("GET").status, 200);
        assert_eq!(origin.last().header("x-forwarded-for"), Some("203.0.113.7"));
    }
}

#[test]
fn without_a_good_header_nothing_is_served() {
    let (origin, proxy) = behind_proxy("");
    let mut wrong_sum = v2_ipv4()[16..].to_vec();
    wrong_sum.extend([3, 0, 4, 1, 2, 3, 4]);
    for (what, bytes) in [
        ("no header", get("/")),
        ("a wrong family", [b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), get("/")].concat()),
        ("a wrong port", [b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n".to_vec(), get("/")].concat()),
        ("a wrong address", [b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n".to_vec(), get("/")].concat()),
        ("no end", [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat()),
        ("a wrong version", [v2(0x31, 0x11, &v2_ipv4()[16..]), get("/")].concat()),
        ("a wrong command", [v2(0x22, 0x11, &v2_ipv4()[16..]), get("/")].concat()),
        ("too short", [v2(0x21, 0x11, &[1, 2, 3]), get("/")].concat()),
        ("a wrong sum", [v2(0x21, 0x11, &wrong_sum), get("/")].concat()),
    ] {
        let mut client = proxy.connect();
        client.send(bytes);
        let response = client.response("GET");
        assert_eq!(response.status, 0, "{what}: closed without a word");
    }
    assert!(origin.requests().is_empty());
    assert!(proxy.access_log().is_empty());
}

#[test]
fn a_header_that_never_ends_is_not_waited_for() {
    let (origin, proxy) = behind_proxy("");
    let begun = Instant::now();
    let mut silent = proxy.connect();
    let mut slow = proxy.connect();
    slow.send("PROXY TCP4 203.0");
    let mut half = proxy.connect();
    half.send("PROXY TCP4 203.0");
    half.shut();
    // Longer than anything that has a meaning.
    let mut large = proxy.connect();
    // It may be refused before all of it is sent.
    let _ = large.try_send(v2(0x21, 0x11, &[0; 65_535]));
    for client in [&mut silent, &mut slow, &mut half, &mut large] {
        assert!(client.is_closed());
    }
    assert!(begun.elapsed() < PATIENCE / 2, "the deadline is three seconds");
    assert!(origin.requests().is_empty());
    let mut client = proxy.connect();
    client.send([v2_ipv4(), get("/")].concat());
    assert_eq!(client.response("GET").status, 200);
}

#[test]
fn a_header_from_an_unlisted_network_is_an_error() {
    let origin = Origin::named("hello");
    let listener = "proxy_protocol_from = [\"10.0.0.0/8\"]\n";
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], listener, ""));
    for header in [b"PROXY TCP4 203.0.113.7 127.0.0.1 12345 8080\r\n".to_vec(), v2_ipv4()] {
        let mut client = proxy.connect();
        client.send([header, get("/")].concat());
        assert_eq!(client.response("GET").status, 400);
        assert_eq!(client.response("GET").status, 0, "and what follows is not served");
    }
    assert!(origin.requests().is_empty(), "nobody else may name the client");
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn trust_is_decided_by_the_named_client() {
    let (origin, proxy) = behind_proxy("trusted_proxies = [\"203.0.113.0/24\"]\n");
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n".to_vec();
    for (header, seen) in [(v2_ipv4(), "6.6.6.6, 203.0.113.7"), (v2_ipv6(), "2001:db8::7")] {
        let mut client = proxy.connect();
        client.send([header, request.clone()].concat());
        assert_eq!(client.response("GET").status, 200);
        assert_eq!(origin.last().header("x-forwarded-for"), Some(seen));
    }
}

#[test]
fn tls_begins_behind_the_header() {
    let origin = Origin::named("hello");
    let listener = FROM.to_owned() + SECURE;
    let proxy = Proxy::start_in(tls::folder(), &config_of(&[origin.address().to_string()], &listener, ""));
    let config = Manner::default().config(proxy.folder());
    for header in [b"PROXY TCP4 203.0.113.7 127.0.0.1 12345 8080\r\n".to_vec(), v2_ipv4()] {
        let mut stream = TcpStream::connect(proxy.address("web")).unwrap();
        stream.write_all(&header).unwrap();
        let mut client = TlsClient::connect_over(stream, "localhost", &config).unwrap();
        assert_eq!(client.status("localhost", "/"), 200);
        let request = origin.last();
        assert_eq!(request.header("x-forwarded-for"), Some("203.0.113.7"));
        assert_eq!(request.header("x-forwarded-proto"), Some("https"));
    }
    let before = origin.requests().len();
    assert!(
        TlsClient::connect(proxy.address("web"), "localhost", &config).is_err(),
        "the header is required"
    );
    // A header within TLS is not one.
    assert_eq!(origin.requests().len(), before);
    let _ = Client::connect(proxy.address("web"));
}
