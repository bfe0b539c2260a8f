//! HEAD (RFC 9110 §9.3.2, RFC 9111 §4.3.5).

use super::{Stage, case, get, ok, request, response};

#[test]
fn head_is_answered_from_what_get_stored() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9110 §9.3.2",
        "the fields of GET, and no body",
        &[
            get().origin(ok("Cache-Control: max-age=60\nETag: \"a\"\nX-Own: 1")),
            request("HEAD")
                .has("content-length", "8")
                .has("etag", "\"a\"")
                .has("x-own", "1")
                .has("age", "~0")
                .has("cache-status", "pointsman; hit*"),
            get(),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4",
        "of the variant that matches",
        &[
            get().with("X-A: 1").origin(ok("Cache-Control: max-age=60\nVary: X-A")),
            request("HEAD").with("X-A: 2").origin(ok("")),
            request("HEAD").with("X-A: 1"),
        ],
    );
    case(
        &stage,
        "RFC 9110 §14.2",
        "Range is ignored",
        &[
            get().origin(ok("Cache-Control: max-age=60")),
            request("HEAD").with("Range: bytes=0-1").lacks("content-range").has("content-length", "8"),
        ],
    );
}

#[test]
fn get_is_not_answered_from_what_head_brought() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §4",
        "nothing is stored",
        &[
            request("HEAD").origin(ok("Cache-Control: max-age=60")),
            get().origin(ok("Cache-Control: max-age=60")),
            request("HEAD"),
        ],
    );
}

#[test]
fn head_shows_that_the_stored_response_is_another() {
    let stage = Stage::new();
    let stored =
        || get().origin(ok("Cache-Control: max-age=60\nETag: \"a\"\nLast-Modified: @-1000").body("12345"));
    let head = || request("HEAD").with("Cache-Control: no-cache");
    for (what, headers, body) in [
        ("another tag", "ETag: \"b\"\nLast-Modified: @-1000", "12345"),
        ("another date", "ETag: \"a\"\nLast-Modified: @-999", "12345"),
        ("another length", "ETag: \"a\"\nLast-Modified: @-1000", "123456"),
    ] {
        case(
            &stage,
            "RFC 9111 §4.3.5",
            what,
            &[
                stored(),
                head().origin(ok(headers).body(body)),
                get().asks("if-none-match", "\"a\"").origin(ok("Cache-Control: max-age=60")),
            ],
        );
    }
    for (what, answer) in [
        ("the same", ok("Cache-Control: max-age=60\nETag: \"a\"\nLast-Modified: @-1000").body("12345")),
        ("without validators", ok("Cache-Control: max-age=60").body("12345")),
        ("an error", response("503 Oops", "ETag: \"b\"")),
    ] {
        case(&stage, "RFC 9111 §4.3.5", what, &[stored(), head().origin(answer), get()]);
    }
}

#[test]
fn head_without_validators_keeps_nothing_fresh() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §4.3.5",
        "nothing shows that it is the same",
        &[
            get().origin(ok("Cache-Control: max-age=60\nAge: 60")),
            request("HEAD").origin(ok("Cache-Control: max-age=60").body("answer 1")),
            get().origin(ok("Cache-Control: max-age=60")),
        ],
    );
}

#[test]
fn head_updates_what_is_stored_and_the_same() {
    let stage = Stage::new();
    let newer = || ok("Cache-Control: max-age=60\nETag: \"a\"\nX-Own: 2").body("12345");
    case(
        &stage,
        "RFC 9111 §4.3.5, §3.2",
        "a fresh one",
        &[
            get().origin(ok("Cache-Control: max-age=60\nETag: \"a\"\nX-Own: 1\nX-Kept: 3").body("12345")),
            request("HEAD").with("Cache-Control: no-cache").origin(newer()),
            get().has("x-own", "2").has("x-kept", "3"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.5, §3.2",
        "a stale one is fresh again",
        &[
            get().origin(ok("Cache-Control: max-age=60\nAge: 60\nETag: \"a\"\nX-Own: 1").body("12345")),
            request("HEAD").origin(newer()),
            get().has("x-own", "2").has("age", "~0"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.5, §3.2",
        "one that may not be stored any more leaves",
        &[
            get().origin(ok("Cache-Control: max-age=60\nETag: \"a\"").body("12345")),
            request("HEAD")
                .with("Cache-Control: no-cache")
                .origin(ok("Cache-Control: no-store\nETag: \"a\"").body("12345")),
            get().asks_without("if-none-match").origin(ok("Cache-Control: no-store")),
        ],
    );
}

#[test]
fn head_is_answered_stale_where_get_would_be() {
    let stage = Stage::new();
    let stored = |directives: &str| {
        get().origin(ok(format!("Cache-Control: max-age=10, {directives}\nETag: \"a\"\nAge: 20")))
    };
    case(
        &stage,
        "RFC 9110 §9.3.2, RFC 5861 §4",
        "the origin fails",
        &[
            stored("stale-if-error=60"),
            request("HEAD")
                .origin(response("503 Oops", ""))
                .gets(200)
                .has("etag", "\"a\"")
                .has("content-length", "8"),
            request("HEAD").down().gets(200).has("etag", "\"a\""),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.2.4",
        "where that is forbidden",
        &[
            stored("stale-if-error=60, must-revalidate"),
            request("HEAD").origin(response("503 Oops", "")).gets(503),
        ],
    );
    case(
        &stage,
        "RFC 9111 §5.2.1.2",
        "where the client allows it",
        &[stored("x"), request("HEAD").with("Cache-Control: max-stale").has("age", "~20")],
    );
}
