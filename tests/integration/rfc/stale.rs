//! Serving what is stale: while it is refreshed, and when the origin fails (RFC 5861, RFC 9111 §4.2.4).

use super::{Stage, Step, case, case::now, get, ok, response};
use crate::{rfc::stage::Said, support::eventually};

fn stored(directives: &str) -> Step {
    get().origin(ok(format!("Cache-Control: max-age=10, {directives}\nETag: \"a\"\nAge: 20")))
}

#[test]
fn an_error_is_hidden_where_that_is_allowed() {
    let stage = Stage::new();
    for status in ["500 A", "502 B", "503 C", "504 D"] {
        let code = &status[..3];
        let served = get()
            .asks("if-none-match", "\"a\"")
            .origin(response(status, ""))
            .gets(200)
            .reads("answer 1")
            .has("cache-status", &format!("pointsman; fwd=stale; fwd-status={code}; ttl=-*"))
            .has("age", "~20");
        case(&stage, "RFC 5861 §4", status, &[stored("stale-if-error=60"), served.clone(), served]);
    }
    for status in ["400 A", "403 B", "404 C", "410 D", "429 E", "501 F", "505 G"] {
        case(
            &stage,
            "RFC 5861 §4",
            status,
            &[stored("stale-if-error=60"), get().origin(response(status, ""))],
        );
    }
    case(
        &stage,
        "RFC 5861 §4",
        "a connection that ends",
        &[
            stored("stale-if-error=60"),
            get().down().gets(200).reads("answer 1").has("cache-status", "pointsman; fwd=stale; ttl=-*"),
        ],
    );
    case(
        &stage,
        "RFC 5861 §4",
        "not beyond its time",
        &[stored("stale-if-error=5"), get().origin(response("503 C", ""))],
    );
    case(
        &stage,
        "RFC 5861 §4",
        "the request may ask for it",
        &[
            stored("x"),
            get()
                .with("Cache-Control: stale-if-error=60")
                .origin(response("503 C", ""))
                .gets(200)
                .reads("answer 1"),
        ],
    );
    case(&stage, "RFC 9111 §4.2.4", "nobody allows it", &[stored("x"), get().origin(response("503 C", ""))]);
}

#[test]
fn an_error_is_shown_where_stale_is_forbidden() {
    let stage = Stage::new();
    for directive in ["must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache"] {
        case(
            &stage,
            "RFC 9111 §4.2.4, §5.2.2",
            directive,
            &[
                stored(&format!("stale-if-error=60, stale-while-revalidate=60, {directive}")),
                get().origin(response("503 C", "")),
                get().with("Cache-Control: stale-if-error=60").origin(response("503 C", "")),
            ],
        );
        case(
            &stage,
            "RFC 9111 §5.2.2.2",
            &format!("{directive}, and no answer"),
            &[stored(&format!("stale-if-error=60, {directive}")), get().down().gets(502)],
        );
    }
    case(
        &stage,
        "RFC 9111 §5.2.1.4",
        "the request demands validation",
        &[stored("stale-if-error=60"), get().with("Cache-Control: no-cache").origin(response("503 C", ""))],
    );
}

#[test]
fn the_configuration_can_allow_what_nobody_forbids() {
    let stage = Stage::with("stale_if_error = \"60s\"");
    case(
        &stage,
        "RFC 9111 §4.2.4",
        "by configuration",
        &[stored("x"), get().origin(response("503 C", "")).gets(200).reads("answer 1")],
    );
    for directive in ["must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache", "stale-if-error=0"] {
        case(&stage, "RFC 9111 §4.2.4", directive, &[stored(directive), get().origin(response("503 C", ""))]);
    }
}

/// Stores something stale, and asks for it again with an answer that comes behind.
fn refresh(stage: &Stage, directives: &str, answer: &str) -> String {
    let path = stage.path();
    let say = |status: &str, headers: &str, body: &str| {
        let length = body.len();
        let bytes =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes();
        stage.say(&path, Said { bytes, closes: false });
    };
    say("200 OK", &format!("Cache-Control: max-age=10, {directives}\r\nETag: \"a\"\r\nAge: 20\r\n"), "old");
    assert_eq!(stage.proxy.get(&path).text(), "old");
    match answer {
        "200 OK" => say(answer, "Cache-Control: max-age=60\r\n", "new"),
        "304 Not Modified" => {
            let bytes = "HTTP/1.1 304 X\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\n\r\n";
            stage.say(&path, Said { bytes: bytes.into(), closes: false });
        }
        _ => say(answer, "Cache-Control: private\r\n", "new"),
    }
    path
}

#[test]
fn what_is_stale_is_served_while_it_is_refreshed() {
    let stage = Stage::new();
    let path = refresh(&stage, "stale-while-revalidate=60", "200 OK");
    let response = stage.proxy.get(&path);
    assert_eq!(response.text(), "old", "RFC 5861 §3");
    let status = response.header("cache-status").unwrap();
    assert!(status.starts_with("pointsman; hit; ttl=-"), "RFC 9211 §2.4: {status}");
    eventually("RFC 5861 §3: it is refreshed", || stage.proxy.get(&path).text() == "new");
    let asked = stage.asked(&path);
    assert_eq!(asked.len(), 2, "RFC 5861 §3: one refreshes it");
    assert_eq!(asked[1].header("if-none-match"), Some("\"a\""), "RFC 9111 §4.3.1");
}

#[test]
fn a_refresh_asks_whether_it_holds() {
    let stage = Stage::new();
    let path = refresh(&stage, "stale-while-revalidate=60", "304 Not Modified");
    let mut client = stage.connect();
    client.send(format!("HEAD {path} HTTP/1.1\r\nHost: test\r\nIf-None-Match: \"x\"\r\n\r\n"));
    assert_eq!(client.response("HEAD").status, 200);
    eventually("RFC 5861 §3: it is fresh again", || {
        let response = stage.proxy.get(&path);
        assert_eq!(response.text(), "old");
        !response.header("cache-status").unwrap().contains("ttl=-")
    });
    let asked = stage.asked(&path);
    assert_eq!((asked.len(), asked[1].method.as_str()), (2, "GET"), "RFC 5861 §3");
    assert_eq!(asked[1].header("if-none-match"), Some("\"a\""), "RFC 9111 §4.3.1");
}

#[test]
fn what_is_not_stored_any_more_is_not_served_stale() {
    let stage = Stage::new();
    let path = refresh(&stage, "stale-while-revalidate=60", "200 Own");
    assert_eq!(stage.proxy.get(&path).text(), "old");
    eventually("RFC 9111 §4.3.3: it is gone", || stage.proxy.get(&path).text() != "old");
}

#[test]
fn a_refresh_that_fails_leaves_what_is_there() {
    let stage = Stage::new();
    let path = refresh(&stage, "stale-while-revalidate=60", "503 Oops");
    assert_eq!(stage.proxy.get(&path).text(), "old");
    eventually("it is asked", || stage.asked(&path).len() == 2);
    let end = now() + 1;
    while now() < end {
        let response = stage.proxy.get(&path);
        assert_eq!((response.status, response.text().as_str()), (200, "old"), "RFC 5861 §3");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn what_is_too_stale_or_forbidden_is_not_served_meanwhile() {
    let stage = Stage::new();
    for directives in [
        "stale-while-revalidate=5",
        "stale-while-revalidate=10",
        "stale-while-revalidate=x",
        "stale-while-revalidate=60, must-revalidate",
        "stale-while-revalidate=60, proxy-revalidate",
        "stale-while-revalidate=60, s-maxage=10",
        "stale-while-revalidate=60, no-cache",
    ] {
        case(
            &stage,
            "RFC 5861 §3, RFC 9111 §4.2.4",
            directives,
            &[
                stored(directives),
                get().asks("if-none-match", "\"a\"").origin(ok("Cache-Control: max-age=60")),
                get(),
            ],
        );
    }
    for line in ["no-cache", "max-age=30", "min-fresh=1"] {
        case(
            &stage,
            "RFC 9111 §5.2.1",
            line,
            &[
                stored("stale-while-revalidate=60"),
                get()
                    .with(&format!("Cache-Control: {line}"))
                    .asks("if-none-match", "\"a\"")
                    .origin(ok("Cache-Control: max-age=60")),
            ],
        );
    }
}
