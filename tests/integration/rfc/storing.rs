//! What may be stored (RFC 9111 §3), and which of its fields (§3.1).

use super::{Again::*, Stage, case, get, ok, request, response, rows};

#[test]
fn what_forbids_storing_is_kept() {
    rows(
        &Stage::new(),
        &[
            ("RFC 9111 §5.2.2.5", "no-store", "Cache-Control: no-store", Miss),
            ("RFC 9111 §5.2.2.5", "no-store beside a lifetime", "Cache-Control: no-store, max-age=60", Miss),
            ("RFC 9111 §5.2.2.5", "no-store behind a lifetime", "Cache-Control: max-age=60, no-store", Miss),
            (
                "RFC 9111 §5.2.2.5",
                "no-store in a second line",
                "Cache-Control: max-age=60\nCache-Control: no-store",
                Miss,
            ),
            ("RFC 9111 §5.2", "names are case-insensitive", "Cache-Control: max-age=60, No-StOrE", Miss),
            ("RFC 9111 §5.2", "field names too", "cAcHe-CoNtRoL: max-age=60, no-store", Miss),
            (
                "RFC 9111 §4.2.1",
                "an argument frees of nothing",
                "Cache-Control: max-age=60, no-store=1",
                Miss,
            ),
            ("RFC 9111 §5.2.2.7", "private", "Cache-Control: private, max-age=60", Miss),
            (
                "RFC 9111 §5.2.2.7",
                "private before public",
                "Cache-Control: private, public, max-age=60",
                Miss,
            ),
            ("RFC 9111 §5.2.2.7", "private before s-maxage", "Cache-Control: private, s-maxage=60", Miss),
            (
                "RFC 9111 §4.2.1",
                "private with a broken list of fields",
                "Cache-Control: private=\"\", max-age=60",
                Miss,
            ),
            ("RFC 9111 §4.1", "Vary: *", "Cache-Control: max-age=60\nVary: *", Miss),
            ("RFC 9111 §4.1", "Vary: * among others", "Cache-Control: max-age=60\nVary: Accept, *", Miss),
            (
                "RFC 9111 §4.1",
                "Vary: * in another line",
                "Cache-Control: max-age=60\nVary: Accept\nVary: *",
                Miss,
            ),
            ("RFC 9111 §7.3", "Set-Cookie is not shared", "Cache-Control: max-age=60\nSet-Cookie: a=1", Miss),
            (
                "RFC 9111 §7.3",
                "not even what is public",
                "Cache-Control: public, max-age=60\nSet-Cookie: a=1",
                Miss,
            ),
            ("RFC 9111 §3", "nothing says that it may be stored", "", Miss),
            ("RFC 9111 §3", "a validator does not say so", "ETag: \"a\"", Miss),
        ],
    );
}

#[test]
fn what_only_looks_like_a_prohibition_is_none() {
    rows(
        &Stage::new(),
        &[
            (
                "RFC 9111 §5.2.3",
                "unknown directives",
                "Cache-Control: max-age=60, no-storage, x-private, a=\"b\"",
                Hit,
            ),
            ("RFC 9111 §5.2", "a quoted string", "Cache-Control: x=\"no-store, private\", max-age=60", Hit),
            (
                "RFC 9111 §5.2",
                "a quote within a quoted string",
                "Cache-Control: x=\"a\\\", no-store\", max-age=60",
                Hit,
            ),
            ("RFC 9111 §5.2.2.7", "private for a field", "Cache-Control: private=\"x-own\", max-age=60", Hit),
            (
                "RFC 9111 §5.4",
                "Pragma of a response says nothing",
                "Cache-Control: max-age=60\nPragma: no-cache",
                Hit,
            ),
            (
                "RFC 9111 §5.2.2.2",
                "must-revalidate while fresh",
                "Cache-Control: max-age=60, must-revalidate",
                Hit,
            ),
            (
                "RFC 9111 §5.2.2.8",
                "proxy-revalidate while fresh",
                "Cache-Control: max-age=60, proxy-revalidate",
                Hit,
            ),
            ("RFC 9111 §5.2.2.6", "no-transform", "Cache-Control: max-age=60, no-transform", Hit),
            ("RFC 9111 §5.2", "empty members and white space", "Cache-Control: , ,\tmax-age=60 ,,", Hit),
            (
                "RFC 9211 §2",
                "a Cache-Status of before",
                "Cache-Control: max-age=60\nCache-Status: x; fwd=bypass",
                Hit,
            ),
            ("RFC 9111 §5.5", "Warning", "Cache-Control: max-age=60\nWarning: 110 - stale", Hit),
            (
                "RFC 9111 §5.2",
                "an unknown directive with an odd argument",
                "Cache-Control: a=(b), max-age=60, c==d",
                Hit,
            ),
            ("RFC 9110 §12.5.5", "an empty Vary", "Cache-Control: max-age=60\nVary:", Hit),
        ],
    );
}

#[test]
fn fields_that_are_named_are_not_stored() {
    let stage = Stage::new();
    for (clause, directive) in [
        ("RFC 9111 §5.2.2.4", "no-cache=\"X-Own\""),
        ("RFC 9111 §5.2.2.4", "no-cache=\"other, x-oWn\""),
        ("RFC 9111 §5.2.2.4", "no-cache=X-Own"),
        ("RFC 9111 §5.2.2.7", "private=\"X-Own\""),
        ("RFC 9111 §5.2.2.7", "private=\"other , x-own\""),
        ("RFC 9111 §5.2.2.7", "private=x-own"),
    ] {
        let answer = ok(format!("Cache-Control: max-age=60, {directive}\nX-Own: 1\nX-Else: 2"));
        case(
            &stage,
            clause,
            directive,
            &[get().origin(answer).has("x-own", "1"), get().lacks("x-own").has("x-else", "2")],
        );
    }
    let answer = ok("Cache-Control: max-age=60, private=\"Set-Cookie\"\nSet-Cookie: a=1");
    case(
        &stage,
        "RFC 9111 §5.2.2.7",
        "a private Set-Cookie",
        &[get().origin(answer).has("set-cookie", "a=1"), get().lacks("set-cookie")],
    );
}

#[test]
fn connection_fields_are_not_stored_and_all_others_are() {
    let stage = Stage::new();
    let answer = ok(
        "Cache-Control: max-age=60, x-unknown=1\nCDN-Cache-Control: max-age=60\nConnection: X-Hop\nX-Hop: 1\n\
         Keep-Alive: timeout=5\nProxy-Authenticate: Basic realm=x\nProxy-Authentication-Info: a=1\n\
         X-Kept: one\nX-Kept: two\nETag: \"e\"\nContent-Language: de\nContent-Type: text/x\nServer: s\nWarning: 199 a b\nAge-Of: 3",
    );
    let kept = get()
        .has("x-kept", "one, two")
        .has("etag", "\"e\"")
        .has("content-language", "de")
        .has("content-type", "text/x")
        .has("age-of", "3")
        .has("cache-control", "max-age=60, x-unknown=1")
        .has("cdn-cache-control", "max-age=60")
        .lacks("x-hop")
        .lacks("keep-alive")
        .lacks("proxy-authenticate")
        .lacks("proxy-authentication-info");
    case(
        &stage,
        "RFC 9111 §3.1, §5.2",
        "fields of the connection",
        &[get().origin(answer).lacks("x-hop").lacks("keep-alive"), kept],
    );
}

#[test]
fn only_responses_to_get_are_stored() {
    let stage = Stage::new();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "PROPFIND", "get", "Get"] {
        let first = request(method).origin(ok("Cache-Control: public, max-age=60"));
        case(
            &stage,
            "RFC 9111 §3, RFC 9110 §9.1",
            method,
            &[first, get().origin(ok("Cache-Control: no-store"))],
        );
    }
    let fresh = || ok("Cache-Control: max-age=60");
    for method in ["POST", "OPTIONS", "PROPFIND", "get"] {
        let steps = [get().origin(fresh()), request(method).origin(response("200 OK", ""))];
        case(&stage, "RFC 9111 §4", &format!("{method} is not answered from what GET stored"), &steps);
    }
}

#[test]
fn a_request_that_forbids_storing_is_kept() {
    let stage = Stage::new();
    for line in ["no-store", "No-Store", "max-age=0, no-store", "no-store=1"] {
        let line = format!("Cache-Control: {line}");
        let first = get().with(&line).origin(ok("Cache-Control: max-age=60"));
        case(
            &stage,
            "RFC 9111 §5.2.1.5",
            &line,
            &[first, get().origin(ok("Cache-Control: max-age=60")), get()],
        );
    }
    case(
        &stage,
        "RFC 9111 §5.2.1.5",
        "it says nothing of what is stored already",
        &[get().origin(ok("Cache-Control: max-age=60")), get().with("Cache-Control: no-store"), get()],
    );
}

#[test]
fn must_understand_is_for_statuses_that_are_understood() {
    let stage = Stage::new();
    let clause = "RFC 9111 §5.2.2.3";
    rows(
        &stage,
        &[
            (clause, "it hides no-store", "Cache-Control: must-understand, no-store, max-age=60", Hit),
            (clause, "it does not hide private", "Cache-Control: must-understand, private, max-age=60", Miss),
            (clause, "it is no lifetime", "Cache-Control: must-understand, no-store", Miss),
        ],
    );
    super::rows::rows_of(
        &stage,
        "299 Odd",
        &[
            (clause, "a status that is not", "Cache-Control: must-understand, max-age=60", Miss),
            (clause, "the same with no-store", "Cache-Control: must-understand, no-store, max-age=60", Miss),
        ],
    );
}
