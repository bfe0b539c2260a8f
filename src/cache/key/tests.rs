//! Spellings, chosen fields, uses.

use proptest::prelude::*;

use super::{spelling::write_escaped, *};
use crate::h1::{Framing, Method, RequestHead};

fn text_with(scheme: &str, host: &str, port: Option<u16>, target: &str, settings: &KeySettings) -> String {
    let key = Key::of(scheme, host, port, target, &Fields::default(), settings);
    String::from_utf8(key.text().to_vec()).unwrap()
}

fn text(target: &str, query: QueryKey, sorted: bool) -> String {
    let settings = KeySettings { query, sorted, headers: Vec::new() };
    text_with("https", "a.example", None, target, &settings)
}

/// A stranger's `x-tenant` would else be what all get who ask without `x_tenant`.
#[test]
fn other_spellings_of_a_chosen_field_are_in_the_key() {
    let of = |chosen: &str, lines: &[(&str, &str)]| {
        let settings = KeySettings { headers: vec![chosen.to_owned()], ..KeySettings::default() };
        let mut fields = Fields::default();
        lines.iter().for_each(|(name, value)| fields.push(name, value.as_bytes()));
        Key::of("http", "a.example", None, "/", &fields, &settings)
    };
    for (chosen, other) in [("x_tenant", "X-Tenant"), ("x_tenant", "x.tenant"), ("x-tenant", "X_Tenant")] {
        let plain = of(chosen, &[]);
        let with = |value: &str| of(chosen, &[(other, value)]);
        assert!(with("a") != plain && with("a") != with("b") && with("a") == with("a"), "{chosen} {other}");
        assert_ne!(with("a"), of(chosen, &[(chosen, "a")]), "{chosen} {other}");
        assert_eq!(with("a").uri(), plain.uri(), "a purge of the URL finds both");
    }
}

#[test]
fn scheme_host_and_default_port_have_one_spelling() {
    let plain = KeySettings::default();
    assert_eq!(text_with("HTTP", "A.Example", Some(80), "/", &plain), "http://a.example/");
    assert_eq!(text_with("https", "a.example", Some(443), "", &plain), "https://a.example/");
    assert_eq!(text_with("https", "a.example", Some(80), "/", &plain), "https://a.example:80/");
}

#[test]
fn escapes_have_one_spelling_and_mean_the_same() {
    assert_eq!(
        text("/%7ea/%c3%a9%2f%zz%4?x=%41", QueryKey::All, false),
        "https://a.example/~a/%C3%A9%2F%zz%4?x=A"
    );
    assert_ne!(text("/a%2fb", QueryKey::All, false), text("/a/b", QueryKey::All, false));
    assert_eq!(text("/a?", QueryKey::All, false), "https://a.example/a?");
}

#[test]
fn the_query_is_whole_or_gone_or_chosen_or_sorted() {
    let target = "/p?b=2&a=1&utm=x&b=1&%61=3";
    assert_eq!(text(target, QueryKey::All, false), "https://a.example/p?b=2&a=1&utm=x&b=1&a=3");
    assert_eq!(text(target, QueryKey::All, true), "https://a.example/p?a=1&a=3&b=2&b=1&utm=x");
    assert_eq!(text(target, QueryKey::None, false), "https://a.example/p");
    let names = || QueryKey::Names(vec!["b".into(), "a".into()]);
    assert_eq!(text(target, names(), false), "https://a.example/p?b=2&a=1&b=1&a=3");
    assert_eq!(text(target, names(), true), "https://a.example/p?a=1&a=3&b=2&b=1");
    assert_eq!(text("/p?utm=x", names(), true), "https://a.example/p");
}

/// Else a stranger asks in another spelling, and all who ask without the parameter get what the backend made of it.
#[test]
fn a_chosen_parameter_is_in_the_key_in_any_spelling() {
    let names = |name: &str| QueryKey::Names(vec!["first".into(), name.into()]);
    for (name, spellings) in [
        ("filter[x]", &["filter[x]", "filter%5Bx%5D", "filter%5bx]", "%66ilter[x%5D"][..]),
        ("filter%5Bx%5D", &["filter[x]", "filter%5Bx%5D"]),
        ("a b", &["a+b", "a%20b", "%61%20b"]),
        ("a+b", &["a+b", "a%20b", "a%2Bb"]),
        ("a%20b", &["a+b", "a%20b"]),
        ("q", &["utm;q", "utm=1;q", "utm;x=1;%71"]),
        ("é", &["é", "%C3%A9", "%c3%a9"]),
    ] {
        let plain = text("/?utm", names(name), false);
        for spelling in spellings {
            let of = |value: &str| text(&format!("/?{spelling}={value}"), names(name), false);
            assert_ne!(of("1"), plain, "{name} as {spelling}");
            assert_ne!(of("1"), of("2"), "{name} as {spelling}");
        }
    }
    assert_eq!(text("/?filter[y]=1&filter=2&x=3", names("filter[x]"), false), "https://a.example/");
    assert_eq!(text("/?%5b=1", names("["), false), "https://a.example/?%5B=1", "it stays as it is spelled");
}

/// Else two requests share a key of which backends take another one's value.
#[test]
fn parameters_of_one_name_keep_their_order_in_any_spelling() {
    for (one, other) in [
        ("a[b]=1&a%5Bb%5D=2", "a%5Bb%5D=2&a[b]=1"),
        ("a+b=1&a%20b=2", "a%20b=2&a+b=1"),
        ("a=1;b=2&b=3", "b=3&a=1;b=2"),
    ] {
        for query in [QueryKey::All, QueryKey::Names(vec!["a[b]".into(), "a b".into(), "b".into()])] {
            let of = |query: &str, key: &QueryKey| text(&format!("/?{query}"), key.clone(), true);
            assert_ne!(of(one, &query), of(other, &query), "{one}");
        }
    }
    assert_eq!(text("/?%5b=1&Z=2", QueryKey::All, true), "https://a.example/?Z=2&%5B=1");
}

#[test]
fn chosen_fields_are_in_the_key_not_its_uri() {
    let settings = KeySettings { headers: vec!["x-a".into(), "x-b".into()], ..KeySettings::default() };
    let key = |lines: &[(&str, &str)]| {
        let mut fields = Fields::default();
        lines.iter().for_each(|(name, value)| fields.push(name, value.as_bytes()));
        Key::of("http", "a", None, "/x", &fields, &settings)
    };
    assert_eq!(key(&[("X-A", "1")]), key(&[("x-a", "1"), ("x-c", "2")]));
    assert_ne!(key(&[("x-a", "1")]), key(&[("x-b", "1")]));
    assert_ne!(key(&[("x-a", "")]), key(&[]));
    // No value, however it came, reads as two.
    for value in ["1\nx-b:1", "1\nx-b:1:1"] {
        assert_ne!(key(&[("x-a", value)]), key(&[("x-a", "1"), ("x-b", "1")]));
    }
    assert_eq!(key(&[("x-a", "1")]).uri(), b"http://a/x");
}

#[test]
fn methods_read_pass_or_invalidate() {
    let of = |method: &str, body| {
        Use::of(&RequestHead { method: Method::of(method), ..RequestHead::default() }, body)
    };
    assert_eq!(of("GET", Framing::None), Use::ReadAndStore);
    assert_eq!(of("GET", Framing::Length(0)), Use::ReadAndStore);
    assert_eq!(of("GET", Framing::Length(1)), Use::Pass);
    assert_eq!(of("HEAD", Framing::None), Use::Read);
    for method in ["OPTIONS", "TRACE", "CONNECT"] {
        assert_eq!(of(method, Framing::None), Use::Pass, "{method}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "PROPFIND", "M-SEARCH", "get"] {
        assert_eq!(of(method, Framing::None), Use::Invalidate, "{method}");
    }
}

#[test]
fn preconditions_for_the_origin_pass_the_cache() {
    for name in ["If-Match", "if-unmodified-since"] {
        let mut request = RequestHead::default();
        request.fields.push(name, b"x");
        assert_eq!(Use::of(&request, Framing::None), Use::Pass, "{name}");
    }
}

/// The spelling of the few escapes that the test below uses, by plain replacement.
fn naive(target: &str, sorted: bool) -> String {
    let mut text = target.to_owned();
    for (escaped, plain) in [("%41", "A"), ("%61", "a"), ("%2f", "%2F")] {
        text = text.replace(escaped, plain);
    }
    match text.split_once('?') {
        Some((path, query)) if sorted => {
            let mut parameters: Vec<_> = query.split('&').collect();
            parameters.sort_by_key(|parameter| parameter.split('=').next());
            format!("{path}?{}", parameters.join("&"))
        }
        _ => text,
    }
}

proptest! {
    #[test]
    fn keys_are_equal_exactly_when_their_normal_forms_are(
        one in "(/[ab]?(%41|%6z|A|%2F|%2f|%61)?){1,2}(\\?([ab](=[ab])?|%61)(&([ab]|%61=)){0,2})?",
        other in "(/[ab]?(%41|%6z|A|%2F|%2f|%61)?){1,2}(\\?([ab](=[ab])?|%61)(&([ab]|%61=)){0,2})?",
        sorted in any::<bool>(),
    ) {
        let settings = KeySettings { sorted, ..KeySettings::default() };
        let key = |target: &str| Key::of("http", "h", None, target, &Fields::default(), &settings);
        // Two that are made at random are seldom equal; each is compared with its own normal form too.
        let (normal, others) = (naive(&one, sorted), naive(&other, sorted));
        prop_assert_eq!(key(&one) == key(&other), normal == others);
        prop_assert_eq!(key(&one).hash() == key(&other).hash(), normal == others);
        prop_assert_eq!(key(&one), key(&normal));
        let text = String::from_utf8(key(&one).uri().to_vec()).unwrap();
        prop_assert_eq!(text, format!("http://h{normal}"));
    }

    #[test]
    fn a_spelling_is_its_own_spelling(text in "([a-z/~?=&]|%[0-7][0-9a-fA-F]){0,12}") {
        let spelled = |text: &str| {
            let mut out = Vec::new();
            write_escaped(text, &mut out);
            String::from_utf8(out).unwrap()
        };
        let once = spelled(&text);
        prop_assert_eq!(spelled(&once), once);
    }

    #[test]
    fn no_text_stops_the_maker_of_keys(text in "\\PC{0,30}|[%0-9a-fA-F?&=\\n]{0,30}", sorted in any::<bool>()) {
        let settings = KeySettings { sorted, ..KeySettings::default() };
        let key = Key::of("http", "h", None, &text, &Fields::default(), &settings);
        prop_assert!(!key.text().contains(&b'\n'));
    }
}
