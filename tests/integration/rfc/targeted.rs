//! CDN-Cache-Control (RFC 9213).

use super::{Again::*, Stage, case, get, ok, rows};

#[test]
fn a_targeted_field_replaces_cache_control_and_expires() {
    let clause = "RFC 9213 §2.2";
    rows(
        &Stage::new(),
        &[
            (clause, "alone", "CDN-Cache-Control: max-age=60", Hit),
            (clause, "it allows", "CDN-Cache-Control: max-age=60\nCache-Control: no-store", Hit),
            (
                clause,
                "it allows what is private",
                "CDN-Cache-Control: max-age=60\nCache-Control: private, no-cache",
                Hit,
            ),
            (clause, "it forbids", "CDN-Cache-Control: no-store\nCache-Control: max-age=60", Miss),
            (clause, "it forbids as private", "CDN-Cache-Control: private\nCache-Control: max-age=60", Miss),
            (clause, "it is longer", "CDN-Cache-Control: max-age=60\nCache-Control: max-age=0", Hit),
            (
                clause,
                "it is shorter",
                "CDN-Cache-Control: max-age=0\nCache-Control: max-age=60\nETag: \"a\"",
                Asks,
            ),
            (
                clause,
                "it is no-cache",
                "CDN-Cache-Control: no-cache\nCache-Control: max-age=60\nETag: \"a\"",
                Asks,
            ),
            (clause, "Expires is ignored", "CDN-Cache-Control: max-age=60\nExpires: 0", Hit),
            (
                clause,
                "Expires is ignored where it says no lifetime",
                "CDN-Cache-Control: must-revalidate\nExpires: @+60",
                Miss,
            ),
            (
                clause,
                "s-maxage of Cache-Control is ignored",
                "CDN-Cache-Control: max-age=60\nCache-Control: s-maxage=0",
                Hit,
            ),
            (
                clause,
                "the order of lines says nothing",
                "Cache-Control: no-store\nCDN-Cache-Control: max-age=60",
                Hit,
            ),
            (clause, "unknown directives", "CDN-Cache-Control: x=1, max-age=60;y=2, z=(a b)", Hit),
            (clause, "two lines", "CDN-Cache-Control: no-store\nCDN-Cache-Control: max-age=60", Miss),
            (clause, "what is false is not there", "CDN-Cache-Control: max-age=60, no-store=?0", Hit),
            (clause, "of two equal members the last counts", "CDN-Cache-Control: max-age=0, max-age=60", Hit),
        ],
    );
}

#[test]
fn broken_or_empty_it_is_not_there() {
    let clause = "RFC 9213 §2.1";
    rows(
        &Stage::new(),
        &[
            (clause, "empty", "CDN-Cache-Control:\nCache-Control: max-age=60", Hit),
            (clause, "empty, and the other forbids", "CDN-Cache-Control: \nCache-Control: no-store", Miss),
            (clause, "a comma at the end", "CDN-Cache-Control: max-age=60,\nCache-Control: no-store", Miss),
            (clause, "upper case is no key", "CDN-Cache-Control: Max-Age=60\nCache-Control: no-store", Miss),
            (clause, "a space before =", "CDN-Cache-Control: max-age =60\nCache-Control: no-store", Miss),
            (
                clause,
                "a quote without end",
                "CDN-Cache-Control: max-age=60, x=\"\nCache-Control: no-store",
                Miss,
            ),
            (clause, "a sign", "CDN-Cache-Control: max-age=+60\nCache-Control: no-store", Miss),
            (
                clause,
                "too many digits",
                "CDN-Cache-Control: max-age=9999999999999999\nCache-Control: no-store",
                Miss,
            ),
            (clause, "a number as a string", "CDN-Cache-Control: max-age=\"60\"\nETag: \"a\"", Asks),
            (clause, "a fraction", "CDN-Cache-Control: max-age=60.5\nETag: \"a\"", Asks),
            (clause, "less than 0", "CDN-Cache-Control: max-age=-60\nETag: \"a\"", Asks),
        ],
    );
}

#[test]
fn it_goes_on_to_the_client() {
    let stage = Stage::new();
    let headers = "CDN-Cache-Control: max-age=60\nCache-Control: no-store\nOther-Cache-Control: max-age=1\nSurrogate-Control: max-age=2";
    let check = |step: super::Step| {
        step.has("cdn-cache-control", "max-age=60")
            .has("cache-control", "no-store")
            .has("other-cache-control", "max-age=1")
            .has("surrogate-control", "max-age=2")
    };
    case(&stage, "RFC 9213 §2.2", "first and later", &[check(get().origin(ok(headers))), check(get())]);
}
