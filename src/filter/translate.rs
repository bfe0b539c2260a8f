//! `rewrite` of a route, seen from the other side: what messages say of places, as each side knows them.

use std::borrow::Cow;

use super::hooks::{Body, Hooks, ResponseFacts};
use crate::{exchange::Exchange, fields::Known, template::Place};

/// Translates places between what the client sees and what the backend does: in responses (where it is asked for)
/// `Location`, `Content-Location`, `Refresh`, and `Path` and `Domain` of cookies; in requests `Destination` (RFC 4918
/// §10.3), without which nothing could be moved on a route with a prefix.
#[derive(Debug)]
pub struct Translate {
    /// What clients have before the backend's paths; without a `/` at its end.
    outer: String,
    /// What backends have before them.
    inner: String,
    /// The host that backends are asked for, in lower case; empty where it is the client's.
    host: String,
    translates_responses: bool,
}

impl Translate {
    /// The filter of a rewrite; `None` where it has nothing to do. A `host` with placeholders is none that could be found
    /// again.
    pub fn of(strip_prefix: &str, add_prefix: &str, host: &str, responses: bool) -> Option<Self> {
        let prefix = |text: &str| text.trim_end_matches('/').to_owned();
        let host = if host.contains('{') { String::new() } else { host.to_ascii_lowercase() };
        let (outer, inner) = (prefix(strip_prefix), prefix(add_prefix));
        let has_prefix = !outer.is_empty() || !inner.is_empty();
        (has_prefix || responses).then_some(Self { outer, inner, host, translates_responses: responses })
    }

    /// A path of the backend's as clients see it; as it is where it is none that they could see, or is theirs already.
    fn outward<'a>(&self, path: &'a str) -> Cow<'a, str> {
        if !self.outer.is_empty() && behind(path, &self.outer).is_some() {
            return path.into();
        }
        match behind(path, &self.inner) {
            Some(rest) if self.outer.is_empty() && self.inner.is_empty() => rest.into(),
            Some(rest) => join(&self.outer, rest).into(),
            None => path.into(),
        }
    }

    /// A path of the client's as the backend sees it.
    fn inward(&self, path: &str) -> Option<String> {
        Some(join(&self.inner, behind(path, &self.outer)?))
    }

    /// A place as the client sees it; `None` where it stays as it is.
    fn place(&self, text: &str, exchange: &Exchange, backend: &str) -> Option<String> {
        let (authority, path) = match text.split_once("://") {
            Some((scheme, rest)) if matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") => {
                split_authority(rest)
            }
            Some(_) | None => match text.strip_prefix("//") {
                Some(rest) => split_authority(rest),
                None if text.starts_with('/') => ("", text),
                // Relative to where the client is.
                None => return None,
            },
        };
        let path = if path.is_empty() { "/" } else { path };
        if !path.starts_with('/') {
            return None;
        }
        if authority.is_empty() {
            return Some(self.outward(path).into_owned());
        }
        self.is_own(authority, exchange, backend)
            .then(|| format!("{}://{}{}", exchange.client_scheme(), exchange.authority, self.outward(path)))
    }

    /// Whether an authority is what the backend takes itself for.
    fn is_own(&self, authority: &str, exchange: &Exchange, backend: &str) -> bool {
        let is = |other: &str| !other.is_empty() && authority.eq_ignore_ascii_case(other);
        is(&self.host) || is(&exchange.authority) || is(&exchange.host) || is(backend)
    }

    fn translate(&self, exchange: &mut Exchange, backend: &str) {
        for name in ["location", "content-location", "refresh"] {
            let Some(value) = exchange.response.fields.get(name) else { continue };
            let Ok(text) = std::str::from_utf8(value) else { continue };
            let (before, place) = if name == "refresh" { split_refresh(text) } else { ("", text) };
            let bare = place.trim_end_matches(['"', '\'']);
            let quote = place.get(bare.len()..).unwrap_or_default();
            if let Some(place) = self.place(bare, exchange, backend) {
                let value = format!("{before}{place}{quote}");
                exchange.response.fields.set(name, value.as_bytes());
            }
        }
        if exchange.response.fields.has(Known::SetCookie) {
            self.translate_cookies(exchange, backend);
        }
    }

    fn translate_cookies(&self, exchange: &mut Exchange, backend: &str) {
        let cookies: Vec<Vec<u8>> = {
            let values = exchange.response.fields.all_known(Known::SetCookie);
            values.map(|value| self.cookie(value, exchange, backend)).collect()
        };
        let fields = &mut exchange.response.fields;
        fields.remove_known(Known::SetCookie);
        cookies.iter().for_each(|cookie| fields.push_known(Known::SetCookie, cookie));
    }

    /// A cookie with the path that the client knows, and without the backend's own domain: then it is the client's host's
    /// (RFC 6265 §5.3).
    fn cookie(&self, value: &[u8], exchange: &Exchange, backend: &str) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(value) else { return value.to_vec() };
        let attribute = |part: &str| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        };
        let mut out = String::with_capacity(text.len());
        for (index, part) in text.split(';').enumerate() {
            let found = attribute(part).filter(|_| index > 0);
            let part = match &found {
                Some((name, path)) if name == "path" && path.starts_with('/') => {
                    let path = self.outward(path);
                    // `/app/` would not be the path of `/app`.
                    let whole = path.strip_suffix('/').filter(|it| !it.is_empty() && *it == self.outer);
                    Cow::Owned(format!(" Path={}", whole.unwrap_or(&path)))
                }
                Some((name, domain)) if name == "domain" => {
                    let host = domain.trim_start_matches('.');
                    let is_backends = host.eq_ignore_ascii_case(without_port(&self.host))
                        || host.eq_ignore_ascii_case(without_port(backend));
                    if is_backends && !host.eq_ignore_ascii_case(&exchange.host) {
                        continue;
                    }
                    Cow::Borrowed(part)
                }
                Some(_) | None => Cow::Borrowed(part),
            };
            if index > 0 {
                out.push(';');
            }
            out.push_str(&part);
        }
        out.into_bytes()
    }
}

impl Hooks for Translate {
    fn on_forward(&self, exchange: &mut Exchange, _: Place<'_>) {
        let Some(value) = exchange.request.fields.get("destination") else { return };
        let Ok(text) = std::str::from_utf8(value) else { return };
        let (authority, path) = match text.split_once("://") {
            Some((_, rest)) => split_authority(rest),
            None => ("", text),
        };
        let is_here = authority.is_empty() || authority.eq_ignore_ascii_case(&exchange.authority);
        // As a path alone (RFC 4918 §8.3): scheme and host may be others behind the proxy.
        if let Some(path) = self.inward(path).filter(|_| is_here) {
            exchange.request.fields.set("destination", path.as_bytes());
        }
    }

    fn on_response(&self, exchange: &mut Exchange, facts: &ResponseFacts<'_>) -> Body {
        if self.translates_responses && !facts.is_own {
            self.translate(exchange, facts.place.backend);
        }
        Body::Kept
    }
}

/// What of a path is behind a prefix of whole segments; `/` where that is all.
fn behind<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    match path.strip_prefix(prefix)? {
        "" => Some("/"),
        rest if rest.starts_with('/') => Some(rest),
        // Behind the prefix may come what is no path any more.
        rest if rest.starts_with(['?', '#']) => Some(rest),
        _ => None,
    }
}

fn join(prefix: &str, rest: &str) -> String {
    if rest.starts_with('/') { format!("{prefix}{rest}") } else { format!("{prefix}/{rest}") }
}

/// An authority and what is behind it.
fn split_authority(text: &str) -> (&str, &str) {
    text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()))
}

/// What comes before the URL in a value of Refresh (`5; url=/next`), and the URL; no URL where there is none.
fn split_refresh(text: &str) -> (&str, &str) {
    let lower = text.to_ascii_lowercase();
    let Some(at) = lower.find("url=") else { return (text, "") };
    let begin = at + 4;
    let quoted = text.get(begin..).is_some_and(|rest| rest.starts_with(['"', '\'']));
    text.split_at(begin + usize::from(quoted))
}

fn without_port(authority: &str) -> &str {
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> Exchange {
        let mut exchange = Exchange::default();
        exchange.authority.push_str("www.example.com");
        exchange.host.push_str("www.example.com");
        exchange
    }

    #[test]
    fn places_are_told_as_clients_see_them() {
        let app = Translate::of("/app", "", "app.internal", true).unwrap();
        let inner = Translate::of("/", "/v2/", "", true).unwrap();
        let both = Translate::of("/app/", "/v2", "", true).unwrap();
        for (translate, place, expected) in [
            (&app, "/login", "/app/login"),
            (&app, "/", "/app/"),
            (&app, "/app/login", "/app/login"),
            (&app, "/apple", "/app/apple"),
            (&app, "http://app.internal/a?b=c#d", "http://www.example.com/app/a?b=c#d"),
            (&app, "HTTP://App.Internal", "http://www.example.com/app/"),
            (&app, "https://www.example.com/a", "http://www.example.com/app/a"),
            (&app, "//app.internal/a", "http://www.example.com/app/a"),
            (&app, "http://10.0.0.1:8080/a", "http://www.example.com/app/a"),
            (&app, "http://app.internal.evil.example/a", ""),
            (&app, "https://elsewhere.example/a", ""),
            (&app, "ftp://app.internal/a", ""),
            (&app, "a/b", ""),
            (&app, "http://app.internal?b", ""),
            (&inner, "/v2/users", "/users"),
            (&inner, "/v2", "/"),
            (&inner, "/v20", "/v20"),
            (&inner, "/other", "/other"),
            (&both, "/v2/users", "/app/users"),
            (&both, "/other", "/other"),
        ] {
            let found = translate.place(place, &exchange(), "10.0.0.1:8080").unwrap_or_default();
            assert_eq!(found, expected, "{place}");
        }
    }

    /// A response with these fields, behind the filter.
    fn translated(translate: &Translate, fields: &[(&str, &str)]) -> Vec<String> {
        let mut exchange = exchange();
        fields.iter().for_each(|(name, value)| exchange.response.fields.push(name, value.as_bytes()));
        let place = Place { backend: "10.0.0.1:8080", ..Place::default() };
        let _ = translate.on_response(&mut exchange, &ResponseFacts { place, ..ResponseFacts::default() });
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        exchange.response.fields.iter().map(|it| format!("{}: {}", text(it.name), text(it.value))).collect()
    }

    #[test]
    fn fields_that_name_places_are_translated_and_no_others() {
        let app = Translate::of("/app", "", "app.internal:8080", true).unwrap();
        let fields = [
            ("location", "/login"),
            ("content-location", "/a.html"),
            ("refresh", "5; URL='/next'"),
            ("set-cookie", "a=b; Path=/; Domain=app.internal; Secure"),
            ("set-cookie", "c=/d; path=/e; Domain=example.com"),
            ("set-cookie", "Path=/; Max-Age=1"),
            ("link", "</a.css>; rel=preload"),
        ];
        let mut found = translated(&app, &fields);
        found.sort();
        assert_eq!(
            found,
            [
                "content-location: /app/a.html",
                "link: </a.css>; rel=preload",
                "location: /app/login",
                "refresh: 5; URL='/app/next'",
                "set-cookie: Path=/; Max-Age=1",
                "set-cookie: a=b; Path=/app; Secure",
                "set-cookie: c=/d; Path=/app/e; Domain=example.com",
            ]
        );
        let off = Translate::of("/app", "", "", false).unwrap();
        assert_eq!(translated(&off, &[("location", "/login")]), ["location: /login"]);
        assert_eq!(translated(&app, &[("refresh", "5")]), ["refresh: 5"]);
    }

    #[test]
    fn a_destination_is_rewritten_as_the_target_is() {
        let app = Translate::of("/dav", "/files", "", false).unwrap();
        for (text, expected) in [
            ("http://www.example.com/dav/a%20b", "/files/a%20b"),
            ("/dav/a", "/files/a"),
            ("https://WWW.example.com/dav", "/files/"),
            ("http://other.example/dav/a", "http://other.example/dav/a"),
            ("/elsewhere", "/elsewhere"),
        ] {
            let mut exchange = exchange();
            exchange.request.fields.push("Destination", text.as_bytes());
            app.on_forward(&mut exchange, Place::default());
            assert_eq!(exchange.request.fields.get("destination"), Some(expected.as_bytes()), "{text}");
        }
        assert!(Translate::of("", "", "a.example", false).is_none());
    }
}
