//! What requests ask of a cache (RFC 9111 §5.2.1, §5.4).

use super::{Stage, Step, case, get, ok, request, response};

fn stored(headers: &str) -> Step {
    get().origin(ok(format!("{headers}\nETag: \"a\"")))
}

fn asks(line: &str) -> Step {
    get().with(line).asks("if-none-match", "\"a\"").origin(response("304 X", "ETag: \"a\""))
}

#[test]
fn what_a_request_asks_for_is_kept() {
    let stage = Stage::new();
    let fresh = "Cache-Control: max-age=100\nAge: 50";
    for (clause, line) in [
        ("RFC 9111 §5.2.1.1", "Cache-Control: max-age=0"),
        ("RFC 9111 §5.2.1.1", "Cache-Control: max-age=49"),
        ("RFC 9111 §5.2.1.1", "Cache-Control: max-age=soon"),
        ("RFC 9111 §5.2.1.1", "cache-control: MAX-AGE=\"0\""),
        ("RFC 9111 §5.2.1.3", "Cache-Control: min-fresh=51"),
        ("RFC 9111 §5.2.1.3", "Cache-Control: min-fresh=99999999999999999999999"),
        ("RFC 9111 §5.2.1.4", "Cache-Control: no-cache"),
        ("RFC 9111 §5.2.1.4", "Cache-Control: max-age=1000, No-Cache"),
        ("RFC 9111 §5.2.1.4", "Cache-Control: max-age=1000\nCache-Control: no-cache"),
        ("RFC 9111 §5.4", "Pragma: no-cache"),
        ("RFC 9111 §5.4", "Pragma: x, No-Cache"),
    ] {
        case(
            &stage,
            clause,
            line,
            &[stored(fresh), asks(line).has("cache-status", "pointsman; fwd=request; fwd-status=304*")],
        );
    }
    for (clause, line) in [
        ("RFC 9111 §5.2.1.1", "Cache-Control: max-age=90"),
        ("RFC 9111 §5.2.1.3", "Cache-Control: min-fresh=30"),
        ("RFC 9111 §5.2.1.2", "Cache-Control: max-stale"),
        ("RFC 9111 §5.4", "Cache-Control: max-age=1000\nPragma: no-cache"),
        ("RFC 9111 §5.2.3", "Cache-Control: unknown, no-cached, x=\"no-cache\""),
        ("RFC 9111 §5.2.1.6", "Cache-Control: no-transform"),
    ] {
        case(&stage, clause, line, &[stored(fresh), get().with(line)]);
    }
}

#[test]
fn a_client_may_take_what_is_stale() {
    let stage = Stage::new();
    let stale = "Cache-Control: max-age=100\nAge: 150";
    for line in [
        "Cache-Control: max-stale",
        "Cache-Control: max-stale=60",
        "Cache-Control: max-age=200, max-stale=60",
    ] {
        let served = get().with(line).has("cache-status", "pointsman; hit; ttl=-*").has("age", "~150");
        case(&stage, "RFC 9111 §5.2.1.2", line, &[stored(stale), served]);
    }
    for line in [
        "Cache-Control: max-stale=40",
        "Cache-Control: max-stale=x",
        "Cache-Control: max-stale, no-cache",
        "Cache-Control: max-stale, max-age=100",
        "Cache-Control: max-age=200",
    ] {
        case(&stage, "RFC 9111 §5.2.1.2", line, &[stored(stale), asks(line)]);
    }
    for directive in ["must-revalidate", "proxy-revalidate", "s-maxage=100", "no-cache"] {
        let what = format!("{directive} forbids it");
        let headers = format!("Cache-Control: max-age=100, {directive}\nAge: 150");
        case(&stage, "RFC 9111 §4.2.4, §5.2.2", &what, &[stored(&headers), asks("Cache-Control: max-stale")]);
    }
}

#[test]
fn only_if_cached_never_asks_the_origin() {
    let stage = Stage::new();
    let line = "Cache-Control: only-if-cached";
    let clause = "RFC 9111 §5.2.1.7";
    case(
        &stage,
        clause,
        "nothing is stored",
        &[get().with(line).gets(504), request("HEAD").with(line).gets(504)],
    );
    case(&stage, clause, "what is stored is fresh", &[stored("Cache-Control: max-age=60"), get().with(line)]);
    case(
        &stage,
        clause,
        "what is stored is stale",
        &[stored("Cache-Control: max-age=0"), get().with(line).gets(504)],
    );
    case(
        &stage,
        clause,
        "stale, and that is accepted",
        &[stored("Cache-Control: max-age=0"), get().with("Cache-Control: only-if-cached, max-stale")],
    );
    case(
        &stage,
        clause,
        "another variant is stored",
        &[
            get().with("X-A: 1").origin(ok("Cache-Control: max-age=60\nVary: X-A")),
            get().with(line).gets(504),
        ],
    );
    case(
        &stage,
        clause,
        "what must be validated",
        &[stored("Cache-Control: max-age=60, no-cache"), get().with(line).gets(504)],
    );
    case(
        &stage,
        clause,
        "with no-cache",
        &[
            stored("Cache-Control: max-age=60"),
            get().with("Cache-Control: only-if-cached, no-cache").gets(504),
        ],
    );
}

#[test]
fn what_is_asked_for_holds_on_a_miss_too() {
    let stage = Stage::new();
    for line in ["no-cache", "max-age=0", "max-stale", "min-fresh=1000", "stale-if-error=60", "unknown=1"] {
        case(
            &stage,
            "RFC 9111 §5.2.1",
            line,
            &[get().with(&format!("Cache-Control: {line}")).origin(ok("Cache-Control: max-age=60")), get()],
        );
    }
    case(
        &stage,
        "RFC 9111 §5.2.1.7",
        "what only-if-cached did not get is fetched for the next",
        &[
            get().with("Cache-Control: only-if-cached").gets(504),
            get().origin(ok("Cache-Control: max-age=60")),
            get().with("Cache-Control: only-if-cached"),
        ],
    );
}

#[test]
fn directives_of_requests_go_on_to_the_origin() {
    let stage = Stage::new();
    let line = "max-age=5, x-unknown=\"a, b\", min-fresh=3";
    case(
        &stage,
        "RFC 9111 §5.2",
        "as they came",
        &[
            get()
                .with(&format!("Cache-Control: {line}"))
                .asks("cache-control", line)
                .origin(ok("Cache-Control: max-age=60")),
            request("POST")
                .with(&format!("Cache-Control: {line}"))
                .asks("cache-control", line)
                .origin(ok("")),
        ],
    );
}
