use super::*;
use crate::cache::{
    date::Date,
    freshness::{Freshness, Times},
};

fn verdict_with(
    request: &[(&str, &str)],
    status: u16,
    response: &[(&str, &str)],
    policy: &Policy,
) -> Result<(), Refusal> {
    let mut asked = RequestHead::default();
    for (name, value) in request {
        asked.fields.push(name, value.as_bytes());
    }
    ask(&asked, status, response, policy)
}

fn ask(asked: &RequestHead, status: u16, response: &[(&str, &str)], policy: &Policy) -> Result<(), Refusal> {
    let head = head(status, response);
    let control = ResponseControl::of(&head.fields);
    let now = Date(1_795_000_000);
    let freshness = Freshness::of(&head, &control, policy, Times { requested: now, received: now });
    storable(asked, &RequestControl::of(&asked.fields), &head, &control, freshness.source(), policy)
}

fn head(status: u16, lines: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead { status, ..ResponseHead::default() };
    for (name, value) in lines {
        head.fields.push(name, value.as_bytes());
    }
    head
}

fn verdict(status: u16, response: &[(&str, &str)]) -> Result<(), Refusal> {
    verdict_with(&[], status, response, &Policy::default())
}

fn control(value: &str) -> Result<(), Refusal> {
    verdict(200, &[("Cache-Control", value)])
}

#[test]
fn a_response_needs_something_that_says_it_may_be_stored() {
    assert_eq!(verdict(200, &[]), Err(Refusal::Unsaid));
    for value in ["max-age=1", "s-maxage=1", "max-age=0", "max-age=bad"] {
        assert_eq!(control(value), Ok(()), "{value}");
    }
    assert_eq!(verdict(200, &[("Expires", "0")]), Ok(()));
    assert_eq!(verdict(200, &[("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")]), Ok(()));
    assert_eq!(verdict(200, &[("CDN-Cache-Control", "max-age=5"), ("Cache-Control", "no-store")]), Ok(()));
    let policy = Policy { default_ttl: 5, ..Policy::default() };
    assert_eq!(verdict_with(&[], 200, &[], &policy), Ok(()));
    assert_eq!(verdict_with(&[], 500, &[], &policy), Err(Refusal::Unsaid));
}

#[test]
fn a_status_without_heuristics_needs_an_explicit_lifetime() {
    for status in [201, 302, 303, 307, 400, 403, 500, 503, 599] {
        assert_eq!(
            verdict(status, &[("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")]),
            Err(Refusal::Unsaid)
        );
        assert_eq!(verdict(status, &[("Cache-Control", "max-age=5")]), Ok(()), "{status}");
    }
}

#[test]
fn prohibitions_are_kept() {
    assert_eq!(control("no-store, max-age=5"), Err(Refusal::NoStore));
    assert_eq!(control("private, max-age=5"), Err(Refusal::Private));
    assert_eq!(control("private, public, s-maxage=5"), Err(Refusal::Private));
    assert_eq!(control("No-StOrE=x, max-age=5"), Err(Refusal::NoStore));
    assert_eq!(control("private=\"x-a\", max-age=5"), Ok(()));
    assert_eq!(
        verdict(200, &[("Cache-Control", "max-age=9"), ("CDN-Cache-Control", "no-store")]),
        Err(Refusal::NoStore)
    );
    let asked = [("Cache-Control", "no-store")];
    assert_eq!(
        verdict_with(&asked, 200, &[("Cache-Control", "max-age=5")], &Policy::default()),
        Err(Refusal::RequestNoStore)
    );
}

#[test]
fn no_cache_is_stored_for_validation() {
    assert_eq!(verdict(200, &[("Cache-Control", "no-cache"), ("ETag", "\"a\"")]), Ok(()));
    assert_eq!(control("no-cache"), Err(Refusal::Unsaid));
}

#[test]
fn parts_and_interim_responses_and_304_are_not_stored() {
    let lines = [("Cache-Control", "public, max-age=5")];
    assert_eq!(verdict(206, &lines), Err(Refusal::Partial));
    // What one client asked for is not there; of the whole it says nothing.
    assert_eq!(verdict(416, &lines), Err(Refusal::Partial));
    assert_eq!(verdict(304, &lines), Err(Refusal::NotModified));
    assert_eq!(verdict(103, &lines), Err(Refusal::NotFinal));
}

/// RFC 6585 §3 to §6: they "MUST NOT be stored by a cache".
#[test]
fn what_is_for_one_client_is_stored_by_no_rule() {
    let ttl = [428, 429, 431, 511].map(|status| (crate::schema::status::Statuses::One(status), 60)).to_vec();
    let policy = Policy { ttl, ignores_control: true, ..Policy::default() };
    for status in [428, 429, 431, 511] {
        for lines in
            [&[("Cache-Control", "public, max-age=300")][..], &[("Expires", "Sun, 06 Nov 2095 08:49:37 GMT")]]
        {
            assert_eq!(verdict(status, lines), Err(Refusal::OneClient), "{status}");
        }
        assert_eq!(verdict_with(&[], status, &[], &policy), Err(Refusal::OneClient), "{status}");
    }
    assert_eq!(verdict(451, &[("Cache-Control", "public, max-age=300")]), Ok(()));
}

/// One client's field that is too long would be what all others get.
#[test]
fn class_of_statuses_gives_no_lifetime_to_a_bad_request() {
    let ttl = vec![(crate::schema::status::Statuses::Class(4), 60)];
    let policy = Policy { ttl, ..Policy::default() };
    assert_eq!(verdict_with(&[], 400, &[], &policy), Err(Refusal::Unsaid));
    assert_eq!(verdict_with(&[], 404, &[], &policy), Ok(()));
    assert_eq!(verdict(400, &[("Cache-Control", "max-age=60")]), Ok(()), "the backend says so");
}

#[test]
fn must_understand_replaces_no_store_where_the_status_is_understood() {
    let lines = [("Cache-Control", "must-understand, no-store, max-age=5")];
    assert_eq!(verdict(200, &lines), Ok(()));
    assert_eq!(verdict(299, &lines), Err(Refusal::NotUnderstood));
    assert_eq!(verdict(206, &lines), Err(Refusal::Partial));
    assert_eq!(verdict(299, &[("Cache-Control", "max-age=5")]), Ok(()));
}

#[test]
fn only_get_is_stored() {
    for method in ["HEAD", "POST", "PUT", "OPTIONS", "PROPFIND", "get"] {
        let asked = RequestHead { method: Method::of(method), ..RequestHead::default() };
        let answer = ask(&asked, 200, &[("Cache-Control", "public, max-age=5")], &Policy::default());
        assert_eq!(answer, Err(Refusal::Method), "{method}");
    }
}

#[test]
fn with_authorization_only_what_allows_it_is_stored() {
    let asked = [("Authorization", "Basic eA==")];
    let answer = |value| verdict_with(&asked, 200, &[("Cache-Control", value)], &Policy::default());
    for value in ["public, max-age=5", "s-maxage=5", "must-revalidate, max-age=5"] {
        assert_eq!(answer(value), Ok(()), "{value}");
    }
    for value in [
        "max-age=5",
        "proxy-revalidate, max-age=5",
        "no-cache, max-age=5",
        "s-maxage=x",
        "public=1, max-age=5",
    ] {
        assert_eq!(answer(value), Err(Refusal::Authorization), "{value}");
    }
}

#[test]
fn a_cookie_is_not_stored_unless_configured() {
    let lines = |value| [("Cache-Control", value), ("Set-Cookie", "a=b")];
    assert_eq!(verdict(200, &lines("max-age=5")), Err(Refusal::SetCookie));
    // What leaves the field out leaves a response for all.
    assert_eq!(verdict(200, &lines("max-age=5, private=\"Set-Cookie\"")), Ok(()));
    assert_eq!(verdict(200, &lines("max-age=5, no-cache=\"set-cookie\"")), Ok(()));
    let policy = Policy { store_set_cookie: true, ..Policy::default() };
    assert_eq!(verdict_with(&[], 200, &lines("max-age=5"), &policy), Ok(()));
}

#[test]
fn what_no_request_can_match_is_not_stored() {
    for value in ["*", "*, *", ", *", "*, Foo", "Foo, *"] {
        assert_eq!(
            verdict(200, &[("Cache-Control", "max-age=5"), ("Vary", value)]),
            Err(Refusal::VaryAny),
            "{value}"
        );
    }
    assert_eq!(verdict(200, &[("Cache-Control", "max-age=5"), ("Vary", "Foo")]), Ok(()));
}

#[test]
fn connection_fields_are_not_stored_and_unknown_ones_are() {
    let head = head(
        200,
        &[
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "3"),
            ("Proxy-Connection", "a"),
            ("TE", "a"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "a"),
            ("Proxy-Authenticate", "a"),
            ("Proxy-Authentication-Info", "a"),
            ("Proxy-Authorization", "a"),
            ("Age", "5"),
            ("Trailer", "x"),
            ("X-Frame-Options", "deny"),
            ("Content-Type", "text/plain"),
            ("Set-Cookie2", "a"),
            ("Cache-Control", "max-age=1"),
        ],
    );
    let stored = stored_fields(&head, &ResponseControl::of(&head.fields), &Policy::default());
    let names: Vec<_> = stored.iter().map(|field| String::from_utf8_lossy(field.name).into_owned()).collect();
    assert_eq!(names, ["X-Frame-Options", "Content-Type", "Set-Cookie2", "Cache-Control"]);
}

#[test]
fn private_and_no_cache_fields_are_not_stored() {
    let head = head(
        200,
        &[("Cache-Control", "private=\"X-A\", no-cache=\"x-b\""), ("x-a", "1"), ("X-B", "2"), ("X-C", "3")],
    );
    let stored = stored_fields(&head, &ResponseControl::of(&head.fields), &Policy::default());
    assert!(stored.get("x-a").is_none() && stored.get("x-b").is_none());
    assert!(stored.get("x-c").is_some());
}
