//! Trailers of requests whose body is read whole before it goes on.

use super::stage::{Act, Stage, run};

const DONE: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";

#[test]
fn trailers_go_on_behind_a_body_that_was_gathered() {
    for (chunks, edits, length) in [
        ("3\r\nabc\r\n", "", None),
        ("", "", None),
        ("3\r\nabc\r\n", "request_headers = { remove = [\"x-sum\"] }\n", Some("content-length: 3\r\n")),
    ] {
        run(async || {
            let route = format!("[[route]]\nname = \"all\"\nupstream = \"app\"\nbuffer = \"1KiB\"\n{edits}");
            let stage = Stage::new("", &route, &[Act::Send(DONE)]);
            let request = format!(
                "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
                 {chunks}0\r\nX-Sum: 7\r\n\r\n"
            );
            let answer = stage.talk(request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
            let came = stage.backend.requests.borrow()[0].to_lowercase();
            match length {
                None => assert!(came.ends_with(&format!("{chunks}0\r\nx-sum: 7\r\n\r\n")), "{came}"),
                Some(length) => assert!(came.contains(length) && came.ends_with("\r\n\r\nabc"), "{came}"),
            }
        });
    }
}
