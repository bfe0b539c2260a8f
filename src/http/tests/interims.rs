//! Interim responses on their way to a client, and who waits for a 100.

use super::stage::{Act, Stage, run};

const ROUTE: &str = "[[route]]\nname = \"all\"\nupstream = \"app\"\n\
    response_headers = { remove = [\"x-secret\"], set = { x-own = \"ours\" } }\n";

#[test]
fn hints_have_nothing_of_the_hop_or_withheld() {
    run(async || {
        let hints = b"HTTP/1.1 103 Early Hints\r\nConnection: upgrade, X-Hop\r\nUpgrade: h2c\r\nX-Hop: 1\r\n\
            Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 7\r\nX-Secret: 1\r\nX-Own: theirs\r\n\
            Link: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let stage = Stage::new("", ROUTE, &[Act::Send(hints)]);
        let answer = stage.talk(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        let (interim, rest) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(interim, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>", "{answer}");
        assert!(rest.starts_with("HTTP/1.1 200 ") && rest.contains("x-own: ours"), "{answer}");
    });
}

#[test]
fn too_many_fields_of_the_hop_are_no_hints() {
    run(async || {
        let names: String = (0..65).map(|number| format!("x-{number}, ")).collect();
        let hints = format!("HTTP/1.1 103 Early Hints\r\nConnection: {names}close\r\n\r\n");
        let stage = Stage::new("", ROUTE, &[Act::Send(hints.leak().as_bytes())]);
        let answer = stage.talk(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    });
}

#[test]
fn a_backend_is_asked_only_for_who_waits() {
    run(async || {
        let stage = Stage::new("", ROUTE, &[Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]);
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        let answer = stage.talk(format!("{head}hello").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let asked = stage.backend.requests.borrow()[0].to_ascii_lowercase();
        assert!(asked.ends_with("\r\n\r\nhello") && !asked.contains("expect"), "{asked}");
    });
}
