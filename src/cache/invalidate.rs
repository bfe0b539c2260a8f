//! What a successful write makes invalid (RFC 9111 §4.4).
//!
//! Only URIs of the same origin, so that one site cannot empty another's part of the cache; that is why paths
//! with queries are enough to name them.

use std::borrow::Cow;

use crate::{
    cache::key::Use,
    h1::{Framing, Method, RequestHead},
};

/// Where a request was sent, in each way that its client may know of.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The scheme that the client has, and that of the connection: behind a proxy that ends TLS these are two.
    pub schemes: [&'a str; 2],
    /// Host and port as the request has them, and as a proxy says them that is believed.
    pub authorities: [&'a str; 2],
    /// Path and query.
    pub target: &'a str,
}

impl Asked<'_> {
    /// The path and query that a reference names, by one of these schemes; none when it is on another origin.
    fn resolve(&self, schemes: [&str; 2], reference: &str) -> Option<String> {
        let mut origins = schemes.into_iter().flat_map(|scheme| self.authorities.map(|it| (scheme, it)));
        origins.find_map(|(scheme, authority)| resolve(scheme, authority, self.target, reference))
    }
}

/// What a write makes invalid.
#[derive(Debug, Default)]
pub struct Invalidated {
    /// The targets, on the origin of the request, whose stored responses become invalid: the request's own, and those that
    /// are named beside. Empty unless the method is unsafe, or of unknown safety, and the status is 2xx or 3xx.
    pub targets: Vec<String>,
    /// Whether another place than the request's own is named, wherever that is.
    pub names_another: bool,
}

/// What a request and its response make invalid. `places` are those that Location and Content-Location name, each in the
/// ways to read it.
pub fn invalidated<'p>(
    method: &Method,
    status: u16,
    asked: &Asked<'_>,
    places: impl IntoIterator<Item = Vec<Cow<'p, str>>>,
) -> Invalidated {
    if !is_unsafe(method) || !(200..400).contains(&status) {
        return Invalidated::default();
    }
    let mut found = Invalidated { targets: vec![asked.target.to_owned()], names_another: false };
    for readings in places {
        // A backend may know nothing of TLS before it.
        let is_own = |reading: &Cow<'_, str>| {
            asked.resolve(["http", "https"], reading).is_some_and(|named| named == asked.target)
        };
        found.names_another |= !readings.iter().any(is_own);
        for other in readings.iter().filter_map(|reading| asked.resolve(asked.schemes, reading)) {
            if !found.targets.contains(&other) {
                found.targets.push(other);
            }
        }
    }
    found
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

    const ASKED: Asked<'static> =
        Asked { schemes: ["https"; 2], authorities: ["a.example"; 2], target: "/d/e?q" };

    fn of(method: &str, status: u16, places: &[&str]) -> Vec<String> {
        found(method, status, &ASKED, places).targets
    }

    fn found(method: &str, status: u16, asked: &Asked<'_>, places: &[&str]) -> Invalidated {
        let places = places.iter().map(|place| vec![Cow::Borrowed(*place)]);
        invalidated(&Method::of(method), status, asked, places)
    }

    #[test]
    fn unsafe_methods_that_succeed_invalidate_their_target() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO"] {
            for status in [200, 201, 204, 302, 399] {
                assert_eq!(of(method, status, &[]), ["/d/e?q"], "{method} {status}");
            }
            for status in [100, 400, 404, 412, 500, 503] {
                assert!(of(method, status, &["/x"]).is_empty(), "{method} {status}");
            }
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert!(of(method, 200, &["/x"]).is_empty(), "{method}");
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
            let targets = of("POST", 200, &[reference]);
            assert_eq!(targets.first().map(String::as_str), Some("/d/e?q"));
            assert_eq!(targets.last().map(String::as_str), Some(expected), "{reference}");
        }
        assert_eq!(of("PUT", 201, &["/x", "/y"]), ["/d/e?q", "/x", "/y"]);
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
            assert_eq!(of("POST", 200, &[reference]), ["/d/e?q"], "{reference}");
        }
    }

    /// Else what a client has by TLS, or by another name, stays as it was before its write.
    #[test]
    fn origin_is_that_of_the_client_and_of_the_connection() {
        let asked = Asked {
            schemes: ["https", "http"],
            authorities: ["app.internal:8080", "www.example"],
            target: "/d/e?q",
        };
        for (reference, expected) in [
            ("https://www.example/x", Some("/x")),
            ("https://www.example:443/x", Some("/x")),
            ("http://www.example/x", Some("/x")),
            ("http://app.internal:8080/x", Some("/x")),
            ("//app.internal:8080/x", Some("/x")),
            ("//www.example/x", Some("/x")),
            ("/x", Some("/x")),
            ("https://app.internal/x", None),
            ("https://b.example/x", None),
            ("ftp://www.example/x", None),
        ] {
            let found = found("PUT", 201, &asked, &[reference]);
            assert_eq!(found.targets.get(1).map(String::as_str), expected, "{reference}");
            assert!(found.names_another, "{reference}");
        }
    }

    #[test]
    fn another_place_is_named_wherever_that_is() {
        for (places, expected) in [
            (&["/d/e?q", "?q#f"][..], false),
            (&[], false),
            (&["https://a.example/d/e?q"], false),
            // The backend knows nothing of TLS.
            (&["http://a.example/d/e?q"], false),
            (&["/d/e"], true),
            (&["/d/e?q", "/x"], true),
            (&["http://a.example/x"], true),
            (&["https://b.example/d/e?q"], true),
            (&["mailto:a@b"], true),
        ] {
            assert_eq!(found("PUT", 201, &ASKED, places).names_another, expected, "{places:?}");
        }
        let asked = |one: &'static str, other: &'static str| {
            let readings = vec![Cow::Borrowed(one), Cow::Borrowed(other)];
            invalidated(&Method::Put, 201, &ASKED, [readings]).names_another
        };
        assert!(!asked("/e?q", "/d/e?q") && asked("/e?q", "/d/e"));
        assert!(invalidated(&Method::Put, 201, &ASKED, [Vec::new()]).names_another, "what is no text");
    }

    #[test]
    fn hosts_in_brackets_keep_their_colons() {
        assert_eq!(origin("http", "[::1]"), ("[::1]".into(), "80".into()));
        assert_eq!(origin("http", "[::1]:81"), ("[::1]".into(), "81".into()));
    }

    proptest! {
        #[test]
        fn what_is_invalidated_is_a_path(reference in "[a./?:#@]{0,20}|\\PC{0,20}") {
            for target in of("POST", 200, &[reference.as_str()]) {
                prop_assert!(target.starts_with('/'), "{}", target);
            }
        }
    }
}
