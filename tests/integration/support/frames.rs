//! A client of HTTP/2 that sends the frames it is given, be they right or wrong, and reads frame by frame.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use pointsman::http2::hpack::Decoder;

use super::{PATIENCE, Proxy};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection.
pub struct Frames {
    pub stream: TcpStream,
    received: Vec<u8>,
    decoder: Decoder,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What came of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: Option<u16>,
    pub body: Vec<u8>,
    pub is_ended: bool,
    /// The code of RST_STREAM.
    pub reset: Option<u32>,
    /// The code of GOAWAY.
    pub goaway: Option<u32>,
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of literal fields without Huffman.
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let text = |text: &[u8], out: &mut Vec<u8>| {
        if text.len() < 127 {
            out.push(text.len() as u8);
        } else {
            out.push(127);
            let mut left = text.len() - 127;
            while left >= 128 {
                out.push((left % 128) as u8 | 128);
                left /= 128;
            }
            out.push(left as u8);
        }
        out.extend_from_slice(text);
    };
    for (name, value) in fields {
        out.push(0);
        text(name, &mut out);
        text(value, &mut out);
    }
    out
}

/// The fields of a GET.
pub fn get(path: &str) -> [(&[u8], &[u8]); 4] {
    [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"localhost"), (b":path", path.as_bytes())]
}

impl Frames {
    /// A connection on which nothing was sent.
    pub fn silent(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address("web")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::of(stream)
    }

    /// A connection that is there, from either end.
    pub fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new(), decoder: Decoder::default() }
    }

    /// The fields of a whole block.
    pub fn fields(&mut self, block: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.decoder.decode(block, |name, value| fields.push((text(name), text(value)))).unwrap();
        fields
    }

    /// A connection whose preface and settings are sent.
    pub fn connect(proxy: &Proxy) -> Self {
        let mut client = Self::silent(proxy);
        client.write(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat());
        client
    }

    /// Sends bytes, which the other end may not take any more.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a frame.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&frame(kind, flags, stream, payload));
    }

    /// Sends a request's head.
    pub fn ask(&mut self, stream: u32, fields: &[(&[u8], &[u8])], is_end: bool) {
        self.send(HEADERS, END_HEADERS | u8::from(is_end), stream, &block(fields));
    }

    /// The next frame; `None` at the end.
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            if self.received.len() >= 9 {
                let head: [u8; 9] = self.received[..9].try_into().unwrap();
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if self.received.len() >= 9 + length {
                    let payload = self.received[9..9 + length].to_vec();
                    self.received.drain(..9 + length);
                    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    return Some(Frame { kind: head[3], flags: head[4], stream, payload });
                }
            }
            let mut bytes = [0; 16384];
            match self.stream.read(&mut bytes) {
                // A read with a timeout is not taken up again by the kernel when the machine stops for a moment.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return None,
                Ok(length) => self.received.extend_from_slice(&bytes[..length]),
            }
        }
    }

    /// What comes of a stream, up to the answer to a PING that is sent at its end.
    pub fn answer(&mut self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        let mut is_over = false;
        while let Some(frame) = self.next() {
            match frame.kind {
                HEADERS => {
                    let mut status = None;
                    let take = |name: &[u8], value: &[u8]| {
                        if name == b":status" {
                            status = Some(std::str::from_utf8(value).unwrap().parse().unwrap());
                        }
                    };
                    self.decoder.decode(&frame.payload, take).unwrap();
                    if frame.stream == stream {
                        answer.status = status.or(answer.status);
                    }
                }
                DATA if frame.stream == stream => answer.body.extend_from_slice(&frame.payload),
                RST_STREAM if frame.stream == stream => answer.reset = Some(code(&frame.payload[..4])),
                GOAWAY => {
                    answer.goaway = Some(code(&frame.payload[4..8]));
                    return answer;
                }
                PING if frame.flags & ACK != 0 => return answer,
                _ => {}
            }
            let is_own = frame.stream == stream;
            answer.is_ended |=
                is_own && matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
            if (answer.is_ended || answer.reset.is_some()) && !std::mem::replace(&mut is_over, true) {
                self.send(PING, 0, 0, b"12345678");
            }
        }
        answer
    }

    /// The code of the GOAWAY that ends the connection, with the stream that it names; the connection must end too.
    pub fn goaway(&mut self) -> Option<(u32, u32)> {
        let mut found = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                found = Some((code(&frame.payload[..4]), code(&frame.payload[4..8])));
            }
        }
        found
    }
}

fn code(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}
