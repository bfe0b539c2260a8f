//! Asking the origin whether what is stored holds (RFC 9111 §4.3.1, §4.3.3).

use super::{Stage, Step, case, get, ok, response};

pub(super) const FRESH: &str = "Cache-Control: max-age=60";

pub(super) fn stale(headers: &str) -> Step {
    get().origin(ok(format!("Cache-Control: max-age=0\n{headers}")))
}

#[test]
fn the_origin_is_asked_by_what_is_stored() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §4.3.1",
        "the entity tag",
        &[
            stale("ETag: \"a\""),
            get()
                .origin(response("304 X", "ETag: \"a\""))
                .asks("if-none-match", "\"a\"")
                .asks_without("if-modified-since"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.1",
        "a weak one",
        &[
            stale("ETag: W/\"a\""),
            get().origin(response("304 X", "ETag: W/\"a\"")).asks("if-none-match", "W/\"a\""),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.1",
        "Last-Modified",
        &[
            stale("Last-Modified: @-1000"),
            get()
                .origin(response("304 X", "Last-Modified: @-1000"))
                .asks("if-modified-since", "@-1000")
                .asks_without("if-none-match"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.1",
        "both",
        &[
            stale("Last-Modified: @-1000\nETag: \"a\""),
            get()
                .origin(response("304 X", "ETag: \"a\""))
                .asks("if-modified-since", "@-1000")
                .asks("if-none-match", "\"a\""),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.1",
        "not by what the client has",
        &[
            stale("ETag: \"a\""),
            get()
                .with("If-None-Match: \"b\"")
                .origin(response("304 X", "ETag: \"a\""))
                .asks("if-none-match", "\"a\""),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.1",
        "without a validator, by none",
        &[
            stale(""),
            get().origin(ok(FRESH)).asks_without("if-none-match").asks_without("if-modified-since"),
            get(),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.4",
        "a 304 to a question without conditions is no answer of ours",
        &[
            stale("ETag: \"a\""),
            get().origin(response("304 X", "ETag: \"b\"")).origin(ok(FRESH)).asks_without("if-none-match"),
            get(),
        ],
    );
}

#[test]
fn a_full_answer_takes_the_place() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §4.3.3",
        "200",
        &[
            stale("ETag: \"a\"\nX-Old: 1"),
            get().origin(ok(format!("{FRESH}\nETag: \"b\""))).has("etag", "\"b\"").lacks("x-old"),
            get().has("etag", "\"b\"").lacks("x-old"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.3",
        "200 that is not stored",
        &[
            stale("ETag: \"a\""),
            get().origin(ok("Cache-Control: no-store\nETag: \"b\"")),
            get().origin(ok(FRESH)),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.3",
        "404",
        &[
            stale("ETag: \"a\""),
            get().origin(response("404 Gone", FRESH)),
            get().has("cache-status", "pointsman; hit*"),
        ],
    );
    for status in ["500 A", "502 B", "503 C", "504 D"] {
        case(
            &stage,
            "RFC 9111 §4.3.3",
            status,
            &[
                stale("ETag: \"a\""),
                get().origin(response(status, "")),
                get()
                    .asks("if-none-match", "\"a\"")
                    .origin(response("304 X", "ETag: \"a\""))
                    .gets(200)
                    .reads("answer 1"),
            ],
        );
    }
}

#[test]
fn tags_that_are_none_are_not_asked_for() {
    let stage = Stage::new();
    for tag in ["\"a", "w/\"a\"", "a b", "*", ""] {
        case(
            &stage,
            "RFC 9110 §8.8.3",
            tag,
            &[
                stale(&format!("ETag: {tag}\nLast-Modified: @-1000")),
                get()
                    .asks_without("if-none-match")
                    .asks("if-modified-since", "@-1000")
                    .origin(response("304 X", "Last-Modified: @-1000")),
            ],
        );
    }
    // Servers that forget the quotes know their tags so.
    for tag in ["a", "'a'", "W/a"] {
        case(
            &stage,
            "RFC 9110 §8.8.3",
            tag,
            &[
                stale(&format!("ETag: {tag}\nLast-Modified: @-1000")),
                get().asks("if-none-match", tag).origin(response("304 X", "Last-Modified: @-1000")),
            ],
        );
    }
    case(
        &stage,
        "RFC 9110 §8.8.3",
        "a tag of odd signs is one",
        &[
            stale("ETag: \"a,b\\\""),
            get().asks("if-none-match", "\"a,b\\\"").origin(response("304 X", "ETag: \"a,b\\\"")),
        ],
    );
}

#[test]
fn what_is_stored_outlives_answers_that_are_for_one_only() {
    let stage = Stage::new();
    for line in ["Authorization: a", "Cookie: a=1"] {
        case(
            &stage,
            "RFC 9111 §3.5, §4.3.3",
            line,
            &[
                stale("ETag: \"a\""),
                get().with(line).asks("if-none-match", "\"a\"").origin(ok("Cache-Control: private")),
                get()
                    .asks("if-none-match", "\"a\"")
                    .origin(response("304 X", "ETag: \"a\""))
                    .gets(200)
                    .reads("answer 1"),
            ],
        );
    }
    case(
        &stage,
        "RFC 9111 §3.5",
        "a validation with Authorization says nothing for others",
        &[
            stale("ETag: \"a\"\nX-Own: 1"),
            get()
                .with("Authorization: a")
                .origin(response("304 X", "ETag: \"a\"\nX-Own: 2"))
                .has("x-own", "2"),
            get().asks("if-none-match", "\"a\"").origin(response("304 X", "ETag: \"a\"")).has("x-own", "1"),
        ],
    );
}
