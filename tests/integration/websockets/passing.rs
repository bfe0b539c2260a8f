//! Bytes go both ways, with ends, windows and places.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use super::{Http2Client, Of, before_http2, echo, http1_backend, http2_backend, open, switching};
use crate::support::{
    Client, Proxy, eventually,
    frames::{RST_STREAM, WINDOW_UPDATE, get},
    http2_origin::Came,
    proxy::config,
};

fn speak_http1(proxy: &Proxy) {
    let mut client = open(proxy, "/chat?room=1");
    client.send("hello");
    assert_eq!(client.exactly(5), b"hello");
    client.shut();
    assert_eq!(client.exactly(3), b"end", "what follows an end of the other side still comes");
    assert!(client.is_closed());
    let line = proxy.logged("/chat?room=1");
    assert_eq!((&line["status"], &line["protocol"]), (&101.into(), &"HTTP/1.1".into()));
}

fn speak_http2(proxy: &Proxy) {
    let mut client = Http2Client::connect(proxy);
    assert!(client.settings.contains(&(8, 1)), "it is announced");
    let (status, fields) = client.ask(1, "/chat?room=2");
    assert_eq!(status, "200");
    let has = |name: &str| fields.iter().any(|(other, _)| other == name);
    assert!(has("sec-websocket-protocol") && has("via"), "{fields:?}");
    assert!(!has("sec-websocket-accept") && !has("upgrade") && !has("connection"), "{fields:?}");
    client.send(1, b"hello", false);
    assert_eq!(client.exactly(1, 5), (b"hello".to_vec(), false));
    client.send(1, b"", true);
    let (last, is_end) = client.exactly(1, 3);
    assert_eq!(last, b"end");
    assert!(is_end || client.next(1) == Of::Data(Vec::new(), true));
    let line = proxy.logged("/chat?room=2");
    assert_eq!((&line["status"], &line["protocol"]), (&101.into(), &"HTTP/2.0".into()));
}

/// Everything up to the first empty line.
fn head_of(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn key_in(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "))
}

#[test]
fn every_pair_of_versions_carries_websockets() {
    let http1 = http1_backend(echo);
    let proxy = Proxy::start(&config(&[http1.address()], ""));
    speak_http1(&proxy);
    speak_http2(&proxy);
    for request in http1.requests() {
        assert_eq!((request.method.as_str(), request.header("host")), ("GET", Some("localhost")));
        assert_eq!(request.all("upgrade"), ["websocket"]);
        assert_eq!(request.all("sec-websocket-version"), ["13"]);
        assert_eq!(request.all("sec-websocket-protocol"), ["chat"]);
        let keys = request.all("sec-websocket-key");
        assert!(keys.len() == 1 && keys[0] != super::KEY, "the key is ours: {keys:?}");
    }
    let http2 = http2_backend();
    let proxy = before_http2(&http2);
    speak_http1(&proxy);
    speak_http2(&proxy);
    let heads = http2.heads();
    assert_eq!(heads.len(), 2);
    for head in heads {
        let get = |name| head.get(name);
        assert_eq!((get(":method"), get(":protocol")), (Some("CONNECT"), Some("websocket")));
        assert_eq!((get(":scheme"), get(":authority")), (Some("http"), Some("localhost")));
        assert!(get(":path").unwrap().starts_with("/chat?room="));
        assert_eq!((get("sec-websocket-version"), get("sec-websocket-protocol")), (Some("13"), Some("chat")));
        for name in ["sec-websocket-key", "upgrade", "connection", "content-length"] {
            assert_eq!(get(name), None, "{name}");
        }
    }
    assert_eq!(proxy.logged("/chat?room=1")["upstream_protocol"], "HTTP/2.0");
}

#[test]
fn much_goes_both_ways_as_it_was() {
    let much: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let http1 = http1_backend(echo);
    let http2 = http2_backend();
    for proxy in [Proxy::start(&config(&[http1.address()], "")), before_http2(&http2)] {
        let mut client = open(&proxy, "/much");
        let mut writer = client.stream.try_clone().unwrap();
        let sent = much.clone();
        let sending = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        assert!(client.exactly(much.len()) == much);
        sending.join().unwrap();
    }
}

#[test]
fn a_backend_without_extended_connect_is_asked_over_http1() {
    // It looks at how each connection begins.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let head = head_of(&mut stream);
                if head.starts_with("PRI ") {
                    stream.write_all(b"\0\0\0\x04\0\0\0\0\0").unwrap();
                    let _ = stream.read_to_end(&mut Vec::new());
                    return;
                }
                stream.write_all(switching(key_in(&head).unwrap()).as_bytes()).unwrap();
                let mut bytes = [0; 5];
                stream.read_exact(&mut bytes).unwrap();
                stream.write_all(&bytes).unwrap();
            });
        }
    });
    let proxy = Proxy::start(&config(&[address], "protocol = \"h2\"\n---\n"));
    let mut client = open(&proxy, "/one");
    client.send("hello");
    assert_eq!(client.exactly(5), b"hello");
    let mut client = Http2Client::connect(&proxy);
    assert_eq!(client.ask(1, "/two").0, "200");
    client.send(1, b"hello", false);
    assert_eq!(client.exactly(1, 5).0, b"hello");
}

#[test]
fn a_reset_of_either_side_breaks_the_other_off() {
    let http2 = http2_backend();
    let proxy = before_http2(&http2);
    let mut client = Http2Client::connect(&proxy);
    assert_eq!(client.ask(1, "/reset").0, "200");
    client.frames.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    http2.until("the stream is cancelled", |seen| seen.came == Came::Reset(1, 8));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = head_of(&mut stream);
            if let Some(key) = key_in(&head) {
                stream.write_all(switching(key).as_bytes()).unwrap();
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            } else {
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            }
        }
    });
    let proxy = Proxy::start(&config(&[address], ""));
    let mut client = Http2Client::connect(&proxy);
    assert_eq!(client.ask(1, "/reset").0, "200");
    assert_eq!(client.next(1), Of::Reset(8), "CANCEL, and not an end");
    client.frames.ask(3, &get("/next"), true);
    assert!(matches!(client.next(3), Of::Head(..)), "the connection goes on");
}

#[test]
fn a_slow_websocket_stalls_no_neighbour() {
    let origin = http1_backend(|connection| {
        let block = vec![b'x'; 1_000_000];
        (0..20).for_each(|_| connection.send(&block));
    });
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    let mut client = Http2Client::connect(&proxy);
    // The connection takes much, and the stream no more than it began with.
    client.frames.send(WINDOW_UPDATE, 0, 0, &10_000_000_u32.to_be_bytes());
    assert_eq!(client.ask(1, "/slow").0, "200");
    assert_eq!(client.exactly(1, 65_535).0.len(), 65_535);
    for stream in [3, 5, 7] {
        client.frames.ask(stream, &get("/neighbour"), true);
        assert!(matches!(client.next(stream), Of::Head(..)));
        assert_eq!(client.next(stream), Of::Data(b"plain".to_vec(), true));
    }
    assert!(proxy.memory() < 64 * 1024 * 1024, "{} bytes", proxy.memory());
}

#[test]
fn a_websocket_has_its_place_for_life() {
    let origin = http1_backend(echo);
    let text = config(&[origin.address()], "queue = { size = 0 }\n---\n") + "max_connections = 1\n";
    let proxy = Proxy::start(&text);
    let mut client = Http2Client::connect(&proxy);
    assert_eq!(client.ask(1, "/held").0, "200");
    assert_eq!(Client::connect(proxy.address("web")).get("/other").status, 503);
    client.send(1, b"", true);
    eventually("its place is free", || proxy.get("/other").status == 200);
}
