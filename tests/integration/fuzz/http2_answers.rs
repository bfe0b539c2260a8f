//! Responses of HTTP/2 by grammar, and what a backend may do to them. Everything follows from one seed.

use fastrand::Rng;

use super::{
    frames::{Raw, head, padded, tamper},
    grammar,
};
use crate::support::frames::{DATA, END_STREAM, PING, PRIORITY, WINDOW_UPDATE};

/// What a backend answers one request with.
pub struct Answer {
    pub bytes: Vec<u8>,
    pub status: String,
    pub body: Vec<u8>,
    /// Nothing of it was tampered with.
    pub is_sound: bool,
    /// Frames behind it may be taken for a part of it.
    pub is_last: bool,
}

/// Fields that are wrong in a response, or wrong now and then; `INNER` is an id that nobody sends.
const ODD: [(&str, &str); 24] = [
    ("X-Upper", "1"),
    ("connection", "close"),
    ("connection", "x-id"),
    ("transfer-encoding", "chunked"),
    ("keep-alive", "1"),
    ("upgrade", "h2c"),
    ("te", "trailers"),
    ("content-length", "5"),
    ("content-length", "0"),
    ("content-length", "5, 5"),
    ("content-length", "+5"),
    ("content-length", "99999999999999999999999"),
    ("a b", "1"),
    ("", "1"),
    ("x\r\nx-id: INNER", "1"),
    ("x", "a\r\n\r\nHTTP/1.1 200 OK\r\nX-Id: INNER\r\nContent-Length: 0\r\n\r\n"),
    ("x", "\0"),
    (":status", "200"),
    (":status", "100"),
    (":path", "/"),
    (":unknown", "1"),
    ("date", "never"),
    ("grpc-status", "x"),
    ("set-cookie", "a=1"),
];

/// The answer to a request on this stream.
pub fn answer(case: u64, stream: u32, is_head: bool, rng: &mut Rng) -> Answer {
    let id = grammar::id(case, 0);
    let mut frames = Vec::new();
    let mut is_sound = true;
    if rng.u8(..6) == 0 {
        let hints = [(":status", "103"), ("link", "</a>")].map(owned);
        head(&hints, stream, false, rng, &mut frames);
    }
    let status = ["200", "200", "200", "201", "204", "304", "404", "500"][rng.usize(..8)];
    let body = match rng.u8(..4) {
        _ if is_head || ["204", "304"].contains(&status) => Vec::new(),
        0 => Vec::new(),
        1 => format!("HTTP/1.1 200 OK\r\nX-Id: inner-{id}\r\nContent-Length: 0\r\n\r\n").into_bytes(),
        _ => format!("{id} ").repeat(rng.usize(1..3_000)).into_bytes(),
    };
    let mut fields = [(":status", status), ("x-id", &id)].map(owned).to_vec();
    if rng.bool() && !body.is_empty() {
        fields.push(owned(("content-length", &body.len().to_string())));
    }
    for _ in 0..[0, 0, 0, 0, 0, 1, 2][rng.usize(..7)] {
        is_sound = false;
        let (name, value) = ODD[rng.usize(..ODD.len())];
        let inner = |text: &str| text.replace("INNER", &format!("inner-{id}"));
        fields.insert(rng.usize(..=fields.len()), (inner(name), inner(value)));
    }
    let has_trailers = rng.u8(..6) == 0;
    head(&fields, stream, body.is_empty() && !has_trailers, rng, &mut frames);
    let mut pieces = body.chunks(rng.usize(100..16_000)).peekable();
    while let Some(piece) = pieces.next() {
        let is_end = pieces.peek().is_none() && !has_trailers;
        frames.push(padded(DATA, if is_end { END_STREAM } else { 0 }, stream, piece, rng));
        beside(&mut frames, rng);
    }
    if has_trailers {
        head(&[owned(("x-trailer", "1"))], stream, true, rng, &mut frames);
    }
    // Streams of its own, of nobody, and of the connection: what it says on another's is another's answer.
    let streams = [0, stream, stream, 2, 0x7fff_fffe, 0x7fff_ffff, stream | 0x8000_0000];
    let tampered = [0, 0, 0, 0, 0, 0, 1, 1, 2, 4][rng.usize(..10)];
    (0..tampered).for_each(|_| tamper(&mut frames, &streams, rng));
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.write(&mut bytes));
    let is_cut = rng.u8(..40) == 0;
    if is_cut {
        bytes.truncate(rng.usize(..=bytes.len()));
    }
    Answer {
        bytes,
        status: status.to_owned(),
        body,
        is_sound: is_sound && tampered == 0 && !is_cut,
        is_last: is_cut || frames.iter().any(Raw::is_lie),
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Adds, now and then, a frame that may be anywhere.
fn beside(frames: &mut Vec<Raw>, rng: &mut Rng) {
    let number = rng.u32(1..1000).to_be_bytes();
    match rng.u8(..24) {
        0 => frames.push(Raw::new(PING, 0, 0, b"12345678")),
        1 => frames.push(Raw::new(WINDOW_UPDATE, 0, 0, &number)),
        2 => frames.push(Raw::new(PRIORITY, 0, 1, &[0, 0, 0, 3, 9])),
        3 => frames.push(Raw::new(0x77, 0xff, 0, b"what")),
        _ => {}
    }
}
