//! What a successful write makes invalid (RFC 9111 §4.4).
//!
//! Only URIs of the same origin, so that one site cannot empty another's part of the cache; that is why paths
//! with queries are enough to name them.

use crate::{
    cache::key::Use,
    fields::Fields,
    h1::{Framing, Method, RequestHead},
};

/// The targets, on the origin of the request, whose stored responses become invalid: the request's own, and
/// those that Location and Content-Location name. Empty unless the method is unsafe, or of unknown safety,
/// and the status is 2xx or 3xx. `authority` is host and port as the request has them.
pub fn invalidated(
    method: &Method,
    status: u16,
    scheme: &str,
    authority: &str,
    target: &str,
    response: &Fields,
) -> Vec<String> {
    if !is_unsafe(method) || !(200..400).contains(&status) {
        return Vec::new();
    }
    let mut targets = vec![target.to_owned()];
    for value in response.all("location").chain(response.all("content-location")) {
        let Some(other) =
            std::str::from_utf8(value).ok().and_then(|value| resolve(scheme, authority, target, value))
        else {
            continue;
        };
        if !targets.contains(&other) {
            targets.push(other);
        }
    }
    targets
}

fn is_unsafe(method: &Method) -> bool {
    let request = RequestHead { method: method.clone(), ..RequestHead::default() };
    Use::of(&request, Framing::None) == Use::Invalidate
}

/// The path and query that a reference names as seen from `target` (RFC 3986 §5.2); none when it is on
/// another origin or is no http(s) reference.
fn resolve(scheme: &str, authority: &str, target: &str, reference: &str) -> Option<String> {
    let reference = reference.trim().split('#').next().unwrap_or_default();
    let (other_scheme, rest) = match reference.split_once(':') {
        // A colon behind a slash or question mark belongs to path or query.
        Some((name, rest)) if !name.contains(['/', '?']) => (name, rest),
        _ => (scheme, reference),
    };
    if !other_scheme.eq_ignore_ascii_case(scheme) {
        return None;
    }
    let (path, query) = split_query(target);
    if let Some(rest) = rest.strip_prefix("//") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (other, rest) = rest.split_at(end);
        if origin(scheme, other) != origin(scheme, authority) {
            return None;
        }
        let (path, query) = split_query(rest);
        return Some(join(&without_dots(if path.is_empty() { "/" } else { path }), query));
    }
    if rest.len() < reference.len() {
        return None; // `http:x` has a scheme and no authority
    }
    let (other, other_query) = split_query(rest);
    if other.is_empty() {
        return Some(join(path, other_query.or(query)));
    }
    if other.starts_with('/') {
        return Some(join(&without_dots(other), other_query));
    }
    let folder = path.rfind('/').and_then(|end| path.get(..=end)).unwrap_or("/");
    Some(join(&without_dots(&format!("{folder}{other}")), other_query))
}

/// Host and port that tell origins apart (RFC 9110 §4.3.1). User information makes it
/// another: no request has it in its authority.
fn origin(scheme: &str, authority: &str) -> (String, String) {
    let authority = authority.to_ascii_lowercase();
    let default = if scheme.eq_ignore_ascii_case("https") { "443" } else { "80" };
    let behind_bracket = authority.rfind(']').unwrap_or(0);
    let (host, port) = match authority.rfind(':') {
        Some(at) if at >= behind_bracket => authority.split_at(at),
        _ => (authority.as_str(), ""),
    };
    let port = port.strip_prefix(':').filter(|port| !port.is_empty()).unwrap_or(default);
    (host.to_owned(), port.to_owned())
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

fn join(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." if is_last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if is_last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(method: &str, status: u16, lines: &[(&str, &str)]) -> Vec<String> {
        let mut response = Fields::default();
        lines.iter().for_each(|(name, value)| response.push(name, value.as_bytes()));
        invalidated(&Method::of(method), status, "https", "a.example", "/d/e?q", &response)
    }

    #[test]
    fn unsafe_methods_that_succeed_invalidate_their_target() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO"] {
            for status in [200, 201, 204, 302, 399] {
                assert_eq!(of(method, status, &[]), ["/d/e?q"], "{method} {status}");
            }
            for status in [100, 400, 404, 412, 500, 503] {
                assert!(of(method, status, &[("Location", "/x")]).is_empty(), "{method} {status}");
            }
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert!(of(method, 200, &[("Location", "/x")]).is_empty(), "{method}");
        }
    }

    #[test]
    fn locations_of_the_same_origin_are_invalidated() {
        for (reference, expected) in [
            ("/x", "/x"),
            ("x?y", "/d/x?y"),
            ("../x/./z/..", "/x/"),
            ("?z", "/d/e?z"),
            ("", "/d/e?q"),
            ("https://a.example/x#f", "/x"),
            ("HTTPS://A.Example:443/x", "/x"),
            ("https://a.example:/x", "/x"),
            ("https://a.example", "/"),
            ("//a.example?y", "/?y"),
            ("/x:y", "/x:y"),
            ("/../../x", "/x"),
        ] {
            for name in ["Location", "Content-Location"] {
                let targets = of("POST", 200, &[(name, reference)]);
                assert_eq!(targets.first().map(String::as_str), Some("/d/e?q"));
                assert_eq!(targets.last().map(String::as_str), Some(expected), "{name}: {reference}");
            }
        }
        assert_eq!(of("PUT", 201, &[("Location", "/x"), ("Content-Location", "/y")]), ["/d/e?q", "/x", "/y"]);
    }

    #[test]
    fn locations_of_another_origin_are_not() {
        for reference in [
            "https://b.example/x",
            "http://a.example/x",
            "https://a.example:8443/x",
            "//b.example/x",
            "https://a.example@b.example/x",
            "https://x@a.example/x",
            "mailto:a@b",
            "https:x",
        ] {
            assert_eq!(of("POST", 200, &[("Location", reference)]), ["/d/e?q"], "{reference}");
        }
    }

    #[test]
    fn hosts_in_brackets_keep_their_colons() {
        assert_eq!(origin("http", "[::1]"), ("[::1]".into(), "80".into()));
        assert_eq!(origin("http", "[::1]:81"), ("[::1]".into(), "81".into()));
    }

    proptest! {
        #[test]
        fn what_is_invalidated_is_a_path(reference in "[a./?:#@]{0,20}|\\PC{0,20}") {
            for target in of("POST", 200, &[("Location", &reference)]) {
                prop_assert!(target.starts_with('/'), "{}", target);
            }
        }
    }
}
