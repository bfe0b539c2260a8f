use super::*;
use crate::{
    config::listen::PathsConf,
    http::path::spellings,
    route::conf::RewriteConf,
    template::{Context, Use},
};

/// Where a redirect to this leads, with what these have captured of the path.
fn redirected(to: &str, exchange: &Exchange, captures: &[regex::Regex]) -> String {
    let template = Template::parse(to, Use::Redirect, Context::Url).unwrap();
    expand(&template, &Scope { exchange, place: Place { captures, ..Place::default() } })
}

#[test]
fn a_prefix_is_stripped_by_whole_segments() {
    for (path, prefix, stripped_path) in [
        ("/v1/users", "/v1", Some("/users")),
        ("/v1/users", "/v1/", Some("/users")),
        ("/v1", "/v1", Some("/")),
        ("/v1/", "/v1", Some("/")),
        ("/v12/users", "/v1", None),
        ("/users", "", Some("/users")),
    ] {
        assert_eq!(stripped(path, prefix, None), stripped_path, "{path} {prefix}");
    }
}

fn stripping(prefix: &str) -> Rewrite {
    let [add_prefix, path, host] = [const { String::new() }; 3];
    let strip_prefix = prefix.to_owned();
    Rewrite::of(&RewriteConf { strip_prefix, add_prefix, path, host, query: None, responses: false })
}

#[test]
fn prefix_goes_in_any_spelling_and_the_rest_stays() {
    let apart = PathsConf { merge_slashes: false, ..PathsConf::default() };
    for (path, prefix, merged, kept_apart) in [
        ("/%40app/a%3Bb", "/@app", "/a%3Bb", "/a%3Bb"),
        ("/%40app/a%2Bb%3Bc%26d//e", "/@app/", "/a%2Bb%3Bc%26d//e", "/a%2Bb%3Bc%26d//e"),
        ("/%40app", "/@app", "/", "/"),
        ("/@app/%40", "/@app", "/%40", "/%40"),
        ("/a[1]/b%21", "/a%5B1%5D", "/b%21", "/b%21"),
        ("/a%5B1%5D/b|c", "/a%5B1%5D", "/b|c", "/b|c"),
        ("//a//%40b//c", "/a/@b", "//c", "//a//%40b//c"),
        ("//a//b", "/a", "//b", "//a//b"),
        ("/a//%40b/c", "/a//@b", "/c", "/c"),
        ("/%40appx/a", "/@app", "/%40appx/a", "/%40appx/a"),
        ("/x/%40app/a", "/@app", "/x/%40app/a", "/x/%40app/a"),
        ("/a%2F%40b/c", "/a/@b", "/a%2F%40b/c", "/a%2F%40b/c"),
    ] {
        for (conf, expected) in [(&PathsConf::default(), merged), (&apart, kept_apart)] {
            let (normal, readings) = spellings(path, conf).unwrap();
            let found = with_prefix(&stripping(prefix), &normal, readings.as_ref());
            assert_eq!(found, expected, "{path} {prefix}");
        }
    }
}

#[test]
fn placeholders_are_filled_from_the_request() {
    let mut exchange = Exchange { path_length: 2, ..Exchange::default() };
    exchange.authority.push_str("A.example:8080");
    exchange.host.push_str("a.example");
    exchange.request.target.push_str("/a?b=c");
    let expand = |to: &str, exchange: &Exchange| redirected(to, exchange, &[]);
    assert_eq!(expand("https://{host}{path_and_query}", &exchange), "https://a.example/a?b=c");
    assert_eq!(expand("{scheme}://x:{port}{path}?{query}", &exchange), "http://x:8080/a?b=c");
    assert_eq!(expand("/login?back={path_and_query|urlencode}", &exchange), "/login?back=%2Fa%3Fb%3Dc");
    exchange.request.target = "//evil.example".to_owned();
    exchange.path_length = exchange.request.target.len();
    assert_eq!(expand("{path}", &exchange), "/.//evil.example");
    assert_eq!(expand("https://a{path}", &exchange), "https://a//evil.example");
    assert_eq!(expand("//b.example{path}", &exchange), "//b.example//evil.example");
}

#[test]
fn no_group_of_a_path_chooses_the_host() {
    let captures = [regex::Regex::new("^/old(.*)$").unwrap()];
    for (to, path, expected) in [
        ("{path.1}", "/old/x", "/x"),
        ("{path.1}", "/old", "/"),
        ("{path.1}", "/oldhttp:/evil.example/x", "/http:/evil.example/x"),
        ("{path.1}", "/oldjavascript:alert(1)", "/javascript:alert(1)"),
        ("{path.1}", "/old//evil.example", "/.//evil.example"),
        ("{path.1}", "/old\\evil.example", "/./\\evil.example"),
        ("{path.1|urlencode}", "/old/x", "/%2Fx"),
        ("https://b.example{path.1}", "/old/x", "https://b.example/x"),
        ("https://b.example{path.1}", "/old", "https://b.example"),
        ("https://b.example{path.1}", "/old.evil.example", "https://b.example/.evil.example"),
        ("https://b.example{path.1}", "/old@evil.example", "https://b.example/@evil.example"),
        ("https://b.example:80{path.1}?{query}", "/old80", "https://b.example:80/80?"),
        ("https://b.example{path.1}/x", "/oldy", "https://b.example/y/x"),
        ("https://{host}{path.1}", "/old@evil.example", "https://a.example/@evil.example"),
        ("https://{host}:{port}{path.1}", "/old@evil.example", "https://a.example:/@evil.example"),
        ("https://[::1]{path.1}", "/old1", "https://[::1]/1"),
        ("{scheme}://b.example{path.1}", "/old.c", "http://b.example/.c"),
        ("//b.example{path.1}", "/old.c", "//b.example/.c"),
        ("https://b.example{header.x-next}", "/old", "https://b.example/.c"),
        // The host is made of it.
        ("https://{path.1}.example.com/", "/olda", "https://a.example.com/"),
        ("https://shop{path.1}.example.com{path}", "/old-1", "https://shop-1.example.com/old-1"),
        ("https://www.{path.1}/x", "/olda.example", "https://www.a.example/x"),
        ("https://b.example{path.1}.html", "/old/x", "https://b.example/x.html"),
        ("https://b.example{path.1}.html", "/old@evil.example/x", "https://b.example/@evil.example/x.html"),
        ("https://b.example{path.1}.html", "/old.evil.example/x", "https://b.example/.evil.example/x.html"),
        ("https://b.example{path.1}&x=1", "/old:80@c", "https://b.example/:80@c&x=1"),
        ("https://shop{path.1}.example.com", "/old.evil.example/", "https://shop/.evil.example/.example.com"),
        ("https://{path.1}/x", "/olda.example", "https://a.example/x"),
        ("https://m.{host}/x", "/old", "https://m.a.example/x"),
        ("https://m{host}/x", "/old", "https://ma.example/x"),
    ] {
        let mut exchange = Exchange { path_length: path.len(), ..Exchange::default() };
        exchange.authority.push_str("a.example");
        exchange.host.push_str("a.example");
        exchange.request.target.push_str(path);
        exchange.request.fields.push("x-next", b".c");
        assert_eq!(redirected(to, &exchange, &captures), expected, "{to} of {path}");
    }
}

#[test]
fn only_what_is_of_the_target_has_slashes() {
    let captures = [regex::Regex::new("^/a/(.*)$").unwrap()];
    let mut exchange = Exchange { path_length: 6, ..Exchange::default() };
    exchange.request.target.push_str("/a/b/c?a=../x");
    exchange.request.fields.push("x-t", b"../x");
    exchange.request.fields.push("cookie", b"t=../x");
    for (to, expected) in [
        ("https://example.com/{query.a}", "https://example.com/..%2Fx"),
        ("https://example.com/{header.x-t}", "https://example.com/..%2Fx"),
        ("/in/{cookie.t}/y", "/in/..%2Fx/y"),
        ("https://example.com{query.a}", "https://example.com/..%2Fx"),
        ("https://example.com/{path.1}", "https://example.com/b/c"),
        ("/x{path}", "/x/a/b/c"),
        ("/x{path_and_query}", "/x/a/b/c?a=../x"),
    ] {
        assert_eq!(redirected(to, &exchange, &captures), expected, "{to}");
    }
}

#[test]
fn no_value_in_the_host_ends_it() {
    let captures = [regex::Regex::new("^/a/(.*)$").unwrap()];
    let expand = |to: &str, said: &str| {
        let mut exchange = Exchange::default();
        exchange.authority.push_str("a.example");
        exchange.host.push_str("a.example");
        let path = format!("/a/{said}");
        exchange.path_length = path.len();
        exchange.request.target = format!("{path}?a={said}");
        exchange.request.fields.push("x-t", said.as_bytes());
        exchange.request.fields.push("x-name", b".b");
        exchange.request.fields.push("cookie", format!("t={said}").as_bytes());
        redirected(to, &exchange, &captures)
    };
    for said in ["evil.com/", "evil.com\\", "evil.com#", "evil.com:443", "evil.com@x", "evil.com%2F"] {
        for to in [
            "https://{query.a}.example.com/",
            "https://{path.1}.example.com/",
            "https://{header.x-t}.example.com/",
            "https://{cookie.t}.example.com/",
            "{scheme}://{header.x-t}.example.com/",
            "https://{host}.{header.x-t}.example.com/",
            "https://www.{path.1}-x.example.com/",
            "https://{path.1}{host}/",
            "https://{path.1}:8443/",
            "//{path.1}.example.com/",
            // The first one is the host, and the second would end it.
            "https://{path.1}{path.1}.example.com/",
            "https://{path.1}{header.none}.example.com/",
            "https://{path.1}x{path.1}.example.com/",
            "https://{path.1}.{path.1}.example.com/",
            "https://{path.1}.shop{path.1}.example.com/",
            "https://shop{header.x-name}y{path.1}.example.com/",
        ] {
            let plain = expand(to, "evil.com");
            assert_eq!(expand(to, said), plain, "{to} with {said}");
            assert_eq!(plain.matches('/').count(), 3, "{to}: {plain}");
        }
    }
    for (to, said, expected) in [
        ("https://shop{path.1}.example.com/", "-1", "https://shop-1.example.com/"),
        ("https://shop{path.1}.example.com/", "@evil.com", "https://shop/@evil.com.example.com/"),
        ("https://{path.1}.example.com/", "b_1.c-d", "https://b_1.c-d.example.com/"),
        ("https://{path.1}.example.com/", "@evil.com", "https://.example.com/"),
        ("https://{cookie.t}.example.com{path}.html", "b", "https://b.example.com/a/b.html"),
        // The template itself names the domain before the path.
        ("https://{cookie.t}.example.com/x{path.1}", "b/c", "https://b.example.com/xb/c"),
        ("https://x{header.x-name}.example.com{path.1}.html", "/c", "https://x.b.example.com/c.html"),
        // Nothing of the host comes behind it: the request chooses it, with its port, and the path.
        ("https://{header.x-t}{path}", "b.example:8443", "https://b.example:8443/a/b.example:8443"),
        ("https://{path.1}", "b.example/c/d", "https://b.example/c/d"),
        ("https://b.example:{path.1}/x", "80@evil.com", "https://b.example:80/x"),
    ] {
        assert_eq!(expand(to, said), expected, "{to} with {said}");
    }
}

#[test]
fn no_value_ends_the_host_of_a_rewrite() {
    for (host, said, expected) in [
        ("{header.x-t}.internal", "one", Some("one.internal")),
        ("{header.x-t}.internal", "a.b-c_d", Some("a.b-c_d.internal")),
        ("{header.x-t}.internal", "a?b/c", None),
        ("{header.x-t}.internal", "ad min", None),
        ("{header.x-t}.internal", "a@b", None),
        ("{header.x-t}.internal", "é", None),
        ("{header.x-t}.internal", "", None),
        ("{header.x-t}.internal", ".", None),
        ("{header.x-t}.internal", "a..b", None),
        ("{header.x-t}.internal", "evil.com:80", None),
        ("{header.x-t}.internal", "evil.com:", None),
        ("{header.x-t}.internal", ":", None),
        ("{header.x-t}.internal", "[::1]", None),
        ("{header.x-t}:8080", "one", Some("one:8080")),
        ("{header.x-t}:8080", "one:80", None),
        ("{header.x-t}:8080", "", None),
        ("app.internal:{header.x-t}", "81", Some("app.internal:81")),
        ("app.internal:{header.x-t}", "evil", None),
        ("{header.x-t}", "one:80", Some("one:80")),
        ("{header.x-t}", "[::1]:80", Some("[::1]:80")),
        ("{header.x-t}", "", None),
    ] {
        let mut exchange = Exchange::default();
        exchange.request.fields.push("x-t", said.as_bytes());
        let template = Template::parse(host, Use::Rewrite, Context::Host).unwrap();
        let scope = Scope { exchange: &exchange, place: Place::default() };
        assert_eq!(made_host(&template, &scope).as_deref(), expected, "{host} of {said}");
    }
}

#[test]
fn no_dot_segment_is_put_together() {
    for (path, expected) in [
        ("/app/..", "/app"),
        ("/app/../admin", "/app/admin"),
        ("/app/%2e%2E/a", "/app/a"),
        ("/app/..;x/a", "/app/a"),
        ("/..", "/"),
        ("a/b", "/a/b"),
        ("/a/...", "/a/..."),
        ("/files/..%2Fsecret", "/files"),
        ("/a%5C../b", "/b"),
        ("/a\\..\\b", "/"),
        ("/..%2fadmin", "/"),
        ("/a%2Fb", "/a%2Fb"),
    ] {
        assert_eq!(without_dot_segments(path), expected, "{path}");
    }
}
