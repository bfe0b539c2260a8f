//! Which stored response answers a request (RFC 9111 §4.1, RFC 9110 §12.5.5).

use super::{Stage, Step, case, get, ok};

fn by(vary: &str) -> super::case::Answer {
    ok(format!("Cache-Control: max-age=60\n{vary}"))
}

fn asking(lines: &str) -> Step {
    lines.split('\n').filter(|line| !line.is_empty()).fold(get(), Step::with)
}

#[test]
fn fields_that_differ_do_not_match() {
    let stage = Stage::new();
    for (vary, one, other) in [
        ("Vary: X-A", "X-A: 1", "X-A: 2"),
        ("Vary: X-A", "X-A: 1", ""),
        ("Vary: X-A", "", "X-A: 1"),
        ("Vary: X-A", "", "X-A:"),
        ("Vary: x-a", "X-A: a", "X-A: A"),
        ("Vary: X-A, X-B", "X-A: 1\nX-B: 1", "X-A: 1\nX-B: 2"),
        ("Vary: X-A,X-B", "X-A: 1\nX-B: 1", "X-A: 2\nX-B: 1"),
        ("Vary: X-A\nVary: X-B", "X-A: 1\nX-B: 1", "X-A: 1\nX-B: 2"),
        ("Vary:  , X-B ,, X-A\t", "X-A: 1\nX-B: 1", "X-A: 2\nX-B: 1"),
        ("Vary: X-A", "X-A: 1\nX-A: 2", "X-A: 1"),
        ("Vary: X-A", "X-A: 1\nX-A: 2", "X-A: 2\nX-A: 1"),
        ("Vary: X-A, X-B", "X-A: 1", "X-B: 1"),
        ("Vary: Cookie", "Cookie: a=1", "Cookie: a=2"),
        ("Vary: Accept-Language", "Accept-Language: de", "Accept-Language: de, fr"),
        ("Vary: Accept-Language", "Accept-Language: de, fr", "Accept-Language: fr, de"),
        ("Vary: Accept-Encoding", "Accept-Encoding: gzip", "Accept-Encoding: br"),
        ("Vary: Accept-Encoding", "Accept-Encoding: gzip", "Accept-Encoding: gzip;q=0"),
        ("Vary: Accept-Encoding", "Accept-Encoding: gzip", ""),
        ("Vary: Accept-Encoding", "Accept-Encoding: identity", "Accept-Encoding: *"),
        ("Vary: User-Agent", "User-Agent: a", "User-Agent: b"),
    ] {
        let what = format!("{vary:?}: {one:?}, then {other:?}");
        case(
            &stage,
            "RFC 9111 §4.1",
            &what,
            &[
                asking(one).origin(by(vary)),
                asking(other).origin(by(vary)).has("cache-status", "pointsman; fwd=vary-miss; stored*"),
                asking(other).has("cache-status", "pointsman; hit*"),
                asking(one).reads("answer 1"),
            ],
        );
    }
}

#[test]
fn fields_that_mean_the_same_match() {
    let stage = Stage::new();
    for (vary, one, other) in [
        ("Vary: X-A", "X-A: 1", "x-a:   1  "),
        ("Vary: X-A", "X-A: 1\nX-A: 2", "X-A: 1, 2"),
        ("Vary: X-A", "X-A: 1\nX-B: 1", "X-A: 1\nX-B: 2"),
        ("Vary: X-A, x-a", "X-A: 1", "X-A: 1"),
        ("Vary: X-A", "", "X-B: 1"),
        ("Vary: X-Forwarded-Proto", "", ""),
        ("Vary: X-Real-IP, X-Forwarded-Host", "", ""),
        ("Vary: Via, Host", "", ""),
        ("Vary: Connection", "", ""),
        ("Vary: Accept-Language", "Accept-Language: de,fr;q=0.5", "Accept-Language: DE , fr ; q=0.5"),
        ("Vary: Accept-Encoding", "Accept-Encoding: gzip, br", "Accept-Encoding: br;q=0.9, GZIP, foo"),
    ] {
        let what = format!("{vary:?}: {one:?}, then {other:?}");
        case(&stage, "RFC 9111 §4.1", &what, &[asking(one).origin(by(vary)), asking(other)]);
    }
}

#[test]
fn dropped_fields_do_not_mix_variants_up() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §4.1",
        "Range",
        &[
            asking("Range: bytes=0-1").origin(by("Vary: Range")).gets(206).reads("an"),
            get(),
            asking("Range: bytes=0-1").origin(by("Vary: Range")).gets(206).reads("an"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.1",
        "Authorization",
        &[
            asking("Authorization: a").origin(ok("Cache-Control: public, max-age=60\nVary: Authorization")),
            asking("Authorization: b").origin(ok("Cache-Control: public, max-age=60\nVary: Authorization")),
            asking("Authorization: a").reads("answer 1"),
            get().origin(ok("Cache-Control: max-age=60")),
        ],
    );
}

#[test]
fn the_origin_is_asked_with_the_codings_of_the_variant() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §4.1",
        "codings in one spelling",
        &[asking("Accept-Encoding: GZIP;q=0.8, foo, br")
            .asks("accept-encoding", "br, gzip")
            .origin(by("Vary: Accept-Encoding"))],
    );
    case(
        &stage,
        "RFC 9111 §4.1",
        "none stays none",
        &[get().asks_without("accept-encoding").origin(by("Vary: Accept-Encoding"))],
    );
}

#[test]
fn several_variants_are_kept_and_the_most_recent_is_chosen() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §4.1",
        "four of one URI",
        &[
            asking("X-A: 1").origin(by("Vary: X-A")),
            asking("X-A: 2").origin(by("Vary: X-A")),
            asking("X-A: 3").origin(by("Vary: X-A, X-B")),
            get().origin(by("Vary: X-A")),
            asking("X-A: 1").reads("answer 1"),
            asking("X-A: 2").reads("answer 2"),
            asking("X-A: 3").reads("answer 3"),
            get().reads("answer 4"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4",
        "the most recent of two that match",
        &[
            asking("X-A: 1\nX-B: 1").origin(by("Vary: X-A")),
            asking("X-A: 2\nX-B: 1").origin(by("Vary: X-B\nDate: @-20")),
            asking("X-A: 1\nX-B: 1").reads("answer 1"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.1",
        "one with Vary before one without",
        &[
            get().origin(ok("Cache-Control: max-age=60\nVary: X-A")),
            asking("X-A: 1").origin(ok("Cache-Control: max-age=60\nVary: X-A")),
            get().reads("answer 1"),
        ],
    );
}
