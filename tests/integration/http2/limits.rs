//! What `[listener.http2]` says holds, and a reload changes it for new connections.

use super::*;
use crate::support::frames::{
    END_HEADERS, Frames, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, get,
};

/// `ENHANCE_YOUR_CALM` and `REFUSED_STREAM`.
const CALM: u32 = 0xb;
const REFUSED_STREAM: u32 = 0x7;

/// What the proxy says at the beginning: `MAX_CONCURRENT_STREAMS`, `INITIAL_WINDOW_SIZE`, and the connection's window.
fn said(client: &mut Frames) -> (u32, u32, u32) {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let settings = client.next().unwrap();
    assert_eq!(settings.kind, SETTINGS);
    let setting = |id: u8| {
        let mut all = settings.payload.chunks(6);
        number(&all.find(|setting| setting[..2] == [0, id]).unwrap()[2..])
    };
    let window = client.next().unwrap();
    assert_eq!((window.kind, window.stream), (WINDOW_UPDATE, 0));
    (setting(3), setting(4), 65_535 + number(&window.payload))
}

/// Requests that are held, each reset at once, until the proxy has had enough or `most` were sent.
fn resets(client: &mut Frames, first: u32, most: u32) -> Option<u32> {
    for number in 0..most {
        let stream = first + 2 * number;
        client.send(HEADERS, END_HEADERS | 1, stream, &block(&get("/held")));
        client.send(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    }
    client.send(crate::support::frames::PING, 0, 0, b"12345678");
    loop {
        let frame = client.next()?;
        match frame.kind {
            GOAWAY => return Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap())),
            crate::support::frames::PING => return None,
            _ => {}
        }
    }
}

#[test]
fn limits_of_a_listener_hold_and_follow_a_reload() {
    let (release, origin) = Origin::holding();
    let limits = "[listener.http2]\nmax_concurrent_streams = 2\ninitial_stream_window = \"20000B\"\n\
                  initial_connection_window = \"100000B\"\nresets = 4\nresets_per_second = 0\n";
    let text = |listener: &str| config_of(&[origin.address().to_string()], listener, "");
    let proxy = Proxy::start(&text(limits));
    let mut old = Frames::connect(&proxy);
    assert_eq!(said(&mut old), (2, 20_000, 100_000));
    old.ask(1, &get("/held"), true);
    old.ask(3, &get("/held"), true);
    old.ask(5, &get("/after"), true);
    assert_eq!(old.answer(5).reset, Some(REFUSED_STREAM), "two are open");
    let mut flood = Frames::connect(&proxy);
    assert_eq!(said(&mut flood).0, 2);
    assert_eq!(resets(&mut flood, 1, 40), Some(CALM));

    proxy.edit(&text(
        &limits.replace(" = 2\n", " = 3\n").replace("20000B", "30000B").replace(" = 4\n", " = 400\n"),
    ));
    proxy.until_logged("configuration in force", 1);
    let mut new = Frames::connect(&proxy);
    assert_eq!(said(&mut new), (3, 30_000, 100_000));
    assert_eq!(resets(&mut new, 1, 40), None, "as many are fine now");
    old.ask(7, &get("/after"), true);
    assert_eq!(old.answer(7).reset, Some(REFUSED_STREAM), "it was told of two");
    drop(release);
    assert_eq!(old.answer(1).status, Some(200));
}
