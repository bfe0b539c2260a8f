//! Clients that make work without asking for anything: their connection is ended, counted and logged, and others are
//! served.

use super::*;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, Frames, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, get,
};

const CALM: u32 = 0xb;
const REFUSED_STREAM: u32 = 0x7;

/// A backend that answers nothing but `/after`.
fn waiting() -> (Origin, Proxy) {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/after" => Reply::Text(200, "ok".into()),
        _ => Reply::Take(Box::new(|connection| drop(connection.reader.read(&mut [0; 1])))),
    });
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    (origin, proxy)
}

#[test]
fn floods_end_their_connection_and_are_counted() {
    let (_origin, proxy) = waiting();
    let open = frame(HEADERS, END_HEADERS, 1, &block(&get("/")));
    let floods: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("PING", Vec::new(), frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", Vec::new(), frame(SETTINGS, 0, 0, b"")),
        ("PRIORITY", Vec::new(), frame(PRIORITY, 0, 1, &[0; 5])),
        ("an unknown type", Vec::new(), frame(0x77, 0, 0, b"")),
        ("empty DATA", open.clone(), frame(DATA, 0, 1, b"")),
        ("empty CONTINUATION", frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, b"")),
        ("windows byte by byte", open, frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
    ];
    let count = floods.len() as u64;
    for (what, first, again) in floods {
        let mut client = Frames::connect(&proxy);
        client.write(&first);
        client.write(&again.repeat(20_000));
        assert_eq!(client.goaway().map(|(_, code)| code), Some(CALM), "{what}");
    }
    assert_eq!(metric(&proxy, "pointsman_http2_connections_ended_total{reason=\"flood\"}"), count);
    proxy.until_logged("an HTTP/2 connection is closed", 1);
    let lines = proxy.count_logged("an HTTP/2 connection is closed") as u64;
    assert!(lines <= count, "{lines} lines");
    assert_eq!(proxy.get("/after").status, 200);
}

#[test]
fn a_block_without_end_is_bounded() {
    let (_origin, proxy) = waiting();
    let mut client = Frames::connect(&proxy);
    client.send(HEADERS, 0, 1, b"");
    for _ in 0..100 {
        client.send(CONTINUATION, 0, 1, &[0; 16_000]);
    }
    assert_eq!(client.goaway().map(|(_, code)| code), Some(CALM), "CVE-2024-27316");
}

#[test]
fn blocks_that_expand_are_refused_and_their_connection_goes_on() {
    let (_origin, proxy) = waiting();
    let mut client = Frames::connect(&proxy);
    let mut bomb = block(&get("/"));
    // A field of the dynamic table, referred to ten thousand times.
    bomb.extend([0x40, 1, b'a', 127, 0x81, 0x1e]);
    bomb.extend(vec![b'x'; 4000 - 32]);
    bomb.extend(vec![0xbe; 10_000]);
    client.send(HEADERS, END_HEADERS | 1, 1, &bomb);
    assert_eq!(client.answer(1).status, Some(431));
    client.ask(3, &get("/after"), true);
    assert_eq!(client.answer(3).status, Some(200));
}

#[test]
fn resets_by_either_side_are_bounded() {
    let (_origin, proxy) = waiting();
    for (what, kind, payload) in [
        ("CVE-2023-44487", RST_STREAM, [0, 0, 0, 8]),
        ("CVE-2025-8671, a window by nothing", WINDOW_UPDATE, [0; 4]),
        ("CVE-2025-8671, a window too large", WINDOW_UPDATE, [0x7f, 255, 255, 255]),
    ] {
        let mut client = Frames::connect(&proxy);
        let head = block(&get("/"));
        let make = |id| [frame(HEADERS, END_HEADERS, id, &head), frame(kind, 0, id, &payload)].concat();
        let bytes: Vec<u8> = (0..5000).flat_map(|number| make(2 * number + 1)).collect();
        client.write(&bytes);
        assert_eq!(client.goaway().map(|(_, code)| code), Some(CALM), "{what}");
    }
    assert!(proxy.memory() < 128 * 1024 * 1024);
    assert_eq!(proxy.get("/after").status, 200);
    eventually("what was begun is over", || metric(&proxy, "pointsman_backend_in_flight") == 0);
    assert_eq!(proxy.logged("/after")["status"], 200);
    assert!(proxy.access_log().iter().all(|line| line["status"] != 0));
}

#[test]
fn streams_beyond_the_most_are_refused_and_counted() {
    let (origin, proxy) = waiting();
    let mut client = Frames::connect(&proxy);
    for number in 0..129 {
        client.ask(2 * number + 1, &get("/"), true);
    }
    assert_eq!(client.answer(257).reset, Some(REFUSED_STREAM));
    client.ask(259, &get("/"), true);
    assert_eq!(client.answer(259).reset, Some(REFUSED_STREAM));
    eventually("the others are served", || origin.requests().len() == 128);
    assert_eq!(metric(&proxy, "pointsman_http2_streams_refused_total"), 2);
    proxy.until_logged("an HTTP/2 stream is refused", 1);
    client.send(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    eventually("a place is free", || proxy.access_log().len() == 1);
    client.ask(261, &get("/after"), true);
    assert_eq!(client.answer(261).status, Some(200));
}

#[test]
fn answers_that_nobody_takes_are_bounded() {
    let (_origin, proxy) = through(echo);
    proxy.get("/");
    let before = proxy.memory();
    let mut client = Frames::silent(&proxy);
    client.write(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat());
    client.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    // HEAD has no body, so that no window holds its answers back. Nothing is read.
    let mut fields = get("/x").to_vec();
    fields[0].1 = b"HEAD";
    let block = block(&fields);
    for number in 0..100_000 {
        let bytes = frame(HEADERS, END_HEADERS | 1, 2 * number + 1, &block);
        if std::io::Write::write_all(&mut client.stream, &bytes).is_err() {
            break;
        }
    }
    assert!(proxy.memory() < before + 32 * 1024 * 1024, "{before} bytes, then {}", proxy.memory());
    assert_eq!(proxy.get("/other").status, 200);
}

#[test]
fn a_slow_block_of_fields_ends_its_connection() {
    let origin = Origin::named("ok");
    let proxy = Proxy::start(&config_of(
        &[origin.address().to_string()],
        "[listener.timeouts]\nheader = \"300ms\"\n",
        "",
    ));
    let mut client = Frames::connect(&proxy);
    client.ask(1, &get("/"), true);
    assert_eq!(client.answer(1).status, Some(200));
    client.send(HEADERS, 0, 3, &block(&get("/")));
    assert_eq!(client.goaway().map(|(_, code)| code), Some(CALM));
    let mut silent = Frames::silent(&proxy);
    silent.write(&PREFACE[..20]);
    assert_eq!(silent.goaway(), None, "it has not said that it speaks HTTP/2");
}

#[test]
fn bodies_that_wait_are_in_the_account() {
    let origin =
        Origin::start(|_| Reply::Take(Box::new(|connection| drop(connection.reader.read(&mut [0; 1])))));
    let text = format!(
        "[runtime]\nworkers = 1\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"all\"\n\
         upstream = \"u\"\n[[upstream]]\nname = \"u\"\nqueue = {{ size = 10, timeout = \"60s\" }}\n[[upstream.backend]]\n\
         address = \"{}\"\nname = \"b0\"\nmax_connections = 1\n[admin]\naddress = \"127.0.0.1:0\"\n",
        origin.address()
    );
    let proxy = Proxy::start(&text);
    let mut client = Frames::connect(&proxy);
    client.ask(1, &get("/first"), true);
    eventually("the place is taken", || origin.requests().len() == 1);
    let mut post = get("/second").to_vec();
    post[0].1 = b"POST";
    client.ask(3, &post, false);
    for _ in 0..20 {
        client.send(DATA, 0, 3, &[0; 10_000]);
    }
    let held = || metric(&proxy, "pointsman_memory_bytes{owner=\"buffers\"}");
    eventually("what waits is counted", || held() >= 200_000);
    client.send(RST_STREAM, 0, 3, &[0, 0, 0, 8]);
    eventually("what waits no more is not", || held() < 200_000);
}
