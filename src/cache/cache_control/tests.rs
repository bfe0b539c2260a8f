use proptest::prelude::*;

use super::*;

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name, value.as_bytes());
    }
    fields
}

fn response(value: &str) -> ResponseControl {
    ResponseControl::of(&fields(&[("Cache-Control", value)]))
}

fn request(value: &str) -> RequestControl {
    RequestControl::of(&fields(&[("Cache-Control", value)]))
}

#[test]
fn directives_ignore_case_and_span_lines() {
    let control = ResponseControl::of(&fields(&[
        ("Cache-Control", "MaX-aGe=60 , ,PUBLIC"),
        ("cache-control", "s-maxage=\"70\",must-revalidate\t"),
    ]));
    assert_eq!((control.max_age, control.s_maxage), (Some(60), Some(70)));
    assert!(control.public && control.must_revalidate && control.allows_credentials);
    assert!(!control.no_store && !control.targeted && !control.malformed);
}

#[test]
fn the_first_of_two_lifetimes_counts() {
    assert_eq!(response("max-age=1800, max-age=1").max_age, Some(1800));
    assert_eq!(response("max-age=1, max-age=1800").max_age, Some(1));
    let lines = fields(&[("Cache-Control", "max-age=1"), ("Cache-Control", "max-age=1800")]);
    assert_eq!(ResponseControl::of(&lines).max_age, Some(1));
}

#[test]
fn a_quoted_string_hides_its_content() {
    assert_eq!(response("extension=\"max-age=3600\", max-age=1").max_age, Some(1));
    assert_eq!(response("max-age=1, extension=\"max-age=3600\"").max_age, Some(1));
    let control = response("a=\"x, no-store, \\\", private\", max-age=5");
    assert!(!control.no_store && control.private == Scope::Absent);
    assert_eq!(control.max_age, Some(5));
    assert!(!response("a=b \"c, no-store\", public").no_store);
}

#[test]
fn a_lifetime_that_is_no_number_is_zero() {
    for value in ["", "=", "=a3600", "=3600a", "=3600.0", "=-1", "=+1", "='3600'", " =3600", "= 3600", "=1 2"]
    {
        assert_eq!(response(&format!("max-age{value}")).max_age, Some(0), "max-age{value}");
        assert_eq!(response(&format!("public, s-maxage{value}, a")).s_maxage, Some(0), "s-maxage{value}");
        assert_eq!(request(&format!("max-age{value}")).max_age, Some(0), "max-age{value}");
    }
    assert_eq!(response("max-age=003600").max_age, Some(3600));
}

#[test]
fn a_lifetime_too_large_is_the_longest() {
    for value in ["2147483648", "2147483649", "99999999999", "99999999999999999999999999999999999999"] {
        assert_eq!(response(&format!("max-age={value}")).max_age, Some(LONGEST), "{value}");
    }
    assert_eq!(response("max-age=2147483647").max_age, Some(2_147_483_647));
}

#[test]
fn a_malformed_directive_prohibits_and_never_permits() {
    let control = response("no-store=1, public=1, must-understand=1, must-revalidate=1, no-cache=");
    assert!(control.no_store && control.must_revalidate && control.no_cache.is_whole());
    assert!(!control.public && !control.must_understand && !control.allows_credentials);
    assert_eq!(request("max-stale=x").max_stale, None);
}

#[test]
fn an_open_quote_hides_no_prohibition_and_freshens_nothing() {
    let control = response("a=\"b, no-store, max-age=60");
    assert!(control.no_store && control.malformed);
    assert!(response("max-age=\"60").malformed);
}

#[test]
fn named_fields_are_read_and_anything_else_covers_the_whole() {
    assert_eq!(
        response("private=\"Set-Cookie , x-a\", private=X-B").private,
        Scope::Fields(vec!["set-cookie".into(), "x-a".into(), "x-b".into()])
    );
    for value in
        ["private", "private=\"\"", "private=\"a b\"", "private=\"x\", private", "private, private=\"x\""]
    {
        assert_eq!(response(value).private, Scope::Whole, "{value}");
    }
    assert_eq!(response("no-cache=\"a\"").no_cache.names(), ["a"]);
}

#[test]
fn unknown_directives_are_ignored() {
    assert_eq!(response("community=\"UCI\", foobar, max-agex=3, @, x y z"), ResponseControl::default());
    assert_eq!(request("public, s-maxage=3, foo=bar"), RequestControl::default());
}

#[test]
fn directives_of_the_extensions_are_read() {
    let control = response("max-age=1, stale-while-revalidate=30, stale-if-error=x, immutable=9");
    assert_eq!(control.stale_while_revalidate, Some(30));
    // It says something, so that the configured window is not taken; but nothing that can be read.
    assert_eq!(control.stale_if_error, Some(0));
    assert!(control.immutable);
}

#[test]
fn directives_of_requests_are_read() {
    let control =
        request("max-age=5, max-stale, min-fresh=2, no-cache, no-store, only-if-cached, stale-if-error=9");
    assert_eq!((control.max_age, control.max_stale, control.min_fresh), (Some(5), Some(u64::MAX), Some(2)));
    assert!(control.no_cache && control.no_store && control.only_if_cached);
    assert_eq!(control.stale_if_error, Some(9));
    assert_eq!(request("max-stale=7").max_stale, Some(7));
}

#[test]
fn pragma_counts_only_where_cache_control_is_not() {
    assert!(RequestControl::of(&fields(&[("Pragma", "foo, No-Cache")])).no_cache);
    assert!(!RequestControl::of(&fields(&[("Pragma", "no-cache"), ("Cache-Control", "max-age=3")])).no_cache);
    assert!(!RequestControl::of(&fields(&[("Pragma", "no-cachex")])).no_cache);
    // In responses it was never specified.
    assert_eq!(ResponseControl::of(&fields(&[("Pragma", "no-cache")])), ResponseControl::default());
}

#[test]
fn a_targeted_field_replaces_cache_control() {
    let both = |targeted: &str, plain: &str| {
        ResponseControl::of(&fields(&[("Cache-Control", plain), ("CDN-Cache-Control", targeted)]))
    };
    let control = both("max-age=3600", "no-store, max-age=1");
    assert!(control.targeted && !control.no_store);
    assert_eq!(control.max_age, Some(3600));
    assert!(both("no-store", "max-age=9").no_store);
    assert!(both("private", "max-age=9").private.is_whole());
    assert!(both("no-cache", "max-age=9").no_cache.is_whole());
    assert_eq!(both("foobar, max-age=60;x=1", "no-store").max_age, Some(60));
    assert_eq!(both("no-cache=\"a, b\"", "").no_cache.names(), ["a", "b"]);
    assert_eq!(both("max-age=99999999999", "").max_age, Some(LONGEST));
}

#[test]
fn an_empty_or_invalid_targeted_field_is_ignored() {
    for value in ["", "max-age=10000, &&&&&", "MaX-aGe=3600", "max-age =100", "max-age= 100", "max-age=1,"] {
        let control =
            ResponseControl::of(&fields(&[("Cache-Control", "no-store"), ("CDN-Cache-Control", value)]));
        assert!(control.no_store && !control.targeted, "{value}");
        assert_eq!(control.max_age, None, "{value}");
    }
}

#[test]
fn a_targeted_directive_of_the_wrong_type_is_not_taken() {
    for value in ["max-age=\"10000\"", "max-age=1.5", "max-age=-1", "max-age", "max-age=x", "max-age=(1)"] {
        let control = ResponseControl::of(&fields(&[("CDN-Cache-Control", value)]));
        assert_eq!((control.targeted, control.max_age), (true, Some(0)), "{value}");
    }
    let control = ResponseControl::of(&fields(&[("CDN-Cache-Control", "no-store=?0, public=1")]));
    assert!(!control.no_store && !control.public);
}

proptest! {
    #[test]
    fn no_bytes_stop_the_reader_of_directives(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut fields = Fields::default();
        fields.push("cache-control", &bytes);
        fields.push("cdn-cache-control", &bytes);
        fields.push("pragma", &bytes);
        let _ = (ResponseControl::of(&fields), RequestControl::of(&fields));
        fields.remove("cdn-cache-control");
        let _ = (ResponseControl::of(&fields), RequestControl::of(&fields));
    }

    #[test]
    fn no_text_of_signs_stops_it(text in "[a\",=\\\\ -]{0,30}") {
        let _ = (response(&text), request(&text));
    }

    #[test]
    fn nothing_before_or_behind_a_prohibition_removes_it(before in "[a-z0-9=, ]{0,20}", behind in "[a-z=\", ]{0,20}") {
        let text = format!("{before},no-store,{behind}");
        prop_assert!(response(&text).no_store, "{}", text);
    }
}
