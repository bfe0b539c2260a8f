//! Messages by grammar, and what a stranger may do to them. Everything follows from one seed.

use fastrand::Rng;

pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];

/// The id of a request: its case, its number, and a sum by which one that was tampered with is known.
pub(super) fn id(case: u64, number: usize) -> String {
    let text = format!("{case}-{number}");
    let sum = text.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31) ^ u32::from(byte)) & 0xffff;
    format!("{text}-{sum:04x}")
}

/// The case that an id is of; nothing for what is none.
pub fn case_of(text: &str) -> Option<u64> {
    let text = text.strip_prefix("inner-").unwrap_or(text);
    let mut parts = text.split('-');
    let (case, number) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (id(case, number) == text).then_some(case)
}

/// Requests on one connection, one behind the other, as bytes that may have been tampered with.
pub fn requests(case: u64, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..rng.usize(1..4) {
        bytes.extend(request(&id(case, number), rng));
    }
    for _ in 0..[0, 1, 1, 1, 2, 3][rng.usize(..6)] {
        tamper(&mut bytes, rng);
    }
    bytes
}

fn request(id: &str, rng: &mut Rng) -> Vec<u8> {
    let method = METHODS[rng.usize(..METHODS.len())];
    let target = match rng.u8(..6) {
        0 => format!("http://a/{id}"),
        1 => format!("/{id}?q=1%2F"),
        2 => format!("//{id}/./x"),
        _ => format!("/{id}"),
    };
    let mut head = format!("{method} {target} HTTP/1.{}\r\n", u8::from(rng.u8(..8) > 0));
    head += "Host: a\r\n";
    head += &format!("X-Id: {id}\r\n");
    for _ in 0..rng.usize(..3) {
        head += EXTRA[rng.usize(..EXTRA.len())];
    }
    let inner = format!("GET /inner HTTP/1.1\r\nHost: a\r\nX-Id: inner-{id}\r\n\r\n");
    let body = match rng.u8(..4) {
        0 => String::new(),
        1 => inner,
        2 => format!("0\r\n\r\n{inner}"),
        _ => "x".repeat(rng.usize(..300)),
    };
    framed(head, body.as_bytes(), rng)
}

/// Responses of a backend to one request.
pub fn response(id: &str, is_head: bool, rng: &mut Rng) -> Vec<u8> {
    let mut head = String::new();
    if rng.u8(..6) == 0 {
        head += "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    }
    let status = [200, 200, 200, 201, 204, 304, 404, 500][rng.usize(..8)];
    head += &format!("HTTP/1.1 {status} Some\r\nX-Id: {id}\r\n");
    for _ in 0..rng.usize(..3) {
        head += EXTRA[rng.usize(..EXTRA.len())];
    }
    let body = match rng.u8(..3) {
        0 => String::new(),
        1 => format!("HTTP/1.1 200 OK\r\nX-Id: inner-{id}\r\nContent-Length: 0\r\n\r\n"),
        _ => "y".repeat(rng.usize(..300)),
    };
    let has_body = !is_head && ![204, 304].contains(&status);
    let mut bytes = if has_body { framed(head, body.as_bytes(), rng) } else { (head + "\r\n").into_bytes() };
    for _ in 0..[0, 1, 1, 2, 3][rng.usize(..5)] {
        tamper(&mut bytes, rng);
    }
    bytes
}

fn framed(mut head: String, body: &[u8], rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..3) {
        0 if body.is_empty() => (head + "\r\n").into_bytes(),
        0 | 1 => {
            head += &format!("Content-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), body].concat()
        }
        _ => {
            head += "Transfer-Encoding: chunked\r\n\r\n";
            let mut bytes = head.into_bytes();
            for piece in body.chunks(rng.usize(1..200)) {
                bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n");
            if rng.u8(..4) == 0 {
                bytes.extend(b"X-Trailer: 1\r\n");
            }
            bytes.extend(b"\r\n");
            bytes
        }
    }
}

/// Lines that say something about the message, true or not.
const EXTRA: [&str; 40] = [
    "Accept: */*\r\n",
    "Connection: keep-alive\r\n",
    "Connection: close\r\n",
    "Connection: X-Id\r\n",
    "Connection: Content-Length\r\n",
    "Connection: Transfer-Encoding, close\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 05\r\n",
    "Content-Length: -1\r\n",
    "Content-Length:\r\n",
    "Content-Length: 99999999999999999999999\r\n",
    "Content_Length: 5\r\n",
    "Content-Length : 5\r\n",
    " Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: Chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "X-Fold: a\r\n b\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: websocket\r\nConnection: upgrade\r\n",
    "Host: b\r\n",
    "TE: trailers\r\n",
    "Trailer: X-Trailer\r\n",
    "Cookie: a=1\r\n",
    "Range: bytes=0-3\r\n",
    "Vary: *\r\n",
    "Cache-Control: max-age=60\r\n",
    "X-Forwarded-For: 6.6.6.6\r\n",
];

const BYTES: &[u8] = b"\r\n\0 \t:;,=\"\\/0159afx\x0b\x0c\x7f\x80\xff";

pub(super) fn tamper(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.usize(..bytes.len());
    match rng.u8(..10) {
        0 => bytes[at] = BYTES[rng.usize(..BYTES.len())],
        1 => bytes.insert(at, BYTES[rng.usize(..BYTES.len())]),
        2 => drop(bytes.remove(at)),
        3 => bytes.truncate(at),
        4 => replace(bytes, b"\r\n", [&b"\n"[..], b"\r", b"\r\r\n", b"\r\n\r\n", b""][rng.usize(..5)], rng),
        5 => replace(bytes, b": ", [&b":"[..], b" : ", b":\t", b":\0", b"\r\n "][rng.usize(..5)], rng),
        6 => replace(
            bytes,
            b"chunked",
            [&b"CHUNKED"[..], b"chunked ", b"chunke", b"chunked;a=b"][rng.usize(..4)],
            rng,
        ),
        7 => replace(
            bytes,
            b"HTTP/1.1",
            [&b"HTTP/1.0"[..], b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 "][rng.usize(..4)],
            rng,
        ),
        8 => {
            let line = EXTRA[rng.usize(..EXTRA.len())];
            replace(bytes, b"\r\n", format!("\r\n{line}").as_bytes(), rng);
        }
        _ => replace(
            bytes,
            b"\r\n",
            [&b";x\r\n"[..], b" \r\n", b";x=\"\r\n", b"0\r\n", b"\t\r\n"][rng.usize(..5)],
            rng,
        ),
    }
}

/// Replaces one of the places where something stands.
fn replace(bytes: &mut Vec<u8>, what: &[u8], with: &[u8], rng: &mut Rng) {
    let places: Vec<usize> =
        (0..bytes.len()).filter(|at| bytes.get(*at..*at + what.len()) == Some(what)).collect();
    if !places.is_empty() {
        let at = places[rng.usize(..places.len())];
        bytes.splice(at..at + what.len(), with.iter().copied());
    }
}
