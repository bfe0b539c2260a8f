//! WebSockets whose backend does not read, beside others on the same connection of HTTP/2.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::{ENABLE_CONNECT, extended_connect};
use crate::support::{
    Origin, Proxy, Reply, eventually,
    frames::{DATA, Frame, Frames, HEADERS, SETTINGS, WINDOW_UPDATE},
    http2_origin::{Came, Http2Origin, MOST_STREAMS},
    proxy::config,
};

const INITIAL_WINDOW: u16 = 4;

/// A client of HTTP/2 that sends as much as it may, and no more.
struct Sender {
    frames: Frames,
    /// What it may send on the connection.
    window: i64,
    /// The same on each stream, from what they begin with.
    of_streams: HashMap<u32, i64>,
    begins_with: i64,
}

impl Sender {
    /// A client that knows the windows.
    fn connect(proxy: &Proxy) -> Self {
        let mut frames = Frames::connect(proxy);
        let mut sender_window = 65_535;
        let mut begins_with = 65_535;
        // WINDOW_UPDATE of the connection comes with the settings.
        while sender_window == 65_535 {
            let frame = frames.next().expect("settings");
            match frame.kind {
                SETTINGS => {
                    let own = frame.payload.chunks(6).find(|it| it[..2] == INITIAL_WINDOW.to_be_bytes());
                    begins_with = own.map_or(begins_with, |it| number(&it[2..]));
                }
                WINDOW_UPDATE => sender_window += number(&frame.payload),
                _ => {}
            }
        }
        Self { frames, window: sender_window, of_streams: HashMap::new(), begins_with }
    }

    /// Takes the next frame, and what it says of windows.
    fn take(&mut self, what: &str) -> Frame {
        let frame = self.frames.next().unwrap_or_else(|| panic!("nothing comes: {what}"));
        if frame.kind == WINDOW_UPDATE {
            let begins_with = self.begins_with;
            let window = match frame.stream {
                0 => &mut self.window,
                stream => self.of_streams.entry(stream).or_insert(begins_with),
            };
            *window += number(&frame.payload);
        }
        frame
    }

    /// Waits for the head of a response.
    fn status(&mut self, stream: u32) -> String {
        loop {
            let frame = self.take("a head");
            if frame.kind == HEADERS && frame.stream == stream {
                return self.frames.fields(&frame.payload).remove(0).1;
            }
        }
    }

    /// Sends these bytes, once they may be sent.
    fn send(&mut self, stream: u32, mut bytes: &[u8], is_end: bool) {
        while !bytes.is_empty() {
            let begins_with = self.begins_with;
            let own = self.of_streams.entry(stream).or_insert(begins_with);
            let most = (*own).min(self.window).min(16_384);
            if most <= 0 {
                self.take(&format!("a window for stream {stream}, {} bytes of which are left", bytes.len()));
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(most as usize));
            *own -= part.len() as i64;
            self.window -= part.len() as i64;
            self.frames.send(DATA, u8::from(is_end && rest.is_empty()), stream, part);
            bytes = rest;
        }
    }
}

fn number(bytes: &[u8]) -> i64 {
    i64::from(u32::from_be_bytes(bytes.try_into().unwrap()))
}

const UPLOAD: [(&[u8], &[u8]); 4] =
    [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"localhost"), (b":path", b"/up")];

#[test]
fn websockets_that_are_not_read_hold_up_no_upload() {
    let open = Arc::new(Mutex::new(Vec::new()));
    let noted = open.clone();
    // It takes nothing of a WebSocket until it is told to, by another request.
    let hung = Http2Origin::start(
        &[(MOST_STREAMS, 100), (ENABLE_CONNECT, 1), (INITIAL_WINDOW, 0)],
        move |served, came| match came {
            Came::Head(head) if head.get(":method") == Some("CONNECT") => {
                noted.lock().unwrap().push(head.stream);
                served.head(head.stream, &[(":status", "200")], false);
            }
            Came::Head(head) => {
                for stream in &*noted.lock().unwrap() {
                    served.frames.send(WINDOW_UPDATE, 0, *stream, &100_000_u32.to_be_bytes());
                }
                served.head(head.stream, &[(":status", "204")], true);
            }
            _ => {}
        },
    );
    let stores = Origin::start(|request| Reply::Text(200, request.body.len().to_string()));
    let uploads = format!(
        "[[route]]\nname = \"up\"\npaths = [\"/up\"]\nupstream = \"stores\"\n\
         [[upstream]]\nname = \"stores\"\n[[upstream.backend]]\naddress = \"{}\"\n",
        stores.address()
    );
    let text = config(&[hung.address()], &format!("protocol = \"h2\"\n---\n{uploads}"));
    let proxy = Proxy::start(&text.replace("workers = 2", "workers = 1"));
    let mut client = Sender::connect(&proxy);
    let (begins_with, of_connection) = (client.begins_with, client.window);
    let much: Vec<u8> = (0..begins_with).map(|number| (number % 251) as u8).collect();
    // As many as would fill the connection's window.
    let tunnels: Vec<u32> = (0..of_connection / begins_with).map(|index| 1 + 2 * index as u32).collect();
    assert!(tunnels.len() >= 4, "{tunnels:?}");
    for stream in &tunnels {
        client.frames.ask(*stream, &extended_connect("/hung"), false);
        assert_eq!(client.status(*stream), "200");
        client.send(*stream, &much, false);
    }
    let upload = 101;
    client.frames.ask(upload, &UPLOAD, false);
    client.send(upload, &vec![b'u'; 2_000_000], true);
    assert_eq!(client.status(upload), "200");
    assert!(client.window <= of_connection, "{} of {of_connection}", client.window);

    // Nothing is lost, and no window is given twice, once they are read.
    client.frames.ask(103, &crate::support::frames::get("/read"), true);
    assert_eq!(client.status(103), "204");
    for stream in &tunnels {
        client.send(*stream, &much, false);
    }
    let streams = open.lock().unwrap().clone();
    let whole = [&much[..], &much[..]].concat();
    eventually("all of it is there", || streams.iter().all(|it| hung.body(*it).len() == whole.len()));
    assert!(streams.iter().all(|stream| hung.body(*stream) == whole));
    client.frames.ask(105, &UPLOAD, false);
    client.send(105, &vec![b'u'; 2_000_000], true);
    assert_eq!(client.status(105), "200");
    assert!(client.window <= of_connection, "{} of {of_connection}", client.window);
    assert!(client.of_streams.values().all(|window| *window <= begins_with), "{:?}", client.of_streams);
}
