//! `Destination` of WebDAV (RFC 4918 §10.3), rewritten as the target of its request is, without which nothing could be
//! moved on a route with a prefix.
//!
//! Previous stop: the filters of the route, which may edit it; next stop: the cache, or a backend. It is made one thing as
//! a target is (`http::path`), so that none leads out of `add_prefix`.

use std::{borrow::Cow, str};

use super::{edit, path, routing};
use crate::{
    config::listen::PathsConf,
    error::{Kind, Result},
    exchange::{Exchange, PathReadings},
    route::rewrite::Rewrite,
    runtime::{Listener, Route},
};

/// Rewrites `Destination`, where there is one, as a path alone (RFC 4918 §8.3): scheme and host may be others behind the
/// proxy.
///
/// # Errors
///
/// [`Kind::Malformed`] for one that is no place, that could be read in two ways, or that is not here though what the
/// backend may do is below a prefix.
pub(crate) fn rewrite(listener: &Listener, route: &Route, exchange: &mut Exchange) -> Result<()> {
    let Some(rewrite) = route.rewrite.as_ref().filter(|rewrite| changes_places(rewrite)) else {
        return Ok(());
    };
    let rewritten = {
        let mut values = exchange.request.fields.all("destination");
        let Some(value) = values.next() else { return Ok(()) };
        if values.next().is_some() {
            return Err(Kind::Malformed("Destination twice").into());
        }
        rewritten(value, rewrite, &listener.conf.paths, exchange)?
    };
    let Some((place, readings)) = rewritten else { return Ok(()) };
    if let Some(readings) = readings {
        routing::check_readings(listener, exchange, &readings)?;
    }
    exchange.request.fields.set("destination", place.as_bytes());
    Ok(())
}

/// Whether places are others for the backend than for clients.
fn changes_places(rewrite: &Rewrite) -> bool {
    rewrite.path.is_none()
        && (!rewrite.strip_prefix.is_empty() || !rewrite.add_prefix.is_empty() || rewrite.host.is_some())
}

/// The place as the backend has it, and the other ways to read it before; `None` where it is left as it is.
fn rewritten(
    value: &[u8],
    rewrite: &Rewrite,
    paths: &PathsConf,
    exchange: &Exchange,
) -> Result<Option<(String, Option<PathReadings>)>> {
    let Some(place) = place_here(value, exchange) else {
        return match rewrite.add_prefix.is_empty() {
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
    let place = edit::with_prefix(rewrite, &normal, readings.as_ref()) + query;
    // Else a path with two slashes would be read as a host (RFC 3986 §4.2).
    let place = if place.starts_with("//") { format!("/.{place}") } else { place };
    Ok(Some((place, readings)))
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
    let is_here = [authority, bare].iter().any(|it| it.eq_ignore_ascii_case(&exchange.authority));
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
            path: String::new(),
            host: String::new(),
            query: None,
            responses: false,
        };
        let mut exchange = Exchange::default();
        exchange.authority.push_str("www.example.com");
        match rewritten(text.as_bytes(), &Rewrite::of(&conf), &PathsConf::default(), &exchange) {
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
