//! Interim responses (RFC 9110 §15.2): they are passed on, are no answer, and are not stored.

use super::{Stage, case, case::Answer, get, stage::Said};
use crate::support::h2;

#[test]
fn they_are_not_stored_and_what_follows_is() {
    let stage = Stage::new();
    for interim in ["100 Continue", "103 Early Hints", "102 Processing"] {
        let raw = format!(
            "HTTP/1.1 {interim}\nLink: </x>\nCache-Control: no-store\n\nHTTP/1.1 200 OK\nCache-Control: max-age=60\nContent-Length: 5\n\nhello"
        );
        case(
            &stage,
            "RFC 9111 §3",
            interim,
            &[
                get().origin(Answer::raw(&raw, false)).reads("hello").lacks("link"),
                get().reads("hello").lacks("link"),
            ],
        );
    }
}

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n\
                     HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn interim_responses_go_to_the_leader_only() {
    let stage = Stage::new();
    for lines in ["", "Cookie: a=1\r\n", "Authorization: a\r\n"] {
        let path = stage.path();
        stage.say(&path, Said { bytes: HINTS.into(), closes: false });
        let mut client = stage.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
        let hints = client.any_response("GET");
        assert_eq!((hints.status, hints.header("link")), (103, Some("</x>")), "RFC 9110 §15.2 {lines}");
        assert_eq!(client.any_response("GET").text(), "hello", "RFC 9110 §15.2 {lines}");
        if !lines.starts_with('A') {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
            assert_eq!(client.any_response("GET").status, 200, "RFC 9111 §3 {lines}");
        }
    }
}

#[test]
fn http_1_0_gets_none() {
    let stage = Stage::new();
    let path = stage.path();
    stage.say(&path, Said { bytes: HINTS.into(), closes: false });
    let mut client = stage.connect();
    client.send(format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n"));
    let response = client.any_response("GET");
    assert_eq!((response.status, response.text().as_str()), (200, "hello"), "RFC 9110 §15.2");
}

#[test]
fn http2_clients_get_interim_responses_on_an_open_stream() {
    let stage = Stage::new();
    let path = stage.path();
    stage.say(&path, Said { bytes: HINTS.into(), closes: false });
    h2::run(async {
        let client = h2::Http2::connect(&stage.proxy).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let (mut response, _) = send.send_request(h2::request("GET", &path), true).unwrap();
        let hints = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        let hints = hints.expect("an interim response").unwrap();
        let link = hints.headers()["link"].to_str().unwrap();
        assert_eq!((hints.status().as_u16(), link), (103, "</x>"), "RFC 9110 §15.2");
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200, "RFC 9110 §15.2");
        assert_eq!(h2::whole(response.into_body()).await.unwrap(), b"hello", "RFC 9110 §15.2");
    });
}
