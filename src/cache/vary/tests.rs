use proptest::prelude::*;

use super::*;
use crate::cache::normalized_field::{accept_encoding, normalized};

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name, value.as_bytes());
    }
    fields
}

fn vary(value: &str) -> Vary {
    Vary::of(&fields(&[("Vary", value)]))
}

/// Whether a response with this Vary that came for one request answers another.
fn same(value: &str, one: &[(&str, &str)], other: &[(&str, &str)]) -> bool {
    let vary = vary(value);
    let Some(key) = vary.key(&fields(one)) else { return false };
    Variant { vary: &vary, key: &key, date: Date(0) }.matches(&fields(other))
}

#[test]
fn names_are_read_without_regard_to_case_order_and_repetition() {
    assert_eq!(vary("Foo, BAR,, foo"), Vary::Names(vec!["bar".into(), "foo".into()]));
    assert_eq!(Vary::of(&fields(&[("Vary", "b"), ("vary", "a")])), vary("a, b"));
    assert!(Vary::of(&fields(&[])).is_nothing() && vary(", ").is_nothing());
}

#[test]
fn a_star_matches_nothing_wherever_it_is() {
    for value in ["*", "*, *", ", *", "*, Foo", "Foo, *", "a b"] {
        assert_eq!(vary(value), Vary::Any, "{value}");
        assert!(!same(value, &[("Foo", "1")], &[("Foo", "1")]), "{value}");
    }
    assert_eq!(Vary::of(&fields(&[("Vary", ""), ("Vary", "*")])), Vary::Any);
}

/// Nearly no client sends them, and for the backend they have the address of each, or an identity of each request: the
/// answer to one is not another's.
#[test]
fn what_depends_on_the_one_request_matches_nothing() {
    let of_address = ["X-Forwarded-For", "accept, x-forwarded-for", "Forwarded", "FORWARDED, Foo"];
    let of_identity = ["X-Request-Id", "accept, x-request-id", "Traceparent"];
    for value in of_address.into_iter().chain(of_identity) {
        assert_eq!(vary(value), Vary::Any, "{value}");
        assert!(!same(value, &[], &[]), "{value}");
    }
    // What goes on as it came, or is in the key.
    let alike =
        ["X-Real-IP", "X-Forwarded-Proto, X-Forwarded-Host", "Host, Via", "Connection, TE", "tracestate"];
    for value in alike.into_iter().chain(["x-forwarded-fort", "x-request-ids"]) {
        assert!(same(value, &[], &[]), "{value}");
    }
}

#[test]
fn the_named_fields_must_match_and_others_need_not() {
    let one = [("Foo", "1"), ("Other", "2")];
    assert!(same("Foo", &one, &[("fOO", "1"), ("Other", "3")]));
    assert!(!same("Foo", &one, &[("Foo", "2"), ("Other", "2")]));
    assert!(!same("Foo, Other", &one, &[("Foo", "1"), ("Other", "3")]));
    assert!(same("Foo, Other", &one, &one));
    assert!(same("", &one, &[]));
    // Values are not case-insensitive by themselves.
    assert!(!same("Foo", &[("Foo", "a")], &[("Foo", "A")]));
}

/// Some backends take one for the other, and answer with what is for one user alone.
#[test]
fn other_spellings_of_a_named_field_are_told_apart() {
    let spellings = [("X-User", "x_user"), ("X-User", "X.User"), ("x_user", "X-User"), ("x_user", "x.user")];
    for (value, spelling) in spellings {
        let of = |who: &'static str| [(spelling, who)];
        assert!(!same(value, &of("ann"), &[]) && !same(value, &[], &of("ann")), "{value} {spelling}");
        assert!(!same(value, &of("ann"), &of("bob")), "{value} {spelling}");
        assert!(!same(value, &of("ann"), &[(value, "ann")]), "{value} {spelling}");
        assert!(!same(value, &of(""), &[]) && !same(value, &[(value, ""), of("a")[0]], &of("a")), "{value}");
        assert!(same(value, &of("ann"), &of("ann")), "{value} {spelling}");
        assert!(same(value, &[(value, "1")], &[(value, "1"), ("x_other", "2")]), "{value}");
    }
    assert!(same("Accept-Encoding", &[], &[("accept_encoding", "br")]), "it goes no further");
}

#[test]
fn absent_matches_only_absent() {
    assert!(same("Foo", &[], &[]));
    assert!(!same("Foo", &[("Foo", "1")], &[]));
    assert!(!same("Foo", &[], &[("Foo", "1")]));
    assert!(!same("Foo", &[], &[("Foo", "")]));
    assert!(!same("Accept-Encoding", &[], &[("Accept-Encoding", "")]));
}

#[test]
fn lines_of_one_field_are_joined() {
    assert!(same("Foo", &[("Foo", "1, 2")], &[("Foo", "1"), ("Foo", "2")]));
    assert!(!same("Foo", &[("Foo", "2, 1")], &[("Foo", "1"), ("Foo", "2")]));
    assert!(!same("A, B", &[("A", "1"), ("B", "")], &[("A", ""), ("B", "1")]));
    assert!(same("Cookie", &[("Cookie", "a=1; b=2")], &[("Cookie", "a=1"), ("Cookie", "b=2")]));
}

#[test]
fn languages_match_whatever_their_case_space_and_order() {
    let language =
        |one, other| same("Accept-Language", &[("Accept-Language", one)], &[("Accept-Language", other)]);
    assert!(language("en, de", "EN,  De"));
    assert!(language("en;q=0.5, de", "de,en ; q=0.50"));
    assert!(language("en;q=1.0", "en"));
    assert!(!language("en, de", "de, en"));
    assert!(!language("en;q=0.5", "en;q=0.6"));
    assert!(!language("en;q=x, de", "de, en;q=x"));
}

#[test]
fn media_types_keep_the_case_of_their_parameters() {
    let accept = |one, other| same("Accept", &[("Accept", one)], &[("Accept", other)]);
    assert!(accept("a/b;q=0.1, c/d", "c/d,a/b;q=0.1"));
    assert!(!accept("a/b;x=\"Q, 1\"", "a/b;x=\"q, 1\""));
    assert!(!accept("a/b;x=\"1,2\"", "a/b;x=\"1, 2\""));
}

#[test]
fn a_wrong_weight_is_not_taken_for_a_right_one() {
    for name in ["Accept", "Accept-Language", "Accept-Charset", "Accept-Encoding"] {
        for (wrong, right) in [
            ("de, en;q=500", "de, en;q=0.5"),
            ("de, en;q=5", "de, en;q=0.005"),
            ("de, en;q=.5", "de, en;q=0.5"),
            ("de, en;q=0.5;q=1", "de, en;q=0.5"),
            ("de, en;Q=0.5;x=1;q=1", "de, en;q=0.5;x=1"),
            (";q=1, de", "de"),
            ("*, gzip;q=500", "*, gzip;q=0.5"),
        ] {
            assert!(!same(name, &[(name, wrong)], &[(name, right)]), "{name}: {wrong}");
        }
    }
    // Two lines are no quoted string that goes over both.
    let lines = [("Accept", "a;x=\"b"), ("Accept", "c\"")];
    assert!(!same("Accept", &lines, &[("Accept", "a;x=\"b,c\"")]));
    let lines = [("Accept", "a;x=\";q=1"), ("Accept", "c\"")];
    assert!(!same("Accept", &lines, &[("Accept", "a;x=\",c\"")]));
}

#[test]
fn what_goes_to_the_origin_is_a_list_with_weights() {
    for (name, value, normal) in [
        ("accept-encoding", "gzip;q=0.5, *;q=0", "gzip;q=0.5,*;q=0"),
        ("accept-encoding", "gzip;q=1.0, identity; q=0.50, *;q=0.0", "gzip,identity;q=0.5,*;q=0"),
        ("accept-encoding", "identity;q=0, br;q=0.025", "br;q=0.025,identity;q=0"),
        ("accept", "a/b;q=0.100, C/d;q=1.000", "C/d,a/b;q=0.1"),
    ] {
        let found = normalized(name, &fields(&[(name, value)])).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), normal, "{name}: {value}");
    }
}

#[test]
fn accept_encoding_has_few_values() {
    let encoding = |value: &str| {
        accept_encoding(&fields(&[("Accept-Encoding", value)])).map(|text| String::from_utf8(text).unwrap())
    };
    for value in ["gzip, deflate, br, zstd", "zstd,br;q=0.9, Deflate, x-gzip, unknown, identity"] {
        assert_eq!(encoding(value).as_deref(), Some("br, deflate, gzip, zstd"), "{value}");
    }
    assert_eq!(encoding("gzip;q=0, br").as_deref(), Some("br"));
    assert_eq!(encoding("").as_deref(), Some("identity"));
    assert_eq!(encoding("foo").as_deref(), Some("identity"));
    // What cannot be said by a set is kept as it is.
    for value in ["*", "gzip, *;q=0", "identity;q=0, gzip", "gzip;q=2"] {
        assert_eq!(encoding(value), None, "{value}");
    }
    let same =
        |one, other| same("Accept-Encoding", &[("Accept-Encoding", one)], &[("Accept-Encoding", other)]);
    assert!(same("br, gzip", "gzip;q=0.8,br") && same("*", " * "));
    assert!(!same("gzip", "br") && !same("gzip", "gzip, identity;q=0") && !same("*", "gzip"));
}

#[test]
fn the_most_recent_match_with_vary_is_chosen() {
    let (with, without) = (vary("Foo"), vary(""));
    let request = fields(&[("Foo", "1")]);
    let other = fields(&[("Foo", "2")]);
    let (mine, theirs, any) =
        (with.key(&request).unwrap(), with.key(&other).unwrap(), without.key(&request).unwrap());
    let choose = |stored: &[Variant<'_>], request: &Fields| {
        let mut selector = Selector::new(request);
        let unknown = super::choose(stored.iter().copied(), &selector).unwrap_err();
        assert_eq!(unknown.len(), stored.iter().map(|it| it.vary).collect::<HashSet<_>>().len(), "each once");
        selector.learn(unknown);
        super::choose(stored.iter().copied(), &selector).unwrap()
    };
    let stored = [
        Variant { vary: &with, key: &mine, date: Date(5) },
        Variant { vary: &with, key: &mine, date: Date(7) },
        Variant { vary: &with, key: &theirs, date: Date(9) },
        Variant { vary: &without, key: &any, date: Date(8) },
    ];
    assert_eq!(choose(&stored, &request), Some(1));
    assert_eq!(choose(&stored, &other), Some(2));
    assert_eq!(choose(&stored, &fields(&[])), Some(3));
    assert_eq!(choose(&stored[..3], &fields(&[])), None);
}

#[test]
fn the_oldest_variant_makes_room() {
    let dates = [Date(3), Date(1), Date(2)];
    assert_eq!(superfluous(dates.into_iter(), 4), None);
    assert_eq!(superfluous(dates.into_iter(), 3), Some(1));
    assert_eq!(superfluous([].into_iter(), 1), None);
}

/// What a list of Accept without quotes says: each member with its weight, by that; or, where a weight is wrong, the
/// members as they are.
fn meant(value: &str) -> Result<Vec<(u32, String)>, Vec<String>> {
    let members: Vec<&str> = value.split(',').map(str::trim).collect();
    let weigh = |member: &&str| {
        let mut parameters: Vec<&str> = member.split(';').collect();
        let weights = parameters.iter().filter(|it| it.starts_with("q=")).count();
        let last = parameters.last().and_then(|last| last.strip_prefix("q="));
        let weight = match (weights, last) {
            (0, _) => return Some((0, (*member).to_owned())),
            (1, Some("1")) => 0,
            (1, Some("0.5" | "0.50")) => 500,
            (1, Some("0.05")) => 950,
            (1, Some("0")) => 1000,
            _ => return None,
        };
        parameters.pop();
        Some((weight, parameters.join(";")))
    };
    match members.iter().map(weigh).collect::<Option<Vec<_>>>() {
        Some(mut weighed) => {
            weighed.sort_by_key(|(less, _)| *less);
            Ok(weighed)
        }
        None => Err(members.into_iter().map(str::to_owned).collect()),
    }
}

proptest! {
    #[test]
    fn no_bytes_stop_the_reader_of_variants(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut request = Fields::default();
        for name in ["accept", "accept-encoding", "accept-language", "cookie", "foo", "vary"] {
            request.push(name, &bytes);
        }
        let _ = Vary::of(&request);
        for name in ["accept", "accept-encoding", "accept-language", "cookie", "foo"] {
            prop_assert!(normalized(name, &request).is_some());
        }
    }

    #[test]
    fn a_normalized_language_is_normal(value in "[a-cA-C]{1,2}(;q=0\\.[0-9]{1,3})?(, ?[a-c]{1,2}(;q=(0|1))?){0,4}") {
        let once = normalized("accept-language", &fields(&[("Accept-Language", &value)])).unwrap();
        let text = String::from_utf8(once.clone()).unwrap();
        prop_assert!(!text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b' '));
        let spaced = value.replace(',', " ,  ").replace(';', " ; ");
        prop_assert_eq!(normalized("accept-language", &fields(&[("Accept-Language", &spaced)])).unwrap(), once);
    }

    #[test]
    fn a_normal_form_is_its_own(
        lines in proptest::collection::vec("([ab*]|;q=|;x=|0|1|\\.5|5|,|;| |\"|\\\\){0,9}", 1..3),
    ) {
        for name in ["accept", "accept-language", "accept-encoding"] {
            let lines: Vec<_> = lines.iter().map(|line| (name, line.as_str())).collect();
            let once = String::from_utf8(normalized(name, &fields(&lines)).unwrap()).unwrap();
            let twice = normalized(name, &fields(&[(name, &once)])).unwrap();
            prop_assert_eq!(String::from_utf8(twice).unwrap(), once, "{}: {:?}", name, lines);
        }
    }

    #[test]
    fn lists_match_exactly_when_their_weights_mean_the_same(
        one in "[ab](;x=1)?(;q=(0|1|0\\.5|0\\.05|500|50|5))?(;q=1)?(, ?[abc](;q=(0\\.5|500|0\\.50))?){0,2}",
        other in "[ab](;x=1)?(;q=(0|1|0\\.5|0\\.05|500|50|5))?(;q=1)?(, ?[abc](;q=(0\\.5|500|0\\.50))?){0,2}",
    ) {
        let normal = normalized("accept", &fields(&[("Accept", &one)])).unwrap();
        let normal = String::from_utf8(normal).unwrap();
        // Two that are made at random are seldom equal; each is compared with what looks like it too.
        for other in [&other, &normal, &normal.replace("0.5", "500"), &normal.replace("0.5", "0.5;q=1")] {
            let equal = same("Accept", &[("Accept", &one)], &[("Accept", other)]);
            prop_assert_eq!(equal, meant(&one) == meant(other), "{} and {}", one, other);
        }
    }

    #[test]
    fn encodings_match_exactly_when_their_normal_forms_are_equal(
        one in "(br|gzip|zstd|foo|\\*)(;q=0(\\.5)?)?(, (br|gzip|identity)(;q=0)?){0,2}",
        other in "(br|gzip|zstd|foo|\\*)(;q=0(\\.5)?)?(, (br|gzip|identity)(;q=0)?){0,2}",
    ) {
        let (one, other) = ([("Accept-Encoding", one.as_str())], [("Accept-Encoding", other.as_str())]);
        let equal = normalized("accept-encoding", &fields(&one)) == normalized("accept-encoding", &fields(&other));
        prop_assert_eq!(same("Accept-Encoding", &one, &other), equal);
    }
}
