//! Where a request is for, and whom it is from.

use std::{rc::Rc, sync::Arc};

use super::{field, hold};
use crate::{
    admin::tests::shared,
    config::listen::{EncodedSlash, PathsConf, Underscores},
    exchange::{Exchange, Peer},
    h1::Method,
    http::{client_address, normalize},
    net::proxy_protocol::{Parsed, parse},
    runtime::Snapshot,
};

const PATHS: &[&str] = &[
    "/", "/a", "/..", "/.", "//", "/%2e%2E", "%2F", "%2f..", "%5C", ";a=b", "/..;", "..%2F", "%41", "%252F",
    "?", "?a=/../", "http://a", "\\", "*", ".", "/.;x/",
];
const HOSTS: &[&str] = &[
    "a",
    "A.b",
    ":80",
    ":443",
    ":0",
    ":65536",
    "[::1]",
    "[",
    "]",
    "127.0.0.1",
    "@",
    "xn--a",
    ".",
    "a.test.",
    "%41",
    "/",
];
const HOPS: &[&str] = &[
    "192.0.2.1",
    "10.0.0.1",
    "10.0.0.2:80",
    "[2001:db8::1]",
    "[2001:db8::1]:80",
    "2001:db8::1",
    "unknown",
    "_x",
    ", ",
    ",",
    "for=",
    "for=192.0.2.1",
    "for=10.0.0.1",
    "for=\"[2001:db8::1]:80\"",
    ";",
    ";proto=https",
    ";by=x",
    "host=\"a,b\"",
    "\"",
];
const PROXY: &[&str] = &[
    "PROXY ",
    "TCP4 ",
    "TCP6 ",
    "UNKNOWN",
    "1.2.3.4 ",
    "::1 ",
    "80 ",
    "65536 ",
    "80\r\n",
    "\r\n",
    "\r\n\r\n\u{0}\r\nQUIT\n",
    "!\u{11}",
    "!\u{21}",
    " \u{0}",
    "\u{0}\u{c}",
    "\u{0}\u{0}",
    "\u{1}\u{0}\u{1}a",
    "abcdabcdabcd",
];

/// The target and the authority in their one spelling; `None` where they are refused.
fn normal(target: &str, host: &[u8], paths: &PathsConf) -> Option<Exchange> {
    let mut exchange = Exchange::default();
    exchange.request.method = Method::Get;
    exchange.request.target.push_str(target);
    exchange.request.fields.push("host", host);
    normalize::normalize(&mut exchange, Underscores::Drop, None, paths).ok().map(|_| exchange)
}

fn climbs(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

#[test]
fn a_path_normalized_twice_is_the_same_and_climbs_nowhere() {
    hold("places::a_path", PATHS, |rng, bytes| {
        let text = String::from_utf8_lossy(bytes);
        let target = if rng.bool() { text.to_string() } else { format!("/{text}") };
        let encoded_slash = [EncodedSlash::Pass, EncodedSlash::Decode, EncodedSlash::Refuse][rng.usize(0..3)];
        let paths = PathsConf { encoded_slash, merge_slashes: rng.bool() };
        let Some(once) = normal(&target, b"a", &paths) else { return String::new() };
        let path = once.request.target.get(..once.path_length).unwrap();
        assert!(!climbs(path), "{target} became {path}");
        for reading in once.readings.iter().flat_map(|it| [&it.matched, &it.decoded]) {
            assert!(!climbs(reading), "{target} may be read as {reading}");
        }
        // What a backend makes of it that decodes slashes, drops parameters, or does both in either turn.
        let slashes = path.replace("%2F", "/").replace("%5C", "/").replace("%2f", "/").replace("%5c", "/");
        let bare = |path: &str| {
            path.split('/').map(|it| it.split(';').next().unwrap()).collect::<Vec<_>>().join("/")
        };
        for read in
            [slashes.clone(), bare(path), bare(&slashes), bare(path).replace("%2F", "/").replace("%5C", "/")]
        {
            assert!(!climbs(&read), "{target} may be read as {read}");
        }
        let twice = normal(&once.request.target, b"a", &paths).expect("what is normal is not refused");
        assert_eq!((&twice.request.target, twice.path_length), (&once.request.target, once.path_length));
        assert_eq!(format!("{:?}", twice.readings), format!("{:?}", once.readings));
        format!("{} {:?}", once.request.target, once.readings)
    });
}

#[test]
fn an_authority_normalized_twice_is_the_same() {
    hold("places::an_authority", HOSTS, |_, bytes| {
        let Some(once) = normal("/", bytes, &PathsConf::default()) else { return String::new() };
        let authority = once.authority;
        assert!(
            !authority.bytes().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_control()),
            "{authority}"
        );
        let twice =
            normal("/", authority.as_bytes(), &PathsConf::default()).expect("what is normal is not refused");
        assert_eq!(twice.authority, authority);
        authority
    });
}

thread_local! {
    static SNAPSHOTS: Vec<Arc<Snapshot>> = ["x-forwarded-for", "forwarded", "header:x-client"]
        .iter()
        .map(|from| {
            let text = format!(
                "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
                 client_address_from = \"{from}\"\n[[route]]\nname = \"all\"\nrespond = {{ status = 200 }}\n"
            );
            shared(&text).snapshot.load_full()
        })
        .collect();
}

#[test]
fn hops_of_any_bytes_name_one_client_or_none() {
    hold("places::hops", HOPS, |rng, bytes| {
        let names = ["x-forwarded-for", "forwarded", "x-client"];
        let mut found = String::new();
        SNAPSHOTS.with(|snapshots| {
            for (snapshot, name) in snapshots.iter().zip(names) {
                let mut exchange = Exchange::default();
                exchange.facts.peer = Rc::new(Peer { is_trusted: true, ..Peer::default() });
                exchange.request.fields = field(rng, name, bytes);
                let _ = client_address::find(&snapshot.listeners[0], &mut exchange);
                if let Some(client) = &exchange.facts.client {
                    assert_eq!(client.text.parse(), Ok(client.address));
                }
                found += &format!("{:?}", exchange.facts.client);
            }
        });
        found
    });
}

#[test]
fn a_proxy_header_in_any_cut_grows_into_one_answer() {
    hold("places::a_proxy_header", PROXY, |_, bytes| {
        let bytes = bytes.get(..bytes.len().min(600)).unwrap();
        let whole = parse(bytes);
        for end in 0..bytes.len() {
            match parse(&bytes[..end]) {
                Ok(Parsed::Partial) => {}
                // What was decided stays so, whatever comes behind it.
                decided => assert_eq!(decided, whole, "{end} bytes of {}", bytes.len()),
            }
        }
        format!("{whole:?}")
    });
}
