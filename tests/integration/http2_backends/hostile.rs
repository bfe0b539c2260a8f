//! Backends that break the protocol, or flood: a 502, an end of their connection, and nothing for anybody else.

use std::{io::Write, thread};

use super::in_front_of;
use crate::support::{
    Proxy, eventually,
    frames::{CONTINUATION, DATA, END_HEADERS, HEADERS, PING, WINDOW_UPDATE, block, frame},
    http2_origin::{Came, Http2Origin, Served, settings},
    proxy::config,
};

/// A backend that answers a request, and does something else when `/evil` comes. The proxy is asked for it while another
/// exchange waits on the same connection, and once more afterwards.
fn with_evil(evil: impl Fn(&mut Served, u32) + Send + Sync + 'static) -> (Http2Origin, Proxy) {
    let origin = Http2Origin::start(&[], move |served, came| {
        let Came::Head(head) = came else { return };
        match head.get(":path").unwrap() {
            "/evil" => evil(served, head.stream),
            "/waits" => {}
            _ => served.answer(head.stream, &[(":status", "200")], b"good"),
        }
    });
    let proxy = in_front_of(
        &origin,
        "---\n[upstream.retry]\nattempts = 1\n[upstream.outlier]\nconsecutive_failures = 0\n",
    );
    (origin, proxy)
}

/// The whole connection ends: `/evil` and who waits beside it get 502 with `why`, and the next has a new one.
fn ends_connection(name: &str, why: &str, evil: impl Fn(&mut Served, u32) + Send + Sync + 'static) {
    let (origin, proxy) = with_evil(evil);
    let mut waiting = proxy.connect();
    waiting.send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.until("it waits", |seen| matches!(&seen.came, Came::Head(_)));
    assert_eq!(proxy.get("/evil").status, 502, "{name}");
    assert_eq!(waiting.response("GET").status, 502, "{name}");
    for path in ["/evil", "/waits"] {
        let error = proxy.logged(path)["error_detail"].to_string();
        assert!(error.contains(why), "{name}: {path}: {error}");
    }
    assert_eq!(proxy.get("/after").text(), "good", "{name}");
    assert_eq!(origin.connections(), 2, "{name}");
    origin.until("the connection ends", |seen| {
        seen.connection == 1 && matches!(seen.came, Came::End | Came::GoAway(_))
    });
}

/// Only the stream ends: `/evil` gets 502 with `why`, who waits beside it is served, and the next has a new connection.
fn ends_stream(name: &str, why: &str, evil: impl Fn(&mut Served, u32) + Send + Sync + 'static) {
    let (origin, proxy) = with_evil(move |served, stream| {
        evil(served, stream);
        served.answer(1, &[(":status", "200")], b"waited");
    });
    let mut waiting = proxy.connect();
    waiting.send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.until("it waits", |seen| matches!(&seen.came, Came::Head(_)));
    let evil = proxy.get("/evil");
    assert!(evil.status == 502 || !evil.is_whole, "{name}: {evil:?}");
    let error = proxy.logged("/evil")["error_detail"].to_string();
    assert!(error.contains(why), "{name}: {error}");
    assert_eq!(waiting.response("GET").text(), "waited", "{name}");
    assert_eq!(proxy.get("/after").text(), "good", "{name}");
    assert_eq!(origin.connections(), 2, "{name}: what lied once is not used for more");
}

#[test]
fn floods_end_their_connection() {
    // It depends on how much is read at once whether they have no purpose, or the answers to them are too many.
    ends_connection("SETTINGS", "frames", |served, _| {
        let flood = settings(&[]).repeat(12_000);
        served.frames.write(&flood);
    });
    ends_connection("PING", "frames", |served, _| {
        served.frames.write(&frame(PING, 0, 0, b"12345678").repeat(12_000))
    });
    let (origin, proxy) = with_evil(|served, stream| {
        served.head(stream, &[(":status", "200")], false);
        served.frames.write(&frame(DATA, 0, stream, b"").repeat(12_000));
    });
    let broken = proxy.get("/evil");
    assert!(!broken.is_whole || broken.status == 502, "{broken:?}");
    origin.until("empty DATA ends the connection", |seen| seen.came == Came::GoAway(11));
    ends_connection("WINDOW_UPDATE", "without a purpose", |served, _| {
        served.frames.write(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(12_000));
    });
}

#[test]
fn heads_without_end_end_their_connection() {
    ends_connection("CONTINUATION", "too large", |served, stream| {
        let fields = block(&[(b"x-a", &[b'a'; 16_000])]);
        served.frames.send(HEADERS, 0, stream, &block(&[(b":status", b"200")]));
        for _ in 0..40 {
            served.frames.send(CONTINUATION, 0, stream, &fields);
        }
    });
    ends_connection("empty CONTINUATION", "without a purpose", |served, stream| {
        served.frames.send(HEADERS, 0, stream, &block(&[(b":status", b"200")]));
        served.frames.write(&frame(CONTINUATION, 0, stream, b"").repeat(12_000));
    });
}

#[test]
fn broken_frames_end_their_connection() {
    ends_connection("push", "PUSH_PROMISE", |served, stream| {
        served.frames.send(5, END_HEADERS, stream, &[0, 0, 0, 2])
    });
    ends_connection("an own stream", "opens a stream", |served, _| {
        served.head(2, &[(":status", "200")], true)
    });
    ends_connection("a stream of nobody", "opens a stream", |served, _| {
        served.head(99, &[(":status", "200")], true)
    });
    ends_connection("data of nobody", "not open", |served, _| served.data(99, b"x", true));
    ends_connection("a large frame", "larger than", |served, stream| {
        served.data(stream, &[0; 20_000], false)
    });
    ends_connection("compression", "the middle of an integer", |served, stream| {
        served.frames.send(HEADERS, 5, stream, &[0xff, 0xff, 0xff, 0xff])
    });
    // Its first bytes are those of a frame of four megabytes.
    ends_connection("HTTP/1.1", "larger than", |served, _| {
        served.frames.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    });
    ends_connection("settings", "ENABLE_PUSH", |served, _| served.frames.write(&settings(&[(2, 7)])));
    ends_connection("a window", "window", |served, _| {
        served.frames.write(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()));
    });
}

#[test]
fn malformed_responses_end_their_stream() {
    let head = |fields: &'static [(&'static str, &'static str)]| {
        move |served: &mut Served, stream: u32| served.head(stream, fields, true)
    };
    ends_stream("no status", "without a status", head(&[("a", "b")]));
    ends_stream("a status of letters", "status is invalid", head(&[(":status", "abc")]));
    ends_stream("two statuses", "twice", head(&[(":status", "200"), (":status", "200")]));
    ends_stream("upper case", "lower case", head(&[(":status", "200"), ("X-A", "b")]));
    ends_stream("connection", "connection-specific", head(&[(":status", "200"), ("connection", "close")]));
    ends_stream("a request's field", "unknown pseudo", head(&[(":status", "200"), (":path", "/")]));
    ends_stream("late", "after a regular field", head(&[("a", "b"), (":status", "200")]));
    ends_stream("an interim end", "ends with an interim", head(&[(":status", "103")]));
    ends_stream("short", "length of the body", head(&[(":status", "200"), ("content-length", "3")]));
    ends_stream(
        "lengths",
        "Content-Length twice",
        head(&[(":status", "200"), ("content-length", "3"), ("content-length", "4")]),
    );
    ends_stream("data first", "before the head", |served, stream| served.data(stream, b"abc", true));
    ends_stream("more data", "length of the body", |served, stream| {
        served.head(stream, &[(":status", "200"), ("content-length", "3")], false);
        served.data(stream, b"abcdef", true);
    });
    ends_stream("a window", "window", |served, stream| {
        served.head(stream, &[(":status", "200"), ("content-length", "2000000")], false);
        for _ in 0..400 {
            served.data(stream, &[b'x'; 16_000], false);
        }
    });
}

#[test]
fn heads_and_trailers_are_bounded() {
    let large = "a".repeat(9_000);
    let fields = |first: (&'static str, &'static str)| -> Vec<(String, String)> {
        let more = (0..8).map(|number| (format!("x-{number}"), large.clone()));
        std::iter::once((first.0.to_owned(), first.1.to_owned())).chain(more).collect()
    };
    let send = |served: &mut Served, stream: u32, fields: &[(String, String)]| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let block = block(&fields);
        let mut parts = block.chunks(16_000).peekable();
        let mut kind = HEADERS;
        while let Some(part) = parts.next() {
            let end = if parts.peek().is_none() { END_HEADERS } else { 0 };
            served.frames.send(std::mem::replace(&mut kind, CONTINUATION), end | 1, stream, part);
        }
    };
    let head = fields((":status", "200"));
    // By what is of no fault of the backend's.
    let why = "too large for `limits` of the upstream";
    ends_stream("a head", why, move |served, stream| send(served, stream, &head));
    let trailers = fields(("x-first", "1"));
    ends_stream("trailers", why, move |served, stream| {
        served.head(stream, &[(":status", "200")], false);
        send(served, stream, &trailers);
    });
    ends_stream("interim heads", "interim", |served, stream| {
        for _ in 0..500 {
            served.head(stream, &[(":status", "103"), ("link", "</a>")], false);
        }
    });
    let (origin, proxy) = with_evil(|served, stream| {
        for _ in 0..20_000 {
            served.head(stream, &[(":status", "103"), ("link", "</a>")], false);
        }
    });
    assert_eq!(proxy.get("/evil").status, 502);
    origin.until("the connection ends", |seen| matches!(seen.came, Came::GoAway(_)));
}

#[test]
fn another_protocol_is_told_apart_from_a_slow_backend() {
    let http1 = crate::support::Origin::named("one");
    let options = "protocol = \"h2\"\n---\n[upstream.retry]\nattempts = 1\n";
    let proxy = Proxy::start(&config(&[http1.address()], options));
    assert_eq!(proxy.get("/one").status, 502);
    let error = proxy.logged("/one")["error_detail"].to_string();
    assert!(error.contains("HTTP/2"), "{error}");
    let silent = Http2Origin::raw(|_| thread::park());
    let proxy = in_front_of(&silent, "connect_timeout = \"300ms\"\n---\n[upstream.retry]\nattempts = 1\n");
    assert_eq!(proxy.get("/silent").status, 504);
    let closing = Http2Origin::raw(|served| {
        let _ = served.frames.stream.flush();
    });
    let proxy = in_front_of(&closing, "---\n[upstream.retry]\nattempts = 1\n");
    assert_eq!(proxy.get("/closed").status, 502);
    assert!(proxy.logged("/closed")["error_detail"].to_string().contains("HTTP/2"));
    eventually("it runs", || proxy.get("/again").status == 502);
}
