//! What Cache-Status says of each answer (RFC 9211).

use super::{Stage, case, get, ok, request, response};

#[test]
fn each_answer_says_where_it_comes_from() {
    let stage = Stage::new();
    let fresh = || ok("Cache-Control: max-age=60");
    case(
        &stage,
        "RFC 9211 §2.2, §2.5, §2.1, §2.4",
        "miss, stored; hit",
        &[
            get().origin(fresh()).has("cache-status", "pointsman; fwd=uri-miss; stored; ttl=~60"),
            get().has("cache-status", "pointsman; hit; ttl=*"),
        ],
    );
    case(
        &stage,
        "RFC 9211 §2.2",
        "another variant",
        &[
            get().origin(ok("Cache-Control: max-age=60\nVary: X-A")),
            get()
                .with("X-A: 1")
                .origin(ok("Cache-Control: max-age=60\nVary: X-A"))
                .has("cache-status", "pointsman; fwd=vary-miss; stored; ttl=~60"),
        ],
    );
    let validated = || response("304 X", "ETag: \"a\"");
    case(
        &stage,
        "RFC 9211 §2.2, §2.3",
        "validated",
        &[
            get().origin(ok("Cache-Control: max-age=60\nAge: 60\nETag: \"a\"")),
            get().origin(validated()).has("cache-status", "pointsman; fwd=stale; fwd-status=304; ttl=~60"),
            get()
                .with("Cache-Control: no-cache")
                .origin(validated())
                .has("cache-status", "pointsman; fwd=request; fwd-status=304; ttl=~60"),
            get()
                .with("Cache-Control: no-cache")
                .origin(fresh())
                .has("cache-status", "pointsman; fwd=request; stored; ttl=~60"),
        ],
    );
    case(
        &stage,
        "RFC 9211 §2.2",
        "methods",
        &[
            request("POST").origin(fresh()).has("cache-status", "pointsman; fwd=method"),
            request("OPTIONS").origin(fresh()).has("cache-status", "pointsman; fwd=method"),
            request("FOO").origin(fresh()).has("cache-status", "pointsman; fwd=method"),
        ],
    );
    case(
        &stage,
        "RFC 9211 §2.2",
        "what passes by",
        &[get().with("If-Match: \"a\"").origin(fresh()).has("cache-status", "pointsman; fwd=bypass")],
    );
    case(
        &stage,
        "RFC 9211 §2.8",
        "not stored, and why",
        &[
            get()
                .origin(ok("Cache-Control: no-store"))
                .has("cache-status", "pointsman; fwd=uri-miss; detail=no-store"),
            get()
                .origin(ok("Cache-Control: private"))
                .has("cache-status", "pointsman; fwd=uri-miss; detail=private"),
            get().origin(ok("")).has("cache-status", "pointsman; fwd=uri-miss; detail=no-lifetime"),
        ],
    );
    case(
        &stage,
        "RFC 9211 §2.3",
        "304 to the client, from what is stored",
        &[
            get().origin(ok("Cache-Control: max-age=60\nETag: \"a\"")),
            get().with("If-None-Match: \"a\"").gets(304).has("cache-status", "pointsman; hit; ttl=*"),
        ],
    );
}

#[test]
fn the_member_comes_behind_those_of_caches_before() {
    let stage = Stage::new();
    let answer = || ok("Cache-Control: max-age=60\nCache-Status: first; hit\nCache-Status: second; fwd=miss");
    case(
        &stage,
        "RFC 9211 §2",
        "in the order of the way",
        &[
            get().origin(answer()).has(
                "cache-status",
                "first; hit, second; fwd=miss, pointsman; fwd=uri-miss; stored; ttl=~60",
            ),
            get()
                .has("cache-status", "first; hit*")
                .has("cache-status", "second; fwd=miss*")
                .has("cache-status", "pointsman; hit; ttl=*"),
        ],
    );
}

#[test]
fn an_overflowing_age_gives_a_valid_ttl() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9211 §2.4, RFC 8941 §3.3.1",
        "much left",
        &[get()
            .origin(ok("Cache-Control: max-age=99999999999999999999"))
            .has("cache-status", "pointsman; fwd=uri-miss; stored; ttl=~2147483648")],
    );
    case(
        &stage,
        "RFC 9211 §2.4",
        "much too old",
        &[
            get()
                .origin(ok("Cache-Control: max-age=1\nAge: 99999999999999999999"))
                .has("cache-status", "pointsman; fwd=uri-miss; stored; ttl=~-2147483647"),
            get()
                .with("Cache-Control: max-stale")
                .has("age", "~2147483648")
                .has("cache-status", "pointsman; hit; ttl=-21474836*"),
        ],
    );
}

#[test]
fn refusals_say_why() {
    let stage = Stage::new();
    for (lines, headers, detail) in [
        ("X-A: 1", "Cache-Control: max-age=60\nSet-Cookie: a=1", "set-cookie"),
        ("X-A: 1", "Cache-Control: max-age=60\nVary: *", "vary-any"),
        ("Authorization: a", "Cache-Control: max-age=60", "authorization"),
        ("Cache-Control: no-store", "Cache-Control: max-age=60", "request-no-store"),
    ] {
        case(
            &stage,
            "RFC 9211 §2.8",
            detail,
            &[get()
                .with(lines)
                .origin(ok(headers))
                .has("cache-status", &format!("pointsman; fwd=uri-miss; detail={detail}"))],
        );
    }
    case(
        &stage,
        "RFC 9211 §2.8",
        "must-understand",
        &[get()
            .origin(response("299 Odd", "Cache-Control: must-understand, max-age=60"))
            .has("cache-status", "pointsman; fwd=uri-miss; detail=must-understand")],
    );
}
