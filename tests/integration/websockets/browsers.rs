//! A browser's WebSocket over HTTP/2.

use std::io::{Read, Write};

use super::switching;
use crate::support::{
    Origin, Proxy, Reply,
    browser::{self, Browser},
    origin::Connection,
    proxy::config_of,
    tls::{self, SECURE},
};

/// Sends each message of a client back, whole and short ones.
fn echo_messages(connection: &mut Connection) {
    loop {
        let mut head = [0; 6];
        if connection.reader.read_exact(&mut head).is_err() {
            return;
        }
        let mut payload = vec![0; usize::from(head[1] & 0x7f)];
        connection.reader.read_exact(&mut payload).unwrap();
        payload.iter_mut().zip(head[2..].iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let mut frame = vec![head[0], head[1] & 0x7f];
        frame.extend(payload);
        let _ = connection.stream.write_all(&frame);
    }
}

const PAGE: &str = "<!doctype html><title>t</title><p id=said></p><p id=why></p><script>
const socket = new WebSocket('wss://' + location.host + '/socket');
const show = (id, text) => document.getElementById(id).textContent = text;
socket.onopen = () => socket.send('hello');
socket.onmessage = event => { show('said', event.data); socket.send('again'); };
socket.onclose = event => show('why', event.code + ' ' + event.wasClean);
</script>";

#[test]
fn a_browser_opens_a_websocket_over_http2() {
    if !browser::is_there("a_browser_opens_a_websocket_over_http2") {
        return;
    }
    let origin = Origin::start(|request| match request.header("sec-websocket-key") {
        Some(key) => {
            let head = switching(key).replace("Sec-WebSocket-Protocol: chat\r\n", "");
            Reply::Take(Box::new(move |connection| {
                connection.send(head);
                echo_messages(connection);
            }))
        }
        None => Reply::Close(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{PAGE}",
                PAGE.len()
            )
            .into_bytes(),
        ),
    });
    let text = config_of(&[origin.address().to_string()], SECURE, "")
        .replace("[runtime]\n", "[runtime]\ndrain_timeout = \"200ms\"\n");
    let mut proxy = Proxy::start_in(tls::folder(), &text);
    let browser = Browser::trusting(800, 600);
    browser.open(&format!("https://localhost:{}/", proxy.address("web").port()));
    browser.wait("#said", |said| said == "again");
    proxy.signal("TERM");
    browser.wait("#why", |why| why == "1001 true");
    assert!(proxy.wait().success());
    let line = proxy.logged("/socket");
    assert_eq!((&line["protocol"], &line["status"]), (&"HTTP/2.0".into(), &101.into()), "{line}");
}
