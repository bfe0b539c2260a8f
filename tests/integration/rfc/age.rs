//! The age of what is served (RFC 9111 §4.2.3, §5.1), and Date (RFC 9110 §6.6.1).

use super::{Again::*, Stage, case, get, ok, response, rows};

#[test]
fn age_is_what_age_and_date_say() {
    let stage = Stage::new();
    for (what, headers, age) in [
        ("of now", "", "~0"),
        ("by Age", "Age: 30", "~30"),
        ("by Date", "Date: @-30", "~30"),
        ("by both, Age being more", "Date: @-30\nAge: 50", "~50"),
        ("by both, Date being more", "Date: @-50\nAge: 30", "~50"),
        ("a Date that is to come", "Date: @+50", "~0"),
        ("no Date, but Age", "Age: 40", "~40"),
        ("a list: the first", "Age: 30, 0", "~30"),
        ("two lines: the first", "Age: 30\nAge: 0", "~30"),
        ("a word", "Age: old", "~0"),
        ("less than 0", "Age: -30", "~0"),
        ("a fraction", "Age: 30.5", "~0"),
        ("a quoted number", "Age: \"30\"", "~0"),
        ("a parameter", "Age: 30;x=1", "~0"),
        ("a Date that is none", "Date: today", "~0"),
    ] {
        let answer = ok(format!("Cache-Control: max-age=1000\n{headers}"));
        case(&stage, "RFC 9111 §4, §4.2.3, §5.1", what, &[get().origin(answer), get().has("age", age)]);
    }
}

#[test]
fn an_age_beyond_all_numbers_is_old() {
    rows(
        &Stage::new(),
        &[
            ("RFC 9111 §1.2.2", "2^31", "Cache-Control: max-age=1000\nETag: \"a\"\nAge: 2147483648", Asks),
            (
                "RFC 9111 §1.2.2",
                "2^32 is not 0",
                "Cache-Control: max-age=1000\nETag: \"a\"\nAge: 4294967296",
                Asks,
            ),
            (
                "RFC 9111 §1.2.2",
                "2^64 is not 0",
                "Cache-Control: max-age=1000\nETag: \"a\"\nAge: 18446744073709551616",
                Asks,
            ),
            (
                "RFC 9111 §4.2.3",
                "a Date of 1970",
                "Cache-Control: max-age=1000\nETag: \"a\"\nDate: Thu, 01 Jan 1970 00:00:00 GMT",
                Asks,
            ),
            (
                "RFC 9111 §5.1",
                "an invalid Age is ignored",
                "Cache-Control: max-age=1000\nAge: 99999999999999999999x",
                Hit,
            ),
        ],
    );
}

#[test]
fn a_response_without_date_gets_one() {
    let stage = Stage::new();
    let fresh = "Cache-Control: max-age=60";
    case(
        &stage,
        "RFC 9110 §6.6.1",
        "where it is stored",
        &[get().origin(ok(fresh)).has("date", "*"), get().has("date", "*")],
    );
    case(
        &stage,
        "RFC 9110 §6.6.1",
        "where it is not",
        &[get().origin(ok("Cache-Control: no-store")).has("date", "*")],
    );
    case(
        &stage,
        "RFC 9110 §6.6.1",
        "one that is there stays",
        &[
            get().origin(ok("Cache-Control: max-age=1000\nDate: @-100")).has("date", "@-100"),
            get().has("date", "@-100"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.2.3",
        "a validation begins the age anew",
        &[
            get().origin(ok("Cache-Control: max-age=60\nDate: @-100\nETag: \"a\"")),
            get().origin(response("304 Not Modified", "ETag: \"a\"")).has("age", "~0"),
            get().has("age", "~0"),
        ],
    );
    case(
        &stage,
        "RFC 9111 §4.2.3",
        "or with the Age and Date of the 304",
        &[
            get().origin(ok("Cache-Control: max-age=60\nDate: @-100\nETag: \"a\"")),
            get().origin(response("304 Not Modified", "ETag: \"a\"\nAge: 20")).has("age", "~20"),
            get().has("age", "~20"),
        ],
    );
}

#[test]
fn what_is_forwarded_keeps_the_age_of_caches_before() {
    let stage = Stage::new();
    let answer = ok("Cache-Control: max-age=60\nAge: 20");
    case(
        &stage,
        "RFC 9111 §5.1",
        "the first answer, and the second",
        &[get().origin(answer).has("age", "~20"), get().has("age", "~20")],
    );
}
