//! What a request is found by in the cache of its route, and the present as caches count time.

use super::{forwarded, misleading};
use crate::{
    cache::{
        date::Date,
        key::{Key, KeySettings},
        store::Cache,
    },
    exchange::Exchange,
    fields::{Field, Fields, Known, is_of_address},
    runtime::Route,
    telemetry::clock,
    template::{Place, Scope},
};

/// The present, as caches count time.
pub(super) fn now() -> Date {
    Date(clock::unix_millis() / 1000)
}

/// The key of a request on this route.
pub fn key(route: &Route, cache: &Cache, exchange: &Exchange) -> Key {
    key_for(route, cache, exchange, &exchange.request.target)
}

/// The key of a request on a route without a cache: its URI with the whole query.
pub(super) fn uri(route: &Route, exchange: &Exchange) -> Key {
    let (_, scheme, port) = place(route, exchange);
    let request = &exchange.request;
    Key::of(scheme, &exchange.host, port, &request.target, &request.fields, &KeySettings::default())
}

/// A field of what proxies say of a request, where it is believed.
fn believed<'a>(route: &Route, exchange: &'a Exchange, known: Known) -> Option<&'a [u8]> {
    // What the route says goes on too, whoever the client is.
    let is_believed = exchange.facts.is_trusted() || route.settled_forwarding.has(known);
    exchange.request.fields.known(known).filter(|_| is_believed)
}

/// The scheme that a proxy says where it says one, that of the URI, and the port of the URI.
#[inline]
fn place<'a>(route: &Route, exchange: &'a Exchange) -> (Option<&'a [u8]>, &'static str, Option<u16>) {
    // A backend makes its answer by the scheme and host that it is given (redirects, links).
    let proto = believed(route, exchange, Known::XForwardedProto);
    let scheme = match proto {
        Some(said) if said.eq_ignore_ascii_case(b"https") => "https",
        Some(said) if said.eq_ignore_ascii_case(b"http") => "http",
        Some(_) | None => exchange.scheme(),
    };
    let port = exchange.authority.get(exchange.host.len()..).and_then(|rest| rest.strip_prefix(':'));
    (proto, scheme, port.and_then(|port| port.parse().ok()))
}

/// The key of a request like this one, for another target.
pub(super) fn key_for(route: &Route, cache: &Cache, exchange: &Exchange, target: &str) -> Key {
    let fields = &exchange.request.fields;
    let believed = |known| believed(route, exchange, known);
    let (proto, scheme, port) = place(route, exchange);
    let mut key = Key::of(scheme, &exchange.host, port, target, fields, &cache.key);
    if let Some(proto) = proto.filter(|proto| *proto != scheme.as_bytes()) {
        // None that a URL has, or not as it is written there.
        key = key.with("forwarded scheme", proto);
    }
    if let Some(host) = believed(Known::XForwardedHost) {
        key = key.with("forwarded host", host);
    }
    // Of a client that is not trusted there is left what the route has added: whoever asks, the backend is told the same.
    if cache.is_storing
        && let Some(told) = told_by_proxy(route, fields)
    {
        key = key.with("told by a proxy", &told);
    }
    if let Some(told) = believed(Known::Forwarded).and_then(|_| forwarded::told(fields)) {
        key = key.with("forwarded", &told);
    }
    if let Some(proof) = proof(route, fields) {
        key = key.with("proof", &proof);
    }
    if let Some(route) = &route.key_suffix {
        key = key.with("route name", route.as_bytes());
    }
    let scope = Scope { exchange, place: Place { route: &route.name, ..Place::default() } };
    if let Some(template) = &cache.key_template {
        let mut text = Vec::new();
        template.write_key(&scope, &mut text);
        key = key.with("template", &text);
    }
    let lacks = |parameter: Option<&str>| !cache.key.query.has(parameter);
    if let Some(rewritten) = route.rewrite.as_ref().and_then(|rewrite| rewrite.apart_of_key(&scope, &lacks)) {
        // The backend answers for what it is asked for.
        key = key.with("rewritten", &rewritten);
    }
    match cache.is_storing {
        true => key,
        false => told_apart(key, fields),
    }
}

/// What a trusted proxy says of the client beside, in fields that go on or of which the route makes others, or the route where
/// the proxy does not: some backends make links by it (the prefix of `X-Forwarded-Prefix`), choose the scheme, or the user.
/// `None` where nothing is said, or what the route says whatever a proxy does.
fn told_by_proxy(route: &Route, fields: &Fields) -> Option<Vec<u8>> {
    if !fields.has(Known::OfProxy) && route.told_fields.is_empty() {
        return None;
    }
    let is_told = |field: &Field<'_>| {
        let is_one_of =
            |names: &[Box<str>]| names.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()));
        let goes_on = || {
            field.known == Known::OfProxy
                && !is_of_address(field.name)
                && !misleading::is_removed(field.name)
                && !is_one_of(&route.settled_fields)
        };
        goes_on() || is_one_of(&route.told_fields)
    };
    let mut told = Vec::new();
    for field in fields.iter().filter(is_told) {
        told.extend(field.name.iter().map(u8::to_ascii_lowercase));
        told.push(b':');
        told.extend_from_slice(field.value);
        told.push(b'\n');
    }
    (!told.is_empty()).then_some(told)
}

/// What a request says of who its client has proved to be, in fields that its route makes of that. A backend may answer by
/// them, and need not say so: they are none that a client sends, which the response would have to name in Vary. `None` where
/// there are none, as of clients without a certificate.
fn proof(route: &Route, fields: &Fields) -> Option<Vec<u8>> {
    let mut proof = Vec::new();
    for name in &route.proving_fields {
        for value in fields.all(name) {
            proof.extend_from_slice(name.as_bytes());
            proof.push(b':');
            proof.extend_from_slice(value);
            proof.push(b'\n');
        }
    }
    (!proof.is_empty()).then_some(proof)
}

/// Fields that say what a client would have, or how it came to ask, and not who it is.
const HARMLESS: [&[u8]; 25] = [
    b"accept",
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"cache-control",
    b"date",
    b"dnt",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"pragma",
    b"priority",
    b"range",
    b"referer",
    b"save-data",
    b"sec-gpc",
    b"sec-purpose",
    b"te",
    b"tracestate",
    b"traceparent",
    b"upgrade-insecure-requests",
    b"user-agent",
    b"via",
    b"x-forwarded-for",
    b"x-real-ip",
];

/// Without a cache nothing says which responses are for everyone: only requests that are alike in every field that could
/// tell clients apart share one.
fn told_apart(key: Key, fields: &Fields) -> Key {
    let is_harmless = |field: &Field<'_>| {
        let begins = |prefix: &[u8]| {
            field.name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
        };
        let is_of_hop = matches!(
            field.known,
            Known::Host | Known::Connection | Known::Upgrade | Known::Forwarded | Known::XRequestId
        );
        // Of what proxies say of a client, its key has scheme and host, and what Forwarded says besides.
        let is_in_key = matches!(field.known, Known::XForwardedProto | Known::XForwardedHost);
        is_of_hop
            || is_in_key
            || begins(b"sec-ch-")
            || begins(b"sec-fetch-")
            || HARMLESS.iter().any(|name| field.name.eq_ignore_ascii_case(name))
    };
    let mut told: Vec<(Vec<u8>, &[u8])> = fields
        .iter()
        .filter(|field| !is_harmless(field))
        .map(|field| (field.name.to_ascii_lowercase(), field.value))
        .collect();
    if told.is_empty() {
        return key;
    }
    // In whatever order fields come; values of one name are a list, and its order may mean something.
    told.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut text = Vec::new();
    for (name, value) in told {
        // As they are, and no hash of them: who may choose fields finds some whose hashes make what another's make.
        text.extend_from_slice(&name);
        text.extend_from_slice(format!(":{}:", value.len()).as_bytes());
        text.extend_from_slice(value);
    }
    key.with("fields that tell clients apart", &text)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{config, exchange::Peer, runtime::build};

    /// The key of a request for `/x` on a route with these keys.
    fn key_on(route: &str, is_trusted: bool, fields: &[(&str, &str)]) -> Key {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        key_of(route, is_trusted, &fields)
    }

    fn key_of(route: &str, is_trusted: bool, fields: &[(&str, &[u8])]) -> Key {
        key_at("/x", route, is_trusted, fields)
    }

    fn key_at(target: &str, route: &str, is_trusted: bool, fields: &[(&str, &[u8])]) -> Key {
        let text = format!(
            "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[cache]]\nname = \"pages\"\n\
             [[upstream]]\nname = \"app\"\n[[upstream.backend]]\naddress = \"127.0.0.1:1\"\n\
             [[route]]\nname = \"all\"\nupstream = \"app\"\n{route}\n"
        );
        let config =
            config::parse(&text, "test.toml".as_ref()).unwrap_or_else(|problems| panic!("{problems:?}"));
        let snapshot = build::build_apart(config).unwrap();
        let mut exchange = Exchange { path_length: 2, ..Exchange::default() };
        exchange.facts.peer = Rc::new(Peer { is_trusted, text: "192.0.2.1".into(), ..Peer::default() });
        exchange
            .facts
            .id
            .push_str(&fields.first().map_or("".into(), |(_, value)| String::from_utf8_lossy(value)));
        exchange.host.push_str("a.example");
        exchange.authority.push_str("a.example");
        exchange.request.target.push_str(target);
        fields.iter().for_each(|(name, value)| exchange.request.fields.push(name, value));
        let route = &snapshot.routes[0];
        key(route, route.cache.as_ref().unwrap(), &exchange)
    }

    #[test]
    fn what_a_rewrite_takes_from_elsewhere_is_in_the_key() {
        for rewrite in [
            "host = \"{header.x-real-ip}.internal\"",
            "path = \"/{header.x-real-ip}{path}\"",
            "query = { set = { user = \"{header.x-real-ip}\" } }",
            "query = { add = { user = \"{request_id}-{header.x-real-ip|lower}\" } }",
        ] {
            for cache in ["cache = \"pages\"", "collapse = true"] {
                let route = format!("{cache}\nrewrite = {{ {rewrite} }}");
                let of = |tenant| key_on(&route, false, &[("x-real-ip", tenant)]);
                assert_ne!(of("a"), of("b"), "{route}");
                assert_eq!(of("a"), of("a"), "{route}");
                assert_eq!(of("a").uri(), of("b").uri(), "a purge of the URL finds both");
            }
        }
        for rewrite in [
            "path = \"/v2{path}\"",
            "host = \"{host}.internal\"",
            "query = { set = { a = \"{request_id}\" } }",
        ] {
            let route = format!("cache = \"pages\"\nrewrite = {{ {rewrite} }}");
            let of = |tenant| key_on(&route, false, &[("x-real-ip", tenant)]);
            assert_eq!(of("a"), of("b"), "{route}");
            assert!(!of("a").has_fields(), "{route}");
        }
    }

    /// Else whoever chooses what the route makes of it chooses what all others get; and a write that is delivered later, as of
    /// a proxy that is trusted, has the key that it was accepted under.
    #[test]
    fn what_a_route_says_of_the_client_is_in_keys() {
        for cache in ["cache = \"pages\"", "collapse = true"] {
            for name in ["x-forwarded-host", "x-forwarded-proto", "forwarded"] {
                let edited =
                    format!("{cache}\nrequest_headers = {{ set = {{ {name} = \"{{header.x-a}}\" }} }}");
                let of = |route: &str, is_trusted, value| key_on(route, is_trusted, &[(name, value)]);
                assert_ne!(of(&edited, false, "host=b"), of(&edited, false, "host=c"), "{name}");
                assert_eq!(of(&edited, false, "host=b"), of(&edited, true, "host=b"), "{name}");
                assert_eq!(of(cache, false, "host=b"), of(cache, false, "host=c"), "{name}");
                assert_eq!(of(&edited, false, "https"), of(&edited, true, "https"), "{name}");
            }
        }
    }

    /// Else one tenant's page goes to all others.
    #[test]
    fn what_a_rewrite_takes_from_the_query_is_in_keys() {
        for rewrite in [
            "path = \"/{query.tenant}{path}\"",
            "host = \"{query.tenant}.internal\"",
            "path = \"/q/{query}\"",
            "query = { set = { who = \"{query.tenant}\" } }",
            "query = { set = { to = \"{path_and_query}\" } }",
        ] {
            let of = |key: &str, target: &str| {
                let route = format!(
                    "cache = \"keyed\"\nrewrite = {{ {rewrite} }}\n[[cache]]\nname = \"keyed\"\nkey = {{ query = {key} }}"
                );
                key_at(target, &route, false, &[])
            };
            let [one, other] = ["/x?tenant=a", "/x?tenant=b"];
            for key in ["\"none\"", "[\"page\"]"] {
                assert_ne!(of(key, one), of(key, other), "{rewrite} {key}");
                assert_eq!(of(key, one).uri(), of(key, other).uri(), "a purge of the URL finds both");
            }
            let is_named = !rewrite.contains("query}");
            assert_eq!(of("[\"tenant\"]", one).has_fields(), !is_named, "{rewrite}");
            assert!(!of("\"all\"", one).has_fields(), "the key has it: {rewrite}");
        }
    }

    /// Else a client writes what stands for another request, and all get its page.
    #[test]
    fn values_of_a_template_are_told_apart() {
        let route = "cache = \"keyed\"\n[[cache]]\nname = \"keyed\"\n\
             key = { template = \"{cookie.lang}-{cookie.theme}-{header.x-a|default:a}\" }";
        let of = |cookie: &str| key_on(route, false, &[("cookie", cookie)]);
        assert_ne!(of("lang=pt-BR; theme=dark"), of("lang=pt; theme=BR-dark"));
        assert_ne!(of("lang=5:a-1; theme=b"), of("lang=5:a; theme=1-b"));
        assert_ne!(of("lang=pt; theme="), of("lang=pt"), "an empty one is none");
        assert_eq!(of("lang=pt; theme=dark"), of("theme=dark; lang=pt"));
        let with = |value: &str| key_on(route, false, &[("cookie", "lang=pt"), ("x-a", value)]);
        assert_eq!((with(""), with("a")), (of("lang=pt"), of("lang=pt")), "the default is the same");
    }

    /// Else who is behind a proxy that passes it on chooses what all others get.
    #[test]
    fn what_a_trusted_proxy_says_beside_is_in_the_key() {
        for cache in ["cache = \"pages\"", "collapse = true"] {
            let of = |is_trusted, name, value| key_on(cache, is_trusted, &[(name, value)]);
            let plain = key_on(cache, true, &[]);
            for name in [
                "X-Forwarded-Prefix",
                "x-forwarded-ssl",
                "X-Forwarded-Protocol",
                "x-forwarded-uri",
                "x-forwarded-path",
                "X-Original-Host",
                "x-forwarded-user",
                "X-Forwarded-Proto",
                "X-Forwarded",
                "X-Scheme",
                "Front-End-Https",
                "Client-Cert",
                "X-Pointsman-Mirror",
            ] {
                for value in ["/a", "on", "", "https://b.example/y?"] {
                    let key = of(true, name, value);
                    assert_ne!(key, plain, "{name}: {value}");
                    assert_eq!(key.uri(), plain.uri(), "a purge of the URL finds both: {name}");
                }
                assert_ne!(of(true, name, "/a"), of(true, name, "/b"), "{name}");
            }
            for name in ["X-Real-IP", "X-Forwarded-For"] {
                assert_eq!(of(true, name, "192.0.2.9"), plain, "{name}");
            }
        }
        let pages = "cache = \"pages\"";
        let addresses = ["x-original-forwarded-for", "True-Client-IP", "client-ip", "X-Cluster-Client-IP"];
        for name in addresses.into_iter().chain(["X-Client-IP", "X-Forwarded-Port", "x-original-url"]) {
            assert_eq!(key_on(pages, true, &[(name, "1")]), key_on(pages, true, &[]), "{name}");
        }
        let own = "cache = \"pages\"\nrequest_headers = { set = { x-forwarded-prefix = \"/app\" } }";
        let of = |value| key_on(own, true, &[("x-forwarded-prefix", value)]);
        assert_eq!(of("/app"), key_on(own, true, &[]), "the route says it");
        // It has added it: its clients are not believed, and were cleaned of it.
        let added = &[("x-forwarded-prefix", "/app")];
        assert_eq!(key_on(pages, false, added), key_on(pages, true, added), "whoever asks");
        assert_eq!(key_on(pages, false, &[("x-forwarded-proto", "ftp")]), key_on(pages, false, &[]));
    }

    /// A sum of hashes can be made to be what another request's is, and then one gets what was answered to the other.
    #[test]
    fn what_tells_clients_apart_is_in_the_key_itself() {
        let of = |fields: &[(&str, &str)]| key_on("collapse = true", false, fields);
        let has = |key: &Key, part: &[u8]| key.text().windows(part.len()).any(|window| window == part);
        let fields = [("Cookie", "a=b"), ("HX-Request", "true"), ("x-api-key", "one"), ("X-Api-Key", "two")];
        let key = of(&fields);
        for part in [&b"cookie:3:a=b"[..], b"hx-request:4:true", b"x-api-key:3:onex-api-key:3:two"] {
            assert!(has(&key, part), "{key:?}");
        }
        let [cookie, htmx, one, two] = fields;
        assert_eq!(of(&[one, htmx, two, cookie]), key, "in whatever order");
        assert_ne!(of(&[cookie, htmx, two, one]), key, "the order of one's values may mean something");
        assert_ne!(of(&[("x-a", "1"), ("x-b", "2")]), of(&[("x-a", "1x-b:1:2")]));
        assert_ne!(of(&[("x-a", "")]), of(&[]), "an empty one is there");
        assert!(!of(&[("User-Agent", "a"), ("Accept-Language", "de")]).has_fields(), "who is like others");
    }

    /// Else what the one value got it is the other's: the route sets the field, and the proxy says what is in it.
    #[test]
    fn fields_made_of_what_proxies_say_are_in_keys() {
        let pages = "cache = \"pages\"";
        for (name, edit) in [
            ("x-forwarded-prefix", "set = { x-forwarded-prefix = \"{header.x-forwarded-prefix}/app\" }"),
            ("x-forwarded-port", "set = { x-forwarded-port = \"{header.x-forwarded-port}\" }"),
            ("x-user", "set = { x-user = \"{header.x-forwarded-user}\" }\nremove = [\"x-forwarded-user\"]"),
            (
                "x-base",
                "add = { x-base = \"{header.x-forwarded-proto}:/\" }\nremove = [\"x-forwarded-proto\"]",
            ),
        ] {
            let route = format!("{pages}\n[route.request_headers]\n{edit}");
            let of = |value| key_on(&route, true, &[(name, value)]);
            assert_ne!(of("/a"), of("/b"), "the route makes it of what a proxy says: {edit}");
            assert_eq!(of("/a"), of("/a"), "{edit}");
            assert_eq!(of("/a").uri(), of("/b").uri(), "a purge of the URL finds both: {edit}");
        }
        let route = format!("{pages}\nrequest_headers = {{ set = {{ x-user = \"{{header.x-real-ip}}\" }} }}");
        let of = |user| key_on(&route, true, &[("x-user", user)]);
        assert_eq!(of("192.0.2.1"), of("192.0.2.2"), "an address is for the backend to vary by");
    }

    /// Else what one client's certificate gets it is everybody's.
    #[test]
    fn what_a_client_proves_itself_by_is_in_the_key() {
        for edit in [
            "set = { x-user = \"{tls.client.subject}\" }",
            "set_if_missing = { x-user = \"{tls.client.fingerprint}\" }",
            "add = { x-user = \"{tls.client.san}\" }",
            "set = { x-user = \"{header.authorization}\" }\nremove = [\"authorization\"]",
            "set = { x-user = \"{header.client-cert}\" }\nremove = [\"client-cert\"]",
        ] {
            let edits = |cache: &str| format!("{cache}\n[route.request_headers]\n{edit}");
            for cache in ["cache = \"pages\"", "collapse = true"] {
                let of = |user| key_on(&edits(cache), false, &[("x-user", user)]);
                assert_ne!(of("CN=alice"), of("CN=bob"), "{cache} {edit}");
                assert_eq!(of("CN=alice"), of("CN=alice"), "{cache} {edit}");
                assert_eq!(of("CN=alice").uri(), of("CN=bob").uri(), "a purge of the URL finds both");
                assert_ne!(of("CN=alice"), key_on(&edits(cache), false, &[]), "{cache} {edit}");
            }
            assert!(
                !key_on(&edits("cache = \"pages\""), false, &[]).has_fields(),
                "who proves nothing: {edit}"
            );
        }
        let address =
            "cache = \"pages\"\nrequest_headers = { set = { x-user = \"{client_ip} {tls.version}\" } }";
        let of = |user| key_on(address, false, &[("x-user", user)]);
        assert_eq!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn odd_scheme_of_a_proxy_is_apart_of_the_url() {
        let of = |proto: &[u8]| key_of("cache = \"pages\"", true, &[("x-forwarded-proto", proto)]);
        assert_eq!(of(b"https").uri(), b"https://a.example/x");
        assert_eq!(of(b"HTTPS").uri(), b"https://a.example/x");
        assert!(!of(b"https").has_fields() && of(b"HTTPS").has_fields(), "a backend may tell them apart");
        assert_eq!(of(b"http"), key_of("cache = \"pages\"", true, &[]));
        for odd in [&b"\xff"[..], b"", b"https, http", b"https://b.example/y?"] {
            let key = of(odd);
            assert_eq!((key.uri(), key.has_fields()), (&b"http://a.example/x"[..], true), "{odd:?}");
        }
    }

    #[test]
    fn what_forwarded_says_of_the_url_is_in_the_key() {
        for cache in ["cache = \"pages\"", "collapse = true"] {
            let of = |is_trusted, value| key_on(cache, is_trusted, &[("forwarded", value)]);
            let plain = key_on(cache, true, &[]);
            assert_eq!(of(true, "for=192.0.2.1;by=_x"), plain);
            assert_eq!(of(true, "for=192.0.2.1, for=\"[2001:db8::1]:1\""), plain);
            assert_eq!(of(true, "for=192.0.2.1;host=b"), of(true, "for=192.0.2.2;host=b"));
            for value in
                ["host=evil", "for=192.0.2.1;proto=https", "for=a, host=b", "host=b, for=a", "host=\"a", "="]
            {
                assert_ne!(of(true, value), plain, "{value}");
                assert_eq!(of(false, value), plain, "it does not go on: {value}");
            }
            assert_ne!(of(true, "for=a, host=b"), of(true, "host=b, for=a"));
            assert_ne!(of(true, "host=\"b\""), of(true, "host=b"), "some backends know of no quotes");
        }
    }
}
