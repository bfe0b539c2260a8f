//! Statuses: which are stored with a lifetime (RFC 9111 §3), and how they are served.

use super::{Again::*, Stage, case, get, ok, request, response, rows::rows_of};

#[test]
fn any_final_status_is_stored_with_a_lifetime() {
    let stage = Stage::new();
    for status in [
        "200 A", "201 A", "202 A", "203 A", "204 A", "300 A", "301 A", "302 A", "303 A", "307 A", "308 A",
        "400 A", "401 A", "403 A", "404 A", "405 A", "410 A", "414 A", "418 A", "451 A", "500 A", "501 A",
        "503 A", "599 A", "299 A",
    ] {
        rows_of(
            &stage,
            status,
            &[
                ("RFC 9111 §3", status, "Cache-Control: max-age=60", Hit),
                ("RFC 9111 §3", status, "Expires: @+60\nDate: @-0", Hit),
                ("RFC 9111 §5.2.2.5", status, "Cache-Control: no-store, max-age=60", Miss),
            ],
        );
    }
}

/// What speaks of the one client that gets it.
#[test]
fn statuses_that_must_not_be_stored_are_not() {
    let stage = Stage::new();
    for (rule, status) in [
        ("RFC 6585 §3", "428 A"),
        ("RFC 6585 §4", "429 A"),
        ("RFC 6585 §5", "431 A"),
        ("RFC 6585 §6", "511 A"),
    ] {
        rows_of(&stage, status, &[(rule, status, "Cache-Control: public, max-age=60", Miss)]);
    }
}

#[test]
fn parts_and_304_are_not_stored() {
    let stage = Stage::new();
    rows_of(
        &stage,
        "206 Partial",
        &[("RFC 9111 §3.3", "206", "Cache-Control: max-age=60\nContent-Range: bytes 0-7/20", Miss)],
    );
    case(
        &stage,
        "RFC 9111 §3",
        "304 to a request without conditions",
        &[
            get().origin(response("304 X", "Cache-Control: max-age=60\nETag: \"a\"")).gets(304),
            get().origin(ok("")),
        ],
    );
}

#[test]
fn a_status_without_body_is_served_without_body() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9110 §8.6, §15.3.5",
        "204",
        &[
            get()
                .origin(response("204 No Content", "Cache-Control: max-age=60\nX-Own: 1"))
                .lacks("content-length")
                .lacks("transfer-encoding"),
            get().has("x-own", "1").lacks("content-length").lacks("transfer-encoding"),
            request("HEAD").lacks("content-length"),
        ],
    );
}

#[test]
fn redirects_and_errors_keep_their_fields() {
    let stage = Stage::new();
    for status in ["301 Moved", "302 Found", "307 Again", "308 Moved"] {
        case(
            &stage,
            "RFC 9111 §3.1",
            status,
            &[
                get()
                    .origin(response(status, "Cache-Control: max-age=60\nLocation: /x"))
                    .has("location", "/x"),
                get().has("location", "/x"),
                request("HEAD").has("location", "/x"),
            ],
        );
    }
}
