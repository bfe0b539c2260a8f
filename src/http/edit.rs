//! What a route changes of a request's host and path, and the location of a redirect.

use std::borrow::Cow;

use bytes::Bytes;

use super::normalize::split_port;
use crate::{
    exchange::{Exchange, PathReadings},
    filter::{Answer, names_host},
    route::{rewrite::Rewrite, spelling::spelled},
    runtime::{Listener, Route},
    template::{Place, Scope, Template},
};

/// Host and target that go upstream in the place of the client's, where a route changes them.
pub fn rewritten<'a>(exchange: &Exchange, route: &'a Route) -> (Option<Cow<'a, str>>, Option<String>) {
    let Some(rewrite) = &route.rewrite else { return (None, None) };
    let place = Place { route: &route.name, captures: &route.captures, ..Place::default() };
    let scope = Scope { exchange, place };
    let host = rewrite.host.as_ref().and_then(|host| match host.fixed() {
        Some(host) => Some(host.into()),
        // Rather the client's than one that is none.
        None => made_host(host, &scope).map(Cow::from),
    });
    let path = match rewrite.path.as_ref().map(|path| (path.fixed(), path)) {
        Some((Some(path), _)) => path.to_owned(),
        Some((None, path)) => made_of(path, &scope),
        None => with_prefix(rewrite, exchange.path(), exchange.readings.as_deref()),
    };
    let query = match rewrite.query.as_ref().map(|edits| edits.apply(exchange.query(), &scope)) {
        Some(query) if query.is_empty() => String::new(),
        Some(query) => format!("?{query}"),
        None => exchange.request.target.get(exchange.path_length..).unwrap_or_default().to_owned(),
    };
    (host, Some(path + &query))
}

/// The host that a template makes, with a port or without; `None` where it is none.
fn made_host(host: &Template, scope: &Scope<'_>) -> Option<String> {
    let made = host.render(scope);
    // Else a value with a colon would end the host for backends that read on to there.
    let is_split = split_port(&made).is_ok_and(|(name, _)| !name.is_empty());
    (is_split && made.parse::<http::uri::Authority>().is_ok()).then_some(made)
}

/// A path as the backend has it, by the template of a rewrite.
pub(super) fn made_of(path: &Template, scope: &Scope<'_>) -> String {
    without_dot_segments(&path.render(scope))
}

/// A path as the backend has it, by the prefixes of a rewrite.
pub(super) fn with_prefix(rewrite: &Rewrite, path: &str, readings: Option<&PathReadings>) -> String {
    let path = stripped(path, &rewrite.strip_prefix, readings).unwrap_or(path);
    // `*` of OPTIONS is no path.
    if path.starts_with('/') { rewrite.add_prefix.clone() + path } else { path.to_owned() }
}

/// The path without a prefix of whole segments, which is [`spelled`]: in whichever spelling the client wrote that, what is
/// behind it stays as it is. `None` when it does not begin with it.
pub(super) fn stripped<'a>(path: &'a str, prefix: &str, readings: Option<&PathReadings>) -> Option<&'a str> {
    let prefix = prefix.trim_end_matches('/');
    let as_written = || path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    // A path that has no other reading has no other spelling.
    let rest = as_written().or_else(|| behind(path, prefix, readings?))?;
    Some(if rest.is_empty() { "/" } else { rest })
}

/// What comes behind the segments of a prefix, each in any spelling, and with empty ones between them where slashes are
/// merged.
fn behind<'a>(path: &'a str, prefix: &str, readings: &PathReadings) -> Option<&'a str> {
    let merges = !readings.matched.contains("//");
    let mut rest = path;
    for wanted in prefix.split('/').skip(1) {
        loop {
            let inner = rest.strip_prefix('/')?;
            let (segment, behind) = inner.split_at(inner.find('/').unwrap_or(inner.len()));
            rest = behind;
            if spelled(segment) == wanted {
                break;
            }
            if !segment.is_empty() || !merges {
                return None;
            }
        }
    }
    Some(rest)
}

/// What placeholders are filled from before a backend is known, beside the exchange.
pub fn own_place<'a>(listener: &'a Listener, route: &'a Route) -> Place<'a> {
    Place { listener: &listener.conf.name, route: &route.name, captures: &route.captures, backend: "" }
}

/// A path without segments that lead elsewhere, however a request had them put together (RFC 3986 §5.2.4): they are left
/// out, and what comes before them stays.
fn without_dot_segments(path: &str) -> String {
    let is_dot = |segment: &&str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        // What a backend may decode to a slash is one.
        let plain = plain.replace("%2f", "/").replace("%5c", "/");
        plain.split(['/', '\\']).any(|part| matches!(part.split(';').next(), Some("." | "..")))
    };
    let kept: Vec<&str> = path.split('/').filter(|segment| !is_dot(segment)).collect();
    let kept = kept.join("/");
    if kept.starts_with('/') { kept } else { format!("/{kept}") }
}

/// The location of a redirect: its placeholders filled from the request, which does not choose the host.
pub fn expand(template: &Template, scope: &Scope<'_>) -> String {
    let mut location = template.render_url(scope);
    let is_elsewhere =
        ["http://", "https://", "{scheme}://"].iter().any(|it| template.text().starts_with(it));
    if !is_elsewhere && !location.starts_with('/') {
        // Else a part of a path would be read as a scheme (RFC 3986 §4.2), or be about where the client is.
        location.insert(0, '/');
    }
    if names_host(&location) && !names_host(template.text()) {
        // Else a path with two slashes would be read as a host (RFC 3986 §4.2).
        return format!("/.{location}");
    }
    location
}

/// Sends a client to the same path with a slash at its end, which is a folder's.
pub(super) fn to_folder(exchange: &Exchange) -> Answer {
    let path = exchange.path();
    let query = exchange.request.target.get(exchange.path_length..).unwrap_or_default();
    // Else a path with two slashes would be read as a host (RFC 3986 §4.2).
    let before = if path.starts_with("//") { "/." } else { "" };
    let location = format!("{before}{path}/{query}").into_bytes();
    Answer { status: 308, fields: vec![("location", location)], body: Bytes::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::listen::PathsConf,
        http::path::spellings,
        route::conf::RewriteConf,
        template::{Context, Use},
    };

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
        let expand = |text: &str, exchange: &Exchange| {
            let template = Template::parse(text, Use::Redirect, Context::Url).unwrap();
            super::expand(&template, &Scope { exchange, place: Place::default() })
        };
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
            (
                "https://b.example{path.1}.html",
                "/old@evil.example/x",
                "https://b.example/@evil.example/x.html",
            ),
            (
                "https://b.example{path.1}.html",
                "/old.evil.example/x",
                "https://b.example/.evil.example/x.html",
            ),
            ("https://b.example{path.1}&x=1", "/old:80@c", "https://b.example/:80@c&x=1"),
            (
                "https://shop{path.1}.example.com",
                "/old.evil.example/",
                "https://shop/.evil.example/.example.com",
            ),
            ("https://{path.1}/x", "/olda.example", "https://a.example/x"),
            ("https://m.{host}/x", "/old", "https://m.a.example/x"),
            ("https://m{host}/x", "/old", "https://ma.example/x"),
        ] {
            let mut exchange = Exchange { path_length: path.len(), ..Exchange::default() };
            exchange.authority.push_str("a.example");
            exchange.host.push_str("a.example");
            exchange.request.target.push_str(path);
            exchange.request.fields.push("x-next", b".c");
            let template = Template::parse(to, Use::Redirect, Context::Url).unwrap();
            let place = Place { captures: &captures, ..Place::default() };
            assert_eq!(expand(&template, &Scope { exchange: &exchange, place }), expected, "{to} of {path}");
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
            let template = Template::parse(to, Use::Redirect, Context::Url).unwrap();
            let place = Place { captures: &captures, ..Place::default() };
            assert_eq!(expand(&template, &Scope { exchange: &exchange, place }), expected, "{to}");
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
            let template = Template::parse(to, Use::Redirect, Context::Url).unwrap();
            let place = Place { captures: &captures, ..Place::default() };
            super::expand(&template, &Scope { exchange: &exchange, place })
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
            ("{header.x-t}.internal", "a?b/c", Some("abc.internal")),
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
}
