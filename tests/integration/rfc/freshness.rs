//! How long what is stored is fresh (RFC 9111 §4.2, §5.3; RFC 8246), and what each lifetime comes from.

use super::{Again::*, Stage, case, get, ok, response, rows};

#[test]
fn the_strongest_lifetime_counts() {
    let clause = "RFC 9111 §4.2.1";
    rows(
        &Stage::new(),
        &[
            (clause, "max-age", "Cache-Control: max-age=60", Hit),
            (clause, "s-maxage", "Cache-Control: s-maxage=60", Hit),
            (clause, "Expires", "Date: @-0\nExpires: @+60", Hit),
            (clause, "Expires by Date, not by our clock", "Date: @-100\nExpires: @-40\nETag: \"a\"", Asks),
            (clause, "s-maxage before max-age", "Cache-Control: s-maxage=60, max-age=0", Hit),
            (
                clause,
                "s-maxage of 0 before max-age",
                "Cache-Control: max-age=60, s-maxage=0\nETag: \"a\"",
                Asks,
            ),
            (
                "RFC 9111 §5.3",
                "max-age before an older Expires",
                "Cache-Control: max-age=60\nExpires: @-100",
                Hit,
            ),
            (
                "RFC 9111 §5.3",
                "max-age before a later Expires",
                "Cache-Control: max-age=0\nExpires: @+100\nETag: \"a\"",
                Asks,
            ),
            (
                "RFC 9111 §5.3",
                "s-maxage before Expires",
                "Cache-Control: s-maxage=0\nExpires: @+100\nETag: \"a\"",
                Asks,
            ),
            (
                clause,
                "a lifetime that is over by Age",
                "Cache-Control: max-age=60\nAge: 60\nETag: \"a\"",
                Asks,
            ),
            (clause, "one that is not over", "Cache-Control: max-age=60\nAge: 30", Hit),
            (clause, "one that is over by Date", "Cache-Control: max-age=60\nDate: @-60\nETag: \"a\"", Asks),
        ],
    );
}

#[test]
fn lifetimes_that_are_odd_do_not_make_fresh() {
    let clause = "RFC 9111 §4.2.1";
    rows(
        &Stage::new(),
        &[
            (clause, "no argument", "Cache-Control: max-age\nETag: \"a\"", Asks),
            (clause, "an empty argument", "Cache-Control: max-age=\nETag: \"a\"", Asks),
            (clause, "a word", "Cache-Control: max-age=long\nETag: \"a\"", Asks),
            (clause, "less than 0", "Cache-Control: max-age=-60\nETag: \"a\"", Asks),
            (clause, "a sign", "Cache-Control: max-age=+60\nETag: \"a\"", Asks),
            (clause, "a fraction", "Cache-Control: max-age=60.5\nETag: \"a\"", Asks),
            (clause, "an exponent", "Cache-Control: max-age=1e3\nETag: \"a\"", Asks),
            (clause, "hexadecimal", "Cache-Control: max-age=0x60\nETag: \"a\"", Asks),
            (clause, "a space before =", "Cache-Control: max-age =60\nETag: \"a\"", Asks),
            (clause, "a space behind =", "Cache-Control: max-age= 60\nETag: \"a\"", Asks),
            (clause, "single quotes", "Cache-Control: max-age='60'\nETag: \"a\"", Asks),
            (clause, "two numbers", "Cache-Control: max-age=60 60\nETag: \"a\"", Asks),
            (clause, "a semicolon", "Cache-Control: max-age=60; x=1\nETag: \"a\"", Asks),
            (clause, "a quote without end", "Cache-Control: max-age=60, x=\"a\nETag: \"a\"", Asks),
            (clause, "the first of two is 0", "Cache-Control: max-age=0, max-age=60\nETag: \"a\"", Asks),
            (
                clause,
                "the first of two lines is 0",
                "Cache-Control: max-age=0\nCache-Control: max-age=60\nETag: \"a\"",
                Asks,
            ),
            (clause, "a word in s-maxage", "Cache-Control: max-age=60, s-maxage=x\nETag: \"a\"", Asks),
            (clause, "in a quoted string", "Cache-Control: x=\"max-age=60\"\nETag: \"a\"\nExpires: 0", Asks),
            (
                clause,
                "as another directive's end",
                "Cache-Control: xmax-age=60\nETag: \"a\"\nExpires: 0",
                Asks,
            ),
        ],
    );
}

#[test]
fn lifetimes_are_read_as_they_may_be_written() {
    rows(
        &Stage::new(),
        &[
            ("RFC 9111 §5.2", "quoted", "Cache-Control: max-age=\"60\"", Hit),
            ("RFC 9111 §5.2", "in upper case", "Cache-Control: MAX-AGE=60", Hit),
            ("RFC 9111 §5.2", "in a second line", "Cache-Control: public\nCache-Control: max-age=60", Hit),
            ("RFC 9111 §1.2.2", "with zeros", "Cache-Control: max-age=0060", Hit),
            ("RFC 9111 §1.2.2", "2^31", "Cache-Control: max-age=2147483648", Hit),
            ("RFC 9111 §1.2.2", "2^32", "Cache-Control: max-age=4294967296", Hit),
            ("RFC 9111 §1.2.2", "2^64", "Cache-Control: max-age=18446744073709551616", Hit),
            (
                "RFC 9111 §1.2.2",
                "99 digits",
                "Cache-Control: max-age=999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999",
                Hit,
            ),
            ("RFC 9111 §4.2.1", "the first of two", "Cache-Control: max-age=60, max-age=0", Hit),
        ],
    );
}

#[test]
fn expires_is_a_date_or_in_the_past() {
    let clause = "RFC 9111 §5.3";
    rows(
        &Stage::new(),
        &[
            (clause, "0", "Expires: 0\nETag: \"a\"", Asks),
            (clause, "-1", "Expires: -1\nETag: \"a\"", Asks),
            (clause, "a word", "Expires: never\nETag: \"a\"", Asks),
            (clause, "nothing", "Expires:\nETag: \"a\"", Asks),
            (
                clause,
                "invalid, where heuristics would make it fresh",
                "Expires: 0\nLast-Modified: @-100000\nETag: \"a\"",
                Asks,
            ),
            (
                clause,
                "past, where heuristics would make it fresh",
                "Expires: @-1\nLast-Modified: @-100000\nETag: \"a\"",
                Asks,
            ),
            (clause, "two of them, the first past", "Expires: @-10\nExpires: @+60\nETag: \"a\"", Asks),
            (clause, "two of them, the first to come", "Expires: @+60\nExpires: @-10", Hit),
            (clause, "two of them, the first none", "Expires: 0\nExpires: @+60\nETag: \"a\"", Asks),
            (clause, "two in a line", "Expires: @+60, @+60\nETag: \"a\"", Asks),
            (clause, "in the century before", "Expires: Sunday, 06-Nov-94 08:49:37 GMT\nETag: \"a\"", Asks),
            (clause, "a day that there is not", "Expires: Wed, 31 Feb 2100 00:00:00 GMT\nETag: \"a\"", Asks),
            (clause, "equal to Date", "Date: @-0\nExpires: @-0\nETag: \"a\"", Asks),
            (clause, "without Date", "Expires: @+60", Hit),
            (clause, "with a Date that is none", "Date: today\nExpires: @+60", Hit),
            ("RFC 9110 §5.6.7", "as asctime has it", "Expires: Fri Dec 31 23:59:59 2100", Hit),
            ("RFC 9110 §5.6.7", "as RFC 850 has it", "Expires: Wednesday, 31-Dec-70 23:59:59 GMT", Hit),
            ("RFC 9111 §4.2", "in another case", "Expires: fri, 31 dec 2100 23:59:59 gmt", Hit),
            ("RFC 9111 §4.2", "in another zone", "Expires: Fri, 31 Dec 2100 23:59:59 EST\nETag: \"a\"", Asks),
            (
                "RFC 9111 §4.2",
                "with an offset",
                "Expires: Fri, 31 Dec 2100 23:59:59 +0000\nETag: \"a\"",
                Asks,
            ),
            ("RFC 9110 §5.6.7", "ISO 8601", "Expires: 2100-12-31T23:59:59Z\nETag: \"a\"", Asks),
            ("RFC 9110 §5.6.7", "seconds since 1970", "Expires: 4133980799\nETag: \"a\"", Asks),
        ],
    );
}

#[test]
fn no_cache_is_validated_each_time() {
    let stage = Stage::new();
    rows(
        &stage,
        &[
            ("RFC 9111 §5.2.2.4", "no-cache", "Cache-Control: no-cache\nETag: \"a\"", Asks),
            (
                "RFC 9111 §5.2.2.4",
                "beside a lifetime",
                "Cache-Control: no-cache, max-age=60\nETag: \"a\"",
                Asks,
            ),
            (
                "RFC 9111 §5.2.2.4",
                "behind a lifetime",
                "Cache-Control: max-age=60, no-cache\nETag: \"a\"",
                Asks,
            ),
            (
                "RFC 9111 §5.2.2.4",
                "beside s-maxage",
                "Cache-Control: s-maxage=60, no-cache\nETag: \"a\"",
                Asks,
            ),
            (
                "RFC 9111 §4.2.1",
                "with a broken list",
                "Cache-Control: max-age=60, no-cache=\"\"\nETag: \"a\"",
                Asks,
            ),
            (
                "RFC 9111 §4.2.1",
                "with and without a list",
                "Cache-Control: max-age=60, no-cache, no-cache=\"x\"\nETag: \"a\"",
                Asks,
            ),
        ],
    );
    case(
        &stage,
        "RFC 9111 §5.2.2.4",
        "each time, and not served when the origin fails",
        &[
            get().origin(ok("Cache-Control: no-cache, max-age=60, stale-if-error=60\nETag: \"a\"")),
            get().origin(response("304 Not Modified", "ETag: \"a\"")),
            get().origin(response("304 Not Modified", "ETag: \"a\"")),
            get().with("Cache-Control: max-stale").origin(response("304 Not Modified", "ETag: \"a\"")),
            get().origin(response("503 Oops", "")),
        ],
    );
}

#[test]
fn what_is_immutable_is_not_validated_while_it_is_fresh() {
    let stage = Stage::new();
    let fresh = || get().origin(ok("Cache-Control: max-age=60, immutable\nETag: \"a\"\nAge: 5"));
    let asks = || response("304 Not Modified", "ETag: \"a\"");
    case(&stage, "RFC 8246 §2", "a reload", &[fresh(), get().with("Cache-Control: max-age=0")]);
    case(
        &stage,
        "RFC 8246 §2",
        "an argument means nothing",
        &[
            get().origin(ok("Cache-Control: max-age=60, immutable=0\nAge: 5")),
            get().with("Cache-Control: max-age=0"),
        ],
    );
    case(
        &stage,
        "RFC 8246 §2",
        "a forced reload",
        &[fresh(), get().with("Cache-Control: no-cache").origin(asks())],
    );
    case(
        &stage,
        "RFC 8246 §2",
        "stale",
        &[
            get().origin(ok("Cache-Control: max-age=60, immutable\nETag: \"a\"\nAge: 60")),
            get().origin(asks()),
        ],
    );
    case(
        &stage,
        "RFC 8246 §2",
        "it is no lifetime",
        &[get().origin(ok("Cache-Control: immutable\nETag: \"a\"")), get().origin(ok(""))],
    );
}

#[test]
fn what_is_fresh_becomes_stale() {
    let stage = Stage::new();
    let path = stage.path();
    let say = |headers: &str, text: &str| {
        let bytes =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}\r\n{text}", text.len()).into_bytes();
        stage.say(&path, super::stage::Said { bytes, closes: false });
    };
    // Long enough that a busy machine asks again before it is over.
    say("Cache-Control: max-age=8\r\n", "old");
    say("Cache-Control: max-age=60\r\n", "new");
    let mut ages = Vec::new();
    crate::support::eventually("RFC 9111 §4.2: it is stale", || {
        let response = stage.proxy.get(&path);
        ages.extend(response.header("age").map(|age| age.parse::<u64>().unwrap()));
        response.text() == "new"
    });
    assert!(ages.is_sorted() && !ages.is_empty(), "RFC 9111 §4.2.3: {ages:?}");
    assert!(!ages.iter().any(|age| *age >= 8), "RFC 9111 §4.2: {ages:?}");
    assert_eq!(stage.asked(&path).len(), 2, "RFC 9111 §4.2");
}
