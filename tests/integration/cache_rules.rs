//! What a cache's configuration decides in the place of what responses say.

use crate::support::{Origin, Proxy, Reply, proxy::config};

/// A backend that answers with the status that the path begins with, and with these fields where the path says so.
fn origin() -> Origin {
    Origin::start(|request| {
        let path = request.target.split('?').next().unwrap();
        let status = &path[1..4];
        let fields = match path.get(4..) {
            Some("/private") => "Cache-Control: private, no-store\r\n",
            Some("/expired") => "Expires: 0\r\n",
            Some("/cookie") => "Set-Cookie: a=b\r\nCache-Control: max-age=60\r\n",
            _ => "",
        };
        Reply::Bytes(format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: 2\r\n\r\nok").into_bytes())
    })
}

fn cached(origin: &Origin, rules: &str) -> Proxy {
    let cache = format!("---\n[[cache]]\nname = \"pages\"\nmemory = \"8MiB\"\n{rules}\n");
    let text = config(&[origin.address()], &cache);
    Proxy::start(&text.replacen("upstream = \"u\"\n", "upstream = \"u\"\ncache = \"pages\"\n", 1))
}

/// How often the backend is asked for this target when it is asked for twice with these fields.
fn asked(origin: &Origin, proxy: &Proxy, target: &str, fields: &str) -> usize {
    let before = origin.requests().len();
    let mut client = proxy.connect();
    for _ in 0..2 {
        let _ = client.get_with(target, "a", fields);
    }
    origin.requests().len() - before
}

#[test]
fn a_default_lifetime_is_for_what_was_found() {
    let origin = origin();
    let proxy = cached(&origin, "default_ttl = \"7d\"");
    for (target, expected) in
        [("/200/a", 1), ("/203/a", 1), ("/301/a", 2), ("/404/a", 2), ("/410/a", 2), ("/501/a", 2)]
    {
        assert_eq!(asked(&origin, &proxy, target, ""), expected, "{target}");
    }
}

#[test]
fn lifetimes_are_by_status_where_nothing_is_said() {
    let origin = origin();
    let rules = "ttl = { 404 = \"1m\", 3xx = \"1m\", 302 = \"0s\", 500 = \"1m\" }\ndefault_ttl = \"1m\"\n";
    let proxy = cached(&origin, rules);
    for (target, expected) in [
        ("/404/a", 1),
        ("/301/a", 1),
        ("/302/a", 2),
        ("/500/a", 1),
        ("/200/a", 1),
        ("/501/a", 2),
        ("/404/private", 2),
        ("/404/expired", 2),
    ] {
        assert_eq!(asked(&origin, &proxy, target, ""), expected, "{target}");
    }
}

#[test]
fn fields_are_not_looked_at_where_that_is_said() {
    let origin = origin();
    let proxy = cached(&origin, "ttl = { 200 = \"1m\" }\nignore = [\"cache-control\", \"expires\"]\n");
    for (target, expected) in
        [("/200/private", 1), ("/200/expired", 1), ("/404/private", 2), ("/200/cookie", 2)]
    {
        assert_eq!(asked(&origin, &proxy, target, ""), expected, "{target}");
    }
    // Nor does one who says who asks get another's.
    assert_eq!(asked(&origin, &proxy, "/200/b", "Authorization: x\r\n"), 2);
}

#[test]
fn only_listed_statuses_are_stored() {
    let origin = origin();
    let proxy = cached(&origin, "ttl = { 2xx = \"1m\", 4xx = \"1m\" }\nstore = [200, \"4xx\"]\n");
    for (target, expected) in [("/200/a", 1), ("/203/a", 2), ("/404/a", 1)] {
        assert_eq!(asked(&origin, &proxy, target, ""), expected, "{target}");
    }
}

#[test]
fn requests_pass_by_or_renew_what_is_stored() {
    let origin = origin();
    let rules = "default_ttl = \"1m\"\nbypass = [{ headers = { x-fresh = true } }]\n\
                 no_store = [{ cookies = { session = true } }, { query = { preview = \"1\" } }]\n";
    let proxy = cached(&origin, rules);
    assert_eq!(asked(&origin, &proxy, "/200/a?preview=1", ""), 2);
    assert_eq!(asked(&origin, &proxy, "/200/a", "Cookie: session=1\r\n"), 2);
    assert_eq!(asked(&origin, &proxy, "/200/a", ""), 1, "nothing was stored before");
    assert_eq!(asked(&origin, &proxy, "/200/b", "X-Fresh: 1\r\n"), 2);
    assert_eq!(asked(&origin, &proxy, "/200/b", ""), 0, "what was asked for anew is stored");
    let explain = |header: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.args(["explain", "GET", "http://a/200/a", "-H", header, "--config"]);
        let output = command.arg(proxy.folder().join("pointsman.toml")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(explain("Cookie: session=1").contains("a group of `no_store` matches"));
    assert!(explain("X-Fresh: 1").contains("a group of `bypass` matches"));
}

#[test]
fn a_key_tells_requests_apart_by_its_template() {
    let origin = origin();
    let rules = "default_ttl = \"1m\"\nkey = { template = \"{cookie.lang|default:en}\" }\n";
    let proxy = cached(&origin, rules);
    assert_eq!(asked(&origin, &proxy, "/200/a", ""), 1);
    assert_eq!(asked(&origin, &proxy, "/200/a", "Cookie: lang=en; x=1\r\n"), 0, "the same by the template");
    assert_eq!(asked(&origin, &proxy, "/200/a", "Cookie: lang=de\r\n"), 1);
    assert_eq!(asked(&origin, &proxy, "/200/a", "Cookie: lang=de\r\n"), 0);
}
