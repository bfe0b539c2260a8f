use proptest::prelude::*;

use super::*;

const NOW: Date = Date(1_795_000_000);

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name, value.as_bytes());
    }
    fields
}

fn text(fields: &Fields, name: &str) -> Vec<String> {
    fields.all(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

fn at(seconds: i64) -> String {
    Date(NOW.0.saturating_add_signed(seconds)).to_string()
}

fn not_modified(request: &[(&str, &str)], stored: &[(&str, &str)]) -> bool {
    is_not_modified(&Method::Get, &fields(request), 200, &fields(stored), (NOW, true))
}

#[test]
fn a_validation_sends_both_validators_and_nothing_of_the_client() {
    let mut request = fields(&[
        ("If-None-Match", "\"client\""),
        ("If-Modified-Since", "x"),
        ("Range", "bytes=0-1"),
        ("If-Range", "\"client\""),
        ("Accept", "a/b"),
    ]);
    let modified = at(-50);
    let stored = fields(&[("ETag", "W/\"a\""), ("Last-Modified", &modified)]);
    assert!(make_conditional(&mut request, [&stored].into_iter()));
    assert_eq!(text(&request, "if-none-match"), ["W/\"a\""]);
    assert_eq!(text(&request, "if-modified-since"), [modified]);
    assert!(request.get("range").is_none() && request.get("if-range").is_none());
    assert_eq!(text(&request, "accept"), ["a/b"]);
}

#[test]
fn of_several_stored_responses_only_the_tags_are_sent() {
    let mut request = Fields::default();
    let modified = at(-50);
    let one = fields(&[("ETag", "\"a\""), ("Last-Modified", &modified)]);
    let other = fields(&[("ETag", "\"b,\""), ("Last-Modified", &modified)]);
    assert!(make_conditional(&mut request, [&one, &other].into_iter()));
    assert_eq!(text(&request, "if-none-match"), ["\"a\", \"b,\""]);
    assert!(request.get("if-modified-since").is_none());
}

#[test]
fn tags_beyond_the_room_of_a_head_are_left_out() {
    let stored: Vec<Fields> =
        (0..100).map(|at| fields(&[("ETag", &format!("\"{at:03}{}\"", "x".repeat(1000)))])).collect();
    let mut request = Fields::default();
    assert!(make_conditional(&mut request, stored.iter()));
    let sent = request.get("if-none-match").unwrap();
    assert!((7 << 10..=8 << 10).contains(&sent.len()), "{} bytes", sent.len());
    assert!(sent.starts_with(b"\"000x") && sent.ends_with(b"x\""));
    let large = fields(&[("ETag", &format!("\"{}\"", "x".repeat(9 << 10)))]);
    assert!(!make_conditional(&mut request, [&large].into_iter()));
}

#[test]
fn without_a_validator_the_request_is_plain() {
    let mut request = fields(&[("If-None-Match", "\"client\"")]);
    let stored = fields(&[("ETag", "\"broken")]);
    assert!(!make_conditional(&mut request, [&stored].into_iter()));
    assert!(request.is_empty());
}

#[test]
fn entity_tags_are_read_and_compared() {
    let tag = |value: &'static str| EntityTag::parse(value.as_bytes());
    for value in ["a", "\"a", "a\"", "\"a\"b", "w/\"a\"", "W/a", "", "\"a b\"", "W/ \"a\"", "\"a\" \"b\""] {
        assert_eq!(tag(value), None, "{value}");
    }
    let (weak, strong, other) = (tag("W/\"1\"").unwrap(), tag("\"1\"").unwrap(), tag("\"2\"").unwrap());
    assert!(strong.is_strongly(&strong) && !weak.is_strongly(&weak) && !strong.is_strongly(&weak));
    assert!(weak.is_weakly(&strong) && weak.is_weakly(&weak) && !strong.is_weakly(&other));
    assert_eq!(tag("\"\"").unwrap().opaque, b"");
}

#[test]
fn if_none_match_is_compared_weakly() {
    let stored = [("ETag", "\"abc\"")];
    for value in [
        "\"abc\"",
        "W/\"abc\"",
        "\"x\", \"abc\"",
        "\"x\",,W/\"abc\" ",
        "*",
        "\"a,b\" , \"abc\"",
        "\"abc\", broken",
    ] {
        assert!(not_modified(&[("If-None-Match", value)], &stored), "{value}");
    }
    for value in ["\"abcd\"", "abc", "", "\"x\"", "\"x, \"abc", "'abc'"] {
        assert!(!not_modified(&[("If-None-Match", value)], &stored), "{value}");
    }
    assert!(not_modified(&[("If-None-Match", "\"x\""), ("If-None-Match", "\"abc\"")], &stored));
    assert!(not_modified(&[("If-None-Match", "\"abc\"")], &[("ETag", "W/\"abc\"")]));
    assert!(!not_modified(&[("If-None-Match", "\"abc\"")], &[]));
    assert!(not_modified(&[("If-None-Match", "*")], &[]));
}

#[test]
fn if_none_match_hides_if_modified_since() {
    let modified = at(-50);
    let stored = [("ETag", "\"a\""), ("Last-Modified", modified.as_str())];
    assert!(!not_modified(&[("If-None-Match", "\"b\""), ("If-Modified-Since", &modified)], &stored));
    assert!(not_modified(&[("If-None-Match", "\"a\""), ("If-Modified-Since", &at(-900))], &stored));
}

#[test]
fn if_modified_since_compares_dates_of_each_format() {
    let stored = [("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
    for value in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Mon, 07 Nov 1994 08:49:37 GMT",
    ] {
        assert!(not_modified(&[("If-Modified-Since", value)], &stored), "{value}");
    }
    for value in ["Sun, 06 Nov 1994 08:49:36 GMT", "0", "", "Sun, 06 Nov 1994 08:49:37 CET"] {
        assert!(!not_modified(&[("If-Modified-Since", value)], &stored), "{value}");
    }
    let twice = "Mon, 07 Nov 1994 08:49:37 GMT";
    assert!(!not_modified(&[("If-Modified-Since", twice), ("If-Modified-Since", twice)], &stored));
}

#[test]
fn without_last_modified_the_date_or_the_arrival_counts() {
    assert!(not_modified(&[("If-Modified-Since", &at(-10))], &[("Date", &at(-10))]));
    assert!(!not_modified(&[("If-Modified-Since", &at(-11))], &[("Date", &at(-10))]));
    assert!(not_modified(&[("If-Modified-Since", &at(0))], &[]));
    assert!(!not_modified(&[("If-Modified-Since", &at(-1))], &[]));
}

/// Else a date that is far off makes nothing of whatever the origin sends to one client.
#[test]
fn date_alone_says_nothing_of_what_is_not_stored() {
    let since = fields(&[("If-Modified-Since", &at(1000))]);
    let answer = |response: &[(&str, &str)]| {
        [true, false].map(|is| is_not_modified(&Method::Get, &since, 200, &fields(response), (NOW, is)))
    };
    assert_eq!(answer(&[("Date", &at(0))]), [true, false]);
    assert_eq!(answer(&[]), [true, false]);
    assert_eq!(answer(&[("Last-Modified", &at(0))]), [true, true]);
    assert_eq!(answer(&[("Last-Modified", &at(1001))]), [false, false]);
}

#[test]
fn conditions_apply_to_get_and_head_of_200_only() {
    let request = fields(&[("If-None-Match", "*")]);
    let answer = |method, status| is_not_modified(&method, &request, status, &Fields::default(), (NOW, true));
    assert!(answer(Method::Get, 200) && answer(Method::Head, 200));
    assert!(!answer(Method::Post, 200) && !answer(Method::Get, 404) && !answer(Method::Get, 301));
}

#[test]
fn a_304_has_the_required_fields_and_no_content() {
    let kept = [
        ("Cache-Control", "a"),
        ("Content-Location", "/"),
        ("Date", "d"),
        ("ETag", "\"e\""),
        ("Expires", "e"),
        ("Vary", "v"),
        ("X-A", "1"),
    ];
    let mut lines = kept.to_vec();
    lines.extend([
        ("Content-Length", "5"),
        ("Content-Type", "t"),
        ("Content-Encoding", "br"),
        ("Content-Digest", "sha-256=:AA==:"),
        ("Content-MD5", "AA=="),
        ("Last-Modified", "l"),
    ]);
    let made = not_modified_fields(&fields(&lines));
    assert_eq!(made.len(), kept.len());
    assert!(kept.iter().all(|(name, _)| made.get(name).is_some()));
    assert!(not_modified_fields(&fields(&[("Last-Modified", "l")])).get("last-modified").is_some());
}

#[test]
fn a_strong_validator_updates_only_responses_that_have_it() {
    let stored: Vec<_> = ["\"a\"", "\"b\"", "\"a\"", "W/\"a\""]
        .iter()
        .map(|tag| fields(&[("ETag", tag), ("Last-Modified", "l")]))
        .collect();
    let candidates: Vec<_> = stored.iter().zip(1..).map(|(fields, date)| (fields, Date(date))).collect();
    assert_eq!(updated_by(&fields(&[("ETag", "\"a\"")]), &candidates), [0, 2]);
    assert_eq!(updated_by(&fields(&[("ETag", "\"c\""), ("Last-Modified", "l")]), &candidates), [0_usize; 0]);
}

#[test]
fn a_weak_validator_updates_the_most_recent_that_matches() {
    let stored: Vec<_> = ["W/\"a\"", "\"a\"", "W/\"b\""].iter().map(|tag| fields(&[("ETag", tag)])).collect();
    let candidates: Vec<_> = stored.iter().zip([Date(7), Date(5), Date(9)]).collect();
    assert_eq!(updated_by(&fields(&[("ETag", "W/\"a\"")]), &candidates), [0]);
    let stored: Vec<_> = ["l", "l", "m"].iter().map(|date| fields(&[("Last-Modified", date)])).collect();
    let candidates: Vec<_> = stored.iter().zip([Date(3), Date(5), Date(9)]).collect();
    assert_eq!(updated_by(&fields(&[("Last-Modified", "l")]), &candidates), [1]);
    assert_eq!(updated_by(&fields(&[("Last-Modified", "x")]), &candidates), [0_usize; 0]);
}

#[test]
fn a_304_without_validator_updates_only_a_lone_response() {
    let (bare, tagged) = (fields(&[("X", "1")]), fields(&[("ETag", "\"a\"")]));
    let none = Fields::default();
    assert_eq!(updated_by(&none, &[(&bare, NOW)]), [0]);
    assert_eq!(updated_by(&none, &[(&tagged, NOW)]), [0], "it is what was asked about");
    assert_eq!(updated_by(&none, &[(&tagged, NOW), (&bare, NOW)]), [0_usize; 0]);
    assert_eq!(updated_by(&none, &[(&bare, NOW), (&bare, NOW)]), [0_usize; 0]);
}

#[test]
fn merging_takes_over_each_field_and_keeps_the_others() {
    let mut stored = fields(&[
        ("Content-Type", "text/plain"),
        ("X-Frame-Options", "deny"),
        ("Expires", "1"),
        ("Test-Header", "a"),
        ("Test-Header", "b"),
        ("Kept", "yes"),
        ("Content-MD5", "1"),
    ]);
    let newer = fields(&[
        ("content-type", "text/plain;charset=utf-8"),
        ("X-Frame-Options", "sameorigin"),
        ("Expires", "2"),
        ("Test-Header", "c"),
        ("New", "1"),
        ("New", "2"),
        ("Content-Foo", "x"),
        ("Content-MD5", "2"),
    ]);
    merge(&mut stored, &newer, &Policy::default());
    for field in newer.iter() {
        let name = std::str::from_utf8(field.name).unwrap();
        assert_eq!(text(&stored, name), text(&newer, name), "{name}");
    }
    assert_eq!(text(&stored, "kept"), ["yes"]);
}

#[test]
fn merging_keeps_content_fields_and_skips_unstored_ones() {
    let mut stored = fields(&[
        ("Content-Length", "5"),
        ("Content-Encoding", "br"),
        ("Content-Digest", "sha-256=:AA==:"),
        ("X-Private", "1"),
    ]);
    let newer = fields(&[
        ("Content-Length", "0"),
        ("Content-Encoding", "gzip"),
        ("Content-Range", "bytes 0-1/2"),
        ("Content-Digest", "sha-256=:47DE:"),
        ("Connection", "x-hop"),
        ("X-Hop", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Age", "5"),
        ("Set-Cookie", "a=b"),
        ("Cache-Control", "private=\"x-private\""),
        ("X-Private", "2"),
    ]);
    merge(&mut stored, &newer, &Policy::default());
    let left: Vec<_> =
        stored.iter().map(|field| String::from_utf8_lossy(field.name).to_ascii_lowercase()).collect();
    assert_eq!(left, ["content-length", "content-encoding", "content-digest", "cache-control"]);
    assert_eq!(text(&stored, "content-digest"), ["sha-256=:AA==:"], "not that of no content");
    assert_eq!(text(&stored, "content-length"), ["5"]);
    assert_eq!(text(&stored, "content-encoding"), ["br"]);
    merge(&mut stored, &newer, &Policy { store_set_cookie: true, ..Policy::default() });
    assert_eq!(text(&stored, "set-cookie"), ["a=b"]);
}

/// Else a client whose response was validated is logged out where the backend has given it another session.
#[test]
fn what_a_304_says_for_one_is_added_there() {
    let policy = Policy::default();
    let not_modified = fields(&[
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X-User", "ann"),
        ("X-Nonce", "3"),
        ("X-Other", "4"),
        ("X-Hop", "5"),
        ("Age", "6"),
        ("Content-Length", "0"),
        ("Connection", "x-hop"),
        ("Cache-Control", "max-age=60, private=\"x-user, x-hop, content-length, age\", no-cache=\"x-nonce\""),
    ]);
    let mut stored = fields(&[("ETag", "\"1\""), ("X-User", "bob")]);
    merge(&mut stored, &not_modified, &policy);
    let shared = stored.clone();
    add_own(&mut stored, &not_modified, &policy);
    assert_eq!(text(&stored, "set-cookie"), ["a=1", "b=2"]);
    for (name, value) in [("x-user", "ann"), ("x-nonce", "3"), ("x-other", "4")] {
        assert_eq!(text(&stored, name), [value], "{name}");
    }
    for name in ["x-hop", "age", "connection", "content-length"] {
        assert!(text(&stored, name).is_empty(), "{name}");
    }
    for name in ["set-cookie", "x-user", "x-nonce"] {
        assert!(text(&shared, name).is_empty(), "{name}");
    }
    // What was forbidden before is so still.
    let not_modified = fields(&[("X-User", "ann")]);
    let mut stored = fields(&[("Cache-Control", "private=\"x-user\"")]);
    add_own(&mut stored, &not_modified, &policy);
    assert_eq!(text(&stored, "x-user"), ["ann"]);
    // Stored for all, by the configuration.
    let policy = Policy { store_set_cookie: true, ..Policy::default() };
    let not_modified = fields(&[("Set-Cookie", "a=1")]);
    let mut stored = Fields::default();
    merge(&mut stored, &not_modified, &policy);
    add_own(&mut stored, &not_modified, &policy);
    assert_eq!(text(&stored, "set-cookie"), ["a=1"]);
}

#[test]
fn a_head_response_updates_or_expires_what_is_stored() {
    let stored = fields(&[("ETag", "\"a\""), ("Last-Modified", "l")]);
    let effect = |status, lines: &[(&str, &str)]| {
        head_effect(&ResponseHead { status, fields: fields(lines), ..ResponseHead::default() }, &stored, 5)
    };
    assert_eq!(effect(200, &[]), HeadEffect::Nothing);
    assert_eq!(effect(200, &[("Content-Length", "5")]), HeadEffect::Nothing);
    assert_eq!(effect(200, &[("ETag", "\"a\""), ("Content-Length", "5")]), HeadEffect::Update);
    for lines in [("ETag", "\"b\""), ("Last-Modified", "m"), ("Content-Length", "6"), ("ETag", "W/\"a\"")] {
        assert_eq!(effect(200, &[lines]), HeadEffect::Expire, "{lines:?}");
    }
    assert_eq!(effect(404, &[("ETag", "\"b\"")]), HeadEffect::Nothing);
}

#[test]
fn if_range_is_compared_strongly() {
    let modified = at(-50);
    let date = at(0);
    let holds = |value: &str, stored: &[(&str, &str)]| {
        if_range_holds(&fields(&[("If-Range", value)]), &fields(stored), NOW)
    };
    assert!(if_range_holds(&Fields::default(), &Fields::default(), NOW));
    assert!(holds("\"a\"", &[("ETag", "\"a\"")]));
    assert!(!holds("W/\"a\"", &[("ETag", "W/\"a\"")]) && !holds("\"a\"", &[("ETag", "W/\"a\"")]));
    assert!(
        !holds("\"a\"", &[("ETag", "\"b\"")])
            && !holds("\"a\"", &[])
            && !holds("broken", &[("ETag", "\"a\"")])
    );
    assert!(holds(&modified, &[("Last-Modified", &modified), ("Date", &date)]));
    // Exactly the same, not merely later; and strong only when Date is later.
    assert!(!holds(&at(-49), &[("Last-Modified", &modified), ("Date", &date)]));
    assert!(!holds(&modified, &[("Last-Modified", &modified), ("Date", &modified)]));
    assert!(!holds(&modified, &[("Last-Modified", &modified)]));
}

proptest! {
    #[test]
    fn merging_twice_is_merging_once(
        stored in proptest::collection::vec(("[a-d]|etag|date|cache-control", "[a-z]{0,3}"), 0..6),
        newer in proptest::collection::vec(("[a-f]|etag|connection|age|cache-control|content-length", "[a-f]{1,2}|private=\"a\""), 0..6),
    ) {
        let of = |lines: &[(String, String)]| fields(&lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>());
        let (mut once, newer) = (of(&stored), of(&newer));
        merge(&mut once, &newer, &Policy::default());
        let mut twice = once.clone();
        merge(&mut twice, &newer, &Policy::default());
        prop_assert_eq!(format!("{once:?}"), format!("{twice:?}"));
    }

    #[test]
    fn no_bytes_stop_the_evaluation_of_conditions(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
        let mut both = Fields::default();
        for name in ["if-none-match", "if-range", "etag", "last-modified", "date"] {
            both.push(name, &bytes);
        }
        let _ = (is_not_modified(&Method::Get, &both, 200, &both, (NOW, true)), if_range_holds(&both, &both, NOW));
        let _ = updated_by(&both, &[(&both, NOW)]);
        both.remove("if-none-match");
        both.push("if-modified-since", &bytes);
        let _ = is_not_modified(&Method::Get, &both, 200, &both, (NOW, true));
    }
}

#[test]
fn a_tag_without_quotes_is_asked_by_as_it_came() {
    let asked = |tags: &[&str]| {
        let stored: Vec<Fields> = tags.iter().map(|tag| fields(&[("ETag", tag)])).collect();
        let mut request = Fields::default();
        make_conditional(&mut request, stored.iter());
        request.get("if-none-match").map(|value| String::from_utf8_lossy(value).into_owned())
    };
    assert_eq!(asked(&["abc-1"]).as_deref(), Some("abc-1"));
    assert_eq!(asked(&["\"a\"", "bare"]).as_deref(), Some("\"a\""), "only alone");
    for never in ["*", "a, b", "\"half", "a b", ""] {
        assert_eq!(asked(&[never]), None, "{never}");
    }
    assert!(not_modified(&[("If-None-Match", "abc-1")], &[("ETag", "abc-1")]));
    assert!(!not_modified(&[("If-None-Match", "abc-2")], &[("ETag", "abc-1")]));
}
