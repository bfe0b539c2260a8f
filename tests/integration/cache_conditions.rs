//! What conditions of clients cost backends, and what is said of a cache when there is no answer.

use std::net::SocketAddr;

use crate::support::{Client, Origin, Proxy, Reply, nobody, proxy::config};

fn cached(backend: SocketAddr) -> Proxy {
    let text = config(&[backend], "---\n[[cache]]\nname = \"pages\"\nmemory = \"8MiB\"\n");
    Proxy::start(&text.replacen("upstream = \"u\"\n", "upstream = \"u\"\ncache = \"pages\"\n", 1))
}

#[test]
fn a_condition_on_what_is_not_shared_costs_one_request() {
    let origin = Origin::start(|_| {
        let head =
            "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nCache-Control: private\r\nContent-Length: 5\r\n\r\nhello";
        Reply::Bytes(head.into())
    });
    let proxy = cached(origin.address());
    let ask = |target: &str, tag: &str| {
        let before = origin.requests().len();
        let credentials = if target.ends_with("?credentials") { "Cookie: a=b\r\n" } else { "" };
        let fields = format!("If-None-Match: {tag}\r\n{credentials}");
        let response = Client::connect(proxy.address("web")).get_with(target, "a", &fields);
        (response.status, response.text(), origin.requests().len() - before)
    };
    for credentials in ["", "?credentials"] {
        assert_eq!(ask(&format!("/same{credentials}"), "\"a\""), (304, String::new(), 1));
        assert_eq!(ask(&format!("/other{credentials}"), "\"b\""), (200, "hello".into(), 1));
    }
    // A part may be much smaller than the whole: that is asked for.
    let mut client = Client::connect(proxy.address("web"));
    assert_eq!(client.get_with("/part", "a", "Range: bytes=0-0\r\n").status, 200);
    // The connection of a client is good for another request.
    let mut client = Client::connect(proxy.address("web"));
    for _ in 0..2 {
        assert_eq!(client.get_with("/again", "a", "If-None-Match: \"a\"\r\nCookie: a=b\r\n").status, 304);
    }
}

#[test]
fn an_error_of_a_cached_route_has_cache_status() {
    let proxy = cached(nobody());
    for (method, why) in [("GET", "uri-miss"), ("HEAD", "uri-miss")] {
        let mut client = Client::connect(proxy.address("web"));
        client.send(format!("{method} /gone HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response(method);
        assert_eq!(response.status, 502);
        assert_eq!(response.header("cache-status"), Some(&*format!("pointsman; fwd={why}")), "{method}");
    }
    let plain = Proxy::start(&config(&[nobody()], ""));
    assert_eq!(plain.get("/").header("cache-status"), None, "no cache was asked");
}
