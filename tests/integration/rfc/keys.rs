//! Which requests are for the same (RFC 9111 §2, §4; RFC 9110 §4.2.3).

use super::{Stage, Step, case, get, ok, request};
use crate::support::h2;

fn fresh(step: Step) -> Step {
    step.origin(ok("Cache-Control: max-age=60"))
}

#[test]
fn requests_for_the_same_uri() {
    let stage = Stage::new();
    for (what, one, other) in [
        ("an escape that is none", get().at("/%7Ea%2D"), get().at("/~a-")),
        ("escapes in another case", get().at("/%c3%a4"), get().at("/%C3%A4")),
        ("the host in another case", get().host("Test"), get().host("tEST")),
        ("the default port", get().host("test"), get().host("test:80")),
        ("an absolute target", get(), get().at("^http://test{path}")),
        ("an absolute target with its port", get(), get().at("^http://test:80{path}").host("other")),
    ] {
        case(&stage, "RFC 9111 §4, RFC 9110 §4.2.3", what, &[fresh(one), other]);
    }
}

#[test]
fn requests_for_others() {
    let stage = Stage::new();
    for (what, one, other) in [
        ("a query", get(), get().at("?a")),
        ("an empty query", get(), get().at("?")),
        ("another query", get().at("?a=1&b=2"), get().at("?b=2&a=1")),
        ("another case", get().at("/a"), get().at("/A")),
        ("a slash", get().at("/a"), get().at("/a/")),
        ("an escaped slash", get().at("/a/b"), get().at("/a%2Fb")),
        ("another host", get().host("one"), get().host("two")),
        ("another port", get().host("test"), get().host("test:8080")),
        ("an escaped question mark", get().at("/a?b"), get().at("/a%3Fb")),
        ("a plus", get().at("?a+b"), get().at("?a%2Bb")),
    ] {
        case(
            &stage,
            "RFC 9111 §4",
            what,
            &[fresh(one.clone()), fresh(other.clone()), other, one.reads("answer 1")],
        );
    }
}

#[test]
fn a_body_or_another_method_is_not_for_the_store() {
    let stage = Stage::new();
    case(
        &stage,
        "RFC 9110 §9.3.1",
        "a GET with a body",
        &[fresh(get()), fresh(get().sends("x")), get().reads("answer 1")],
    );
    case(
        &stage,
        "RFC 9110 §9.1",
        "methods are case-sensitive",
        &[fresh(get()), request("get").origin(super::response("405 No", ""))],
    );
}

#[test]
fn no_field_leads_the_origin_elsewhere_for_what_is_stored() {
    let stage = Stage::new();
    let line = "X-Original-URL: /evil";
    case(
        &stage,
        "RFC 9111 §4, §7.1",
        "at once",
        &[fresh(get().with(line)).asks_without("x-original-url"), get()],
    );
    case(
        &stage,
        "RFC 9111 §4, §7.1",
        "after an answer that was not shared",
        &[
            get().origin(ok("Cache-Control: private")),
            fresh(get().with(line).with("Accept-Encoding: foo, br"))
                .asks_without("x-original-url")
                .asks("accept-encoding", "br"),
            get(),
        ],
    );
}

#[test]
fn no_trusted_proxy_leads_the_origin_elsewhere_either() {
    const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";
    let stage = Stage::behind(TRUSTED, "");
    let evil = "X-Original-URL: /evil";
    case(
        &stage,
        "RFC 9111 §4, §7.1",
        "a URL in a field",
        &[fresh(get().with(evil)).asks_without("x-original-url"), get()],
    );
    case(
        &stage,
        "RFC 9111 §4, §7.1",
        "a host in a field",
        &[fresh(get().with("X-HTTP-Host-Override: evil")).asks_without("x-http-host-override"), get()],
    );
    for field in [
        "Forwarded: for=192.0.2.1;host=evil",
        "X-Forwarded-Host: evil",
        "Forwarded: proto=https",
        "X-Forwarded-Prefix: /evil",
        "X-Forwarded-Ssl: on",
        "X-Original-Host: evil",
        "X-Forwarded-Proto: https://evil/?",
    ] {
        case(
            &stage,
            "RFC 9111 §4, §7.1",
            field,
            &[
                fresh(get().with(field)),
                fresh(get()),
                get().reads("answer 2"),
                get().with(field).reads("answer 1"),
            ],
        );
    }
    case(
        &stage,
        "RFC 7239 §5.2",
        "who asks",
        &[fresh(get().with("Forwarded: for=192.0.2.1")), get().with("Forwarded: for=192.0.2.2"), get()],
    );
    let stage = Stage::behind(TRUSTED, "key = { headers = [\"x-original-url\"] }");
    case(
        &stage,
        "RFC 9111 §4.1",
        "what the key has",
        &[fresh(get().with(evil)).asks("x-original-url", "/evil"), fresh(get()), get().reads("answer 2")],
    );
}

#[test]
fn what_is_stored_by_one_version_is_for_the_other() {
    let stage = Stage::new();
    let path = stage.path();
    let bytes =
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\nhello"
            .to_vec();
    stage.say(&path, super::stage::Said { bytes, closes: false });
    h2::run(async {
        let client = h2::Http2::connect(&stage.proxy).await;
        assert_eq!(client.get(&path).await.unwrap(), (200, b"hello".to_vec()));
        assert_eq!(client.get(&path).await.unwrap(), (200, b"hello".to_vec()));
        let ask = |name: &'static str, value: &'static str| {
            let mut request = h2::request("GET", &path);
            request.headers_mut().insert(name, value.parse().unwrap());
            client.ask(request)
        };
        let response = ask("if-none-match", "\"a\"").await.unwrap();
        assert_eq!(response.status(), 304, "RFC 9111 §4.3.2");
        let response = ask("range", "bytes=1-2").await.unwrap();
        assert_eq!(
            (response.status().as_u16(), h2::whole(response.into_body()).await.unwrap()),
            (206, b"el".to_vec())
        );
        let response = ask("cache-control", "only-if-cached, no-cache").await.unwrap();
        assert_eq!(response.status(), 504, "RFC 9111 §5.2.1.7");
        let response = client.ask(h2::request("HEAD", &path)).await.unwrap();
        assert_eq!(response.headers()["content-length"], "5");
        assert!(response.headers()["cache-status"].to_str().unwrap().starts_with("pointsman; hit"));
    });
    let response = stage.connect().get_with(&path, "localhost", "");
    assert_eq!(response.text(), "hello");
    assert_eq!(stage.asked(&path).len(), 1, "RFC 9111 §4");
}

#[test]
fn what_is_negotiated_wrongly_is_not_for_others() {
    let stage = Stage::new();
    for (name, wrong, right) in [
        ("Accept", "a/b, c/d;q=900", "a/b, c/d;q=0.9"),
        ("Accept", "a/b, c/d;q=0.9;q=1", "a/b, c/d;q=0.9"),
        ("Accept-Language", "de, en;q=500", "de, en;q=0.5"),
    ] {
        let varies = || ok(format!("Cache-Control: max-age=60\nVary: {name}"));
        case(
            &stage,
            "RFC 9111 §4.1",
            wrong,
            &[
                get().with(&format!("{name}: {wrong}")).origin(varies()),
                get().with(&format!("{name}: {right}")).origin(varies()),
            ],
        );
    }
}

#[test]
fn the_origin_is_asked_with_codings_that_it_can_read() {
    let stage = Stage::new();
    for (coding, asked) in [
        ("gzip;q=0.5, *;q=0", "gzip;q=0.5,*;q=0"),
        ("gzip;q=1.0, identity; q=0.5, *;q=0", "gzip,identity;q=0.5,*;q=0"),
    ] {
        let step = fresh(get().with(&format!("Accept-Encoding: {coding}")));
        case(&stage, "RFC 9110 §12.4.2, §12.5.3", coding, &[step.asks("accept-encoding", asked)]);
    }
}
