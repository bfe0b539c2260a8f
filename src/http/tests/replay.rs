//! What another attempt sends of a request whose body went to a backend before.

use super::stage::{Act, Stage, run};

const ROUTE: &str = "[[route]]\nname = \"all\"\nupstream = \"app\"\n";
const HEAD: &str =
    "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";

#[test]
fn another_attempt_sends_the_trailers_too() {
    for body in ["3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", "0\r\nX-Sum: 1\r\n\r\n"] {
        run(async || {
            let stage = Stage::new("retry = { attempts = 2, on = [\"reset\"] }", ROUTE, &[Act::Close]);
            let answer = stage.talk(format!("{HEAD}{body}").as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
            let requests = stage.backend.requests.take();
            assert_eq!(requests.len(), 2, "{requests:?}");
            for request in requests {
                let request = request.to_ascii_lowercase();
                assert!(
                    request.contains("trailer: x-sum") && request.ends_with("0\r\nx-sum: 1\r\n\r\n"),
                    "{request}"
                );
            }
        });
    }
}
