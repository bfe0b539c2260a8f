//! `Destination` of WebDAV (RFC 4918 §10.3), rewritten as the target of its request is, without which nothing could be
//! moved on a route with a prefix.
//!
//! Previous stop: the filters of the route, which may edit it; next stop: the cache, or a backend. It is made one thing as
//! a target is (`http::path`), so that none leads out of `add_prefix`.

use std::{borrow::Cow, mem, str};

use super::{edit, misleading::is_misleading, path, routing};
use crate::{
    config::listen::PathsConf,
    error::{Kind, Result},
    exchange::{Exchange, PathReadings},
    route::rewrite::Rewrite,
    runtime::{Listener, Route},
    template::{Place, Scope, Template},
};

/// Rewrites `Destination`, where there is one, as a path alone (RFC 4918 §8.3): scheme and host may be others behind the
/// proxy.
///
/// # Errors
///
/// [`Kind::Malformed`] for one that is no place, that could be read in two ways, that is not here though what the backend
/// may do is below a prefix, or of which the template of the path makes nothing.
pub(crate) fn rewrite(listener: &Listener, route: &Route, exchange: &mut Exchange) -> Result<()> {
    let Some(rewrite) = route.rewrite.as_ref().filter(|rewrite| changes_places(rewrite)) else {
        return Ok(());
    };
    if !is_for_places(exchange) {
        return Ok(());
    }
    let value = {
        let mut values = exchange.request.fields.all("destination");
        let Some(value) = values.next() else { return Ok(()) };
        if values.next().is_some() {
            return Err(Kind::Malformed("Destination twice").into());
        }
        value.to_vec()
    };
    let place = Place { route: &route.name, captures: &route.captures, ..Place::default() };
    let rewritten = rewritten(&value, (rewrite, place), &listener.conf.paths, exchange)?;
    let Some((place, readings)) = rewritten else { return Ok(()) };
    if let Some(readings) = readings {
        routing::check_readings(listener, exchange, &readings)?;
    }
    exchange.request.fields.set("destination", place.as_bytes());
    Ok(())
}

/// Whether `Destination` is a place: that of a method which has one, or of a request that may be read as another method's.
/// Elsewhere it is a field of the application's own.
pub(super) fn is_for_places(exchange: &Exchange) -> bool {
    const METHODS: [&str; 4] = ["BCOPY", "BMOVE", "COPY", "MOVE"];
    let request = &exchange.request;
    METHODS.contains(&request.method.as_str()) || is_misleading(&request.fields)
}

/// Whether places are others for the backend than for clients.
fn changes_places(rewrite: &Rewrite) -> bool {
    let Rewrite { strip_prefix, add_prefix, path, host, .. } = rewrite;
    !strip_prefix.is_empty() || !add_prefix.is_empty() || path.is_some() || host.is_some()
}

/// The place as the backend has it, and the other ways to read it before; `None` where it is left as it is.
fn rewritten(
    value: &[u8],
    (rewrite, by): (&Rewrite, Place<'_>),
    paths: &PathsConf,
    exchange: &mut Exchange,
) -> Result<Option<(String, Option<PathReadings>)>> {
    let Some(place) = place_here(value, exchange) else {
        return match rewrite.add_prefix.is_empty() && rewrite.path.is_none() {
            true => Ok(None),
            // The backend might take it for one of its own, and it would not be below the prefix.
            false => Err(Kind::Malformed("Destination is not a path of this host").into()),
        };
    };
    if place.contains('#') {
        return Err(Kind::Malformed("a fragment in Destination").into());
    }
    let (path, query) = place.split_at(place.find('?').unwrap_or(place.len()));
    let (normal, readings) = path::spellings(path, paths).map_err(Kind::Malformed)?;
    let path = match &rewrite.path {
        Some(template) => made_of(template, by, (&normal, readings.as_ref()), exchange)?,
        None => edit::with_prefix(rewrite, &normal, readings.as_ref()),
    };
    let place = path + query;
    // Else a path with two slashes would be read as a host (RFC 3986 §4.2).
    let place = if place.starts_with("//") { format!("/.{place}") } else { place };
    Ok(Some((place, readings)))
}

/// The path that a template makes of a place, as it does of the target. What has nothing of the path in it, or something of
/// the query, or groups of an expression that does not find this path, would name another place than is meant.
fn made_of(
    template: &Template,
    by: Place<'_>,
    (path, readings): (&str, Option<&PathReadings>),
    exchange: &mut Exchange,
) -> Result<String> {
    let matched = readings.map_or(path, |readings| &readings.matched);
    let is_found = || by.captures.iter().any(|regex| regex.is_match(matched));
    let has_groups = template.captures().next().is_some();
    if !template.is_made_of_path() || (has_groups && !is_found()) {
        return Err(Kind::Malformed("Destination, of which `rewrite.path` makes no place").into());
    }
    // For a moment it is the target, which is what the template is filled from.
    let mut target = (path.to_owned(), path.len(), readings.cloned().map(Box::new));
    let mut swap = |exchange: &mut Exchange| {
        mem::swap(&mut exchange.request.target, &mut target.0);
        mem::swap(&mut exchange.path_length, &mut target.1);
        mem::swap(&mut exchange.readings, &mut target.2);
    };
    swap(exchange);
    let made = edit::made_of(template, &Scope { exchange, place: by });
    swap(exchange);
    Ok(made)
}

/// Path and query of a place that is at the host that the client asks.
fn place_here<'a>(value: &'a [u8], exchange: &Exchange) -> Option<Cow<'a, str>> {
    let text = str::from_utf8(value).ok()?;
    let is = |scheme: &str, other: &str| scheme.eq_ignore_ascii_case(other);
    let (port, rest) = match text.split_once("://") {
        Some((scheme, rest)) if is(scheme, "https") => (":443", rest),
        Some((scheme, rest)) if is(scheme, "http") => (":80", rest),
        Some(_) | None => match text.strip_prefix("//") {
            Some(rest) => ("", rest),
            None => return text.starts_with('/').then_some(text.into()),
        },
    };
    let (authority, place) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let bare = authority.strip_suffix(port).unwrap_or(authority);
    // As the authority of the request has none (`normalize`).
    let without_dot = |it: &str| match it.split_once(':') {
        Some((name, port)) if !it.starts_with('[') => format!("{}:{port}", name.trim_end_matches('.')),
        Some(_) | None => it.trim_end_matches('.').to_owned(),
    };
    let is_here =
        [authority, bare].iter().any(|it| without_dot(it).eq_ignore_ascii_case(&exchange.authority));
    let whole = || if place.starts_with('/') { place.into() } else { format!("/{place}").into() };
    is_here.then(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::conf::RewriteConf;

    /// What becomes of it on the way to the backend; `400` where it is refused, and `-` where it stays as it is.
    fn told((strip_prefix, add_prefix): (&str, &str), text: &str) -> String {
        let conf = RewriteConf {
            strip_prefix: strip_prefix.to_owned(),
            add_prefix: add_prefix.to_owned(),
            ..unchanged()
        };
        told_by(&conf, text)
    }

    /// The same of a route whose path is made anew, and is found by this expression.
    fn told_to(path: &str, text: &str) -> String {
        told_by(&RewriteConf { path: path.to_owned(), ..unchanged() }, text)
    }

    fn unchanged() -> RewriteConf {
        let [strip_prefix, add_prefix, path, host] = [const { String::new() }; 4];
        RewriteConf { strip_prefix, add_prefix, path, host, query: None, responses: false }
    }

    fn told_by(conf: &RewriteConf, text: &str) -> String {
        let mut exchange = Exchange { path_length: 2, ..Exchange::default() };
        exchange.authority.push_str("www.example.com");
        exchange.host.push_str("www.example.com");
        exchange.request.target.push_str("/x?q=1");
        let captures = [regex::Regex::new("^/dav/(.*)$").unwrap()];
        let by = (&Rewrite::of(conf), Place { captures: &captures, ..Place::default() });
        assert!(changes_places(by.0) || conf == &unchanged());
        let told = rewritten(text.as_bytes(), by, &PathsConf::default(), &mut exchange);
        assert_eq!((&*exchange.request.target, exchange.path(), &exchange.readings), ("/x?q=1", "/x", &None));
        match told {
            Ok(place) => place.map_or("-".to_owned(), |(place, _)| place),
            Err(error) => {
                assert!(matches!(error.kind(), Kind::Malformed(_)), "{error}");
                "400".to_owned()
            }
        }
    }

    #[test]
    fn a_destination_is_rewritten_as_the_target_is() {
        for (text, expected) in [
            ("http://www.example.com/dav/a%20b", "/files/a%20b"),
            ("/dav/a?b=//c#", "400"),
            ("/dav/a?b=://c", "/files/a?b=://c"),
            ("/dav/a://b", "/files/a://b"),
            ("https://WWW.example.com/dav", "/files/"),
            ("https://www.example.com:443/dav/a", "/files/a"),
            ("http://www.example.com", "/files/"),
            ("//www.example.com/dav/a", "/files/a"),
            ("https://www.example.com./dav/a", "/files/a"),
            ("https://www.example.com.:443/dav/a", "/files/a"),
            ("//dav/a", "400"),
            ("http://www.example.com//dav/a", "/files/a"),
            ("/dav/%61/./b", "/files/a/b"),
            // As a target that the route takes without its prefix.
            ("/elsewhere", "/files/elsewhere"),
        ] {
            assert_eq!(told(("/dav", "/files/"), text), expected, "{text}");
        }
        assert_eq!(told(("/dav/", ""), "/dav//a"), "/.//a", "a path, and no host");
        assert_eq!(told(("", ""), "/a//b"), "/a//b");
    }

    #[test]
    fn a_destination_is_a_place_for_who_moves_and_copies() {
        for (method, field, expected) in [
            ("MOVE", "x-a", true),
            ("COPY", "x-a", true),
            ("GET", "x-a", false),
            ("POST", "x-a", false),
            ("POST", "x-http-method-override", true),
        ] {
            let mut exchange = Exchange::default();
            exchange.request.method = crate::h1::Method::of(method);
            exchange.request.fields.push(field, b"MOVE");
            assert_eq!(is_for_places(&exchange), expected, "{method} {field}");
        }
    }

    #[test]
    fn a_destination_is_made_as_the_target_is() {
        for (path, text, expected) in [
            ("/tenants/a{path}", "/b/x", "/tenants/a/b/x"),
            ("/tenants/a{path}", "http://www.example.com/b//%40?c=d", "/tenants/a/b//%40?c=d"),
            ("/{host}{path}", "/b", "/www.example.com/b"),
            ("{path}/inner", "//b", "400"),
            ("{path}/inner", "http://www.example.com//b", "/.//b/inner"),
            ("/files/{path.1}", "/dav/b/c", "/files/b/c"),
            ("/files/{path.1}", "//www.example.com//dav/%3Bc", "/files/;c"),
            // There would be nothing but the folder of all.
            ("/files/{path.1}", "/elsewhere", "400"),
            ("/index.php", "/b", "400"),
            ("/files/{query.q}", "/b?q=c", "400"),
            ("{path}/{query.q}", "/b?q=c", "400"),
            ("/app{path_and_query}", "/b", "400"),
        ] {
            assert_eq!(told_to(path, text), expected, "{path} {text}");
        }
        for text in ["/../b", "http://www.example.com/%2e%2e/b", "/..%2Fb", "b", "http://app.internal/b"] {
            assert_eq!(told_to("/tenants/a{path}", text), "400", "{text}");
        }
    }

    #[test]
    fn no_destination_leads_out_of_the_prefix() {
        for text in [
            "/../b/stolen.txt",
            "/%2e%2e/b/stolen.txt",
            "/dav/../../b",
            "http://www.example.com/../b",
            "/..%2Fb",
            "/..;x/b",
            "/a\\..\\b",
            "../b/stolen.txt",
            "b/stolen.txt",
            "",
            "http://app.internal/b/stolen.txt",
            "http://www.example.com:8080/b",
            "ftp://www.example.com/b",
            "//b/stolen.txt",
            "http://www.example.com@b/",
        ] {
            assert_eq!(told(("", "/tenants/a"), text), "400", "{text}");
        }
        for (text, expected) in [("/x/../b", "/tenants/a/b"), ("/tenants/b/x", "/tenants/a/tenants/b/x")] {
            assert_eq!(told(("", "/tenants/a"), text), expected);
        }
        // What another server has is none of this one's, and is left to the backend.
        for text in ["http://other.example/dav/a", "a/b"] {
            assert_eq!(told(("/dav", ""), text), "-", "{text}");
        }
        assert_eq!(told(("/dav", ""), "/dav/../../a"), "400");
    }
}
