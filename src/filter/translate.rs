//! `rewrite` of a route, seen from the other side: what responses say of places, as clients know them.

use std::{borrow::Cow, sync::Arc};

use super::hooks::{Body, Hooks, ResponseFacts};
use crate::{backend::Backend, exchange::Exchange, fields::Known};

/// Translates places from what the backend sees to what the client does, where that is asked for: `Location`,
/// `Content-Location`, `Refresh`, and `Path` and `Domain` of cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translate {
    /// What clients have before the backend's paths; without a `/` at its end.
    outer: String,
    /// What backends have before them.
    inner: String,
    /// The host that backends are asked for, in lower case; empty where it is the client's.
    host: String,
}

/// The names of the backends that a response may be of.
#[derive(Clone, Copy, Debug)]
struct Names<'a> {
    /// Of the one that answered; empty where that is not known.
    answered: &'a str,
    /// Of all.
    backends: &'a [Arc<Backend>],
}

impl Names<'_> {
    /// Whether one of them is like this. Those of the addresses of a host name are called as that is.
    fn any(&self, is: impl Fn(&str) -> bool) -> bool {
        is(self.answered) || self.backends.iter().any(|backend| is(backend.configured_name()))
    }
}

impl Translate {
    /// The filter of a rewrite that is undone in responses. A `host` with placeholders is none that could be found again.
    pub fn of(strip_prefix: &str, add_prefix: &str, host: &str) -> Self {
        let prefix = |text: &str| text.trim_end_matches('/').to_owned();
        let host = if host.contains('{') { String::new() } else { host.to_ascii_lowercase() };
        Self { outer: prefix(strip_prefix), inner: prefix(add_prefix), host }
    }

    /// A place that a backend names as the client sees it; `None` where it stays as it is. `answered` is the name of the
    /// backend that named it, where that is known.
    pub fn outward_place(
        &self,
        text: &str,
        exchange: &Exchange,
        (answered, backends): (&str, &[Arc<Backend>]),
    ) -> Option<String> {
        self.place(text, exchange, Names { answered, backends })
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

    /// A place as the client sees it; `None` where it stays as it is.
    fn place(&self, text: &str, exchange: &Exchange, names: Names<'_>) -> Option<String> {
        let scheme =
            text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
        let rest = match &*scheme {
            "http" | "https" => text.get(scheme.len() + 1..).unwrap_or_default(),
            _ => text,
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => split_authority(rest),
            None if rest.starts_with('/') => ("", rest),
            // Relative to where the client is.
            None => return None,
        };
        let path = if path.is_empty() { "/" } else { path };
        if !path.starts_with('/') {
            return None;
        }
        let path = self.outward(path);
        if authority.is_empty() {
            // Else what was behind a prefix would be read as a host.
            let before = if names_host(&path) && !names_host(text) { "/." } else { "" };
            return Some(format!("{before}{path}"));
        }
        let bare = without_default_port(authority, &scheme);
        let is = |other: &str| {
            let other = without_default_port(other, &scheme);
            !other.is_empty() && bare.eq_ignore_ascii_case(other)
        };
        let (is_clients, client_scheme) =
            (is(&exchange.authority) || is(&exchange.host), exchange.client_scheme());
        if is_clients && scheme == "https" && client_scheme != "https" {
            // It sends the client on to TLS, which is elsewhere: the client's own would lead back, without an end.
            return Some(format!("https://{authority}{path}"));
        }
        // Else what the backend takes itself for, which may know of TLS or a port of the client's nothing.
        let is_own = is_clients || is(&self.host) || names.any(is);
        is_own.then(|| format!("{client_scheme}://{}{path}", exchange.authority))
    }

    fn translate(&self, exchange: &mut Exchange, names: Names<'_>) {
        for name in ["location", "content-location", "refresh"] {
            let Some(value) = exchange.response.fields.get(name) else { continue };
            let Ok(text) = std::str::from_utf8(value) else { continue };
            let (before, place) = if name == "refresh" { split_refresh(text) } else { ("", text) };
            let bare = place.trim_end_matches(['"', '\'']);
            let quote = place.get(bare.len()..).unwrap_or_default();
            if let Some(place) = self.place(bare, exchange, names) {
                let value = format!("{before}{place}{quote}");
                exchange.response.fields.set(name, value.as_bytes());
            }
        }
        if exchange.response.fields.has(Known::SetCookie) {
            self.translate_cookies(exchange, names);
        }
    }

    fn translate_cookies(&self, exchange: &mut Exchange, names: Names<'_>) {
        let cookies: Vec<Vec<u8>> = {
            let values = exchange.response.fields.all_known(Known::SetCookie);
            values.map(|value| self.cookie(value, exchange, names)).collect()
        };
        let fields = &mut exchange.response.fields;
        fields.remove_known(Known::SetCookie);
        cookies.iter().for_each(|cookie| fields.push_known(Known::SetCookie, cookie));
    }

    /// A cookie with the path that the client knows, and without the backend's own domain: then it is the client's host's
    /// (RFC 6265 §5.3).
    fn cookie(&self, value: &[u8], exchange: &Exchange, names: Names<'_>) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(value) else { return value.to_vec() };
        let attribute = |part: &str| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        };
        // Browsers keep such a cookie with `Path=/` only (draft-ietf-httpbis-rfc6265bis §4.1.3.2).
        let is_of_host =
            text.trim_start().get(..OF_HOST.len()).is_some_and(|it| it.eq_ignore_ascii_case(OF_HOST));
        let mut out = String::with_capacity(text.len());
        for (index, part) in text.split(';').enumerate() {
            let found = attribute(part).filter(|_| index > 0);
            let part = match &found {
                Some((name, path)) if name == "path" && path.starts_with('/') && !is_of_host => {
                    let path = self.outward(path);
                    // `/app/` would not be the path of `/app`.
                    let whole = path.strip_suffix('/').filter(|it| !it.is_empty() && *it == self.outer);
                    Cow::Owned(format!(" Path={}", whole.unwrap_or(&path)))
                }
                Some((name, domain)) if name == "domain" => {
                    let host = domain.trim_start_matches('.');
                    let is = |name: &str| host.eq_ignore_ascii_case(without_port(name));
                    let is_backends = is(&self.host) || names.any(is);
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
    fn acts_on_requests(&self) -> bool {
        false
    }

    fn on_response(&self, exchange: &mut Exchange, facts: &ResponseFacts<'_>) -> Body {
        if !facts.is_own {
            let names = Names { answered: facts.place.backend, backends: facts.backends };
            self.translate(exchange, names);
        }
        Body::Kept
    }
}

/// How the names of cookies begin that are of a whole host.
const OF_HOST: &str = "__Host-";

/// What of a path is behind a prefix of whole segments, in whichever spelling that is there; `/` where that is all.
fn behind<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let (mut rest, mut left) = (path.as_bytes(), prefix.as_bytes());
    while let Some((expected, others)) = first_sign(left) {
        let (found, behind) = first_sign(rest)?;
        if found != expected {
            return None;
        }
        (rest, left) = (behind, others);
    }
    match path.get(path.len() - rest.len()..)? {
        "" => Some("/"),
        rest if rest.starts_with('/') => Some(rest),
        // Behind the prefix may come what is no path any more.
        rest if rest.starts_with(['?', '#']) => Some(rest),
        _ => None,
    }
}

/// The first sign of a path, with whether it is escaped where that makes another of it (RFC 3986 §6.2.2.2), and what is behind.
fn first_sign(path: &[u8]) -> Option<((u8, bool), &[u8])> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if let [b'%', high, low, behind @ ..] = path
        && let (Some(high), Some(low)) = (digit(*high), digit(*low))
    {
        let byte = high << 4 | low;
        return Some(((byte, b"/\\%?#".contains(&byte)), behind));
    }
    path.split_first().map(|(byte, behind)| ((*byte, false), behind))
}

fn join(prefix: &str, rest: &str) -> String {
    if rest.starts_with('/') { format!("{prefix}{rest}") } else { format!("{prefix}/{rest}") }
}

/// Whether a reference without a scheme is read as one with a host (RFC 3986 §4.2); browsers take a backslash for a slash,
/// and leave tabs out.
pub fn names_host(reference: &str) -> bool {
    let mut signs = reference.chars().filter(|sign| *sign != '\t');
    let mut is_slash = || matches!(signs.next(), Some('/' | '\\'));
    is_slash() && is_slash()
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

/// An authority without the port that its scheme has anyway (RFC 9110 §4.2.3); where the scheme is not said, of either.
fn without_default_port<'a>(authority: &'a str, scheme: &str) -> &'a str {
    let (http, https) = (authority.strip_suffix(":80"), authority.strip_suffix(":443"));
    let bare = match scheme {
        "http" => http,
        "https" => https,
        _ => http.or(https),
    };
    bare.unwrap_or(authority)
}

fn without_port(authority: &str) -> &str {
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{backend::Address, exchange::Peer, template::Place};

    fn exchange() -> Exchange {
        let mut exchange = Exchange::default();
        exchange.authority.push_str("www.example.com");
        exchange.host.push_str("www.example.com");
        exchange
    }

    #[test]
    fn places_are_told_as_clients_see_them() {
        let app = Translate::of("/app", "", "app.internal");
        let inner = Translate::of("/", "/v2/", "");
        let both = Translate::of("/app/", "/v2", "");
        let (spelled, inner_spelled) = (Translate::of("/@app", "", ""), Translate::of("", "/v%3A2", ""));
        let names = Names { answered: "10.0.0.1:8080", backends: &[] };
        for (translate, place, expected) in [
            (&app, "/login", "/app/login"),
            (&app, "/", "/app/"),
            (&app, "/app/login", "/app/login"),
            (&app, "/apple", "/app/apple"),
            (&app, "http://app.internal/a?b=c#d", "http://www.example.com/app/a?b=c#d"),
            (&app, "HTTP://App.Internal", "http://www.example.com/app/"),
            (&app, "http://www.example.com/a", "http://www.example.com/app/a"),
            (&app, "https://www.example.com/a", "https://www.example.com/app/a"),
            (&app, "https://app.internal/a", "http://www.example.com/app/a"),
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
            // What is behind the prefix becomes no host.
            (&inner, "/v2//evil.example/x/", "/.//evil.example/x/"),
            (&inner, "/v2/\\evil.example/", "/./\\evil.example/"),
            (&inner, "/v2/\t/evil.example/", "/./\t/evil.example/"),
            (&inner, "http://10.0.0.1:8080/v2//a", "http://www.example.com//a"),
            (&inner, "//elsewhere.example/v2//a", ""),
            (&inner, "/\\elsewhere.example/", "/\\elsewhere.example/"),
            (&both, "/v2//a", "/app//a"),
            // As the request's prefix is removed in every spelling.
            (&spelled, "/%40app/a%2Fb", "/%40app/a%2Fb"),
            (&spelled, "/%40app", "/%40app"),
            (&spelled, "/@%61pp?b", "/@%61pp?b"),
            (&inner_spelled, "/v:2/%40", "/%40"),
            (&spelled, "/%2f@app/a", "/@app/%2f@app/a"),
            (&spelled, "/@app%2Fa", "/@app/@app%2Fa"),
        ] {
            let found = translate.place(place, &exchange(), names).unwrap_or_default();
            assert_eq!(found, expected, "{place}");
        }
    }

    /// Backends at these addresses, under these names.
    fn backends(all: [(&str, Address); 3]) -> Vec<Arc<Backend>> {
        let backend = |(name, address): (&str, Address)| Backend {
            name: name.into(),
            address,
            weight: 1,
            max_connections: 0,
            backup: false,
            slow_start: Duration::ZERO,
            shared: Arc::default(),
        };
        all.map(|it| Arc::new(backend(it))).into()
    }

    #[test]
    fn backends_are_known_without_address_and_default_port() {
        let app = Translate::of("/app", "", "");
        let of_name = Address::OfName { host: "wiki.test".into(), at: "10.0.0.1:8080".parse().unwrap() };
        let backends = backends([
            ("wiki.internal:80", Address::Host { host: "wiki.internal".into(), port: 80 }),
            ("app.internal@10.0.0.1", of_name),
            ("tls.internal:443", Address::Host { host: "tls.internal".into(), port: 443 }),
        ]);
        let names = Names { answered: "app.internal@10.0.0.1", backends: &backends };
        for (place, expected) in [
            ("http://wiki.internal/a", "http://www.example.com/app/a"),
            ("http://wiki.internal:80/a", "http://www.example.com/app/a"),
            ("//wiki.internal/a", "http://www.example.com/app/a"),
            ("http://wiki.internal:8080/a", ""),
            ("https://wiki.internal/a", ""),
            ("http://app.internal/a", "http://www.example.com/app/a"),
            ("http://app.internal:80/a", "http://www.example.com/app/a"),
            ("https://tls.internal/a", "http://www.example.com/app/a"),
            ("http://tls.internal/a", ""),
            ("http://www.example.com:80/a", "http://www.example.com/app/a"),
            ("http://:80/a", ""),
        ] {
            let found = app.place(place, &exchange(), names).unwrap_or_default();
            assert_eq!(found, expected, "{place}");
        }
        for (domain, expected) in [
            ("wiki.internal", "a=b; Path=/app"),
            (".app.internal", "a=b; Path=/app"),
            ("elsewhere.example", "a=b; Path=/app; Domain=elsewhere.example"),
        ] {
            let cookie = format!("a=b; Path=/; Domain={domain}");
            let found = app.cookie(cookie.as_bytes(), &exchange(), names);
            assert_eq!(String::from_utf8(found).unwrap(), expected);
        }
    }

    #[test]
    fn a_redirect_to_tls_is_not_led_back() {
        let app = Translate::of("/app", "", "app.internal");
        let mut exchange = exchange();
        exchange.authority.push_str(":8080");
        let names = Names { answered: "", backends: &[] };
        let place = |text: &str, exchange: &Exchange| app.place(text, exchange, names).unwrap_or_default();
        for (text, expected) in [
            ("https://www.example.com/a", "https://www.example.com/app/a"),
            ("https://www.example.com:8080/a", "https://www.example.com:8080/app/a"),
            ("https://www.example.com:8443/a", ""),
            // It does not know of the port.
            ("http://www.example.com/a", "http://www.example.com:8080/app/a"),
            ("//www.example.com/a", "http://www.example.com:8080/app/a"),
        ] {
            assert_eq!(place(text, &exchange), expected, "{text}");
        }
        // One behind TLS may not know that its clients are not.
        exchange.facts.peer = Peer { is_trusted: true, ..Peer::default() }.into();
        exchange.request.fields.push("x-forwarded-proto", b"https");
        assert_eq!(place("http://www.example.com:8080/a", &exchange), "https://www.example.com:8080/app/a");
        assert_eq!(place("https://www.example.com/a", &exchange), "https://www.example.com:8080/app/a");
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
        let app = Translate::of("/app", "", "app.internal:8080");
        let fields = [
            ("location", "/login"),
            ("content-location", "/a.html"),
            ("refresh", "5; URL='/next'"),
            ("set-cookie", "a=b; Path=/; Domain=app.internal; Secure"),
            ("set-cookie", "c=/d; path=/e; Domain=example.com"),
            ("set-cookie", "Path=/; Max-Age=1"),
            ("set-cookie", "__Host-s=1; Secure; Path=/"),
            ("set-cookie", "__HOST-Http-t=1; Path=/; Secure"),
            ("set-cookie", "__Secure-u=1; Path=/; Secure"),
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
                "set-cookie: __HOST-Http-t=1; Path=/; Secure",
                "set-cookie: __Host-s=1; Secure; Path=/",
                "set-cookie: __Secure-u=1; Path=/app; Secure",
                "set-cookie: a=b; Path=/app; Secure",
                "set-cookie: c=/d; Path=/app/e; Domain=example.com",
            ]
        );
        assert_eq!(translated(&app, &[("refresh", "5")]), ["refresh: 5"]);
        let inner = Translate::of("", "/v2", "");
        assert_eq!(
            translated(&inner, &[("refresh", "0; url=/v2//a.example")]),
            ["refresh: 0; url=/.//a.example"]
        );
    }
}
