//! A connection without sockets: what a client says, and what it is answered.

use std::task::{Context, Poll, Waker};

use super::{
    Body, Connection, Fault, Reason,
    budget::{Allowance, Rate},
    frame::{FrameHead, HEAD_BYTES},
    settings::OwnSettings,
    spare,
};
use crate::{
    error::Kind,
    h1::{HeadLimits, Method, RequestHead, ResponseHead, Version},
    moment::Moment,
};

mod windows;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    super::frame::write_head(payload.len(), kind, flags, stream, &mut out);
    out.extend_from_slice(payload);
    out
}

/// A block of short literal fields.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.extend([0, u8::try_from(name.len()).unwrap()]);
        out.extend(name.bytes());
        out.push(u8::try_from(value.len()).unwrap());
        out.extend(value.bytes());
    }
    out
}

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/p")];

fn connection() -> Connection {
    let own = OwnSettings {
        max_streams: 8,
        stream_window: 100_000,
        connection_window: 200_000,
        header_list: 65_536,
        takes_websockets: true,
    };
    let allowed = Allowance {
        nuisance: Rate { most: 2000, per_second: 200 },
        resets: Rate { most: 500, per_second: 50 },
    };
    let mut connection = Connection::new(HeadLimits::default(), own, allowed, Moment(0));
    let hello = [PREFACE, &frame(4, 0, 0, b"")].concat();
    assert_eq!(connection.receive(&hello, Moment(0)), Ok(hello.len()));
    take_output(&mut connection);
    connection
}

fn receive(connection: &mut Connection, bytes: &[u8]) {
    assert_eq!(connection.receive(bytes, Moment(0)), Ok(bytes.len()));
}

/// The frames that are to be written: type, flags, stream, payload.
fn take_output(connection: &mut Connection) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let bytes = connection.output().waiting().to_vec();
    connection.output().advance(bytes.len());
    connection.written();
    let mut frames = Vec::new();
    let mut rest = &bytes[..];
    while let Some(head) = FrameHead::parse(rest) {
        let payload = rest[HEAD_BYTES..HEAD_BYTES + head.length].to_vec();
        frames.push((head.kind, rest[4], head.stream, payload));
        rest = &rest[HEAD_BYTES + head.length..];
    }
    assert!(rest.is_empty(), "only whole frames");
    frames
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn ok(fields: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
    fields.iter().for_each(|(name, value)| head.fields.push(name, value.as_bytes()));
    head
}

#[test]
fn a_request_and_its_response_pass() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 4, 1, &block(&POST)));
    receive(&mut connection, &frame(0, 1, 1, b"hello"));
    let opened = connection.next_opened().unwrap();
    assert_eq!((opened.id, opened.problem, &*opened.head.request.target), (1, None, "/p"));
    assert!(
        matches!(connection.poll_body(1, &mut context()), Poll::Ready(Ok(Body::Data(data))) if *data == *b"hello")
    );
    assert!(matches!(connection.poll_body(1, &mut context()), Poll::Ready(Ok(Body::End(None)))));
    let head = ok(&[("Connection", "x"), ("Content-Length", "9"), ("Server", "s")]);
    connection.send_head(1, &head, true, Some(3), false).unwrap();
    assert!(matches!(connection.poll_send(1, &mut context(), b"abc"), Poll::Ready(Ok(3))));
    connection.end_response(1, None).unwrap();
    connection.release(1, Moment(0));
    let frames = take_output(&mut connection);
    // Once the size of the table, the status, a name of the static table, and a length.
    assert_eq!(frames[0], (1, 4, 1, b"\x20\x88\x0f\x27\x01s\x0f\x0d\x013".to_vec()));
    assert_eq!(frames[1], (0, 1, 1, b"abc".to_vec()), "the end is said by the last DATA");
    assert_eq!(frames.len(), 2);
    assert!(connection.is_idle());
}

#[test]
fn an_end_after_the_last_write_is_a_frame() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 5, 1, &block(&POST)));
    connection.send_head(1, &ok(&[]), true, None, false).unwrap();
    assert!(connection.poll_send(1, &mut context(), b"abc").is_ready());
    assert_eq!(take_output(&mut connection)[1], (0, 0, 1, b"abc".to_vec()));
    connection.end_response(1, None).unwrap();
    assert_eq!(take_output(&mut connection), [(0, 1, 1, Vec::new())]);
}

#[test]
fn a_long_head_goes_into_continuations() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 5, 1, &block(&POST)));
    let long = "v".repeat(40_000);
    connection.send_head(1, &ok(&[("x-long", &long)]), false, None, true).unwrap();
    let frames = take_output(&mut connection);
    let shape: Vec<_> = frames.iter().map(|frame| (frame.0, frame.1, frame.3.len())).collect();
    let rest = frames.iter().map(|frame| frame.3.len()).sum::<usize>() - 2 * 16_384;
    assert_eq!(shape, [(1, 1, 16_384), (9, 0, 16_384), (9, 4, rest)]);
}

#[test]
fn windows_hold_back_their_stream_and_the_connection_all() {
    let mut connection = connection();
    for id in [1, 3] {
        receive(&mut connection, &frame(1, 5, id, &block(&POST)));
        connection.send_head(id, &ok(&[]), true, None, false).unwrap();
    }
    let data = vec![0; 70_000];
    let send = |connection: &mut Connection, id: u32| {
        let mut sent = 0;
        while let Poll::Ready(Ok(length)) = connection.poll_send(id, &mut context(), &data[sent..]) {
            sent += length;
            if sent == data.len() {
                break;
            }
            take_output(connection);
        }
        sent
    };
    assert_eq!(send(&mut connection, 1), 65_535, "the stream's window and the connection's");
    assert_eq!(send(&mut connection, 3), 0);
    receive(&mut connection, &frame(8, 0, 0, &[0, 0, 0, 100]));
    assert_eq!(send(&mut connection, 1), 0);
    assert_eq!(send(&mut connection, 3), 100);
    // Settings make the windows of streams smaller than nothing (RFC 9113 §6.9.2).
    receive(&mut connection, &frame(8, 0, 0, &[0, 1, 0, 0]));
    receive(&mut connection, &frame(4, 0, 0, &[0, 4, 0, 0, 0, 10]));
    receive(&mut connection, &frame(8, 0, 3, &[0, 0, 0, 50]));
    assert_eq!(send(&mut connection, 3), 0);
    receive(&mut connection, &frame(8, 0, 3, &[0, 0, 0, 50]));
    assert_eq!(send(&mut connection, 3), 10);
}

#[test]
fn what_is_passed_on_opens_the_windows_again() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 4, 1, &block(&POST)));
    for _ in 0..6 {
        receive(&mut connection, &frame(0, 0, 1, &[0; 16_000]));
    }
    assert_eq!(take_output(&mut connection), [], "nothing was taken");
    // 4,001 bytes are more than is left: the stream's error, not the connection's.
    let mut taken = 0;
    while let Poll::Ready(Ok(Body::Data(data))) = connection.poll_body(1, &mut context()) {
        taken += data.len();
        connection.passed_on(1, data.len());
    }
    assert_eq!(taken, 96_000);
    let given: Vec<_> = take_output(&mut connection).iter().map(|frame| (frame.0, frame.2)).collect();
    assert!(given.contains(&(8, 1)) && given.contains(&(8, 0)), "{given:?}");
    for _ in 0..6 {
        receive(&mut connection, &frame(0, 0, 1, &[0; 16_000]));
    }
    receive(&mut connection, &frame(0, 0, 1, &[0; 16_000]));
    let reset = (3, 0, 1, Reason::FLOW_CONTROL_ERROR.0.to_be_bytes().to_vec());
    assert!(take_output(&mut connection).contains(&reset));
    assert!(matches!(connection.poll_body(1, &mut context()), Poll::Ready(Err(Fault::Broken(_)))));
}

#[test]
fn a_connection_ends_after_a_round_trip() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 5, 1, &block(&POST)));
    connection.begin_closing();
    let frames = take_output(&mut connection);
    assert_eq!((frames[0].0, &frames[0].3[..4]), (7, &[0x7f, 0xff, 0xff, 0xff][..]));
    // It was on its way, and is served.
    receive(&mut connection, &frame(1, 5, 3, &block(&POST)));
    receive(&mut connection, &frame(6, 1, 0, &frames[1].3));
    assert_eq!(take_output(&mut connection)[0].3[..4], [0, 0, 0, 3]);
    receive(&mut connection, &frame(1, 4, 5, &block(&POST)));
    receive(&mut connection, &frame(0, 1, 5, b"abc"));
    assert_eq!(take_output(&mut connection), [], "the client knows that it is not looked at");
    assert_eq!(std::iter::from_fn(|| connection.next_opened()).count(), 2);
    for id in [1, 3] {
        assert!(!connection.is_finished());
        connection.send_head(id, &ok(&[]), false, None, true).unwrap();
        connection.release(id, Moment(0));
    }
    take_output(&mut connection);
    assert!(connection.is_finished());
}

#[test]
fn a_malformed_head_is_answered_and_reset() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 5, 1, &block(&POST[..3])));
    assert!(matches!(connection.next_opened().unwrap().problem, Some(Kind::Malformed(_))));
    connection.send_head(1, &ok(&[]), false, None, true).unwrap();
    connection.release(1, Moment(0));
    let kinds: Vec<u8> = take_output(&mut connection).iter().map(|frame| frame.0).collect();
    assert_eq!(kinds, [1, 3]);
}

/// Mutations of connections that are sound: nothing panics or goes on for ever, what is sent is frames within the
/// client's windows, and what is held has a bound.
#[test]
fn nothing_is_sent_on_a_stream_that_was_reset() {
    for late in [frame(1, 5, 1, &block(&POST)), frame(0, 1, 1, b"late"), frame(3, 0, 1, &[0, 0, 0, 8])] {
        let mut connection = connection();
        receive(&mut connection, &frame(1, 5, 1, &block(&[(":method", "GET")])));
        assert!(
            connection.next_opened().unwrap().problem.is_some(),
            "it is answered, if that is still wanted"
        );
        receive(&mut connection, &late);
        receive(&mut connection, &late);
        let is_by_us = late[3] != 3;
        let resets = take_output(&mut connection);
        assert_eq!(resets.len(), usize::from(is_by_us), "{resets:?}");
        assert!(connection.send_head(1, &ok(&[]), true, None, false).is_err(), "RFC 9113 §5.1");
        connection.release(1, Moment(0));
        assert_eq!(take_output(&mut connection), []);
    }
}

#[test]
fn mutated_connections_break_nothing() {
    let seeds = std::env::var("POINTSMAN_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    for seed in 0..seeds {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut connection = connection();
        let bytes = mutated(&mut random);
        let mut rest = &bytes[..];
        let mut given = Vec::new();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(random.usize(1..=rest.len()));
            rest = behind;
            given.extend_from_slice(piece);
            match connection.receive(&given, Moment(0)) {
                Ok(used) => drop(given.drain(..used)),
                Err(error) => {
                    connection.fail(error);
                    assert_eq!(take_output(&mut connection).last().unwrap().0, 7, "seed {seed}");
                    break;
                }
            }
            assert!(given.len() < 16_384 + HEAD_BYTES, "seed {seed}: a whole frame is left");
            serve_some(&mut connection, &mut random);
            assert!(connection.memory() < 400_000, "seed {seed}: {}", connection.memory());
        }
        take_output(&mut connection);
    }
}

/// The frames of a connection with some of its bytes changed.
fn mutated(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..random.u32(1..12) {
        let id = 2 * number + 1;
        let more = random.bool();
        bytes.extend(frame(1, if more { 4 } else { 5 }, id, &block(&POST)));
        if more {
            let data = vec![b'x'; random.usize(0..20_000).min(16_384)];
            bytes.extend(frame(0, 0, id, &data));
            bytes.extend(frame(8, 0, id, &random.u32(0..70_000).to_be_bytes()));
            match random.u8(0..3) {
                0 => bytes.extend(frame(3, 0, id, &[0, 0, 0, 8])),
                1 => bytes.extend(frame(1, 5, id, &block(&[("x-trailer", "1")]))),
                _ => bytes.extend(frame(0, 1, id, b"end")),
            }
        }
        bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, random.u8(..), random.u8(..)]));
        bytes.extend(frame(6, 0, 0, &[1; 8]));
    }
    for _ in 0..random.usize(0..6) {
        let at = random.usize(0..bytes.len());
        match random.u8(0..4) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u8(0..8),
            2 => bytes.insert(at, random.u8(..)),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}

/// What tasks of streams may do, by chance.
fn serve_some(connection: &mut Connection, random: &mut fastrand::Rng) {
    while let Some(opened) = connection.next_opened() {
        spare::recycle_request(opened.head);
    }
    for id in (1..30).step_by(2) {
        match random.u8(0..6) {
            0 => {
                if let Poll::Ready(Ok(Body::Data(data))) = connection.poll_body(id, &mut context()) {
                    connection.passed_on(id, data.len());
                }
            }
            1 => drop(connection.send_head(id, &ok(&[("a", "b")]), true, None, false)),
            2 => drop(connection.poll_send(id, &mut context(), &[7; 30_000])),
            3 => drop(connection.end_response(id, None)),
            4 => connection.release(id, Moment(0)),
            _ => drop(take_output(connection)),
        }
    }
}

const OPENING: [(&str, &str); 5] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/p"),
];

#[test]
fn extended_connect_reads_as_the_get_of_http1() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 4, 1, &block(&OPENING)));
    let opened = connection.next_opened().unwrap();
    assert_eq!(opened.problem, None);
    assert!(opened.head.opens_websocket());
    let request = &opened.head.request;
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/p"));
    let fields: Vec<_> = request.fields.iter().map(|field| (field.name, field.value)).collect();
    assert_eq!(fields, [(&b"connection"[..], &b"upgrade"[..]), (b"upgrade", b"websocket")]);
}

#[test]
fn what_is_no_extended_connect_is_told_so() {
    let without = |name: &str| OPENING.into_iter().filter(|(other, _)| *other != name).collect::<Vec<_>>();
    let with = |name, value| without(name).into_iter().chain([(name, value)]).collect::<Vec<_>>();
    let malformed = [
        without(":scheme"),
        without(":path"),
        without(":authority"),
        [&OPENING[..], &[(":protocol", "websocket")]].concat(),
        [&OPENING[..], &[("content-length", "0")]].concat(),
        with(":method", "GET"),
    ];
    let mut connection = connection();
    let mut ask = |id, fields: &[(&str, &str)]| {
        receive(&mut connection, &frame(1, 4, id, &block(fields)));
        connection.next_opened().unwrap().problem
    };
    assert_eq!(ask(1, &with(":protocol", "connect-udp")), Some(Kind::NotImplemented));
    for (id, fields) in (3..).step_by(2).zip(&malformed) {
        assert!(matches!(ask(id, fields), Some(Kind::Malformed(_))), "{fields:?}");
    }
}

#[test]
fn extended_connect_is_malformed_where_it_was_not_announced() {
    let own = OwnSettings {
        max_streams: 8,
        stream_window: 100_000,
        connection_window: 200_000,
        header_list: 65_536,
        takes_websockets: false,
    };
    let allowed = Allowance {
        nuisance: Rate { most: 2000, per_second: 200 },
        resets: Rate { most: 500, per_second: 50 },
    };
    let mut connection = Connection::new(HeadLimits::default(), own, allowed, Moment(0));
    let settings = &take_output(&mut connection)[0].3;
    assert!(settings.chunks(6).all(|setting| setting[..2] != [0, 8]));
    receive(&mut connection, &[PREFACE, &frame(4, 0, 0, b"")].concat());
    receive(&mut connection, &frame(1, 4, 1, &block(&OPENING)));
    let problem = connection.next_opened().unwrap().problem;
    assert_eq!(problem, Some(Kind::Malformed("an unknown pseudo-header field")));
}

#[test]
fn a_cancelled_stream_is_reset_once_and_takes_nothing_more() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 4, 1, &block(&OPENING)));
    connection.cancel(1);
    connection.cancel(1);
    connection.release(1, Moment(0));
    let frames = take_output(&mut connection);
    assert_eq!(frames, [(3, 0, 1, 8_u32.to_be_bytes().to_vec())]);
    // What was on its way is no error.
    receive(&mut connection, &frame(0, 0, 1, b"late"));
}

#[test]
fn an_unread_websocket_takes_none_of_the_connection_s_window() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 4, 1, &block(&OPENING)));
    receive(&mut connection, &frame(1, 4, 3, &block(&POST)));
    let sum = |frames: &[(u8, u8, u32, Vec<u8>)], id: u32| -> u32 {
        let of_it = frames.iter().filter(|(kind, _, stream, _)| (*kind, *stream) == (8, id));
        of_it.map(|(.., bytes)| u32::from_be_bytes(bytes[..].try_into().unwrap())).sum()
    };
    // Its own window is 100,000: of an upload, none is given back before it goes on.
    let part = vec![b'x'; 10_000];
    (0..10).for_each(|_| receive(&mut connection, &frame(0, 0, 3, &part)));
    assert_eq!(take_output(&mut connection), []);
    // Padded by nine bytes, and one for their number.
    let padded = [&[9][..], &part, &[0; 9]].concat();
    (0..9).for_each(|_| receive(&mut connection, &frame(0, 8, 1, &padded)));
    let mut told = take_output(&mut connection);
    // What is untold is less than a quarter of 200,000.
    assert!((40_091..=90_090).contains(&sum(&told, 0)), "{told:?}");
    assert_eq!(sum(&told, 1), 0);
    // Read, forgotten, or not read: all of it comes back once, and no more.
    let Poll::Ready(Ok(Body::Data(data))) = connection.poll_body(1, &mut context()) else { panic!("data") };
    connection.passed_on(1, data.len());
    connection.release(1, Moment(0));
    while let Poll::Ready(Ok(Body::Data(data))) = connection.poll_body(3, &mut context()) {
        connection.passed_on(3, data.len());
    }
    connection.release(3, Moment(0));
    receive(&mut connection, &frame(1, 4, 5, &block(&POST)));
    (0..10).for_each(|_| receive(&mut connection, &frame(0, 0, 5, &part)));
    while let Poll::Ready(Ok(Body::Data(data))) = connection.poll_body(5, &mut context()) {
        connection.passed_on(5, data.len());
    }
    told.extend(take_output(&mut connection));
    let all = 100_000 + 9 * 10_010 + 100_000;
    assert!((all - 50_000..=all).contains(&sum(&told, 0)), "{} of {all}", sum(&told, 0));
}

#[test]
fn windows_of_many_streams_may_be_opened_at_once() {
    let own = OwnSettings {
        max_streams: 1000,
        stream_window: 100_000,
        connection_window: 200_000,
        header_list: 65_536,
        takes_websockets: false,
    };
    let allowed =
        Allowance { nuisance: Rate { most: 20, per_second: 0 }, resets: Rate { most: 500, per_second: 50 } };
    let mut connection = Connection::new(HeadLimits::default(), own, allowed, Moment(0));
    receive(&mut connection, &[PREFACE, &frame(4, 0, 0, b"")].concat());
    let update = |id: u32| frame(8, 0, id, &1000_u32.to_be_bytes());
    let ids = (1..600).step_by(2);
    for id in ids.clone() {
        receive(&mut connection, &frame(1, 4, id, &block(&POST)));
        connection.send_head(id, &ok(&[]), true, None, false).unwrap();
    }
    for _ in 0..5 {
        ids.clone().for_each(|id| receive(&mut connection, &update(id)));
        for id in ids.clone() {
            assert!(connection.poll_send(id, &mut context(), b"message").is_ready());
        }
        take_output(&mut connection);
    }
    // A stream on which nothing is sent may have it some times more.
    let flood = update(1).repeat(30);
    let error = connection.receive(&flood, Moment(0)).unwrap_err();
    assert_eq!(error.reason, Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn a_head_says_nothing_of_the_request_before() {
    let mut connection = connection();
    let mut used = spare::request();
    used.request = RequestHead {
        method: Method::Head,
        target: "/of-another".to_owned(),
        version: Version::Http10,
        fields: ok(&[("x-of", "another")]).fields,
    };
    used.authority.push_str("another");
    spare::recycle_request(used);
    receive(&mut connection, &frame(1, 5, 1, &block(&POST[1..3])));
    let head = connection.next_opened().unwrap().head;
    let request = &head.request;
    assert_eq!((&request.method, request.version), (&Method::Get, Version::Http11));
    assert_eq!((&*request.target, request.fields.len(), &*head.authority), ("", 0, "a"));
}

#[test]
fn the_memory_of_cookies_counts_where_a_head_is_kept() {
    let mut connection = connection();
    let crumb = "c".repeat(100);
    let mut fields = POST.to_vec();
    fields.extend((0..60).map(|_| ("cookie", &*crumb)));
    // What comes behind them is not one, so that they are never made a field.
    fields.push(("Upper", "1"));
    receive(&mut connection, &frame(1, 5, 1, &block(&fields)));
    let opened = connection.next_opened().unwrap();
    assert!(matches!(opened.problem, Some(Kind::Malformed(_))));
    let memory = opened.head.memory();
    assert!(memory >= 6000, "{memory}");
    spare::recycle_request(opened.head);
    let memory = spare::request().memory();
    assert!(memory <= 4096, "{memory}");
}

#[test]
fn a_malformed_request_s_answer_is_sent_whole() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 5, 1, &block(&POST[..3])));
    assert!(connection.next_opened().unwrap().problem.is_some());
    connection.send_head(1, &ok(&[]), true, None, false).unwrap();
    let page = [0; 16_000];
    let mut sent = 0;
    while let Poll::Ready(Ok(length)) = connection.poll_send(1, &mut context(), &page) {
        sent += length;
        take_output(&mut connection);
    }
    assert_eq!(sent, 65_535, "the window is used up");
    for id in [0, 1] {
        receive(&mut connection, &frame(8, 0, id, &1000_u32.to_be_bytes()));
    }
    let more = connection.poll_send(1, &mut context(), &page);
    assert!(matches!(more, Poll::Ready(Ok(1000))), "{more:?}");
}

/// As gRPC asks once per round trip while much comes, over a connection that is the bottleneck.
#[test]
fn answers_to_ping_are_counted_while_the_output_stays_full() {
    let mut connection = connection();
    receive(&mut connection, &frame(1, 5, 1, &block(&POST)));
    connection.send_head(1, &ok(&[]), true, None, false).unwrap();
    for _ in 0..600 {
        while connection.poll_send(1, &mut context(), &[0; 16_384]).is_ready() {
            for id in [0, 1] {
                receive(&mut connection, &frame(8, 0, id, &16_384_u32.to_be_bytes()));
            }
        }
        receive(&mut connection, &frame(6, 0, 0, &[1; 8]));
        let length = connection.output().waiting().len() - 100;
        connection.output().advance(length);
        connection.written();
    }
    // Of those that nobody takes, no more wait than before.
    let pings = frame(6, 0, 0, &[1; 8]).repeat(501);
    let error = connection.receive(&pings, Moment(0)).unwrap_err();
    assert_eq!(error.what, "it does not read the answers to its frames");
}

#[test]
fn an_empty_response_ends_by_its_head() {
    let mut connection = connection();
    for (id, is_long) in [(1, false), (3, true)] {
        receive(&mut connection, &frame(1, 5, id, &block(&POST)));
        let long = "v".repeat(if is_long { 20_000 } else { 1 });
        connection.send_head(id, &ok(&[("x-long", &long)]), true, Some(0), false).unwrap();
        connection.end_response(id, None).unwrap();
        let kinds: Vec<_> = take_output(&mut connection).iter().map(|frame| (frame.0, frame.1)).collect();
        assert_eq!(kinds, if is_long { vec![(1, 1), (9, 4)] } else { vec![(1, 5)] });
    }
    receive(&mut connection, &frame(1, 5, 5, &block(&POST)));
    connection
        .send_head(5, &ResponseHead { status: 103, ..ResponseHead::default() }, false, None, false)
        .unwrap();
    connection.send_head(5, &ok(&[]), true, Some(0), false).unwrap();
    connection.end_response(5, Some(&ok(&[("grpc-status", "5")]).fields)).unwrap();
    let kinds: Vec<_> = take_output(&mut connection).iter().map(|frame| (frame.0, frame.1)).collect();
    assert_eq!(kinds, [(1, 4), (1, 4), (1, 5)]);
}
