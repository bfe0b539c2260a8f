use super::*;
use crate::exchange::ClientAddress;

fn meets(conf: MatchConf, query: &str, fields: &[(&str, &str)]) -> bool {
    let mut exchange = Exchange::default();
    fields.iter().for_each(|(name, value)| exchange.request.fields.push(name, value.as_bytes()));
    exchange.facts.client = Some(ClientAddress::new([192, 0, 2, 7].into(), 1));
    let headers = &exchange.request.fields;
    let of = Looked { method: "GET", query, headers, exchange: Some(&exchange) };
    Condition::of(&conf).unwrap().iter().all(|condition| condition.holds(of))
}

fn nothing() -> MatchConf {
    let none = ValueMatches::default;
    let methods = Vec::new();
    MatchConf { methods, headers: none(), query: none(), cookies: none(), clients: Vec::new(), scheme: None }
}

fn one(value: ValueMatch) -> ValueMatches {
    ValueMatches(vec![("a".to_owned(), value)])
}

#[test]
fn values_are_looked_at_as_they_are_meant() {
    let text = |text: &str| text.to_owned();
    for (value, met, unmet) in [
        (ValueMatch::In(vec![text("x"), text("yz")]), &["x", "yz"][..], &["", "X", "xy", "y"][..]),
        (ValueMatch::Prefix(text("ab")), &["ab", "abc"], &["", "a", "xab", "AB"]),
        (ValueMatch::Suffix(text("ab")), &["ab", "cab"], &["", "b", "abx"]),
        (ValueMatch::Regex(text("^[0-9]+$")), &["1", "42"], &["", "a1", "1\u{e4}"]),
        (ValueMatch::Present(true), &["", "x"], &[]),
        (ValueMatch::Present(false), &[], &["", "x"]),
    ] {
        for (sent, expected) in met.iter().map(|it| (it, true)).chain(unmet.iter().map(|it| (it, false))) {
            let header = MatchConf { headers: one(value.clone()), ..nothing() };
            assert_eq!(meets(header, "", &[("A", sent)]), expected, "{value:?} of a header {sent:?}");
            let query = MatchConf { query: one(value.clone()), ..nothing() };
            assert_eq!(
                meets(query, &format!("b=1&a={sent}"), &[]),
                expected,
                "{value:?} of a parameter {sent:?}"
            );
            let cookie = MatchConf { cookies: one(value.clone()), ..nothing() };
            let cookies = format!("aa=9; a={sent}; b=1");
            assert_eq!(
                meets(cookie, "", &[("Cookie", &cookies)]),
                expected,
                "{value:?} of a cookie {sent:?}"
            );
        }
        let is_absence = value == ValueMatch::Present(false);
        let absent = MatchConf {
            headers: one(value.clone()),
            cookies: one(value.clone()),
            query: one(value),
            ..nothing()
        };
        assert_eq!(meets(absent, "b=1", &[("b", "1")]), is_absence);
    }
}

#[test]
fn clients_and_schemes_are_those_that_are_believed() {
    let clients = |network: &str| MatchConf { clients: vec![network.parse().unwrap()], ..nothing() };
    assert!(meets(clients("192.0.2.0/24"), "", &[]) && !meets(clients("198.51.100.0/24"), "", &[]));
    let scheme = |scheme| MatchConf { scheme: Some(scheme), ..nothing() };
    let claimed = [("X-Forwarded-Proto", "https")];
    assert!(meets(scheme(Scheme::Http), "", &claimed) && !meets(scheme(Scheme::Https), "", &claimed));
}

#[test]
fn groups_hold_as_wholes() {
    let headers = Fields::default();
    let of = Looked { method: "GET", query: "a=1", headers: &headers, exchange: None };
    let methods = |method: &str| Condition::Method([method.to_owned()].into());
    let parameter = || Condition::Parameter("a".to_owned(), ValuePattern::Present(true));
    assert!(Condition::Any([[methods("PUT")].into(), [methods("GET"), parameter()].into()].into()).holds(of));
    assert!(!Condition::Any([[methods("PUT"), parameter()].into()].into()).holds(of));
    assert!(Condition::Not([methods("PUT"), parameter()].into()).holds(of));
    assert!(!Condition::Not([methods("GET"), parameter()].into()).holds(of));
    // Nothing is known of who asks.
    assert!(!Condition::Client(["0.0.0.0/0".parse().unwrap()].into()).holds(of));
}
