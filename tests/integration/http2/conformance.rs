//! RFC 9113, section by section, by frames that are wrong.

use super::*;
use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
};

const PROTOCOL: u32 = 0x1;
const FLOW_CONTROL: u32 = 0x3;
const STREAM_CLOSED: u32 = 0x5;
const FRAME_SIZE: u32 = 0x6;
const COMPRESSION: u32 = 0x9;

fn head(id: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, flags, id, &block(&get("/")))
}

#[test]
fn what_breaks_the_connection_ends_it_with_its_code() {
    let (_origin, proxy) = through(echo);
    let open = || head(1, END_HEADERS);
    let setting =
        |id: u16, value: u32| frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    let cases: Vec<(&str, Vec<u8>, u32)> = vec![
        ("4.2 a frame that is too large", frame(DATA, 0, 1, &[0; 16_385]), FRAME_SIZE),
        ("4.3 a block that is none", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]), COMPRESSION),
        ("5.1 DATA on an idle stream", frame(DATA, 0, 1, b"x"), PROTOCOL),
        ("5.1 RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), PROTOCOL),
        ("5.1 WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), PROTOCOL),
        ("5.1.1 an even number", head(2, END_HEADERS | END_STREAM), PROTOCOL),
        ("6.1 DATA without a stream", frame(DATA, 0, 0, b"x"), PROTOCOL),
        ("6.1 padding longer than its frame", [open(), frame(DATA, 8, 1, b"\x05abc")].concat(), PROTOCOL),
        ("6.2 HEADERS without a stream", head(0, END_HEADERS), PROTOCOL),
        ("6.3 PRIORITY without a stream", frame(PRIORITY, 0, 0, &[0; 5]), PROTOCOL),
        ("6.4 RST_STREAM without a stream", frame(RST_STREAM, 0, 0, &[0; 4]), PROTOCOL),
        ("6.4 RST_STREAM of three bytes", [open(), frame(RST_STREAM, 0, 1, &[0; 3])].concat(), FRAME_SIZE),
        ("6.5 SETTINGS with a stream", frame(SETTINGS, 0, 1, b""), PROTOCOL),
        ("6.5 SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5]), FRAME_SIZE),
        ("6.5 ACK with a payload", frame(SETTINGS, ACK, 0, &[0; 6]), FRAME_SIZE),
        ("6.5.2 ENABLE_PUSH of 2", setting(2, 2), PROTOCOL),
        ("6.5.2 a window that is too large", setting(4, 1 << 31), FLOW_CONTROL),
        ("6.5.2 a frame size that is too small", setting(5, 16_383), PROTOCOL),
        ("6.5.2 a frame size that is too large", setting(5, 1 << 24), PROTOCOL),
        ("6.6 PUSH_PROMISE of a client", [open(), frame(5, END_HEADERS, 1, &[0; 4])].concat(), PROTOCOL),
        ("6.7 PING with a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL),
        ("6.7 PING of seven bytes", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE),
        ("6.8 GOAWAY with a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        ("6.9 WINDOW_UPDATE of three bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), FRAME_SIZE),
        ("6.9 the connection's window by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL),
        (
            "6.9.1 the connection's window too large",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            FLOW_CONTROL,
        ),
        (
            "6.9.2 a stream's window too large by settings",
            [open(), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 255, 0, 0]), setting(4, 1 << 30)].concat(),
            FLOW_CONTROL,
        ),
        ("6.10 CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, b""), PROTOCOL),
        ("6.10 another frame in between", [head(1, 0), frame(PING, 0, 0, &[0; 8])].concat(), PROTOCOL),
        (
            "6.10 CONTINUATION of another stream",
            [head(1, 0), frame(CONTINUATION, END_HEADERS, 3, b"")].concat(),
            PROTOCOL,
        ),
    ];
    for (what, bytes, code) in cases {
        let mut client = Frames::connect(&proxy);
        client.write(&bytes);
        assert_eq!(client.goaway().map(|(_, code)| code), Some(code), "{what}");
    }
    for (what, bytes) in [
        ("3.4 another preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX".to_vec()),
        ("3.4 no SETTINGS", [PREFACE, &frame(PING, 0, 0, &[0; 8])].concat()),
        ("3.4 SETTINGS that acknowledge", [PREFACE, &frame(SETTINGS, ACK, 0, b"")].concat()),
    ] {
        let mut client = Frames::silent(&proxy);
        client.write(&bytes);
        assert_eq!(client.goaway().map(|(_, code)| code), Some(PROTOCOL), "{what}");
    }
}

#[test]
fn what_breaks_a_stream_resets_it_and_no_other() {
    let (_origin, proxy) = through(|request| match request.target.as_str() {
        "/waits" => Reply::Take(Box::new(|connection| drop(connection.reader.read(&mut [0; 1])))),
        target => Reply::Text(200, target.into()),
    });
    let waits = |flags| frame(HEADERS, END_HEADERS | flags, 1, &block(&get("/waits")));
    let cases: Vec<(&str, Vec<u8>, u32)> = vec![
        ("5.1 DATA after the end", [waits(END_STREAM), frame(DATA, 0, 1, b"x")].concat(), STREAM_CLOSED),
        (
            "5.1 HEADERS after the end",
            [waits(END_STREAM), head(1, END_HEADERS | END_STREAM)].concat(),
            STREAM_CLOSED,
        ),
        ("6.3 PRIORITY of four bytes", [waits(0), frame(PRIORITY, 0, 1, &[0; 4])].concat(), FRAME_SIZE),
        ("6.9 WINDOW_UPDATE by nothing", [waits(0), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(), PROTOCOL),
        (
            "6.9.1 a window too large",
            [waits(0), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255])].concat(),
            FLOW_CONTROL,
        ),
    ];
    for (what, bytes, code) in cases {
        let mut client = Frames::connect(&proxy);
        client.write(&bytes);
        assert_eq!(client.answer(1).reset, Some(code), "{what}");
        client.ask(3, &get("/after"), true);
        let answer = client.answer(3);
        assert_eq!((answer.status, &answer.body[..]), (Some(200), &b"/after"[..]), "{what}");
    }
}

#[test]
fn what_is_to_be_ignored_is_ignored() {
    let (_origin, proxy) = through(echo);
    let mut client = Frames::connect(&proxy);
    for bytes in [
        frame(0x7e, 0xff, 0, b"unknown"),
        frame(0x7e, 0xff, 5, b"unknown"),
        frame(PRIORITY, 0, 9, &[0, 0, 0, 9, 1]),
        frame(SETTINGS, 0, 0, &[0xab, 0xcd, 0, 0, 0, 1]),
        frame(PING, ACK, 0, b"nothing!"),
        frame(SETTINGS, ACK, 0, b""),
        // Flags that mean nothing, and the reserved bit of a number (§4.1, §6.9).
        frame(WINDOW_UPDATE, 0xff, 0, &[0x80, 0, 0, 1]),
    ] {
        client.write(&bytes);
    }
    // Padding, priority, and a block in three parts (§6.2, §6.10).
    let block = block(&get("/parts"));
    let padded = [&[3, 0, 0, 0, 0, 16][..], &block[..10], &[0; 3]].concat();
    client.send(HEADERS, 0x8 | 0x20 | END_STREAM, 1, &padded);
    client.send(CONTINUATION, 0, 1, &block[10..30]);
    client.send(CONTINUATION, END_HEADERS, 1, &block[30..]);
    let answer = client.answer(1);
    assert_eq!((answer.status, &answer.body[..]), (Some(200), &b"/parts"[..]));
}

#[test]
fn frames_in_pieces_are_read() {
    let (_origin, proxy) = through(echo);
    let mut client = Frames::silent(&proxy);
    let bytes = [PREFACE, &frame(SETTINGS, 0, 0, b""), &head(1, END_HEADERS | END_STREAM)].concat();
    for byte in bytes {
        client.write(&[byte]);
    }
    assert_eq!(client.answer(1).status, Some(200));
}

#[test]
fn a_body_keeps_to_windows_that_open_byte_by_byte() {
    let (_origin, proxy) = through(|_| Reply::Text(200, "0123456789".into()));
    let mut client = Frames::silent(&proxy);
    client.write(&[PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1])].concat());
    client.ask(1, &get("/"), true);
    let mut body = Vec::new();
    while body.len() < 10 {
        let frame = client.next().unwrap();
        if frame.kind == DATA {
            assert_eq!(frame.payload.len(), 1);
            body.extend(frame.payload);
            client.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
        }
    }
    assert_eq!(body, b"0123456789");
}

#[test]
fn a_head_without_a_method_has_not_that_of_another() {
    let origin = Origin::start(echo);
    // One worker, whose exchanges and heads are used again.
    let proxy = Proxy::start(&config(&[origin.address()], "").replace("workers = 2", "workers = 1"));
    let mut client = Frames::connect(&proxy);
    let mut asked = get("/first");
    asked[0].1 = b"HEAD";
    client.ask(1, &asked, true);
    assert_eq!(client.answer(1).status, Some(200));
    client.ask(3, &get("/second"), true);
    assert_eq!(client.answer(3).status, Some(200));
    client.ask(5, &get("/without")[1..], true);
    let answer = client.answer(5);
    assert_eq!((answer.status, answer.reset), (Some(400), Some(PROTOCOL)));
    assert!(!answer.body.is_empty(), "it is not answered as HEAD is");
    assert_eq!(proxy.logged("/without")["method"], "GET");
}
