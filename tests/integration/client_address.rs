//! One client address for lists, limits, hashing and the log, whichever proxies stand in front.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
    mpsc,
};

use crate::support::{Client, Origin, Proxy, Reply, Request, eventually, proxy::config_of};

const PROXY_HEADER: &str = "proxy_protocol_from = [\"127.0.0.0/8\"]\n";
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]\n";
const DENIED: &str = "deny = [\"203.0.113.0/24\"]\n";

fn started(listener: &str) -> (Origin, Proxy) {
    let origin = Origin::named("hello");
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], listener, ""));
    (origin, proxy)
}

/// A connection that a PROXY header says is `client`'s, with its first request under way.
fn named(proxy: &Proxy, client: &str) -> Client {
    let mut connection = proxy.connect();
    let _ = connection.try_send(format!(
        "PROXY TCP4 {client} 127.0.0.1 12345 8080\r\nGET /{client} HTTP/1.1\r\nHost: a\r\n\r\n"
    ));
    connection
}

fn status(proxy: &Proxy, target: &str, fields: &str) -> u16 {
    proxy.connect().get_with(target, "a", fields).status
}

#[test]
fn lists_judge_whom_a_proxy_header_names() {
    let (origin, proxy) = started(&(PROXY_HEADER.to_owned() + DENIED));
    assert_eq!(named(&proxy, "203.0.113.7").response("GET").status, 0, "closed without a word");
    assert_eq!(named(&proxy, "198.51.100.9").response("GET").status, 200);
    assert_eq!(origin.requests().len(), 1, "nothing of the other went on");
    // The balancer itself is on no list.
    let (origin, proxy) = started(&(PROXY_HEADER.to_owned() + "allow = [\"198.51.100.0/24\"]\n"));
    assert_eq!(named(&proxy, "198.51.100.9").response("GET").status, 200);
    assert_eq!(named(&proxy, "192.0.2.1").response("GET").status, 0);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn connections_are_counted_for_whom_a_proxy_header_names() {
    let (_origin, proxy) = started(&(PROXY_HEADER.to_owned() + "max_connections_per_address = 1\n"));
    let mut first = named(&proxy, "203.0.113.7");
    assert_eq!(first.response("GET").status, 200);
    assert_eq!(named(&proxy, "203.0.113.8").response("GET").status, 200, "another client has its own place");
    assert_eq!(named(&proxy, "203.0.113.7").response("GET").status, 0, "the second of one client");
    assert_eq!(first.get("/again").status, 200, "and the first is not harmed");
    drop(first);
    eventually("the place is free again", || named(&proxy, "203.0.113.7").response("GET").status == 200);
}

#[test]
fn lists_judge_the_client_of_a_trusted_proxy() {
    let (origin, proxy) = started(&(TRUSTED.to_owned() + DENIED));
    assert_eq!(status(&proxy, "/denied", "X-Forwarded-For: 203.0.113.7\r\n"), 403);
    assert_eq!(status(&proxy, "/forged", "X-Forwarded-For: 198.51.100.9, 203.0.113.7\r\n"), 403);
    assert!(origin.requests().is_empty());
    let denied = proxy.logged("/denied");
    assert_eq!((&denied["client"], &denied["error"]), (&"203.0.113.7".into(), &"client_denied".into()));
    // One connection of a proxy has requests of many clients: each is judged for itself.
    let mut shared = proxy.connect();
    assert_eq!(shared.get_with("/", "a", "X-Forwarded-For: 203.0.113.7\r\n").status, 403);
    assert_eq!(shared.get_with("/", "a", "X-Forwarded-For: 198.51.100.9\r\n").status, 200);
    assert_eq!(origin.last().header("x-forwarded-for"), Some("198.51.100.9, 127.0.0.1"));
}

#[test]
fn lists_do_not_believe_who_is_not_trusted() {
    let (origin, proxy) = started("allow = [\"198.51.100.0/24\"]\n");
    let mut client = proxy.connect();
    let _ = client.try_send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n");
    assert_eq!(client.response("GET").status, 0);
    assert!(origin.requests().is_empty());
}

#[test]
fn the_client_is_found_from_the_right() {
    for (from, cases) in [
        (
            "",
            &[
                ("/alone", "X-Forwarded-For: 198.51.100.9\r\n", "198.51.100.9"),
                ("/forged", "X-Forwarded-For: 6.6.6.6, 198.51.100.9\r\n", "198.51.100.9"),
                ("/two", "X-Forwarded-For: 6.6.6.6, 198.51.100.9, 127.0.0.2\r\n", "198.51.100.9"),
                ("/lines", "X-Forwarded-For: 198.51.100.9\r\nX-Forwarded-For: 127.0.0.2\r\n", "198.51.100.9"),
                ("/proxies", "X-Forwarded-For: 127.0.0.3, 127.0.0.2\r\n", "127.0.0.3"),
                ("/port", "X-Forwarded-For: 198.51.100.9:4711\r\n", "198.51.100.9"),
                ("/v6", "X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"),
                ("/v6-port", "X-Forwarded-For: [2001:db8::7]:4711\r\n", "2001:db8::7"),
                ("/mapped", "X-Forwarded-For: ::ffff:198.51.100.9\r\n", "198.51.100.9"),
                ("/unknown", "X-Forwarded-For: 6.6.6.6, unknown\r\n", "127.0.0.1"),
                ("/empty", "X-Forwarded-For: \r\n", "127.0.0.1"),
                ("/none", "Forwarded: for=198.51.100.9\r\n", "127.0.0.1"),
                // Whoever is behind a proxy that passes Connection on cannot become that proxy.
                ("/hop", "Connection: X-Forwarded-For\r\nX-Forwarded-For: 198.51.100.9\r\n", "198.51.100.9"),
            ][..],
        ),
        (
            "client_address_from = \"forwarded\"\n",
            &[
                ("/for", "Forwarded: for=198.51.100.9;proto=https\r\n", "198.51.100.9"),
                ("/for-v6", "Forwarded: by=x; For=\"[2001:db8::7]:4711\"\r\n", "2001:db8::7"),
                ("/for-two", "Forwarded: for=6.6.6.6, for=198.51.100.9, for=127.0.0.2\r\n", "198.51.100.9"),
                ("/for-quoted", "Forwarded: host=\"a, for=6.6.6.6\";for=198.51.100.9\r\n", "198.51.100.9"),
                ("/for-hidden", "Forwarded: for=6.6.6.6, for=_hidden\r\n", "127.0.0.1"),
                ("/for-malformed", "Forwarded: for=\"x\r\nForwarded: for=198.51.100.9\r\n", "198.51.100.9"),
                ("/for-none", "X-Forwarded-For: 6.6.6.6\r\n", "127.0.0.1"),
            ],
        ),
        (
            "client_address_from = \"header:CF-Connecting-IP\"\n",
            &[
                ("/named", "CF-Connecting-IP: 198.51.100.9\r\nX-Forwarded-For: 6.6.6.6\r\n", "198.51.100.9"),
                ("/twice", "CF-Connecting-IP: 6.6.6.6\r\nCF-Connecting-IP: 198.51.100.9\r\n", "127.0.0.1"),
            ],
        ),
        (
            "client_address_from = \"connection\"\n",
            &[("/never", "X-Forwarded-For: 6.6.6.6\r\n", "127.0.0.1")],
        ),
    ] {
        let (_origin, proxy) = started(&(TRUSTED.to_owned() + from));
        for (target, fields, client) in cases {
            assert_eq!(status(&proxy, target, fields), 200, "{target}");
            assert_eq!(proxy.logged(target)["client"], *client, "{from}{target}: {fields}");
        }
    }
}

/// Else the backend would believe it from whoever comes round the proxy, or not be told by whom a request behind it is.
#[test]
fn field_that_names_clients_is_of_trusted_proxies_only() {
    let from = "client_address_from = \"header:CF-Connecting-IP\"\n";
    let fields = "CF-Connecting-IP: 198.51.100.9\r\nConnection: CF-Connecting-IP\r\n";
    for (trusted, expected) in
        [("trusted_proxies = [\"192.0.2.0/24\"]\n", None), (TRUSTED, Some("198.51.100.9"))]
    {
        let (origin, proxy) = started(&(trusted.to_owned() + from));
        assert_eq!(status(&proxy, "/", fields), 200);
        assert_eq!(origin.last().header("cf-connecting-ip"), expected, "{trusted}");
    }
}

#[test]
fn a_proxy_that_a_reload_distrusts_is_the_client() {
    let origin = Origin::named("hello");
    let config = |listener: &str| config_of(&[origin.address().to_string()], listener, "");
    let proxy = Proxy::start(&config(&(TRUSTED.to_owned() + DENIED)));
    let [mut kept, mut other] = [proxy.connect(), proxy.connect()];
    let ask = |client: &mut Client, target: &str| {
        client.get_with(target, "a", "X-Forwarded-For: 198.51.100.9\r\nX-Request-Id: forged\r\n").status
    };
    assert_eq!(ask(&mut other, "/open"), 200);
    let of_last =
        || ["x-forwarded-for", "x-request-id"].map(|name| origin.last().header(name).map(str::to_owned));
    assert_eq!(ask(&mut kept, "/believed"), 200);
    assert_eq!(of_last(), [Some("198.51.100.9, 127.0.0.1".to_owned()), Some("forged".to_owned())]);
    proxy.edit(&config(DENIED));
    proxy.until_logged("configuration in force", 1);
    assert_eq!(ask(&mut kept, "/not-believed"), 200);
    let [client, id] = of_last();
    assert_eq!(client.as_deref(), Some("127.0.0.1"));
    assert_ne!(id.as_deref(), Some("forged"));
    proxy.edit(&config("deny = [\"127.0.0.0/8\"]\n"));
    proxy.until_logged("configuration in force", 2);
    assert_eq!(ask(&mut other, "/denied"), 403);
}

/// Else who is to be kept out stays in for as long as its connection is open, and what a proxy says that keeps its own open
/// is believed by chance.
#[test]
fn connections_that_are_open_go_by_what_a_reload_says() {
    let origin = Origin::named("hello");
    let config = |listener: &str| config_of(&[origin.address().to_string()], listener, "");
    for (before, after, status) in [
        ("", "deny = [\"127.0.0.1\"]\n", 403),
        ("", "allow = [\"192.0.2.0/24\"]\n", 403),
        (TRUSTED, "deny = [\"127.0.0.1\"]\n", 403),
        ("", TRUSTED, 200),
        ("", "via = \"edge\"\n", 200),
        // Proxies are on no list: whom they name is.
        ("", "allow = [\"192.0.2.0/24\"]\ntrusted_proxies = [\"127.0.0.0/8\"]\n", 200),
    ] {
        let proxy = Proxy::start(&config(before));
        let mut open = proxy.connect();
        assert_eq!(open.get("/before").status, 200);
        proxy.edit(&config(after));
        proxy.until_logged("configuration in force", 1);
        let last = open.get_with("/last", "a", "X-Forwarded-For: 192.0.2.1\r\n");
        assert_eq!((last.status, last.header("connection")), (status, Some("close")), "{after}");
        assert!(open.is_closed(), "{after}");
    }
    // A proxy that is trusted now is believed at once.
    let proxy = Proxy::start(&config(""));
    let mut open = proxy.connect();
    assert_eq!(open.get("/before").status, 200);
    proxy.edit(&config(&(TRUSTED.to_owned() + DENIED)));
    proxy.until_logged("configuration in force", 1);
    assert_eq!(open.get_with("/denied", "a", "X-Forwarded-For: 203.0.113.7\r\n").status, 403);
    // What changes nothing of that leaves connections alone.
    let proxy = Proxy::start(&config(DENIED));
    let mut open = proxy.connect();
    assert_eq!(open.get("/before").status, 200);
    proxy.edit(&config(&format!("{DENIED}timeouts = {{ idle = \"50s\" }}\n")));
    proxy.until_logged("configuration in force", 1);
    assert_eq!(open.get("/after").header("connection"), None);
    assert_eq!(open.get("/again").status, 200);
}

#[test]
fn requests_are_counted_for_the_client_of_a_trusted_proxy() {
    let (release, held) = mpsc::channel::<()>();
    let (held, arrived) = (Mutex::new(held), Arc::new(AtomicUsize::new(0)));
    let counted = arrived.clone();
    let origin = Origin::start(move |request: &Request| {
        counted.fetch_add(1, SeqCst);
        if request.target == "/held" {
            let _ = held.lock().unwrap().recv();
        }
        Reply::Text(200, "hello".to_owned())
    });
    let listener = TRUSTED.to_owned() + "max_connections_per_address = 1\n";
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], &listener, ""));
    let ask = |client: &str, target: &str| {
        let mut connection = proxy.connect();
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n"));
        connection
    };
    let mut first = ask("198.51.100.9", "/held");
    eventually("it is held", || arrived.load(SeqCst) == 1);
    let refused = ask("198.51.100.9", "/").response("GET");
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let mut other = ask("198.51.100.10", "/held");
    eventually("another client has its own place", || arrived.load(SeqCst) == 2);
    let free = |release: &mpsc::Sender<()>| release.send(()).unwrap();
    free(&release);
    free(&release);
    assert_eq!(first.response("GET").status, 200);
    assert_eq!(other.response("GET").status, 200);
    eventually("the place is free again", || ask("198.51.100.9", "/").response("GET").status == 200);
}

#[test]
fn hashing_follows_the_client_of_a_trusted_proxy() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let config = config_of(&[a.address().to_string(), b.address().to_string()], TRUSTED, "");
    let proxy = Proxy::start(&config.replace("[[upstream]]\n", "[[upstream]]\nbalance = \"ip-hash\"\n"));
    for client in 1..=32 {
        let fields = format!("X-Forwarded-For: 198.51.100.{client}\r\n");
        let mut connection = proxy.connect();
        let answers = [0, 1].map(|_| connection.get_with("/", "a", &fields).text());
        assert_eq!(answers[0], answers[1], "a client stays where it is");
    }
    assert!(!a.requests().is_empty() && !b.requests().is_empty(), "all clients are one");
}

#[test]
fn explain_names_the_client_and_whether_it_is_let_in() {
    let (_origin, proxy) = started(&(TRUSTED.to_owned() + DENIED));
    let explain = |client: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.args(["explain", "GET", "http://a/", "--from", "127.0.0.1", "-H"]);
        command.arg(format!("X-Forwarded-For: {client}")).arg("--config");
        let output = command.arg(proxy.folder().join("pointsman.toml")).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let denied = explain("203.0.113.7");
    assert!(denied.contains(" 403") && denied.contains("203.0.113.7"), "{denied}");
    let allowed = explain("198.51.100.9");
    assert!(allowed.contains("198.51.100.9") && !allowed.contains(" 403"), "{allowed}");
}
