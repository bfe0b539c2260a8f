//! The readers of what strangers send, each by itself.

use std::sync::Arc;

use bytes::Bytes;
use regex::Regex;

use super::{
    Pattern, Recorder, check,
    patterns::{LINES, TARGETS, VALUES},
};
use crate::{
    cache::{
        cache_control::{RequestControl, ResponseControl},
        conf::{Admission, Eviction},
        date::Date,
        freshness::Times,
        invalidate::{Asked, invalidated},
        key::{Key, KeySettings, QueryKey},
        memory::{Memory, Shape},
        normalized_field::normalized,
        policy::Policy,
        purge,
        range::Extent,
        storable::stored_fields,
        stored_head::StoredHead,
        stored_response::{Body, StoredResponse},
        structured_fields,
        validate::{is_not_modified, make_conditional, merge},
        vary::Vary,
    },
    config::listen::{PathsConf, Underscores},
    exchange::Exchange,
    fields::{ConnectionOptions, Fields, list, read_quoted},
    h1::{Chunk, Decoder, HeadLimits, Message, Method, RequestHead, ResponseHead, Scan, framing, trailers},
    http::{edit, normalize},
    l4::quic,
    net::{buffer::Buffer, proxy_protocol},
    route::{
        host::HostPattern,
        matcher::{Facts, PathPattern, Rule},
        table::Table,
    },
    telemetry::{access_line::AccessLine, trace::Parent},
    template::{Context, Place, Scope, Template, Use},
    websocket::Frames,
};

/// What reads, what it is fed, how that begins, and how it reads.
type Reader = (&'static str, &'static [Pattern], &'static [&'static str], fn(&[u8]));

const LIMITS: HeadLimits = HeadLimits { bytes: 1 << 20, fields: 10_000, target: 1 << 20 };
const NOW: Date = Date(1_795_000_000);

/// Sizes that are compared. Small enough to be quick, and large enough that going back over everything shows, even by
/// the fastest search.
const SIZES: [usize; 2] = [1500, 3000];
/// So many patterns are counted together: to write a count down takes callgrind longer than to count.
const AT_ONCE: usize = 4;

const READERS: &[Reader] = &[
    ("frames of WebSockets", VALUES, &["", "\x02\0"], |bytes| Frames::default().take_all(bytes)),
    ("Cache-Control of a request", VALUES, &["", "max-stale="], |value| {
        RequestControl::of(&field("cache-control", value));
    }),
    ("Pragma", VALUES, &[""], |value| {
        RequestControl::of(&field("pragma", value));
    }),
    ("Cache-Control of a response", VALUES, &["", "private=\""], |value| {
        ResponseControl::of(&field("cache-control", value));
    }),
    ("CDN-Cache-Control", VALUES, &["", "a=\"", "a=("], |value| {
        ResponseControl::of(&field("cdn-cache-control", value));
    }),
    ("quoted string", VALUES, &["", "a\\"], |value| {
        read_quoted(value);
    }),
    ("dictionary", VALUES, &["a=1,", "a;"], |value| {
        structured_fields::parse([value].into_iter());
    }),
    ("Vary", VALUES, &[""], |value| {
        Vary::of(&field("vary", value));
    }),
    ("Accept-Encoding", VALUES, &[""], |value| {
        normalized("accept-encoding", &field("accept-encoding", value));
    }),
    ("Accept-Language", VALUES, &[""], |value| {
        normalized("accept-language", &field("accept-language", value));
    }),
    ("Accept", VALUES, &["", "a;b=\""], |value| {
        normalized("accept", &field("accept", value));
    }),
    ("Cookie", VALUES, &["", "a="], |value| {
        normalized("cookie", &field("cookie", value));
    }),
    ("another field of the key", VALUES, &[""], |value| {
        normalized("x-a", &field("x-a", value));
    }),
    ("Connection", VALUES, &[""], |value| {
        let fields = field("connection", value);
        framing::keeps_alive(crate::h1::Version::Http11, &fields);
        if let Ok(options) = ConnectionOptions::of(&fields) {
            (0..64).for_each(|_| assert!(!options.name(b"x-none-of-them")));
        }
    }),
    ("Connection of what is stored", VALUES, &["a", "x0,"], |value| {
        stored_fields(&many("connection", value), &ResponseControl::default(), &Policy::default());
    }),
    ("fields that are not stored", VALUES, &["private=\"", "no-cache=\"x0,"], |value| {
        let head = many("cache-control", value);
        stored_fields(&head, &ResponseControl::of(&head.fields), &Policy::default());
    }),
    ("fields of a 304", VALUES, &["", "private=\""], |value| {
        let mut stored = many("x-a", value).fields;
        merge(&mut stored, &field("cache-control", value), &Policy::default());
    }),
    ("Range", VALUES, &["bytes=", "bytes=0-1,"], |value| {
        let request = field("range", value);
        Extent::of(&Method::Get, &request, &Fields::default(), 1000, NOW);
    }),
    ("If-Range", VALUES, &["", "\"", "W/\""], |value| {
        let mut request = field("if-range", value);
        request.push("range", b"bytes=0-1");
        Extent::of(&Method::Get, &request, &field("etag", b"\"a\""), 1000, NOW);
    }),
    ("If-None-Match", VALUES, &["", "\"", "W/\"x\","], |value| {
        is_not_modified(
            &Method::Get,
            &field("if-none-match", value),
            200,
            &field("etag", b"\"y\""),
            (NOW, true),
        );
    }),
    ("ETag", VALUES, &["", "\"", "W/\""], |value| {
        make_conditional(&mut Fields::default(), [&field("etag", value)].into_iter());
    }),
    ("If-Modified-Since", VALUES, &["", "Sun, 06 Nov "], |value| {
        is_not_modified(
            &Method::Get,
            &field("if-modified-since", value),
            200,
            &Fields::default(),
            (NOW, true),
        );
    }),
    ("date", VALUES, &["", "Sun, 06 Nov 1994 ", "Sunday, 06-Nov-94 "], |value| {
        Date::parse(value, NOW);
    }),
    ("Age, Expires and Date", VALUES, &[""], |value| {
        let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
        ["age", "expires", "date", "last-modified"].iter().for_each(|name| head.fields.push(name, value));
        let times = Times { requested: NOW, received: NOW };
        let _ = StoredHead::of(&RequestHead::default(), &head, &Policy::default(), times);
    }),
    ("Surrogate-Key", VALUES, &[""], |value| {
        purge::tags(&field("surrogate-key", value), "surrogate-key").count();
    }),
    ("Location of a write", TARGETS, &["", "/", "//a/", "http://a", "http://a/"], |value| {
        let asked = Asked { schemes: ["https", "http"], authorities: ["b", "a"], target: "/b/c?d" };
        // Of Location and Content-Location, each read in two ways.
        let place = String::from_utf8_lossy(value);
        let readings = vec![place.clone(), place];
        invalidated(&Method::Post, 201, &asked, [readings.clone(), readings]);
    }),
    ("key", TARGETS, &["/", "/?", "/?a=1&", "*"], |target| {
        let target = String::from_utf8_lossy(target);
        for (query, sorted) in [
            (QueryKey::All, false),
            (QueryKey::All, true),
            (QueryKey::Names(vec!["a".to_owned(), "b".to_owned()]), true),
        ] {
            let settings = KeySettings { query, sorted, headers: vec!["x-a".to_owned()] };
            let key = Key::of("http", "a", None, &target, &field("x-a", target.as_bytes()), &settings);
            key.of_its_uri().uri_hash();
        }
    }),
    ("Host", TARGETS, &["", "[", "a:"], |value| {
        normal("GET", b"/", value);
    }),
    ("target", TARGETS, &["/", "/a?", "http://", "http://a", "http://a/", "/%"], |target| {
        normal("GET", target, b"a");
        normal("OPTIONS", target, b"a");
        normal("CONNECT", target, b"a");
    }),
    ("route", TARGETS, &["/", "/a?", "/?a=1&", "/b/"], |target| {
        let target = String::from_utf8_lossy(target);
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let headers = field("x-a", target.as_bytes());
        for host in ["a", target.trim_start_matches('/')] {
            TABLE.with(|table| {
                table.find(&Facts { host, path, method: "GET", query, headers: &headers, exchange: None })
            });
        }
    }),
    ("rewriting", TARGETS, &["/", "/a/?"], |target| {
        let mut exchange = Exchange::default();
        exchange.request.target.push_str(&String::from_utf8_lossy(target));
        exchange.authority.clone_from(&exchange.request.target);
        exchange.path_length = exchange.request.target.find('?').unwrap_or(exchange.request.target.len());
        let text = "{scheme}://{host}:{port}{path}?{query}#{path_and_query}{query.a|urlencode}{path.1}";
        let template = Template::parse(text, Use::Redirect, Context::Url).unwrap();
        CAPTURES.with(|captures| {
            let place = Place { captures, ..Place::default() };
            edit::expand(&template, &Scope { exchange: &exchange, place });
        });
    }),
    ("head of a request", LINES, &["", "GET /", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\na: "], |bytes| {
        let _ = RequestHead::default().parse(bytes, &LIMITS, &mut Scan::default());
        let ended = [bytes, b"\r\n\r\n"].concat();
        let _ = RequestHead::default().parse(&ended, &LIMITS, &mut Scan::default());
    }),
    (
        "head of a request, byte by byte",
        LINES,
        &["", "GET /", "GET / HTTP/1.1\r\na: ", "GET / HTTP/1.1\r\n"],
        |bytes| {
            let (mut head, mut scan, mut buffer) =
                (RequestHead::default(), Scan::default(), Buffer::default());
            for byte in bytes {
                buffer.append(&[*byte]);
                if !matches!(head.parse(&buffer, &LIMITS, &mut scan), Ok(None)) {
                    break;
                }
            }
        },
    ),
    (
        "head of a response",
        LINES,
        &["", "HTTP/1.1 200 ", "HTTP/1.1 200\r\n", "HTTP/1.1 200 OK\r\na: "],
        |bytes| {
            let _ = ResponseHead::default().parse(bytes, &LIMITS, &mut Scan::default());
            let ended = [bytes, b"\r\n\r\n"].concat();
            let _ = ResponseHead::default().parse(&ended, &LIMITS, &mut Scan::default());
        },
    ),
    ("chunks", LINES, &["", "1;", "5;a=\"", "0\r\n", "ffff\r\n"], |bytes| chunks(bytes, bytes.len())),
    ("chunks, byte by byte", LINES, &["", "1;", "0\r\n", "ffff\r\n"], |bytes| chunks(bytes, 1)),
    ("trailers", LINES, &["", "a: "], |bytes| {
        let _ = trailers::parse_trailers(
            &[bytes, b"\r\n\r\n"].concat(),
            &mut Fields::default(),
            Message::Request,
        );
    }),
    ("Content-Length and Transfer-Encoding", VALUES, &["", "chunked,"], |value| {
        for name in ["content-length", "transfer-encoding"] {
            let request = RequestHead { fields: field(name, value), ..RequestHead::default() };
            let _ = framing::Framing::of_request(&request);
        }
    }),
    (
        "PROXY header",
        LINES,
        &["PROXY ", "PROXY TCP4 1.2.3.4 1.2.3.4 1 ", "\r\n\r\n\0\r\nQUIT\n\u{21}\u{11}"],
        |bytes| {
            let _ = proxy_protocol::parse(bytes);
        },
    ),
    ("CRYPTO frames of QUIC", LINES, &["", "\u{1}\0\u{f}\0"], quic::read_in_pieces),
    ("frames and packets of QUIC", LINES, &["", "\u{6}", "\u{2}\0\0", "\u{40}", "\0\0\0\0\0"], quic::read),
    ("TLVs of a PROXY header", LINES, &[""], |bytes| {
        let length = u16::try_from(bytes.len() + 12).unwrap().to_be_bytes();
        let header = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length[..], &[0; 12], bytes].concat();
        let _ = proxy_protocol::parse(&header);
    }),
    (
        "traceparent",
        VALUES,
        &["", "00-", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-"],
        |value| {
            Parent::parse(value);
        },
    ),
    ("list", VALUES, &[""], |value| {
        list([value].into_iter()).count();
    }),
    ("access log", VALUES, &[""], |value| {
        let text = String::from_utf8_lossy(value);
        let line = AccessLine {
            target: &text,
            host: &text,
            method: &text,
            user_agent: Some(value),
            referer: Some(value),
            ..AccessLine::default()
        };
        line.write_json(&mut Vec::new());
        line.write_common(true, &mut Vec::new());
    }),
    ("body in tiny chunks", LINES, &[""], |bytes| {
        let body = Body::of(bytes.chunks(3).map(Bytes::copy_from_slice));
        let large = Body::of((0..bytes.len() / 4).map(|_| Bytes::from_static(&[7; 4096])));
        for body in [body, large] {
            let mut at = 0;
            while at < body.length {
                at += body.at(at).len() as u64;
            }
        }
    }),
];

fn field(name: &str, value: &[u8]) -> Fields {
    let mut fields = Fields::default();
    fields.push(name, value);
    fields
}

/// A response with this field, and with the more others the longer that is.
fn many(name: &str, value: &[u8]) -> ResponseHead {
    let mut fields = field(name, value);
    (0..value.len() / 32).for_each(|at| fields.push(&format!("x{at}"), b"1"));
    ResponseHead { status: 200, fields, ..ResponseHead::default() }
}

fn normal(method: &str, target: &[u8], host: &[u8]) {
    let mut exchange = Exchange::default();
    exchange.request.method = Method::of(method);
    exchange.request.target.push_str(&String::from_utf8_lossy(target));
    exchange.request.fields.push("host", host);
    let _ = normalize::normalize(&mut exchange, Underscores::Drop, None, &PathsConf::default());
}

thread_local! {
    static CAPTURES: [Regex; 1] = [Regex::new("((a|b|/)+)c").unwrap()];
    static TABLE: Table = Table::build(
        [("*.a.a", PathPattern::Prefix("/a".to_owned())), ("~^(a|.)+c$", PathPattern::Prefix("/a".to_owned())), ("*", PathPattern::Regex(Regex::new("(a|b|/)+c$").unwrap()))]
            .into_iter()
            .enumerate()
            .map(|(index, (host, path))| Rule {
                index,
                hosts: vec![HostPattern::of(host).unwrap()],
                paths: vec![path],
                query: vec![("a".to_owned(), "2".to_owned())],
                headers: vec![("x-a".to_owned(), "2".to_owned())],
                ..Rule::default()
            })
            .collect(),
    );
}

fn chunks(bytes: &[u8], step: usize) {
    let mut decoder = Decoder::default();
    for mut piece in bytes.chunks(step.max(1)) {
        while !piece.is_empty() {
            match decoder.next(piece) {
                Ok(Chunk::Data { skip, length }) => piece = piece.get(skip + length..).unwrap(),
                Ok(Chunk::More) => break,
                Ok(Chunk::End(_)) => return drop(decoder.take_trailers()),
                Err(_) => return,
            }
        }
    }
}

/// A lookup among the more variants the longer the request is.
fn variants(recorder: &mut Recorder) {
    for size in SIZES {
        let memory = Memory::new(Shape {
            limit: 64 << 20,
            max_object: 1 << 20,
            eviction: Eviction::Lru,
            admission: Admission::Always,
        });
        let key = Key::of("http", "a", None, "/", &Fields::default(), &KeySettings::default());
        let mut head = ResponseHead {
            status: 200,
            fields: field("cache-control", b"max-age=9"),
            ..ResponseHead::default()
        };
        head.fields.push("vary", b"Accept-Language");
        for at in 0..size / 20 {
            let fields = field("accept-language", format!("l{at}").as_bytes());
            let request = RequestHead { fields, ..RequestHead::default() };
            let times = Times { requested: NOW, received: NOW };
            let stored = StoredHead::of(&request, &head, &Policy::default(), times).unwrap();
            let response = StoredResponse::new(key.clone(), &request.fields, stored, Body::of([])).unwrap();
            memory.put(Arc::new(response), usize::MAX).unwrap();
        }
        let request = field("accept-language", &b"en;q=0.5,".repeat(size / 9));
        memory.find(&key, &request);
        recorder.count("lookup among variants", || drop(memory.find(&key, &request)));
    }
}

#[test]
#[ignore = "is run by the test below, under callgrind"]
fn counted() {
    let Some(mut recorder) = Recorder::of_environment() else { return };
    for (name, patterns, begins, read) in READERS {
        for begin in *begins {
            for few in patterns.chunks(AT_ONCE) {
                let names: Vec<_> = few.iter().map(Pattern::name).collect();
                let name = format!("{name}: {begin:?} {}", names.join(" or "));
                if !recorder.is_own(&name) {
                    continue;
                }
                // What is made once in a program is no part of it.
                few.iter().for_each(|pattern| read(&pattern.bytes(begin, SIZES[0] / 8)));
                for size in SIZES {
                    let texts: Vec<_> = few.iter().map(|pattern| pattern.bytes(begin, size)).collect();
                    recorder.count(&name, || texts.iter().for_each(|text| read(text)));
                }
            }
        }
    }
    variants(&mut recorder);
}

#[test]
fn every_reader_is_linear() {
    let Some(grown) = check("linear::readers::counted") else { return };
    assert!(grown.is_empty(), "cost more than twice as much for twice the input:\n{}", grown.join("\n"));
}
