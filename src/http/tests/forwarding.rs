//! What a route says itself of where its requests come from.

use super::stage::{Act, Stage, run};

const DONE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const NAMES: [&str; 5] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "forwarded"];

/// The lines of these names that a backend gets of a request that has all of them, on a route with these edits.
async fn told(is_trusted: bool, edits: &str) -> Vec<String> {
    let route = format!(
        "[[route]]\nname = \"all\"\nupstream = \"app\"\nforwarded = true\nrequest_headers = {{ {edits} }}\n"
    );
    let stage = Stage::new("", &route, &[Act::Send(DONE)]);
    stage.is_trusted.set(is_trusted);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 198.51.100.9\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nX-Request-Id: theirs\r\n\
        Forwarded: for=198.51.100.9\r\n\r\n";
    let answer = stage.talk(request).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let came = stage.backend.requests.borrow()[0].to_lowercase();
    let is_one = |line: &&str| line.split_once(':').is_some_and(|(name, _)| NAMES.contains(&name));
    came.lines().filter(is_one).map(str::to_owned).collect()
}

#[test]
fn what_a_route_sets_or_removes_is_what_backends_get() {
    for is_trusted in [false, true] {
        let plain = run(async || told(is_trusted, "").await);
        assert_eq!(plain.len(), NAMES.len(), "{plain:?}");
        for name in NAMES {
            let is_other = |line: &&String| line.split(':').next() != Some(name);
            let mut others: Vec<String> = plain.iter().filter(is_other).cloned().collect();
            others.retain(|line| !line.starts_with("x-request-id") || is_trusted);
            let left = |lines: &[String]| {
                let of_others = lines.iter().filter(|line| others.contains(line)).count();
                assert_eq!(of_others, others.len(), "{name}: {lines:?}");
                let own = lines.iter().filter(|line| !is_other(line)).cloned();
                own.collect::<Vec<_>>()
            };
            let removed = run(async || told(is_trusted, &format!("remove = [\"{name}\"]")).await);
            assert_eq!(left(&removed), Vec::<String>::new(), "{name}");
            let set = run(async || told(is_trusted, &format!("set = {{ {name} = \"own\" }}")).await);
            assert_eq!(left(&set), [format!("{name}: own")]);
        }
    }
}
