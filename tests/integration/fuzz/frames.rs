//! HTTP/2 by grammar, and what a stranger may do to it: to requests, to frames, to bytes. Everything follows from one seed.

use fastrand::Rng;

use super::grammar::{self, METHODS};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE,
};

const PUSH_PROMISE: u8 = 5;
const PADDED: u8 = 8;
const HAS_PRIORITY: u8 = 32;

/// What a client sends on one connection.
pub struct Sent {
    pub bytes: Vec<u8>,
    pub requests: Vec<Request>,
}

/// A request as it was meant.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    pub id: String,
    pub body: Vec<u8>,
    /// Nothing of it, nor of its connection, was tampered with.
    pub is_sound: bool,
}

/// A frame whose length may be a lie.
#[derive(Clone)]
pub(super) struct Raw {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
    more: i32,
}

impl Raw {
    pub(super) fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Self { kind, flags, stream, payload: payload.to_vec(), more: 0 }
    }

    /// Whether what follows it cannot be told apart from it.
    pub(super) fn is_lie(&self) -> bool {
        self.more != 0
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let length = (i32::try_from(self.payload.len()).unwrap() + self.more).max(0);
        out.extend(&length.to_be_bytes()[1..]);
        out.extend([self.kind, self.flags]);
        out.extend(self.stream.to_be_bytes());
        out.extend(&self.payload);
    }
}

/// A connection with some requests.
pub fn connection(case: u64, rng: &mut Rng) -> Sent {
    let mut frames = vec![settings(rng)];
    let mut requests = Vec::new();
    for number in 0..rng.usize(1..5) {
        let stream = 2 * u32::try_from(number).unwrap() + 1;
        requests.push(request(&grammar::id(case, number), stream, rng, &mut frames));
    }
    let tampered = [0, 0, 1, 1, 2, 4][rng.usize(..6)];
    (0..tampered).for_each(|_| tamper(&mut frames, &STREAMS, rng));
    let mut bytes = PREFACE.to_vec();
    frames.iter().for_each(|frame| frame.write(&mut bytes));
    let is_cut = rng.u8(..12) == 0;
    if is_cut {
        grammar::tamper(&mut bytes, rng);
    }
    let is_whole = tampered == 0 && !is_cut;
    requests.iter_mut().for_each(|request| request.is_sound &= is_whole);
    Sent { bytes, requests }
}

fn settings(rng: &mut Rng) -> Raw {
    let mut payload = Vec::new();
    for _ in 0..rng.usize(..3) {
        let id = rng.u16(..9);
        let value = [0, 1, 100, 16_384, 65_535, 1 << 20, u32::MAX >> 1][rng.usize(..7)];
        // What would end every connection is left to tampering.
        let value = if id == 2 || id == 5 || id == 8 { [0, 16_384, 0][usize::from(id) / 3] } else { value };
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    Raw::new(SETTINGS, 0, 0, &payload)
}

/// Adds the frames of a request.
fn request(id: &str, stream: u32, rng: &mut Rng, frames: &mut Vec<Raw>) -> Request {
    let inner = format!("GET /inner HTTP/1.1\r\nHost: a\r\nX-Id: inner-{id}\r\n\r\n");
    let method = METHODS[rng.usize(..METHODS.len())];
    let mut fields: Vec<(String, String)> = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", &*format!("/{id}")),
        ("x-id", id),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let body = match rng.u8(..5) {
        0 | 1 => Vec::new(),
        2 => inner.into_bytes(),
        3 => format!("0\r\n\r\n{inner}").into_bytes(),
        _ => vec![b'x'; rng.usize(..40_000)],
    };
    if rng.bool() && !body.is_empty() {
        fields.push(("content-length".to_owned(), body.len().to_string()));
    }
    let odd = [0, 0, 0, 1, 1, 2][rng.usize(..6)];
    (0..odd).for_each(|_| bend(&mut fields, id, rng));
    let has_trailers = rng.u8(..8) == 0;
    let is_end = body.is_empty() && !has_trailers;
    head(&fields, stream, is_end, rng, frames);
    let mut pieces = body.chunks(rng.usize(1_000..16_000)).peekable();
    while let Some(piece) = pieces.next() {
        let is_last = pieces.peek().is_none() && !has_trailers;
        frames.push(padded(DATA, if is_last { END_STREAM } else { 0 }, stream, piece, rng));
    }
    if has_trailers {
        let trailer = TRAILERS[rng.usize(..TRAILERS.len())];
        let fields = [(trailer.0.to_owned(), trailer.1.replace("INNER", &format!("inner-{id}")))];
        head(&fields, stream, true, rng, frames);
    }
    Request { method: method.to_owned(), id: id.to_owned(), body, is_sound: odd == 0 && !has_trailers }
}

const TRAILERS: [(&str, &str); 6] = [
    ("x-trailer", "1"),
    ("x-id", "INNER"),
    (":path", "/INNER"),
    ("content-length", "5"),
    ("x", "a\r\n\r\nGET /INNER HTTP/1.1\r\nHost: a\r\nX-Id: INNER\r\n\r\n"),
    ("X-Upper", "1"),
];

/// Fields that may not be, or that say something else than the frames; `INNER` is an id that nobody sends.
const ODD: [(&str, &str); 41] = [
    ("X-Upper", "1"),
    ("connection", "close"),
    ("connection", "x-id"),
    ("transfer-encoding", "chunked"),
    ("transfer-encoding", "identity"),
    ("te", "gzip"),
    ("te", "trailers"),
    ("content-length", "5"),
    ("content-length", "0"),
    ("content-length", "5, 5"),
    ("content-length", "+5"),
    ("content-length", "99999999999999999999999"),
    ("content_length", "5"),
    ("transfer_encoding", "chunked"),
    ("a b", "1"),
    ("a\tb", "1"),
    ("x:y", "1"),
    ("", ""),
    ("", "1"),
    ("x\r\nx-id: INNER", "1"),
    ("x: 1\r\n\r\nget /inner http/1.1\r\nx-id: INNER\r\n\r\n", "1"),
    ("x", "a\r\nX-Id: INNER"),
    ("x", "a\nX-Id: INNER"),
    ("x", "a\r\n\r\nGET /inner HTTP/1.1\r\nHost: a\r\nX-Id: INNER\r\n\r\n"),
    ("x", "\0"),
    ("x", " blanks around "),
    ("x", "\u{80}\u{ff}"),
    (":path", "/inner"),
    (":unknown", "1"),
    (":protocol", "websocket"),
    (":status", "200"),
    ("host", "b"),
    ("host", "a"),
    ("keep-alive", "1"),
    ("upgrade", "h2c"),
    ("proxy-connection", "close"),
    ("cookie", "a=1"),
    ("cookie", "b=2"),
    ("x-forwarded-for", "6.6.6.6"),
    ("expect", "100-continue"),
    ("range", "bytes=0-3"),
];

/// Values of pseudo-fields that are none, or lead elsewhere.
const BENT: [(&str, &str); 20] = [
    (":method", "GET /inner HTTP/1.1\r\nHost: a\r\nX-Id: INNER\r\n\r\nGET"),
    (":method", "CONNECT"),
    (":method", "get"),
    (":method", ""),
    (":method", "G ET"),
    (":scheme", "https"),
    (":scheme", "http x"),
    (":scheme", ""),
    (":authority", "u@a"),
    (":authority", "a\r\nX-Id: INNER"),
    (":authority", ""),
    (":authority", "a/b"),
    (":authority", "a, b"),
    (":path", "/x HTTP/1.1\r\nHost: a\r\nX-Id: INNER\r\n\r\nGET /"),
    (":path", "/x y"),
    (":path", "//x/./y"),
    (":path", "http://b/inner"),
    (":path", "*"),
    (":path", ""),
    (":path", "/x#y"),
];

/// Makes one thing of a list of fields odd.
fn bend(fields: &mut Vec<(String, String)>, id: &str, rng: &mut Rng) {
    let (at, other) = (rng.usize(..fields.len()), rng.usize(..fields.len()));
    let inner = |text: &str| text.replace("INNER", &format!("inner-{id}"));
    match rng.u8(..8) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(at, fields[other].clone()),
        2 => fields.swap(at, other),
        3 | 4 => {
            let (name, value) = BENT[rng.usize(..BENT.len())];
            let found = fields.iter_mut().find(|(other, _)| other == name);
            found.into_iter().for_each(|field| field.1 = inner(value));
        }
        _ => {
            let (name, value) = ODD[rng.usize(..ODD.len())];
            fields.insert(rng.usize(at..=fields.len()), (inner(name), inner(value)));
        }
    }
    if fields.is_empty() {
        fields.push(("x".to_owned(), "1".to_owned()));
    }
}

/// Adds HEADERS and, now and then, CONTINUATION.
pub(super) fn head(
    fields: &[(String, String)],
    stream: u32,
    is_end: bool,
    rng: &mut Rng,
    frames: &mut Vec<Raw>,
) {
    let block = block(fields, rng);
    let end = if is_end { END_STREAM } else { 0 };
    let cuts = [0, 0, 0, 1, 3][rng.usize(..5)];
    let mut pieces = block.chunks(block.len() / (cuts + 1) + 1).peekable();
    let mut is_first = true;
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        frames.push(match std::mem::take(&mut is_first) {
            true => padded(HEADERS, flags | end, stream, piece, rng),
            false => Raw::new(CONTINUATION, flags, stream, piece),
        });
    }
}

/// A frame that may have padding and, for HEADERS, a priority.
pub(super) fn padded(kind: u8, mut flags: u8, stream: u32, piece: &[u8], rng: &mut Rng) -> Raw {
    let mut payload = Vec::new();
    let pad = if rng.u8(..6) == 0 { rng.u8(..40) } else { 0 };
    if pad > 0 {
        flags |= PADDED;
        payload.push(pad);
    }
    if kind == HEADERS && rng.u8(..6) == 0 {
        flags |= HAS_PRIORITY;
        payload.extend([0, 0, 0, 0, 16]);
    }
    payload.extend(piece);
    payload.extend(vec![0; usize::from(pad)]);
    Raw::new(kind, flags, stream, &payload)
}

/// Fields in each of the forms that there are for them (RFC 7541 §6).
fn block(fields: &[(String, String)], rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    if rng.u8(..10) == 0 {
        // The table's size, which is at most 4096.
        out.extend([[0x20].as_slice(), &[0x3f, 0xe1, 0x1f]][rng.usize(..2)]);
    }
    for (name, value) in fields {
        if name == ":method" && value == "GET" && rng.bool() {
            out.push(0x82);
            continue;
        }
        out.push([0x00, 0x10, 0x40][rng.usize(..3)]);
        text(name.as_bytes(), &mut out);
        text(value.as_bytes(), &mut out);
    }
    out
}

fn text(text: &[u8], out: &mut Vec<u8>) {
    let mut left = text.len();
    if left < 127 {
        out.push(u8::try_from(left).unwrap());
    } else {
        out.push(127);
        left -= 127;
        while left >= 128 {
            out.push(u8::try_from(left % 128).unwrap() | 128);
            left /= 128;
        }
        out.push(u8::try_from(left).unwrap());
    }
    out.extend(text);
}

/// Streams that frames of a client are moved to.
const STREAMS: [u32; 8] = [0, 1, 2, 3, 5, 99, 0x7fff_ffff, 0x8000_0001];

/// Does something to a frame, or adds others, which may be moved to one of `streams`.
pub(super) fn tamper(frames: &mut Vec<Raw>, streams: &[u32], rng: &mut Rng) {
    if frames.is_empty() {
        return;
    }
    let (at, other) = (rng.usize(..frames.len()), rng.usize(..frames.len()));
    let stream = streams[rng.usize(..streams.len())];
    let frame = &mut frames[at];
    match rng.u8(..11) {
        0 => frame.flags ^= 1 << rng.u8(..8),
        1 => frame.stream = stream,
        2 => frame.kind = rng.u8(..12),
        3 => frame.more = [-1, 1, -5, 100, 16_384, 1 << 20][rng.usize(..6)],
        4 => {
            let again = frame.clone();
            frames.insert(other, again);
        }
        5 => drop(frames.remove(at)),
        6 => frames.swap(at, other),
        7 if !frame.payload.is_empty() => {
            let place = rng.usize(..frame.payload.len());
            frame.payload[place] = rng.u8(..);
        }
        8 => frame.payload.truncate(frame.payload.len() / 2),
        _ => {
            let nuisance = nuisance(stream, rng);
            let times = [1, 1, 1, 3, 600][rng.usize(..5)];
            (0..times).for_each(|_| frames.insert(at, nuisance.clone()));
        }
    }
}

/// A frame that asks for nothing, or for what may not be.
fn nuisance(stream: u32, rng: &mut Rng) -> Raw {
    let number = [0, 1, 65_535, u32::MAX >> 1][rng.usize(..4)].to_be_bytes();
    let kinds: [(u8, u8, u32, &[u8]); 13] = [
        (PING, 0, 0, b"12345678"),
        (PING, 0, stream, b"1234567"),
        (SETTINGS, 0, 0, b""),
        (SETTINGS, 1, 0, b"123456"),
        (SETTINGS, 0, 0, &[0, rng.u8(..8), number[0], number[1], number[2], number[3]]),
        (WINDOW_UPDATE, 0, stream, &number),
        (PRIORITY, 0, stream, &[0, 0, 0, 1, 9]),
        (RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        (GOAWAY, 0, 0, &[0; 8]),
        (PUSH_PROMISE, END_HEADERS, stream, &[0, 0, 0, 2, 0x82]),
        (CONTINUATION, END_HEADERS, stream, &[0x82]),
        (DATA, 0, stream, b""),
        (0x77, 0xff, stream, b"what"),
    ];
    let (kind, flags, stream, payload) = kinds[rng.usize(..kinds.len())];
    Raw::new(kind, flags, stream, payload)
}
