//! What placeholders give, where it goes, and what is refused.

use std::rc::Rc;

use super::*;
use crate::exchange::{Exchange, Peer};

fn exchange(target: &str, fields: &[(&str, &str)]) -> Exchange {
    let mut exchange = Exchange::default();
    exchange.request.target.push_str(target);
    exchange.path_length = target.find('?').unwrap_or(target.len());
    exchange.host.push_str("a.example");
    exchange.authority.push_str("a.example:8080");
    exchange.facts.id.push_str("id-1");
    fields.iter().for_each(|(name, value)| exchange.request.fields.push(name, value.as_bytes()));
    let peer = Peer { text: "192.0.2.1".into(), port: 7, ..Peer::default() };
    exchange.facts.peer = Rc::new(peer);
    exchange
}

fn rendered(text: &str, context: Context, exchange: &Exchange) -> String {
    let place = Place { listener: "web", route: "r", backend: "b", captures: &[] };
    let template = Template::parse(text, Use::Log, context).unwrap_or_else(|fault| panic!("{fault:?}"));
    template.render(&Scope { exchange, place })
}

#[test]
fn placeholders_stand_for_what_a_request_says() {
    let fields = [("Cookie", "a=1; b=2"), ("cookie", "c=3"), ("X-A", "One"), ("x-a", "Two")];
    let exchange = exchange("/p/q?b=%41+c&b=2&e", &fields);
    for (text, expected) in [
        ("{client_ip} {client_port}", "192.0.2.1 7"),
        ("{scheme}://{host}:{port}{path}?{query}", "http://a.example:8080/p/q?b=%41+c&b=2&e"),
        ("{path_and_query}", "/p/q?b=%41+c&b=2&e"),
        ("{query.b}|{query.e}|{query.none}", "A c||"),
        ("{header.x-a} {header.X-A}", "One, Two One, Two"),
        ("{cookie.b}{cookie.c}{cookie.d}", "23"),
        ("{request_id} {listener} {route} {backend}", "id-1 web r b"),
        ("{tls.version}{tls.cipher}{tls.sni}{tls.client.subject}{path.1}", ""),
        ("{header.x-a|lower}", "one, two"),
        ("{header.none|default:no one}", "no one"),
        ("{query.b|urlencode}", "A%20c"),
        ("{header.none|default:A B|lower|urlencode}", "a%20b"),
        ("{{client_ip}", "{client_ip}"),
        ("{\"a\": 1}", "{\"a\": 1}"),
        ("{} } {1", "{} } {1"),
        ("$USD for 100%", "$USD for 100%"),
    ] {
        assert_eq!(rendered(text, Context::Plain, &exchange), expected, "{text}");
    }
    assert_eq!(rendered("{time.unix}", Context::Plain, &exchange).len(), 10);
    assert!(rendered("{time.iso}", Context::Plain, &exchange).ends_with('Z'));
}

/// Else a stranger adds a second one, which some backends take, and all get the answer who sent only the first.
#[test]
fn a_key_has_each_parameter_and_cookie_of_a_name() {
    let key = |target: &str, cookie: &str| {
        let exchange = exchange(target, &[("Cookie", cookie)]);
        let template =
            Template::parse("{query.p}|{cookie.c|default:none}", Use::Key, Context::Plain).unwrap();
        template.render(&Scope { exchange: &exchange, place: Place::default() })
    };
    assert_eq!(key("/?p=a+b", "c=x"), "a b|x");
    assert_eq!(key("/?pp=1", "cc=1"), "|none");
    assert_eq!(key("/?p=1&%70=%32", "c=x; c=y"), "\0p=1&%70=%32|x; y");
    assert_eq!(key("/?q;p=2", "c =x"), "\0q;p=2|x");
    assert_eq!(key("/?p=1;2", "c= x"), "\0p=1;2|x");
    // And no other value is the same.
    let pairs =
        [("p=p%3D1%3B2", "p=1;2"), ("p=q%3Bp%3D2", "q;p=2"), ("p=1%002", "p=1&p=2"), ("p=%00p=1;2", "p=1;2")];
    for (one, other) in pairs {
        assert_ne!(key(&format!("/?{one}"), ""), key(&format!("/?{other}"), ""), "{one}");
    }
}

/// Text of a client's must not make up for what another value lacks.
#[test]
fn key_values_have_their_ends_and_absent_ones_a_mark() {
    let key = |text: &str, target: &str, fields: &[(&str, &str)]| {
        let exchange = exchange(target, fields);
        let template = Template::parse(text, Use::Key, Context::Plain).unwrap();
        let mut out = Vec::new();
        template.write_key(&Scope { exchange: &exchange, place: Place::default() }, &mut out);
        String::from_utf8(out).unwrap()
    };
    let all = "a{query.p}b{cookie.c}{header.x-a}";
    assert_eq!(key(all, "/?p=1", &[("Cookie", "c=22"), ("X-A", "3")]), "a1:1b2:221:3");
    assert_eq!(key(all, "/?p", &[("Cookie", "c="), ("X-A", "")]), "a0:b0:0:");
    assert_eq!(key(all, "/", &[]), "a-b--");
    assert_eq!(key(all, "/?q;p", &[]), "a4:\0q;pb--");
    assert_eq!(key("{cookie.c|default:x}", "/", &[]), "1:x");
    assert_eq!(key("{cookie.c|lower}", "/", &[("Cookie", "c=-")]), "1:-");
    assert_eq!(key("{client_ip}", "/", &[]), "9:192.0.2.1");
    assert_eq!(key("fixed", "/", &[]), "fixed");
}

#[test]
fn groups_are_those_of_the_first_expression_that_finds() {
    let captures =
        ["^/none/(.*)$", "^/users/([0-9]+)(?:/(?P<rest>.*))?$"].map(|it| regex::Regex::new(it).unwrap());
    let exchange = exchange("/users/7/photos?x", &[]);
    let scope = Scope { exchange: &exchange, place: Place { captures: &captures, ..Place::default() } };
    let template =
        Template::parse("{path.1} {path.rest} {path.2} {path.9}", Use::Redirect, Context::Plain).unwrap();
    assert_eq!(template.render(&scope), "7 photos photos ");
}

#[test]
fn values_stay_values_where_they_go() {
    let exchange = exchange("/?v=a%0d%0ab%20%2F..%3F%23%22%3Cc%3E%26", &[]);
    for (context, expected) in [
        (Context::Field, "ab /..?#\"<c>&"),
        (Context::Url, "a%0D%0Ab%20%2F..%3F%23%22%3Cc%3E%26"),
        (Context::Path, "a%0D%0Ab%20%2F..%3F%23%22%3Cc%3E%26"),
        (Context::Host, "a\r\nb /..?#\"<c>&"),
        (Context::Html, "a\r\nb /..?#&quot;&lt;c&gt;&amp;"),
        (Context::Json, "a\\r\\nb /..?#\\\"\\u003cc>&"),
        (Context::Plain, "a\r\nb /..?#\"<c>&"),
    ] {
        assert_eq!(rendered("{query.v}", context, &exchange), expected, "{context:?}");
    }
    assert_eq!(Context::of_body("Text/HTML; charset=utf-8"), Context::Html);
    assert_eq!(Context::of_body("application/problem+json"), Context::Json);
    assert_eq!(Context::of_body("text/plain"), Context::Plain);
}

#[test]
fn only_trusted_proxies_say_which_scheme_it_was() {
    let mut exchange = exchange("/", &[("X-Forwarded-Proto", "https")]);
    assert_eq!(rendered("{scheme}", Context::Field, &exchange), "http");
    exchange.facts.peer = Rc::new(Peer { is_trusted: true, ..Peer::default() });
    assert_eq!(rendered("{scheme}", Context::Field, &exchange), "https");
    exchange.request.fields.set("x-forwarded-proto", b"javascript");
    assert_eq!(rendered("{scheme}", Context::Field, &exchange), "http");
}

#[test]
fn what_is_wrong_is_named_with_what_to_write() {
    for (text, of, message, hint) in [
        ("$remote_addr", Use::RequestField, "`$remote_addr`", "`{client_ip}`"),
        ("a $http_x_real_ip", Use::RequestField, "`$http_x_real_ip`", "`{header.x-real-ip}`"),
        ("/x/$1", Use::Redirect, "`$1`", "`{path.1}`"),
        ("${1}", Use::Redirect, "`${1}`", "`{path.1}`"),
        ("${what}", Use::Log, "`${what}`", "{client_ip}"),
        ("%[src]", Use::RequestField, "`%[src]`", "`{client_ip}`"),
        ("%[req.hdr(User-Agent)]", Use::Log, "`%[req.hdr(User-Agent)]`", "`{header.user-agent}`"),
        ("%{SSL_CLIENT_S_DN}e", Use::RequestField, "`%{SSL_CLIENT_S_DN}`", "`{tls.client.subject}`"),
        ("{{ .Request.Host }}", Use::RequestField, "`{{ .Request.Host }}`", "`{host}`"),
        ("{http.request.host}", Use::RequestField, "`{http.request.host}`", "`{host}`"),
        ("{http.request.header.X-A}", Use::RequestField, "unknown", "`{header.x-a}`"),
        ("{clientip}", Use::RequestField, "`{clientip}`", "`{client_ip}`"),
        ("{client_ip", Use::RequestField, "not closed", "{name}"),
        ("{client_ip|upper}", Use::RequestField, "`upper`", "`lower`"),
        ("{backend}", Use::RequestField, "not available here", "later"),
        ("{listener}", Use::Rewrite, "not available here", "listeners"),
        ("{header.a b}", Use::Log, "`{header.a b}`", "{header.NAME}"),
        ("$request_uri", Use::Body, "`$request_uri`", "`{path_and_query}`"),
    ] {
        let fault = Template::parse(text, of, Context::Field).expect_err(text);
        assert!(fault.message.contains(message) && fault.hint.contains(hint), "{text}: {fault:?}");
    }
}

#[test]
fn braces_and_dollars_of_a_body_are_its_own() {
    for body in
        ["body{color:red;x:y}", "`${path}` costs $5", "{ if (a) {b: 1} }", "function f() {return 1}", "{x"]
    {
        let template = Template::parse(body, Use::Body, Context::Html).unwrap_or_else(|it| panic!("{it:?}"));
        assert_eq!(template.fixed(), Some(body));
    }
    assert!(Template::parse("{hots}", Use::Body, Context::Html).is_err());
}

#[test]
fn what_only_one_node_knows_is_told_from_the_rest() {
    for (text, expected) in [
        ("/a", false),
        ("/{client_ip}/{header.x-a}{path}", false),
        ("/{tls.client.subject}{path}", true),
        ("{header.x-a}{tls.sni}", true),
        ("{tls.version}", true),
    ] {
        let template = Template::of(text, Use::RequestField, Context::Field);
        assert_eq!(template.is_of_connection(), expected, "{text}");
    }
    let template = Template::of("/{header.X-A}{cookie.b}{header.c}", Use::RequestField, Context::Field);
    assert_eq!(template.headers().collect::<Vec<_>>(), ["x-a", "c"]);
}

#[test]
fn what_clients_prove_themselves_by_is_told_from_the_rest() {
    for (text, expected) in [
        ("CN=a", false),
        ("{client_ip} {tls.version} {tls.sni} {cookie.a} {header.x-user}", false),
        ("{tls.client.subject}", true),
        ("a {tls.client.san|lower}", true),
        (":{tls.client.certificate}:", true),
        ("{tls.client.fingerprint}", true),
        ("{header.Authorization}", true),
        ("{header.proxy-authorization}", true),
        ("{header.Client-Cert}", true),
        ("{header.client-cert-chain}", true),
    ] {
        let template = Template::of(text, Use::RequestField, Context::Field);
        assert_eq!(template.has_proof(), expected, "{text}");
    }
}

#[test]
fn texts_without_placeholders_are_fixed() {
    assert_eq!(Template::of("a {{b}", Use::Log, Context::Field).fixed(), Some("a {b}"));
    assert_eq!(Template::of("nosniff", Use::Log, Context::Field).fixed(), Some("nosniff"));
    assert_eq!(Template::of("{host}", Use::Log, Context::Field).fixed(), None);
    // Not one that was checked: as it is written.
    assert_eq!(Template::of("{hots}", Use::Log, Context::Field).fixed(), Some("{hots}"));
}

#[test]
fn reading_anything_never_panics() {
    let mut random = fastrand::Rng::with_seed(11);
    let signs =
        ["{", "}", "{{", "}}", "$", "${", "%[", "%{", "]", "|", "a", "path.", "1", "ä", ".", "(", "default:"];
    for _ in 0..50_000 {
        let text: String = (0..random.usize(..12)).map(|_| signs[random.usize(..signs.len())]).collect();
        for of in [Use::RequestField, Use::Redirect, Use::Body] {
            let _must_only_not_panic = Template::parse(&text, of, Context::Url);
        }
    }
}
