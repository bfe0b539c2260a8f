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
    // Nothing is left out of a value: what is left would be another, which no condition of a route has judged. And with a
    // colon it would end the host for backends that read on to there.
    let is_plain = made.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    let has_labels = |name: &str| name.split('.').all(|label| !label.is_empty());
    let is_split = is_plain && split_port(&made).is_ok_and(|(name, _)| has_labels(name));
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
mod tests;
