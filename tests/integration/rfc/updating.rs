//! What a 304 changes of what is stored, and what not (RFC 9111 §3.2, §4.3.4).

use super::{Stage, Step, case, get, ok, response};

fn stale(headers: &str) -> Step {
    get().origin(ok(format!("Cache-Control: max-age=0\n{headers}")))
}

fn unchanged(headers: &str) -> Step {
    get().origin(response("304 Not Modified", headers))
}

#[test]
fn each_field_of_the_304_replaces_and_the_others_stay() {
    let stage = Stage::new();
    let before = "ETag: \"a\"\nX-Own: 1\nX-Own: 2\nX-Kept: 3\nContent-Type: text/a\nExpires: @-5";
    let after = "ETag: \"a\"\nCache-Control: max-age=60\nX-Own: 4\nX-New: 5\nContent-Type: text/b\nExpires: @+50\n\
                 Content-Language: de";
    let check = |step: Step| {
        step.has("x-own", "4")
            .has("x-kept", "3")
            .has("x-new", "5")
            .has("cache-control", "max-age=60")
            .has("content-type", "text/b")
            .has("content-language", "de")
            .has("expires", "@+50")
    };
    case(&stage, "RFC 9111 §3.2", "fields", &[stale(before), check(unchanged(after)), check(get())]);
}

#[test]
fn what_describes_the_stored_bytes_stays() {
    let stage = Stage::new();
    let before = "ETag: \"a\"\nContent-Encoding: br";
    let after = "ETag: \"a\"\nCache-Control: max-age=60\nContent-Encoding: gzip\nContent-Range: bytes 0-1/2\n\
                 Connection: x-hop\nX-Hop: 1\nKeep-Alive: timeout=1\nContent-Length: 3";
    let check = |step: Step| {
        step.has("content-encoding", "br")
            .has("content-length", "8")
            .lacks("content-range")
            .lacks("x-hop")
            .lacks("keep-alive")
    };
    case(&stage, "RFC 9111 §3.2", "fields", &[stale(before), check(unchanged(after)), check(get())]);
}

#[test]
fn what_the_304_says_of_storing_counts_from_then_on() {
    let stage = Stage::new();
    let say = |directive: &str| unchanged(&format!("ETag: \"a\"\nCache-Control: {directive}"));
    let clause = "RFC 9111 §3.2, §4.3.4";
    let gone = || get().asks_without("if-none-match").origin(ok("Cache-Control: max-age=60"));
    case(&stage, clause, "a lifetime", &[stale("ETag: \"a\""), say("max-age=60"), get()]);
    case(&stage, clause, "no-store", &[stale("ETag: \"a\""), say("no-store"), gone()]);
    case(&stage, clause, "private", &[stale("ETag: \"a\""), say("private"), gone()]);
    case(
        &stage,
        clause,
        "no-cache",
        &[stale("ETag: \"a\""), say("no-cache, max-age=60"), say("max-age=60"), get()],
    );
    case(&stage, clause, "Vary: *", &[stale("ETag: \"a\""), unchanged("ETag: \"a\"\nVary: *"), gone()]);
    case(
        &stage,
        clause,
        "a private field",
        &[stale("ETag: \"a\"\nX-Own: 1"), say("max-age=60, private=\"x-own\""), get().lacks("x-own")],
    );
}

#[test]
fn what_a_304_sets_for_one_client_is_not_stored() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §7.3, §3.2",
        "Set-Cookie",
        &[
            stale("ETag: \"a\""),
            unchanged("ETag: \"a\"\nCache-Control: max-age=60\nSet-Cookie: a=1"),
            get().lacks("set-cookie"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §3.1",
        "Proxy-Authenticate",
        &[
            stale("ETag: \"a\""),
            unchanged("ETag: \"a\"\nCache-Control: max-age=60\nProxy-Authenticate: Basic"),
            get().lacks("proxy-authenticate"),
        ],
    );
    case(
        &stage,
        "RFC 9213 §2.2",
        "CDN-Cache-Control",
        &[
            stale("ETag: \"a\""),
            unchanged("ETag: \"a\"\nCache-Control: no-store\nCDN-Cache-Control: max-age=60"),
            get(),
        ],
    );
}

#[test]
fn a_304_that_changes_vary_applies_to_matching_requests() {
    let stage = Stage::new();
    let german = |step: Step| step.with("Accept-Language: de");
    case(
        &stage,
        "RFC 9111 §4.1, §4.3.4",
        "a Vary that was not there",
        &[
            german(stale("ETag: \"a\"")),
            german(unchanged("ETag: \"a\"\nCache-Control: max-age=60\nVary: Accept-Language")),
            german(get()).has("vary", "Accept-Language"),
            get()
                .with("Accept-Language: fr")
                .asks_without("if-none-match")
                .origin(ok("Cache-Control: max-age=60\nVary: Accept-Language")),
            get().with("Accept-Language: fr"),
            german(get()).reads("answer 1"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.1, §4.3.4",
        "another Vary",
        &[
            german(stale("ETag: \"a\"\nVary: Accept-Language")),
            german(unchanged("ETag: \"a\"\nCache-Control: max-age=60\nVary: Accept")),
            german(get()),
            get().with("Accept-Language: fr"),
            german(get()).with("Accept: text/x").origin(ok("Cache-Control: max-age=60\nVary: Accept")),
        ],
    );
}

#[test]
fn a_304_about_something_else_updates_nothing() {
    let stage = Stage::new();
    let clause = "RFC 9111 §4.3.4";
    for (what, before, after) in [
        ("another tag", "ETag: \"a\"", "ETag: \"b\""),
        ("another date", "Last-Modified: @-1000", "Last-Modified: @-999"),
        ("a strong tag where a weak one is stored", "ETag: W/\"a\"", "ETag: \"a\""),
    ] {
        case(
            &stage,
            clause,
            what,
            &[
                stale(before),
                get()
                    .origin(response("304 Not Modified", format!("{after}\nX-New: 1")))
                    .origin(ok("Cache-Control: max-age=60"))
                    .asks_without("if-none-match")
                    .asks_without("if-modified-since")
                    .lacks("x-new"),
                get().lacks("x-new"),
            ],
        );
    }
    case(
        &stage,
        clause,
        "without a validator it is what was asked about",
        &[stale("ETag: \"a\""), unchanged("Cache-Control: max-age=60"), get()],
    );
    case(
        &stage,
        clause,
        "a tag without quotes is one",
        &[
            stale("ETag: bare-1"),
            unchanged("Cache-Control: max-age=60").asks("if-none-match", "bare-1"),
            get(),
        ],
    );
    case(
        &stage,
        clause,
        "a weak tag is that of the strong",
        &[stale("ETag: \"a\""), unchanged("ETag: W/\"a\"\nCache-Control: max-age=60"), get()],
    );
    case(
        &stage,
        clause,
        "the tag counts, and not the date",
        &[
            stale("ETag: \"a\"\nLast-Modified: @-1000"),
            unchanged("ETag: \"a\"\nLast-Modified: @-999\nCache-Control: max-age=60"),
            get().has("last-modified", "@-999"),
        ],
    );
}
