//! Parts of what is stored (RFC 9110 §14, §13.1.5; RFC 9111 §3.3, §3.4).

use super::{Stage, Step, case, get, ok, request, response};

const BODY: &str = "0123456789";

fn stored(headers: &str) -> Step {
    get().origin(ok(format!("Cache-Control: max-age=60\n{headers}")).body(BODY))
}

fn range(value: &str) -> Step {
    get().with(&format!("Range: {value}"))
}

#[test]
fn a_part_of_what_is_stored() {
    let stage = Stage::new();
    for (value, text, part) in [
        ("bytes=0-4", "01234", "bytes 0-4/10"),
        ("bytes=5-", "56789", "bytes 5-9/10"),
        ("bytes=9-9", "9", "bytes 9-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-99", BODY, "bytes 0-9/10"),
        ("bytes=4-99", "456789", "bytes 4-9/10"),
        ("bytes=4-99999999999999999999999", "456789", "bytes 4-9/10"),
        ("BYTES=0-0", "0", "bytes 0-0/10"),
        ("bytes=0-1,2-3", "0123", "bytes 0-3/10"),
        ("bytes=2-3, 0-2", "0123", "bytes 0-3/10"),
        ("bytes= , 0-1", "01", "bytes 0-1/10"),
        ("bytes=0-1, 50-60", "01", "bytes 0-1/10"),
    ] {
        let length = text.len().to_string();
        let part =
            range(value).gets(206).reads(text).has("content-range", part).has("content-length", &length);
        case(&stage, "RFC 9110 §14.1.2, §14.4", value, &[stored(""), part, get()]);
    }
}

#[test]
fn what_is_no_range_is_ignored() {
    let stage = Stage::new();
    for value in [
        "bytes=4-2",
        "bytes=a-b",
        "bytes=",
        "bytes",
        "bytes=-",
        "bytes=1",
        "bytes=1-2-3",
        "bytes=0x1-2",
        "bytes=+1-2",
        "bytes = 0-1",
        "lines=0-1",
        "bytes=0-1, x",
        "bytes=0-1;x=2",
        "",
        "bytes=0-1,5-6",
        "bytes=0-0,2-2,4-4",
    ] {
        case(
            &stage,
            "RFC 9110 §14.2",
            value,
            &[stored(""), range(value).lacks("content-range").has("content-length", "10")],
        );
    }
    case(
        &stage,
        "RFC 9110 §14.2",
        "two Range lines",
        &[stored(""), range("bytes=0-1").with("Range: bytes=3-4")],
    );
}

#[test]
fn what_is_beyond_the_end_cannot_be_had() {
    let stage = Stage::new();
    for value in ["bytes=10-", "bytes=10-20", "bytes=99999999999999999999-", "bytes=-0", "bytes=10-, 20-30"] {
        let answer = range(value)
            .gets(416)
            .has("content-range", "bytes */10")
            .has("content-length", "0")
            .lacks("cache-control")
            .lacks("etag")
            .lacks("expires")
            .lacks("last-modified");
        let before = stored("ETag: \"a\"\nExpires: @+60\nLast-Modified: @-1000");
        case(&stage, "RFC 9110 §15.5.17", value, &[before, answer, get()]);
    }
}

#[test]
fn a_206_has_what_it_must() {
    let stage = Stage::new();
    let headers =
        "ETag: \"a\"\nVary: X-A\nExpires: @+60\nContent-Location: /x\nDate: @-0\nContent-Type: text/x";
    case(
        &stage,
        "RFC 9110 §15.3.7",
        "the fields of 200",
        &[
            stored(headers),
            range("bytes=1-2")
                .gets(206)
                .reads("12")
                .has("etag", "\"a\"")
                .has("vary", "X-A")
                .has("expires", "@+60")
                .has("content-location", "/x")
                .has("date", "@-0")
                .has("cache-control", "max-age=60")
                .has("content-type", "text/x")
                .has("age", "~0"),
        ],
    );
}

#[test]
fn if_range_is_compared_strongly() {
    let stage = Stage::new();
    let headers = "ETag: \"a\"\nLast-Modified: @-1000\nDate: @-0";
    let clause = "RFC 9110 §13.1.5";
    let asks = |line: &str| range("bytes=0-1").with(line);
    for line in ["If-Range: \"a\"", "If-Range: @-1000"] {
        case(&stage, clause, line, &[stored(headers), asks(line).gets(206).reads("01")]);
    }
    for line in [
        "If-Range: \"b\"",
        "If-Range: W/\"a\"",
        "If-Range: @-999",
        "If-Range: @-1001",
        "If-Range: x",
        "If-Range:",
        "If-Range: \"a\"\nIf-Range: \"a\"",
    ] {
        case(&stage, clause, line, &[stored(headers), asks(line)]);
    }
    case(&stage, clause, "a weak tag is stored", &[stored("ETag: W/\"a\""), asks("If-Range: W/\"a\"")]);
    case(
        &stage,
        clause,
        "a date that is not strong",
        &[stored("Last-Modified: @-0\nDate: @-0"), asks("If-Range: @-0")],
    );
    case(&stage, clause, "without Range", &[stored(headers), get().with("If-Range: \"b\"")]);
    case(
        &stage,
        "RFC 9110 §13.2.2",
        "If-None-Match comes first",
        &[
            stored(headers),
            asks("If-None-Match: \"a\"").gets(304),
            asks("If-None-Match: \"b\"").gets(206).reads("01"),
        ],
    );
}

#[test]
fn a_part_is_taken_from_the_whole_that_is_fetched() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §3.3",
        "nothing is stored",
        &[
            range("bytes=2-3")
                .asks_without("range")
                .origin(ok("Cache-Control: max-age=60").body(BODY))
                .gets(206)
                .reads("23"),
            get(),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3",
        "what is stored is stale",
        &[
            get().origin(ok("Cache-Control: max-age=0\nETag: \"a\"").body(BODY)),
            range("bytes=2-3")
                .asks_without("range")
                .origin(response("304 X", "ETag: \"a\""))
                .gets(206)
                .reads("23"),
            range("bytes=2-3")
                .asks_without("range")
                .origin(ok("Cache-Control: max-age=60").body("abcdefg"))
                .gets(206)
                .reads("cd"),
            get(),
        ],
    );
}

#[test]
fn a_partial_response_is_never_taken_for_the_whole() {
    let stage = Stage::new();
    let part =
        || response("206 Partial", "Cache-Control: max-age=60\nContent-Range: bytes 2-3/10").body("23");
    let private = || ok("Cache-Control: private").body(BODY);
    case(
        &stage,
        "RFC 9111 §3.3",
        "206 to one who did not ask",
        &[get().origin(part()), get().origin(ok("Cache-Control: max-age=60").body(BODY))],
    );
    case(
        &stage,
        "RFC 9111 §3.3",
        "of what is not shared",
        &[
            get().origin(private()),
            range("bytes=2-3")
                .asks("range", "bytes=2-3")
                .origin(part())
                .gets(206)
                .has("content-range", "bytes 2-3/10"),
            get().origin(private()),
        ],
    );
    for line in ["Cookie: a=1", "X-None: 1"] {
        case(
            &stage,
            "RFC 9110 §14.2",
            &format!("what turns out not to be shared, {line}"),
            &[range("bytes=2-3")
                .with(line)
                .origin(private())
                .origin(part())
                .asks("range", "bytes=2-3")
                .gets(206)
                .reads("23")],
        );
    }
    for line in ["Authorization: Basic eA==", "Cache-Control: no-store"] {
        case(
            &stage,
            "RFC 9110 §14.2",
            line,
            &[range("bytes=2-3").with(line).asks("range", "bytes=2-3").origin(part()).gets(206).reads("23")],
        );
    }
    case(
        &stage,
        "RFC 9110 §14.2",
        "ranges of other statuses",
        &[
            get().origin(response("404 Not Found", "Cache-Control: max-age=60").body(BODY)),
            range("bytes=0-1").lacks("content-range"),
        ],
    );
    case(
        &stage,
        "RFC 9110 §14.2",
        "ranges of other methods",
        &[request("POST").with("Range: bytes=0-1").asks("range", "bytes=0-1").origin(ok(""))],
    );
}
