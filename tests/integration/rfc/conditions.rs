//! Answering clients who ask whether what they have holds (RFC 9111 §4.3.2, RFC 9110 §13).

use super::{
    Stage, case, get, ok, request, response,
    validation::{FRESH, stale},
};

#[test]
fn a_client_that_has_what_has_just_come_gets_304() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9111 §4.3.2",
        "the newer",
        &[
            stale("ETag: \"a\""),
            get()
                .with("If-None-Match: \"b\"")
                .asks("if-none-match", "\"a\"")
                .origin(ok(format!("{FRESH}\nETag: \"b\"")))
                .gets(304),
            get().has("etag", "\"b\""),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.2",
        "the older",
        &[
            stale("ETag: \"a\""),
            get()
                .with("If-None-Match: \"a\"")
                .origin(ok(format!("{FRESH}\nETag: \"b\"")))
                .has("etag", "\"b\""),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.2, RFC 5861 §4",
        "the stale, since the origin fails",
        &[
            stale("Cache-Control: stale-if-error=60\nETag: \"a\""),
            get().with("If-None-Match: \"a\"").origin(response("503 Oops", "")).gets(304),
        ],
    );
}

#[test]
fn clients_that_have_it_get_304() {
    let stage = Stage::new();
    let stored = || get().origin(ok(format!("{FRESH}\nETag: \"a\"\nLast-Modified: @-1000\nDate: @-10")));
    let weak = || get().origin(ok(format!("{FRESH}\nETag: W/\"a\"")));
    let have = [
        "If-None-Match: \"a\"",
        "If-None-Match: W/\"a\"",
        "If-None-Match: \"x\", \"a\"",
        "If-None-Match: \"x\" , W/\"a\" ,\"y\"",
        "If-None-Match: \"x\"\nIf-None-Match: \"a\"",
        "If-None-Match: \"x,y\", \"a\"",
        "If-None-Match: , ,\"a\"",
        "If-None-Match: *",
        "If-Modified-Since: @-1000",
        "If-Modified-Since: @-500",
        "If-Modified-Since: Fri Dec 31 23:59:59 2100",
        "If-None-Match: \"a\"\nIf-Modified-Since: @-2000",
    ];
    for line in have {
        case(
            &stage,
            "RFC 9111 §4.3.2",
            line,
            &[stored(), get().with(line).gets(304), request("HEAD").with(line).gets(304)],
        );
    }
    let have_not = [
        "If-None-Match: \"b\"",
        "If-None-Match: \"A\"",
        "If-None-Match: a",
        "If-None-Match: w/\"a\"",
        "If-None-Match: \"x, a\"",
        "If-None-Match: \"\"",
        "If-None-Match:",
        "If-Modified-Since: @-1001",
        "If-Modified-Since: yesterday",
        "If-Modified-Since: 0",
        "If-Modified-Since: @-1000\nIf-Modified-Since: @-1000",
        "If-None-Match: \"b\"\nIf-Modified-Since: @-500",
    ];
    for line in have_not {
        case(&stage, "RFC 9110 §13.1.2, §13.1.3, §13.2.2", line, &[stored(), get().with(line)]);
    }
    for line in ["If-None-Match: \"a\"", "If-None-Match: W/\"a\""] {
        case(
            &stage,
            "RFC 9110 §13.1.2",
            &format!("{line}, where a weak tag is stored"),
            &[weak(), get().with(line).gets(304)],
        );
    }
}

#[test]
fn without_last_modified_date_counts() {
    let stage = Stage::new();
    let stored = || get().origin(ok("Cache-Control: max-age=600\nDate: @-100"));
    let clause = "RFC 9111 §4.3.2";
    case(&stage, clause, "the same", &[stored(), get().with("If-Modified-Since: @-100").gets(304)]);
    case(&stage, clause, "later", &[stored(), get().with("If-Modified-Since: @-50").gets(304)]);
    case(&stage, clause, "earlier", &[stored(), get().with("If-Modified-Since: @-101")]);
    case(&stage, clause, "no tag matches what has none", &[stored(), get().with("If-None-Match: \"a\"")]);
}

#[test]
fn a_304_of_ours_has_what_it_must() {
    let stage = Stage::new();
    let headers = "Cache-Control: max-age=60\nETag: \"a\"\nVary: Accept\nExpires: @+60\nContent-Location: /x\n\
                   Content-Type: text/x\nDate: @-0\nContent-Encoding: br\nContent-Language: de\nLast-Modified: @-1000";
    case(
        &Stage::new(),
        "RFC 9110 §15.4.5",
        "of what is stored",
        &[
            get().origin(ok(headers)),
            get()
                .with("If-None-Match: \"a\"")
                .gets(304)
                .has("cache-control", "max-age=60")
                .has("etag", "\"a\"")
                .has("vary", "Accept")
                .has("expires", "@+60")
                .has("content-location", "/x")
                .has("date", "@-0")
                .has("age", "~0")
                .lacks("content-type")
                .lacks("content-encoding")
                .lacks("content-language")
                .lacks("content-length"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.2",
        "of what has just come, for a client that has it",
        &[
            get()
                .with("If-None-Match: \"a\"")
                .asks_without("if-none-match")
                .origin(ok("Cache-Control: max-age=60\nETag: \"a\""))
                .gets(304)
                .has("etag", "\"a\""),
            get(),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.3.2",
        "of what has just come, for a client that has another",
        &[get().with("If-None-Match: \"b\"").origin(ok("Cache-Control: max-age=60\nETag: \"a\"")), get()],
    );
    case(
        &stage,
        "RFC 9111 §4.3.2",
        "of what has just been validated",
        &[
            stale("ETag: \"a\""),
            get().with("If-None-Match: \"x\", \"a\"").origin(response("304 X", "ETag: \"a\"")).gets(304),
        ],
    );
}

#[test]
fn conditions_on_other_statuses_are_ignored() {
    let stage = Stage::new();
    for status in ["404 Not Found", "301 Moved", "410 Gone", "203 Other"] {
        case(
            &stage,
            "RFC 9110 §13.2.1, RFC 9111 §4.3.2",
            status,
            &[
                get().origin(response(status, format!("{FRESH}\nETag: \"a\"\nLast-Modified: @-1000"))),
                get().with("If-None-Match: \"a\""),
                get().with("If-Modified-Since: @-500"),
            ],
        );
    }
}

#[test]
fn preconditions_for_the_origin_go_to_the_origin() {
    let stage = Stage::new();
    for (name, line) in [
        ("if-match", "If-Match: \"a\""),
        ("if-match", "If-Match: \"b\""),
        ("if-match", "If-Match: *"),
        ("if-unmodified-since", "If-Unmodified-Since: Fri, 31 Dec 2100 23:59:59 GMT"),
    ] {
        let value = line.split_once(": ").unwrap().1;
        case(
            &stage,
            "RFC 9111 §4.3.2",
            line,
            &[
                get().origin(ok(format!("{FRESH}\nETag: \"a\""))),
                get().with(line).asks(name, value).origin(response("412 No", "")).gets(412).reads("answer 2"),
            ],
        );
    }
}

#[test]
fn what_is_not_shared_keeps_the_clients_conditions() {
    let stage = Stage::new();
    let have = "If-None-Match: \"a\"";
    let unchanged = || response("304 X", "ETag: \"a\"");
    case(
        &stage,
        "RFC 9110 §13.2.1",
        "of what turned out to be private",
        &[
            get().origin(ok("Cache-Control: private\nETag: \"a\"")),
            get().with(have).asks("if-none-match", "\"a\"").origin(unchanged()).gets(304),
        ],
    );
    case(
        &stage,
        "RFC 9110 §13.2.1",
        "of what turned out to be private, to one with a cookie",
        &[
            get().with("Cookie: a=1").origin(ok("Cache-Control: private\nETag: \"a\"")),
            get().with("Cookie: a=1").with(have).asks("if-none-match", "\"a\"").origin(unchanged()).gets(304),
        ],
    );
    case(
        &stage,
        "RFC 9110 §13.2.1",
        "with credentials",
        &[get()
            .with("Authorization: Basic eA==")
            .with(have)
            .asks("if-none-match", "\"a\"")
            .origin(unchanged())
            .gets(304)],
    );
    case(
        &stage,
        "RFC 9110 §13.2.1",
        "with no-store",
        &[get()
            .with("Cache-Control: no-store")
            .with(have)
            .asks("if-none-match", "\"a\"")
            .origin(unchanged())
            .gets(304)],
    );
    case(
        &stage,
        "RFC 9110 §13.2.1",
        "of other methods",
        &[
            request("PUT")
                .sends("x")
                .with("If-None-Match: *")
                .asks("if-none-match", "*")
                .origin(response("412 No", ""))
                .gets(412),
            request("OPTIONS").with(have).asks("if-none-match", "\"a\"").origin(ok("")),
            request("HEAD").with(have).asks("if-none-match", "\"a\"").origin(unchanged()).gets(304),
        ],
    );
}
