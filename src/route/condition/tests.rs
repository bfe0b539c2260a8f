use std::{num::NonZeroU16, rc::Rc};

use super::*;
use crate::exchange::{ClientAddress, HttpVersion, Peer, SeenByPeer, TlsFacts};

fn meets(conf: MatchConf, query: &str, fields: &[(&str, &str)]) -> bool {
    let mut exchange = Exchange::default();
    fields.iter().for_each(|(name, value)| exchange.request.fields.push(name, value.as_bytes()));
    exchange.facts.client = Some(ClientAddress::new([192, 0, 2, 7].into(), 1));
    let headers = &exchange.request.fields;
    let of = Looked { host: "a.test", method: "GET", query, headers, exchange: Some(&exchange) };
    Condition::of(&conf).unwrap().iter().all(|condition| condition.holds(of))
}

fn nothing() -> MatchConf {
    let none = ValueMatches::default;
    MatchConf {
        hosts: Vec::new(),
        methods: Vec::new(),
        headers: none(),
        query: none(),
        cookies: none(),
        clients: Vec::new(),
        scheme: None,
        server_names: Vec::new(),
        protocol: None,
        ports: Vec::new(),
    }
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

/// Else one byte takes a value past `not`.
#[test]
fn no_byte_of_a_value_hides_it_from_an_expression() {
    let bots = || one(ValueMatch::Regex("^.*(curl|bot).*$".to_owned()));
    for value in [&b"bot"[..], b"\xff bot", b"bot\xe2\x82", b"\xc3curl"] {
        let mut exchange = Exchange::default();
        exchange.request.fields.push("A", value);
        exchange.request.fields.push("Cookie", &[b"a=", value].concat());
        let headers = &exchange.request.fields;
        let of = Looked { host: "a.test", method: "GET", query: "", headers, exchange: Some(&exchange) };
        for conf in [MatchConf { headers: bots(), ..nothing() }, MatchConf { cookies: bots(), ..nothing() }] {
            assert!(Condition::of(&conf).unwrap().iter().all(|condition| condition.holds(of)), "{value:?}");
        }
    }
    for query in ["b=1;a=bot", "a=bot", "a=%0Abot", "a=bot%0a", "a=%FFbot", "a=x%0D%0Acurl%c3"] {
        assert!(meets(MatchConf { query: bots(), ..nothing() }, query, &[]), "{query}");
    }
    assert!(!meets(MatchConf { query: bots(), ..nothing() }, "a=b%FFot", &[]));
}

/// Else a client is logged in for the backend, and not for `bypass` and `no_store` of a cache.
#[test]
fn white_space_hides_no_cookie() {
    let cookie = MatchConf { cookies: one(ValueMatch::In(vec!["1".to_owned()])), ..nothing() };
    for field in ["a =1", "b=2;\ta\t= 1 ;c", "a= 1"] {
        assert!(meets(cookie.clone(), "", &[("Cookie", field)]), "{field}");
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
    let of = Looked { host: "a.test", method: "GET", query: "a=1", headers: &headers, exchange: None };
    let methods = |method: &str| Condition::Method([method.to_owned()].into());
    let parameter = || Condition::Parameter("a".to_owned(), ValuePattern::Present(true));
    assert!(Condition::Any([[methods("PUT")].into(), [methods("GET"), parameter()].into()].into()).holds(of));
    assert!(!Condition::Any([[methods("PUT"), parameter()].into()].into()).holds(of));
    assert!(Condition::Not([methods("PUT"), parameter()].into()).holds(of));
    assert!(!Condition::Not([methods("GET"), parameter()].into()).holds(of));
    // Nothing is known of who asks.
    assert!(!Condition::Client(["0.0.0.0/0".parse().unwrap()].into()).holds(of));
    assert!(!Condition::Protocol(RequestProtocol::Http1).holds(of));
}

#[test]
fn what_is_known_of_the_connection_is_looked_at() {
    let texts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let named = |names: &[&str]| MatchConf { server_names: texts(names), ..nothing() };
    let hosts = |names: &[&str]| MatchConf { hosts: texts(names), ..nothing() };
    let protocol = |protocol| MatchConf { protocol: Some(protocol), ..nothing() };
    let ports = |ports: &[u16]| MatchConf { ports: ports.into(), ..nothing() };
    let peer = |destination: &str, seen| {
        let tls = TlsFacts { server_name: Some("in.a.test".into()), ..TlsFacts::default() };
        let destination = Some(destination.parse().unwrap());
        Rc::new(Peer { tls: Some(tls.into()), destination, seen, ..Peer::default() })
    };
    let mut exchange = Exchange { version: HttpVersion::Http2, host: "b.test".into(), ..Exchange::default() };
    exchange.facts.peer = peer("192.0.2.1:8443", None);
    let holds = |conf: MatchConf, exchange: &Exchange| Groups::of(&[conf]).hold(exchange);
    let met = [named(&["in.a.test"]), named(&["x", "*.a.test"]), hosts(&["~^B\\."]), hosts(&["a", "b.*"])];
    assert!(met.into_iter().all(|conf| holds(conf, &exchange)));
    let unmet = [named(&["b.test"]), named(&["a.test"]), hosts(&["in.a.test"]), hosts(&["~^b$"])];
    assert!(!unmet.into_iter().any(|conf| holds(conf, &exchange)));
    assert!(holds(protocol(RequestProtocol::H2), &exchange));
    assert!(!holds(protocol(RequestProtocol::Http1), &exchange));
    assert!(holds(ports(&[443, 8443]), &exchange) && !holds(ports(&[443]), &exchange));
    // What a peer says of its client counts, and not how it asks itself.
    let seen = SeenByPeer { version: HttpVersion::Http11, port: NonZeroU16::new(443) };
    exchange.facts.peer = peer("192.0.2.1:7946", Some(seen));
    assert!(holds(protocol(RequestProtocol::Http1), &exchange) && holds(ports(&[443]), &exchange));
    assert!(!holds(ports(&[7946]), &exchange));
    exchange.facts.peer = Rc::default();
    assert!(![named(&["*.a.test"]), ports(&[443])].into_iter().any(|conf| holds(conf, &exchange)));
}
