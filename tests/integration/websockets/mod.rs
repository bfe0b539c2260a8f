//! WebSockets between any two of HTTP/1.1 (RFC 6455) and HTTP/2 (RFC 8441).

mod autobahn;
mod browsers;
mod ending;
mod opening;
mod over_tls;
mod passing;
mod windows;

use std::io::Read;

use pointsman::websocket::accept;

use crate::support::{
    Client, Origin, Proxy, Reply,
    frames::{DATA, END_STREAM, Frame, Frames, HEADERS, SETTINGS},
    http2_origin::{Came, Http2Origin, MOST_STREAMS},
    origin::Connection,
    proxy::config,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).
const ENABLE_CONNECT: u16 = 8;

/// What a browser opens a WebSocket with over HTTP/1.1.
fn opening(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

/// The same over HTTP/2.
fn extended_connect(target: &'static str) -> Vec<(&'static [u8], &'static [u8])> {
    vec![
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        (b":scheme", b"http"),
        (b":authority", b"localhost"),
        (b":path", target.as_bytes()),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-protocol", b"chat"),
    ]
}

/// The head by which a server of HTTP/1.1 takes a WebSocket of this key.
fn switching(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
        accept(key.as_bytes())
    )
}

/// A backend of HTTP/1.1 that takes WebSockets, each of which it serves so; other requests get `plain`.
fn http1_backend(serve: impl Fn(&mut Connection) + Send + Sync + Clone + 'static) -> Origin {
    Origin::start(move |request| match request.header("sec-websocket-key") {
        Some(key) => {
            let (head, serve) = (switching(key), serve.clone());
            Reply::Take(Box::new(move |connection| {
                connection.send(head);
                serve(connection);
            }))
        }
        None => Reply::Text(200, "plain".into()),
    })
}

/// Sends back every byte, and at the end that it was one.
fn echo(connection: &mut Connection) {
    let mut bytes = [0; 1000];
    while let Ok(length @ 1..) = connection.reader.read(&mut bytes) {
        connection.send(&bytes[..length]);
    }
    connection.send("end");
}

/// A backend of HTTP/2 that does the same.
fn http2_backend() -> Http2Origin {
    Http2Origin::start(&[(MOST_STREAMS, 100), (ENABLE_CONNECT, 1)], |served, came| match came {
        Came::Head(head) if head.get(":method") == Some("CONNECT") => {
            let fields = [(":status", "200"), ("sec-websocket-protocol", "chat")];
            served.head(head.stream, &fields, false);
        }
        Came::Head(head) => served.head(head.stream, &[(":status", "204")], true),
        Came::Data(stream, data, is_end) => {
            served.data(*stream, data, false);
            if *is_end {
                served.data(*stream, b"end", true);
            }
        }
        _ => {}
    })
}

fn before_http2(origin: &Http2Origin) -> Proxy {
    Proxy::start(&config(&[origin.address()], "protocol = \"h2\"\n---\n"))
}

/// A client of HTTP/1.1 whose WebSocket is open.
fn open(proxy: &Proxy, target: &str) -> Client {
    let mut client = proxy.connect();
    client.send(opening(target));
    let response = client.response("GET");
    assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")));
    assert_eq!(response.header("sec-websocket-accept"), Some(&*accept(KEY.as_bytes())));
    assert_eq!(response.header("sec-websocket-protocol"), Some("chat"));
    client
}

/// A client of HTTP/2.
struct Http2Client {
    frames: Frames,
    /// What SETTINGS said.
    settings: Vec<(u16, u32)>,
}

/// What came of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Of {
    Head(Vec<(String, String)>, bool),
    Data(Vec<u8>, bool),
    Reset(u32),
}

impl Http2Client {
    /// A connection whose settings have come.
    fn connect(proxy: &Proxy) -> Self {
        let mut frames = Frames::connect(proxy);
        let settings = loop {
            let frame = frames.next().expect("settings");
            if frame.kind == SETTINGS && frame.flags == 0 {
                break frame.payload;
            }
        };
        let setting = |it: &[u8]| {
            (u16::from_be_bytes([it[0], it[1]]), u32::from_be_bytes(it[2..6].try_into().unwrap()))
        };
        let settings = settings.chunks(6).map(setting).collect();
        Self { frames, settings }
    }

    /// The next that comes of this stream.
    fn next(&mut self, of: u32) -> Of {
        loop {
            let Frame { kind, flags, stream, payload } = self.frames.next().expect("the connection goes on");
            let is_end = flags & END_STREAM != 0;
            match kind {
                HEADERS if stream == of => return Of::Head(self.frames.fields(&payload), is_end),
                DATA if stream == of => return Of::Data(payload, is_end),
                crate::support::frames::RST_STREAM if stream == of => {
                    return Of::Reset(u32::from_be_bytes(payload.try_into().unwrap()));
                }
                _ => {}
            }
        }
    }

    /// Bytes of a stream, so many, and whether it has ended with them.
    fn exactly(&mut self, of: u32, length: usize) -> (Vec<u8>, bool) {
        let (mut bytes, mut is_end) = (Vec::new(), false);
        while bytes.len() < length {
            match self.next(of) {
                Of::Data(data, end) => {
                    bytes.extend(data);
                    is_end = end;
                }
                other => panic!("{other:?} after {bytes:?}"),
            }
        }
        assert_eq!(bytes.len(), length);
        (bytes, is_end)
    }

    /// Asks for a WebSocket; gives the status and the fields of the answer.
    fn ask(&mut self, stream: u32, target: &'static str) -> (String, Vec<(String, String)>) {
        self.frames.ask(stream, &extended_connect(target), false);
        match self.next(stream) {
            Of::Head(mut fields, _) => (fields.remove(0).1, fields),
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, stream: u32, bytes: &[u8], is_end: bool) {
        self.frames.send(DATA, u8::from(is_end), stream, bytes);
    }
}
