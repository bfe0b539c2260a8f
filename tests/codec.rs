//! Random and damaged messages for the HTTP/1.1 codec, from fixed seeds: nothing panics, cuts change
//! nothing, and what we accept hyper reads in the same way.
#![allow(missing_docs, reason = "a test says what it holds by its name")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

use std::{cell::RefCell, convert::Infallible, rc::Rc};

use fastrand::Rng;
use http_body_util::{BodyExt, Empty};
use hyper::{body::Bytes, server::conn::http1, service::service_fn};
use pointsman::{
    h1::{Chunk, Decoder, Framing, HeadLimits, Method, RequestHead, ResponseHead, Scan},
    net::{hyper_io::HyperIo, proxy_protocol},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "POST /a?b=c HTTP/1.1",
    "PUT http://a/b HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "get /x HTTP/1.0",
    "M-SEARCH /%20 HTTP/1.1",
    "GET  / HTTP/1.1",
    "GET / HTTP/1.2",
    "GET /\t HTTP/1.1",
    "GET /#f HTTP/1.1",
    "HTTP/1.1 200 OK",
    "HTTP/1.0 404 Not here",
    "HTTP/1.1 204 ",
    "HTTP/1.1 099 x",
];
const FIELDS: &[&str] = &[
    "Host: a",
    "host:b",
    "Content-Length: 5",
    "Content-Length: 0",
    "content-length: +5",
    "Content-Length: 5, 5",
    "Content-Length: 18446744073709551616",
    "Transfer-Encoding: chunked",
    "transfer-encoding: gzip, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding : chunked",
    "X: a b\tc",
    "X:",
    "X: \u{e9}",
    " folded",
    "Connection: close",
    "X\u{0}: y",
    "X: a\rb",
];
const CHUNKS: &[&str] = &[
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "1;x=\"y\"\r\nz\r\n",
    "00a\r\n0123456789\r\n",
    "0\r\nX: 1\r\n\r\n",
    "5\nhello\r\n",
    "g\r\n",
    "3 \r\nabc\r\n",
    "3 ; a = \"b\\\"c\" ;d\r\nabc\r\n",
    "5 garbage\r\nhello\r\n",
    "5;\r\nhello\r\n",
    "5;bad[=x\r\nhello\r\n",
    "fffffffffffffffff\r\n",
    "2\r\nabc\r\n",
    "0;a\r\nHost: x\r\nY: 2\r\n\r\n",
    "0\r\nbad\r\n\r\n",
];

/// A message out of good and bad pieces, damaged now and then.
fn message(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(rng.choice(LINES).unwrap().as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for _ in 0..rng.usize(0..5) {
        bytes.extend_from_slice(rng.choice(FIELDS).unwrap().as_bytes());
        bytes.extend_from_slice(if rng.u8(..) < 8 { b"\n" } else { b"\r\n" });
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body(rng));
    damage(rng, &mut bytes);
    bytes
}

fn body(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(0..4)).flat_map(|_| rng.choice(CHUNKS).unwrap().bytes()).collect()
}

fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let count = if rng.bool() { 0 } else { rng.usize(1..4) };
    for _ in 0..count {
        let at = rng.usize(0..=bytes.len());
        match rng.u8(0..4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, *rng.choice(b"\r\n\0 \t:;,0a\x7f\xff").unwrap()),
            _ if at == bytes.len() => {}
            2 => drop(bytes.remove(at)),
            _ => bytes[at] = rng.u8(..),
        }
    }
}

/// Calls `read` with ever more of `bytes`, as a connection does, until it has an answer.
fn in_cuts<T>(rng: &mut Rng, bytes: &[u8], mut read: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
    let mut end = 0;
    loop {
        end = (end + rng.usize(1..20)).min(bytes.len());
        let answer = read(&bytes[..end]);
        if answer.is_some() || end == bytes.len() {
            return answer;
        }
    }
}

type Read = Option<Result<(String, usize), String>>;

fn read_request(bytes: &[u8], scan: &mut Scan) -> Read {
    let mut head = RequestHead::default();
    let read = head.parse(bytes, &HeadLimits::default(), scan).map_err(|error| format!("{error:?}"));
    read.map(|length| length.map(|length| (format!("{head:?} {:?}", Framing::of_request(&head)), length)))
        .transpose()
}

fn read_response(bytes: &[u8], scan: &mut Scan) -> Read {
    let mut head = ResponseHead::default();
    let read = head.parse(bytes, &HeadLimits::default(), scan).map_err(|error| format!("{error:?}"));
    let framing =
        |head: &ResponseHead| [Method::Get, Method::Head].map(|method| Framing::of_response(head, &method));
    read.map(|length| length.map(|length| (format!("{head:?} {:?}", framing(&head)), length))).transpose()
}

#[test]
fn heads_are_read_alike_however_they_are_cut() {
    let mut rng = Rng::with_seed(1);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20_000 {
        let bytes = message(&mut rng);
        for read in [read_request, read_response] {
            let whole = read(&bytes, &mut Scan::default());
            let mut scan = Scan::default();
            let cut = in_cuts(&mut rng, &bytes, |part| read(part, &mut scan));
            match (&whole, &cut) {
                // The fault that is met first may be another one.
                (Some(Err(_)), Some(Err(_))) => bad += 1,
                _ => assert_eq!(whole, cut, "{:?}", String::from_utf8_lossy(&bytes)),
            }
            good += usize::from(matches!(whole, Some(Ok(_))));
        }
    }
    assert!(good > 2000 && bad > 2000, "{good} {bad}");
}

/// Chunk extensions (RFC 9112 §7.1.1), and white space at their end.
fn extensions() -> &'static regex::bytes::Regex {
    static EXTENSIONS: std::sync::OnceLock<regex::bytes::Regex> = std::sync::OnceLock::new();
    EXTENSIONS.get_or_init(|| {
        let token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
        let quoted = r#""(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*""#;
        let one = format!("[ \t]*;[ \t]*{token}(?:[ \t]*=[ \t]*(?:{token}|{quoted}))?");
        regex::bytes::Regex::new(&format!("(?-u)^(?:{one})*[ \t]*$")).unwrap()
    })
}

/// A whole chunked body, by the simplest reading of RFC 9112 §7.1: body, trailer lines, bytes used.
/// `None` when it is wrong or unfinished.
fn naive(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = |at: usize| {
        let end = bytes[at..].windows(2).position(|pair| pair == b"\r\n")? + at;
        let line = &bytes[at..end];
        (!line.contains(&b'\r') && !line.contains(&b'\n')).then_some((line, end + 2))
    };
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let (size, next) = line(at)?;
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extension) = size.split_at(digits);
        if digits.is_empty() || digits.len() > 16 || !extensions().is_match(extension) {
            return None;
        }
        let size = usize::try_from(u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?).ok()?;
        at = next;
        if size == 0 {
            break;
        }
        let end = at.checked_add(size)?;
        body.extend_from_slice(bytes.get(at..end)?);
        if bytes.get(end..end + 2)? != b"\r\n" {
            return None;
        }
        at = end + 2;
    }
    loop {
        let (trailer, next) = line(at)?;
        at = next;
        if trailer.is_empty() {
            return Some((body, at));
        }
        let colon = trailer.iter().position(|byte| *byte == b':')?;
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let is_text = |byte: &u8| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f);
        if colon == 0 || !trailer[..colon].iter().all(is_token) || !trailer[colon + 1..].iter().all(is_text) {
            return None;
        }
    }
}

fn decode(rng: &mut Rng, bytes: &[u8], most: usize) -> Option<(Vec<u8>, usize)> {
    let (mut decoder, mut body, mut at) = (Decoder::default(), Vec::new(), 0);
    let mut end = 0;
    while end < bytes.len() {
        end = (end + rng.usize(1..=most)).min(bytes.len());
        while at < end {
            match decoder.next(&bytes[at..end]).ok()? {
                Chunk::Data { skip, length } => {
                    body.extend_from_slice(&bytes[at + skip..at + skip + length]);
                    at += skip + length;
                }
                Chunk::More => at = end,
                Chunk::End(length) => return decoder.take_trailers().ok().map(|_| (body, at + length)),
            }
        }
    }
    None
}

#[test]
fn chunks_are_decoded_as_the_simplest_decoder_does() {
    let mut rng = Rng::with_seed(2);
    let mut good = 0;
    for _ in 0..30_000 {
        let mut bytes = body(&mut rng);
        if rng.bool() {
            bytes.extend_from_slice(b"0\r\n\r\nrest");
        }
        damage(&mut rng, &mut bytes);
        let expected = naive(&bytes);
        good += usize::from(expected.is_some());
        for most in [1, 7, 1000] {
            assert_eq!(decode(&mut rng, &bytes, most), expected, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
    assert!(good > 3000, "{good}");
}

#[test]
fn proxy_headers_never_panic_and_grow_into_one_answer() {
    let mut rng = Rng::with_seed(3);
    for _ in 0..20_000 {
        let mut bytes = match rng.u8(0..3) {
            0 => b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\nGET".to_vec(),
            1 => {
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\0\x50\x04\0\0GET"
                    .to_vec()
            }
            _ => (0..rng.usize(0..40)).map(|_| rng.u8(..)).collect(),
        };
        damage(&mut rng, &mut bytes);
        let length = |read: &Result<proxy_protocol::Parsed, _>| match read {
            Ok(proxy_protocol::Parsed::Done(header)) => Some(Ok(header.length)),
            Ok(proxy_protocol::Parsed::Partial) => None,
            Err(_) => Some(Err(())),
        };
        let whole = length(&proxy_protocol::parse(&bytes));
        let cut = in_cuts(&mut rng, &bytes, |part| length(&proxy_protocol::parse(part)));
        assert_eq!(whole, cut, "{bytes:?}");
        if let Some(Ok(length)) = whole {
            assert!(length <= bytes.len());
        }
    }
}

/// What hyper's server reads of the first request: method, target, and the body if it is whole.
async fn hyper_reads(bytes: &[u8]) -> Option<(String, String, Option<Vec<u8>>)> {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let seen = Rc::new(RefCell::new(None));
    let noted = seen.clone();
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let noted = noted.clone();
        async move {
            let (head, body) = request.into_parts();
            let (method, target) = (head.method.to_string(), head.uri.to_string());
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            if noted.borrow().is_none() {
                *noted.borrow_mut() = Some((method, target, body));
            }
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    client.write_all(bytes).await.ok()?;
    client.shutdown().await.ok()?;
    let answer = async move { drop(client.read_to_end(&mut Vec::new()).await) };
    let _ = tokio::join!(
        http1::Builder::new().half_close(true).serve_connection(HyperIo(server), service),
        answer
    );
    seen.borrow_mut().take()
}

/// Method, target and body as we read them; `None` when we refuse; the body `None` when it is unfinished
/// or broken.
fn we_read(bytes: &[u8]) -> Option<(String, String, Option<Vec<u8>>)> {
    let mut head = RequestHead::default();
    let length = head.parse(bytes, &HeadLimits::default(), &mut Scan::default()).ok()??;
    let rest = &bytes[length..];
    let body = match Framing::of_request(&head).ok()? {
        Framing::None => Some(Vec::new()),
        Framing::Length(length) => {
            usize::try_from(length).ok().and_then(|length| rest.get(..length)).map(<[u8]>::to_vec)
        }
        Framing::Chunked => decode(&mut Rng::with_seed(0), rest, 1000).map(|(body, _)| body),
        Framing::UntilClose => unreachable!(),
    };
    Some((head.method.as_str().to_owned(), head.target, body))
}

/// Deliberate differences. Stricter than hyper: bare LF as a line end; NUL and CR anywhere; both lengths and
/// `Transfer-Encoding`; a second, even an equal, `Content-Length`; codings other than `chunked` alone;
/// `Transfer-Encoding` in HTTP/1.0. What hyper refuses and we do not here, `http::normalize` refuses before
/// routing: targets that are no URI.
#[test]
fn what_we_accept_hyper_reads_in_the_same_way() {
    let mut rng = Rng::with_seed(4);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut same, mut stricter) = (0, 0);
    for _ in 0..20_000 {
        let bytes = message(&mut rng);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (ours, theirs) = (we_read(&bytes), runtime.block_on(hyper_reads(&bytes)));
        match (ours, theirs) {
            (Some((method, target, body)), Some((their_method, their_target, their_body))) => {
                // hyper shows a URI without a path with one.
                let target = target.parse::<http::Uri>().map_or(target, |target| target.to_string());
                assert_eq!((&method, &target), (&their_method, &their_target), "{text:?}");
                if let (Some(body), Some(their_body)) = (&body, &their_body) {
                    assert_eq!(body, their_body, "{text:?}");
                    same += 1;
                }
                assert!(body.is_none() || their_body.is_some(), "hyper finds this body broken: {text:?}");
            }
            (Some((_, target, _)), None) => {
                // A later minor version is served as the one that is known (RFC 9110 §2.5); hyper refuses it.
                let is_later = text.lines().next().is_some_and(|line| line.ends_with("HTTP/1.2"));
                assert!(is_later || target.parse::<http::Uri>().is_err(), "hyper refuses this: {text:?}");
            }
            (None, Some(_)) => stricter += 1,
            (None, None) => {}
        }
    }
    assert!(same > 1000 && stricter > 500, "{same} {stricter}");
}
