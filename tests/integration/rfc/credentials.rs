//! Requests with Authorization (RFC 9111 §3.5) and with cookies.

use super::{Stage, case, get, ok};

#[test]
fn with_authorization_only_what_allows_it_is_stored() {
    let stage = Stage::new();
    let own = || get().with("Authorization: Basic eA==");
    let other = || get().with("Authorization: Basic eQ==");
    for directives in
        ["public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate", "public, s-maxage=60, max-age=0"]
    {
        case(
            &stage,
            "RFC 9111 §3.5",
            directives,
            &[own().origin(ok(format!("Cache-Control: {directives}"))), other(), own(), get()],
        );
    }
    for directives in [
        "max-age=60",
        "max-age=60, proxy-revalidate",
        "max-age=60, immutable",
        "max-age=60, public=1",
        "max-age=60, x=\"public\"",
        "max-age=60, no-cache",
    ] {
        case(
            &stage,
            "RFC 9111 §3.5",
            directives,
            &[
                own().origin(ok(format!("Cache-Control: {directives}"))),
                other().origin(ok(format!("Cache-Control: {directives}"))),
                get().origin(ok("Cache-Control: max-age=60")),
            ],
        );
    }
    case(
        &stage,
        "RFC 9111 §3.5",
        "what was stored for all is for him too",
        &[get().origin(ok("Cache-Control: max-age=60")), own()],
    );
}

#[test]
fn authorization_is_not_lost_when_what_is_stored_is_validated() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §3.5",
        "must-revalidate, stale",
        &[
            get()
                .with("Authorization: a")
                .origin(ok("Cache-Control: max-age=0, must-revalidate\nETag: \"a\"")),
            get()
                .with("Authorization: b")
                .asks("authorization", "b")
                .asks("if-none-match", "\"a\"")
                .origin(super::response("401 No", ""))
                .gets(401)
                .reads("answer 2"),
        ],
    );
}

#[test]
fn cookies_of_requests_neither_forbid_nor_tell_apart() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §3",
        "a request with a cookie",
        &[
            get().with("Cookie: a=1").origin(ok("Cache-Control: max-age=60")),
            get().with("Cookie: a=2"),
            get(),
        ],
    );
    case(
        &Stage::with("store_set_cookie = true"),
        "RFC 9111 §7.3",
        "Set-Cookie where it is configured",
        &[
            get()
                .origin(ok("Cache-Control: max-age=60\nSet-Cookie: a=1\nSet-Cookie: b=2"))
                .has("set-cookie", "a=1, b=2"),
            get().has("set-cookie", "a=1, b=2"),
        ],
    );
}
