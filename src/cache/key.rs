//! What a stored response is found by: scheme, host, path, query and chosen header fields, in one spelling.
//!
//! Method is no part of it: HEAD is answered from what GET stored (RFC 9111 §2, §4), and what may use the key
//! at all is [`Use::of`]. Equal keys are equal texts; the hash only finds them quickly, so that no collision,
//! however it was made, serves one URI's response for another.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    fields::Fields,
    h1::{Framing, Method, RequestHead},
};

/// What of a request becomes part of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// Which parameters of the query.
    pub query: QueryKey,
    /// Whether parameters are put in order by their names; those of the same name keep theirs.
    pub sorted: bool,
    /// Names of header fields, in lower case.
    pub headers: Vec<String>,
}

/// Which parameters of the query are part of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryKey {
    /// The whole query.
    #[default]
    All,
    /// None of it.
    None,
    /// The parameters of these names.
    Names(Vec<String>),
}

/// A key: its text, and a hash of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    hash: u128,
    text: Box<[u8]>,
}

impl Key {
    /// The key of a URI. `host` is in lower case and without port, `port` only when one was given, `target`
    /// is path and query as `http::normalize` left them.
    pub fn of(
        scheme: &str,
        host: &str,
        port: Option<u16>,
        target: &str,
        request: &Fields,
        settings: &KeySettings,
    ) -> Self {
        let mut text = Vec::with_capacity(scheme.len() + host.len() + target.len() + 16);
        text.extend(scheme.bytes().map(|byte| byte.to_ascii_lowercase()));
        text.extend_from_slice(b"://");
        text.extend(host.bytes().map(|byte| byte.to_ascii_lowercase()));
        // RFC 9110 §4.2.3: the default port and none are the same.
        if let Some(port) = port.filter(|port| Some(*port) != default_port(scheme)) {
            text.extend_from_slice(format!(":{port}").as_bytes());
        }
        write_target(target, settings, &mut text);
        for name in &settings.headers {
            Self::write_header(
                name,
                super::normalized_field::normalized(name, request).as_deref(),
                &mut text,
            );
        }
        Self::of_text(text)
    }

    /// The key of a text that was put together elsewhere, as of a variant.
    pub(super) fn of_text(text: Vec<u8>) -> Self {
        Self { hash: xxh3_128(&text), text: text.into() }
    }

    /// The key of the URI of this key, under which there may be several.
    pub fn of_its_uri(&self) -> Self {
        Self::of_text(self.uri().to_vec())
    }

    /// This key with something more that tells responses apart; `name` is no field's name.
    pub fn with(self, name: &str, value: &[u8]) -> Self {
        let mut text = self.text.into_vec();
        Self::write_header(name, Some(value), &mut text);
        Self::of_text(text)
    }

    /// Writes a field behind a key. The length makes every text readable in one way only; absent is not
    /// empty.
    pub(super) fn write_header(name: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
        out.push(b'\n');
        out.extend_from_slice(name.as_bytes());
        if let Some(value) = value {
            out.extend_from_slice(format!(":{}:", value.len()).as_bytes());
            out.extend_from_slice(value);
        }
    }

    /// The hash, to find the key by.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// The lower half of the hash, for tables that compare the whole behind it.
    pub fn half_hash(&self) -> u64 {
        lower_half(self.hash)
    }

    /// The hash of the URI at the beginning of the text: the same for all keys of a URI.
    pub fn uri_hash(&self) -> u128 {
        if self.has_fields() { xxh3_128(self.uri()) } else { self.hash }
    }

    /// Whether there is more in it than the URI.
    pub fn has_fields(&self) -> bool {
        memchr::memchr(b'\n', &self.text).is_some()
    }

    /// The text, to compare and to show.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The URI at the beginning of the text, without chosen fields: what invalidation and purging go by.
    pub fn uri(&self) -> &[u8] {
        self.text.split(|byte| *byte == b'\n').next().unwrap_or_default()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", String::from_utf8_lossy(&self.text))
    }
}

/// The lower 64 bits.
pub(super) fn lower_half(hash: u128) -> u64 {
    const LOWER: u128 = 0xffff_ffff_ffff_ffff;
    (hash & LOWER) as u64
}

/// What a request may do with the cache, by its method (RFC 9111 §2, §4, §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// GET: answered from the cache, its response stored.
    ReadAndStore,
    /// HEAD: answered from what GET stored; its response only freshens that.
    Read,
    /// Safe, but not cached: OPTIONS and TRACE. CONNECT names no resource.
    Pass,
    /// Unsafe, or of unknown safety: written through, and what it changes is invalidated.
    Invalidate,
}

impl Use {
    /// Decides by method and body. A GET with a body passes: what it means is not defined (RFC 9110 §9.3.1),
    /// and the body is no part of the key. So does one with preconditions for the origin
    /// ([`has_origin_precondition`]).
    pub fn of(request: &RequestHead, body: Framing) -> Self {
        let has_body = !matches!(body, Framing::None | Framing::Length(0));
        match &request.method {
            Method::Get | Method::Head if has_body || has_origin_precondition(&request.fields) => Self::Pass,
            Method::Get => Self::ReadAndStore,
            Method::Head => Self::Read,
            Method::Options | Method::Trace | Method::Connect => Self::Pass,
            Method::Post | Method::Put | Method::Delete | Method::Patch | Method::Other(_) => {
                Self::Invalidate
            }
        }
    }
}

/// If-Match and If-Unmodified-Since are for the origin; a cache "MUST NOT evaluate" them (RFC 9111 §4.3.2).
pub fn has_origin_precondition(request: &Fields) -> bool {
    request.get("if-match").is_some() || request.get("if-unmodified-since").is_some()
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        scheme if scheme.eq_ignore_ascii_case("http") => Some(80),
        scheme if scheme.eq_ignore_ascii_case("https") => Some(443),
        _ => None,
    }
}

/// Path and query in one spelling (RFC 3986 §6.2.2.1, §6.2.2.2). `?` with nothing behind it stays, as it is
/// another URI than none; where parameters are chosen, both mean that there are none.
fn write_target(target: &str, settings: &KeySettings, out: &mut Vec<u8>) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    match path {
        "" => out.push(b'/'),
        path => write_escaped(path, out),
    }
    let Some(query) = query else { return };
    let mut parameters: Vec<Vec<u8>> = match &settings.query {
        QueryKey::None => return,
        QueryKey::All if !settings.sorted => {
            out.push(b'?');
            write_escaped(query, out);
            return;
        }
        QueryKey::All => query.split('&').map(spelled).collect(),
        QueryKey::Names(names) => {
            let names: Vec<_> = names.iter().map(|name| spelled(name)).collect();
            query
                .split('&')
                .map(spelled)
                .filter(|one| names.iter().any(|name| name == name_of(one)))
                .collect()
        }
    };
    if settings.sorted {
        parameters.sort_by(|one, other| name_of(one).cmp(name_of(other)));
    }
    if parameters.is_empty() {
        return;
    }
    out.push(b'?');
    out.extend_from_slice(&parameters.join(&b'&'));
}

fn name_of(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'=').next().unwrap_or_default()
}

fn spelled(text: &str) -> Vec<u8> {
    let mut spelled = Vec::with_capacity(text.len());
    write_escaped(text, &mut spelled);
    spelled
}

/// Writes text with escapes in upper case and unreserved characters unescaped. A line feed, which no parser
/// lets in, would end the URI of a key, and is escaped.
fn write_escaped(text: &str, out: &mut Vec<u8>) {
    if memchr::memchr2(b'%', b'\n', text.as_bytes()).is_none() {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        let escaped = match (byte, behind) {
            (b'\n', _) => Some(b'\n'),
            (b'%', [high, low, behind @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = behind;
                    Some(high * 16 + low)
                }
                _ => None,
            },
            _ => None,
        };
        match escaped {
            None => out.push(*byte),
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte),
            Some(byte) => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_with(
        scheme: &str,
        host: &str,
        port: Option<u16>,
        target: &str,
        settings: &KeySettings,
    ) -> String {
        let key = Key::of(scheme, host, port, target, &Fields::default(), settings);
        String::from_utf8(key.text().to_vec()).unwrap()
    }

    fn text(target: &str, query: QueryKey, sorted: bool) -> String {
        let settings = KeySettings { query, sorted, headers: Vec::new() };
        text_with("https", "a.example", None, target, &settings)
    }

    #[test]
    fn scheme_host_and_default_port_have_one_spelling() {
        let plain = KeySettings::default();
        assert_eq!(text_with("HTTP", "A.Example", Some(80), "/", &plain), "http://a.example/");
        assert_eq!(text_with("https", "a.example", Some(443), "", &plain), "https://a.example/");
        assert_eq!(text_with("https", "a.example", Some(80), "/", &plain), "https://a.example:80/");
    }

    #[test]
    fn escapes_have_one_spelling_and_mean_the_same() {
        assert_eq!(
            text("/%7ea/%c3%a9%2f%zz%4?x=%41", QueryKey::All, false),
            "https://a.example/~a/%C3%A9%2F%zz%4?x=A"
        );
        assert_ne!(text("/a%2fb", QueryKey::All, false), text("/a/b", QueryKey::All, false));
        assert_eq!(text("/a?", QueryKey::All, false), "https://a.example/a?");
    }

    #[test]
    fn the_query_is_whole_or_gone_or_chosen_or_sorted() {
        let target = "/p?b=2&a=1&utm=x&b=1&%61=3";
        assert_eq!(text(target, QueryKey::All, false), "https://a.example/p?b=2&a=1&utm=x&b=1&a=3");
        assert_eq!(text(target, QueryKey::All, true), "https://a.example/p?a=1&a=3&b=2&b=1&utm=x");
        assert_eq!(text(target, QueryKey::None, false), "https://a.example/p");
        let names = || QueryKey::Names(vec!["b".into(), "a".into()]);
        assert_eq!(text(target, names(), false), "https://a.example/p?b=2&a=1&b=1&a=3");
        assert_eq!(text(target, names(), true), "https://a.example/p?a=1&a=3&b=2&b=1");
        assert_eq!(text("/p?utm=x", names(), true), "https://a.example/p");
    }

    #[test]
    fn chosen_fields_are_in_the_key_not_its_uri() {
        let settings = KeySettings { headers: vec!["x-a".into(), "x-b".into()], ..KeySettings::default() };
        let key = |lines: &[(&str, &str)]| {
            let mut fields = Fields::default();
            lines.iter().for_each(|(name, value)| fields.push(name, value.as_bytes()));
            Key::of("http", "a", None, "/x", &fields, &settings)
        };
        assert_eq!(key(&[("X-A", "1")]), key(&[("x-a", "1"), ("x-c", "2")]));
        assert_ne!(key(&[("x-a", "1")]), key(&[("x-b", "1")]));
        assert_ne!(key(&[("x-a", "")]), key(&[]));
        // No value, however it came, reads as two.
        for value in ["1\nx-b:1", "1\nx-b:1:1"] {
            assert_ne!(key(&[("x-a", value)]), key(&[("x-a", "1"), ("x-b", "1")]));
        }
        assert_eq!(key(&[("x-a", "1")]).uri(), b"http://a/x");
    }

    #[test]
    fn methods_read_pass_or_invalidate() {
        let of = |method: &str, body| {
            Use::of(&RequestHead { method: Method::of(method), ..RequestHead::default() }, body)
        };
        assert_eq!(of("GET", Framing::None), Use::ReadAndStore);
        assert_eq!(of("GET", Framing::Length(0)), Use::ReadAndStore);
        assert_eq!(of("GET", Framing::Length(1)), Use::Pass);
        assert_eq!(of("HEAD", Framing::None), Use::Read);
        for method in ["OPTIONS", "TRACE", "CONNECT"] {
            assert_eq!(of(method, Framing::None), Use::Pass, "{method}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "PROPFIND", "M-SEARCH", "get"] {
            assert_eq!(of(method, Framing::None), Use::Invalidate, "{method}");
        }
    }

    #[test]
    fn preconditions_for_the_origin_pass_the_cache() {
        for name in ["If-Match", "if-unmodified-since"] {
            let mut request = RequestHead::default();
            request.fields.push(name, b"x");
            assert_eq!(Use::of(&request, Framing::None), Use::Pass, "{name}");
        }
    }

    /// The spelling of the few escapes that the test below uses, by plain replacement.
    fn naive(target: &str, sorted: bool) -> String {
        let mut text = target.to_owned();
        for (escaped, plain) in [("%41", "A"), ("%61", "a"), ("%2f", "%2F")] {
            text = text.replace(escaped, plain);
        }
        match text.split_once('?') {
            Some((path, query)) if sorted => {
                let mut parameters: Vec<_> = query.split('&').collect();
                parameters.sort_by_key(|parameter| parameter.split('=').next());
                format!("{path}?{}", parameters.join("&"))
            }
            _ => text,
        }
    }

    proptest! {
        #[test]
        fn keys_are_equal_exactly_when_their_normal_forms_are(
            one in "(/[ab]?(%41|%6z|A|%2F|%2f|%61)?){1,2}(\\?([ab](=[ab])?|%61)(&([ab]|%61=)){0,2})?",
            other in "(/[ab]?(%41|%6z|A|%2F|%2f|%61)?){1,2}(\\?([ab](=[ab])?|%61)(&([ab]|%61=)){0,2})?",
            sorted in any::<bool>(),
        ) {
            let settings = KeySettings { sorted, ..KeySettings::default() };
            let key = |target: &str| Key::of("http", "h", None, target, &Fields::default(), &settings);
            // Two that are made at random are seldom equal; each is compared with its own normal form too.
            let (normal, others) = (naive(&one, sorted), naive(&other, sorted));
            prop_assert_eq!(key(&one) == key(&other), normal == others);
            prop_assert_eq!(key(&one).hash() == key(&other).hash(), normal == others);
            prop_assert_eq!(key(&one), key(&normal));
            let text = String::from_utf8(key(&one).uri().to_vec()).unwrap();
            prop_assert_eq!(text, format!("http://h{normal}"));
        }

        #[test]
        fn a_spelling_is_its_own_spelling(text in "([a-z/~?=&]|%[0-7][0-9a-fA-F]){0,12}") {
            let once = spelled(&text);
            prop_assert_eq!(spelled(std::str::from_utf8(&once).unwrap()), once);
        }

        #[test]
        fn no_text_stops_the_maker_of_keys(text in "\\PC{0,30}|[%0-9a-fA-F?&=\\n]{0,30}", sorted in any::<bool>()) {
            let settings = KeySettings { sorted, ..KeySettings::default() };
            let key = Key::of("http", "h", None, &text, &Fields::default(), &settings);
            prop_assert!(!key.text().contains(&b'\n'));
        }
    }
}
