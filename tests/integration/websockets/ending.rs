//! WebSockets end: by silence, and with the program, which says so between two frames.

use std::{
    io::Read,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{Http2Client, Of, echo, http1_backend, http2_backend, open};
use crate::{
    admin_api::good,
    support::{Client, Proxy, eventually, origin::Connection, proxy::config},
};

/// Close, 1001, as a server sends it.
const GOING_AWAY: [u8; 4] = [0x88, 2, 3, 0xe9];
/// A frame of a client with five bytes.
const FRAME: &[u8] = b"\x81\x85\0\0\0\0hello";

/// Reads to the end, into what the test looks at.
fn keep(into: &Arc<Mutex<Vec<u8>>>) -> impl Fn(&mut Connection) + Send + Sync + Clone + 'static {
    let into = into.clone();
    move |connection| {
        let mut byte = [0];
        while let Ok(1) = connection.reader.read(&mut byte) {
            into.lock().unwrap().push(byte[0]);
        }
        into.lock().unwrap().extend(b"end");
    }
}

/// What a close frame of a client says.
fn unmasked(frame: &[u8]) -> [u8; 4] {
    assert_eq!((frame.len(), frame[1]), (8, 0x82), "{frame:?}");
    [frame[0], frame[1] & 0x7f, frame[6] ^ frame[2], frame[7] ^ frame[3]]
}

fn short(text: &str) -> String {
    text.replace("[runtime]\n", "[runtime]\ndrain_timeout = \"200ms\"\n")
}

#[test]
fn both_sides_are_told_between_frames_when_the_program_ends() {
    assert!((0..5).any(|_| are_told()), "it was always late");
}

/// False where this was late: a frame has a second to end.
fn are_told() -> bool {
    let came = Arc::new(Mutex::new(Vec::new()));
    let origin = http1_backend(keep(&came));
    let mut proxy = Proxy::start(&short(&config(&[origin.address()], "")));
    let mut client = open(&proxy, "/chat");
    // One frame, and the beginning of another: our close frame must not come into it.
    client.send([FRAME, &FRAME[..8]].concat());
    eventually("it has come", || came.lock().unwrap().len() == FRAME.len() + 8);
    let begun = Instant::now();
    proxy.signal("TERM");
    let told = client.exactly(4);
    let sent = client.try_send(&FRAME[8..]).and_then(|()| client.try_send(FRAME));
    eventually("the backend has all of it", || came.lock().unwrap().ends_with(b"end"));
    let came = came.lock().unwrap().clone();
    let is_whole = came.starts_with(&[FRAME, FRAME].concat()) && came.len() == 2 * FRAME.len() + 8 + 3;
    if !(is_whole && told == GOING_AWAY) && begun.elapsed() >= Duration::from_secs(1) {
        return false;
    }
    assert_eq!(told, GOING_AWAY);
    sent.unwrap();
    let (frames, rest) = came.split_at(2 * FRAME.len());
    assert_eq!(frames, [FRAME, FRAME].concat());
    assert_eq!(unmasked(&rest[..rest.len() - 3]), GOING_AWAY);
    assert!(proxy.wait().success());
    let line = proxy.logged("/chat");
    assert_eq!((&line["status"], &line["error"]), (&101.into(), &"draining".into()));
    true
}

#[test]
fn streams_are_told_when_the_program_ends() {
    let came = Arc::new(Mutex::new(Vec::new()));
    let origin = http1_backend(keep(&came));
    let mut proxy = Proxy::start(&short(&config(&[origin.address()], "")));
    let mut client = Http2Client::connect(&proxy);
    assert_eq!(client.ask(1, "/chat").0, "200");
    proxy.signal("TERM");
    let (frame, is_end) = client.exactly(1, 4);
    assert_eq!(frame, GOING_AWAY);
    assert!(is_end || client.next(1) == Of::Data(Vec::new(), true));
    eventually("the backend is told", || came.lock().unwrap().ends_with(b"end"));
    let came = came.lock().unwrap().clone();
    assert_eq!(unmasked(&came[..came.len() - 3]), GOING_AWAY);
    drop(client);
    assert!(proxy.wait().success());

    let origin = http2_backend();
    let mut proxy = Proxy::start(&short(&config(&[origin.address()], "protocol = \"h2\"\n---\n")));
    let mut client = open(&proxy, "/chat");
    proxy.signal("TERM");
    assert_eq!(client.exactly(4), GOING_AWAY);
    eventually("the backend is told", || origin.body(1).len() == 8);
    assert_eq!(unmasked(&origin.body(1)), GOING_AWAY);
    drop(client);
    assert!(proxy.wait().success());
}

#[test]
fn a_frame_that_does_not_end_is_reset() {
    let came = Arc::new(Mutex::new(Vec::new()));
    let origin = http1_backend(keep(&came));
    let mut proxy = Proxy::start(&short(&config(&[origin.address()], "")));
    let mut client = open(&proxy, "/chat");
    client.send(&FRAME[..8]);
    eventually("it has come", || came.lock().unwrap().len() == 8);
    proxy.signal("TERM");
    assert_eq!(client.exactly(4), GOING_AWAY);
    eventually("the backend's side ends", || came.lock().unwrap().ends_with(b"end"));
    assert_eq!(*came.lock().unwrap(), [&FRAME[..8], b"end"].concat(), "no close frame within a frame");
    assert!(proxy.wait().success());
}

#[test]
fn a_listener_that_is_gone_tells_its_websockets() {
    let origin = http1_backend(echo);
    let text = short(&config(&[origin.address()], ""));
    let other = "[[listener]]\nname = \"other\"\naddress = \"127.0.0.1:0\"\n";
    let proxy = Proxy::start(&(text.clone() + other));
    let mut kept = open(&proxy, "/kept");
    let mut client = Client::connect(proxy.address("other"));
    client.send(super::opening("/gone"));
    assert_eq!(client.response("GET").status, 101);
    proxy.edit(&text);
    assert_eq!(client.exactly(4), GOING_AWAY);
    kept.send("hello");
    assert_eq!(kept.exactly(5), b"hello");
}

#[test]
fn one_that_an_administrator_ends_is_logged_with_its_bytes() {
    let origin = http1_backend(echo);
    let proxy = Proxy::start(&config(&[origin.address()], "[admin]\naddress = \"127.0.0.1:0\"\n"));
    let mut client = open(&proxy, "/chat");
    client.send(FRAME);
    assert_eq!(client.exactly(FRAME.len()), FRAME);
    let listed = good(&proxy, "GET", "/api/v1/connections", "");
    let own = client.stream.local_addr().unwrap().to_string();
    let listed = listed["connections"].as_array().unwrap().iter().find(|it| it["client"] == *own).unwrap();
    good(&proxy, "DELETE", &format!("/api/v1/connections/{}", listed["id"].as_str().unwrap()), "");
    assert!(client.is_closed());
    let line = proxy.logged("/chat");
    assert_eq!(line["error"], "ended");
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&FRAME.len().into(), &FRAME.len().into()));
}

#[test]
fn silence_has_its_own_limit() {
    let (http1, http2) = (http1_backend(echo), http2_backend());
    let idle = |text: String| {
        Proxy::start(&text.replace("upstream = \"u\"\n", "upstream = \"u\"\ntunnel_idle = \"100ms\"\n"))
    };
    for proxy in
        [idle(config(&[http1.address()], "")), idle(config(&[http2.address()], "protocol = \"h2\"\n---\n"))]
    {
        let mut client = Http2Client::connect(&proxy);
        assert_eq!(client.ask(1, "/silent").0, "200");
        assert_eq!(client.next(1), Of::Data(Vec::new(), true));
        assert_eq!(client.next(1), Of::Reset(8));
        assert_eq!(proxy.logged("/silent")["error"], "tunnel_idle");
        let mut client = open(&proxy, "/silent");
        assert!(client.is_closed());
    }
}
