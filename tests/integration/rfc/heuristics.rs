//! Lifetimes that nobody said (RFC 9111 §4.2.2).

use super::{Again::*, Stage, case, get, ok, rows, rows::rows_of};

#[test]
fn a_tenth_of_the_time_since_it_changed() {
    let clause = "RFC 9111 §4.2.2";
    rows(
        &Stage::new(),
        &[
            (clause, "changed long ago", "Last-Modified: @-100000", Hit),
            (clause, "a tenth is not over", "Last-Modified: @-1000\nAge: 50", Hit),
            (clause, "a tenth is over", "Last-Modified: @-1000\nAge: 101\nETag: \"a\"", Asks),
            (clause, "changed just now", "Date: @-0\nLast-Modified: @-0\nETag: \"a\"", Miss),
            (clause, "changed in the time to come", "Last-Modified: @+1000\nETag: \"a\"", Miss),
            (clause, "a date that is none", "Last-Modified: long ago\nETag: \"a\"", Miss),
            (
                clause,
                "an explicit lifetime counts",
                "Last-Modified: @-100000\nCache-Control: max-age=0\nETag: \"a\"",
                Asks,
            ),
            (clause, "Expires counts", "Last-Modified: @-100000\nExpires: @-1\nETag: \"a\"", Asks),
            (clause, "public says nothing else", "Last-Modified: @-100000\nCache-Control: public", Hit),
            (
                clause,
                "no-cache counts",
                "Last-Modified: @-100000\nCache-Control: no-cache\nETag: \"a\"",
                Asks,
            ),
            (clause, "an empty Cache-Control says nothing", "Last-Modified: @-100000\nCache-Control:", Hit),
            (
                clause,
                "a lifetime that is none",
                "Last-Modified: @-100000\nCache-Control: max-age=x\nETag: \"a\"",
                Asks,
            ),
            (
                clause,
                "CDN-Cache-Control without a lifetime",
                "Last-Modified: @-100000\nCDN-Cache-Control: must-revalidate",
                Hit,
            ),
            (clause, "no-store counts", "Last-Modified: @-100000\nCache-Control: no-store", Miss),
        ],
    );
}

#[test]
fn only_statuses_that_allow_it() {
    let stage = Stage::new();
    let modified = "Last-Modified: @-100000";
    for status in
        ["200 A", "203 A", "204 A", "300 A", "301 A", "308 A", "404 A", "405 A", "410 A", "414 A", "501 A"]
    {
        rows_of(&stage, status, &[("RFC 9111 §4.2.2, RFC 9110 §15.1", status, modified, Hit)]);
    }
    for status in [
        "201 A", "202 A", "302 A", "303 A", "307 A", "400 A", "401 A", "403 A", "418 A", "500 A", "503 A",
        "599 A",
    ] {
        rows_of(
            &stage,
            status,
            &[
                ("RFC 9111 §4.2.2, RFC 9110 §15.1", status, modified, Miss),
                ("RFC 9111 §5.2.2.9", status, "Last-Modified: @-100000\nCache-Control: public", Hit),
            ],
        );
    }
}

#[test]
fn the_configuration_has_the_last_word() {
    rows(
        &Stage::with("heuristic = 0"),
        &[("RFC 9111 §4.2.2", "no heuristics", "Last-Modified: @-100000", Miss)],
    );
    let stage = Stage::with("default_ttl = \"60s\"");
    rows(
        &stage,
        &[
            ("RFC 9111 §4.2.2", "a default lifetime", "", Hit),
            ("RFC 9111 §4.2.2", "not where there is another", "Expires: 0\nETag: \"a\"", Asks),
            ("RFC 9111 §5.2.2.5", "not where storing is forbidden", "Cache-Control: no-store", Miss),
        ],
    );
    rows_of(&stage, "500 Oops", &[("RFC 9111 §4.2.2", "not for other statuses", "", Miss)]);
    case(
        &stage,
        "RFC 9111 §3.5",
        "not with credentials",
        &[get().with("Authorization: a").origin(ok("")), get().origin(ok(""))],
    );
}
