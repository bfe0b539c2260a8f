//! Input that was made to pass by a guard: what arrives at a backend, and what is stored, is what the client may say.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    collapse::{Gate, metric},
    support::{Client, Origin, Proxy, Reply, Request, eventually, proxy::config},
};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// A proxy in front of one backend, with keys of its listener, route and upstream.
fn before(origin: &Origin, listener: &str, route: &str, upstream: &str) -> Proxy {
    with_tables(origin, [listener, route, upstream], "")
}

/// The same with more tables.
fn with_tables(origin: &Origin, [listener, route, upstream]: [&str; 3], tables: &str) -> Proxy {
    let text = format!(
        "[runtime]\nworkers = 2\n[log]\nformat = \"json\"\n\
         [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [[route]]\nname = \"all\"\nupstream = \"u\"\n{route}\n\
         [[upstream]]\nname = \"u\"\n{upstream}\n[[upstream.backend]]\naddress = \"{}\"\nname = \"b0\"\n{tables}",
        origin.address()
    );
    Proxy::start(&text)
}

fn echo_header(name: &'static str) -> Origin {
    Origin::start(move |request: &Request| {
        let value = request.header(name).unwrap_or("none").to_owned();
        Reply::Bytes(
            format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nVary: {name}\r\nContent-Length: {}\r\n\r\n{value}",
                value.len()
            )
            .into_bytes(),
        )
    })
}

#[test]
fn an_oversized_field_name_is_refused_not_cut() {
    let origin = Origin::named("a");
    let proxy = before(&origin, "limits = { header_bytes = \"256KiB\" }", "", "");
    let mut client = proxy.connect();
    // 16 bits of its length are those of `transfer-encoding`.
    let name = format!("transfer-encoding{}", "x".repeat(65_536));
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{name}: chunked\r\nContent-Length: 5\r\n\r\nhello"));
    assert_eq!(client.response("POST").status, 431);
    assert!(origin.requests().is_empty());
    // One that fits goes on whole.
    let name = "y".repeat(60_000);
    let mut client = proxy.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: 1\r\n\r\n"));
    assert_eq!(client.response("GET").status, 200);
    assert_eq!(origin.last().header(&name), Some("1"));
    assert_eq!(origin.last().header("transfer-encoding"), None);
}

#[test]
fn a_client_cannot_have_removed_what_the_route_sets() {
    let origin = Origin::named("a");
    let edits = "request_headers = { set = { x-environment = \"prod\" } }";
    let proxy = before(&origin, "", edits, "");
    let mut client = proxy.connect();
    let fields = "Connection: close, X-Environment, X-Mine\r\nX-Environment: test\r\nX-Mine: 1\r\n";
    assert_eq!(client.get_with("/", "a", fields).status, 200);
    assert_eq!(origin.last().all("x-environment"), ["prod"]);
    assert_eq!(origin.last().header("x-mine"), None);
}

#[test]
fn a_client_cannot_have_the_default_stored_as_anothers() {
    for key in ["key = { headers = [\"x-tenant\"] }", ""] {
        let origin = echo_header("x-tenant");
        let text = format!("[[cache]]\nname = \"c\"\nmemory = \"1MiB\"\n{key}\n");
        let proxy = with_tables(&origin, ["", "cache = \"c\"", ""], &text);
        let mut client = proxy.connect();
        let poisoned = client.get_with("/", "a", "Connection: X-Tenant\r\nX-Tenant: victim\r\n");
        assert_eq!(poisoned.text(), "none", "the field is of this hop only");
        let mut client = proxy.connect();
        assert_eq!(client.get_with("/", "a", "X-Tenant: victim\r\n").text(), "victim", "{key}");
        assert_eq!(client.get_with("/", "a", "").text(), "none", "{key}");
    }
}

#[test]
fn connection_may_not_name_without_end() {
    let origin = Origin::named("a");
    let proxy = before(&origin, "", "", "");
    let mut client = proxy.connect();
    let options = vec!["a"; 200].join(",");
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {options}\r\n\r\n"));
    assert_eq!(client.response("GET").status, 400);
    assert!(origin.requests().is_empty());
}

#[test]
fn bad_ports_are_refused_and_one_authority_serves_all() {
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = hits.clone();
    let origin = Origin::start(move |request: &Request| {
        counted.fetch_add(1, Ordering::SeqCst);
        let host = request.header("host").unwrap_or_default().to_owned();
        Reply::Bytes(
            format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n{host}",
                host.len()
            )
            .into_bytes(),
        )
    });
    let text = "[[cache]]\nname = \"c\"\nmemory = \"1MiB\"\n".to_owned();
    let proxy = with_tables(&origin, ["", "cache = \"c\"", ""], &text);
    for host in [
        "shop.example:99999",
        "shop.example:65536",
        "shop.example:0",
        "shop.example:8o",
        "[::1]:70000",
        "a:1:2",
    ] {
        let mut client = proxy.connect();
        assert_eq!(client.get_with("/", host, "").status, 400, "{host}");
    }
    assert_eq!(hits.load(Ordering::SeqCst), 0);
    // Spellings of one authority are one to the backend, and one key.
    let spellings =
        ["shop.example", "SHOP.example", "shop.example:", "shop.example:80", "Shop.Example:00080"];
    for host in spellings.into_iter().chain(["shop.example.", "Shop.example.:80"]) {
        let mut client = proxy.connect();
        assert_eq!(client.get_with("/", host, "").text(), "shop.example", "{host}");
    }
    assert_eq!(hits.load(Ordering::SeqCst), 1);
    let mut client = proxy.connect();
    assert_eq!(client.get_with("/", "Shop.example:08080", "").text(), "shop.example:8080");
    assert_eq!(hits.load(Ordering::SeqCst), 2, "another port is another authority");
}

/// Fields that only a proxy that is trusted may set.
const OF_PROXIES: [&str; 35] = [
    "X-Forwarded-Prefix",
    "X-Forwarded-Uri",
    "X-Forwarded-Method",
    "X-Forwarded-Ssl",
    "X-Forwarded-Protocol",
    "X-Forwarded-By",
    "X-Forwarded-User",
    "X-Forwarded-Port",
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Whatever",
    "X-Forwarded",
    "X-Real-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "Client-IP",
    "Client-Cert",
    "Client-Cert-Chain",
    "Front-End-Https",
    "X-Scheme",
    "X-Pointsman-Mirror",
    "X-Original-URL",
    "X-Rewrite-URL",
    "Forwarded",
    "X-SSL-Cert",
    "X-SSL-Client-S-DN",
    "SSL-Client-Verify",
    "X-Client-Cert",
    "X-Amzn-Mtls-Clientcert-Subject",
    "X-ARR-ClientCert",
    "Remote-User",
    "X-Remote-User",
    "X-Auth-Request-Email",
];

#[test]
fn proxy_fields_count_from_trusted_peers_only() {
    for (listener, is_trusted) in [("", false), ("trusted_proxies = [\"127.0.0.0/8\"]", true)] {
        let origin = Origin::named("a");
        let proxy = before(&origin, listener, "", "");
        let mut client: Client = proxy.connect();
        for name in OF_PROXIES {
            assert_eq!(client.get_with("/", "a", &format!("{name}: evil\r\n")).status, 200);
            let found = origin.last().all(&name.to_ascii_lowercase()).contains(&"evil");
            assert_eq!(found, is_trusted, "{name} {listener}");
        }
        // What is not of that family goes on.
        client.get_with("/", "a", "X-Forward: 1\r\nX-Realm: 2\r\nX-SSL: 3\r\nRemote-Use: 4\r\n");
        let arrived = ["x-forward", "x-realm", "x-ssl", "remote-use"];
        let last = origin.last();
        assert_eq!(arrived.map(|name| last.header(name)), [Some("1"), Some("2"), Some("3"), Some("4")]);
    }
}

#[test]
fn names_with_an_underscore_are_dropped_refused_or_passed() {
    for (listener, status, arrives) in [
        ("", 200, false),
        ("underscores = \"drop\"", 200, false),
        ("underscores = \"refuse\"", 400, false),
        ("underscores = \"pass\"", 200, true),
    ] {
        let origin = Origin::named("a");
        let proxy = before(&origin, listener, "", "");
        for name in ["x_api_key", "x_custom", "x.api.key", "x~custom"] {
            let mut client = proxy.connect();
            assert_eq!(client.get_with("/", "a", &format!("{name}: 1\r\n")).status, status, "{listener}");
            let last = (status == 200).then(|| origin.last());
            assert_eq!(last.is_some_and(|last| last.header(name).is_some()), arrives, "{name} {listener}");
        }
        // These are one variable with the real ones for CGI and its kin, whatever is configured.
        for name in [
            "X_Forwarded_For",
            "Content_Length",
            "Transfer_Encoding",
            "X-Forwarded_Host",
            "X.Forwarded.For",
            "x~real~ip",
            "X+Original+URL",
            "X.Forwarded_Host",
            "X_HTTP_Method_Override",
            "X_SSL_Client_S_DN",
            "REMOTE_USER",
        ] {
            let mut client = proxy.connect();
            client.get_with("/", "a", &format!("{name}: evil\r\n"));
            let seen = origin.requests().iter().any(|request| request.header(&name.to_lowercase()).is_some());
            assert!(!seen, "{name} {listener}");
        }
    }
}

#[test]
fn an_empty_post_is_sent_once() {
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = posts.clone();
    let origin = Origin::start(move |request: &Request| {
        if request.method == "POST" {
            counted.fetch_add(1, Ordering::SeqCst);
            // It was done, and the connection ends before the answer.
            return Reply::Close(Vec::new());
        }
        Reply::Text(200, "ok".into())
    });
    let proxy = before(&origin, "", "", "[upstream.retry]\nattempts = 3\n");
    for body in ["Content-Length: 0\r\n\r\n", "Content-Length: 3\r\n\r\nabc"] {
        // The connection is reused.
        assert_eq!(proxy.get("/").status, 200);
        let before = posts.load(Ordering::SeqCst);
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}"));
        assert_eq!(client.response("POST").status, 502);
        assert_eq!(posts.load(Ordering::SeqCst) - before, 1, "{body:?}");
    }
}

#[test]
fn a_body_that_stalls_is_given_up_after_body_timeout() {
    let origin = Origin::start(|_| {
        Reply::Take(Box::new(|connection| {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
            std::thread::sleep(Duration::from_secs(60));
        }))
    });
    let proxy = before(&origin, "", "", "body_timeout = \"300ms\"");
    let begun = Instant::now();
    let mut stream = TcpStream::connect(proxy.address("web")).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    eventually("it is logged", || proxy.log().iter().any(|line| line.contains("\"error\":\"body_broken\"")));
}

#[test]
fn slow_uploads_do_not_eject_a_backend() {
    let origin = Origin::start(|request: &Request| match request.method.as_str() {
        "POST" => Reply::Take(Box::new(|_| std::thread::sleep(Duration::from_millis(50)))),
        _ => Reply::Text(200, "ok".into()),
    });
    let ejection = "[upstream.outlier]\nconsecutive_failures = 2\nmax_ejected_percent = 100\n";
    let proxy = before(&origin, "", "", ejection);
    for _ in 0..6 {
        let mut client = proxy.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
        assert_eq!(client.response("POST").status, 502);
    }
    assert_eq!(proxy.get("/").status, 200, "the backend is healthy");
    assert!(!proxy.log().iter().any(|line| line.contains("backend is ejected")));
}

#[test]
fn odd_requests_are_read_as_the_standard_has_them() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    let long = "G".repeat(100_000);
    for bad in [
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 garbage\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 0\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;bad[=x\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;\r\nhello\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \r\n\r\n",
    ] {
        let mut client = proxy.connect();
        client.send(bad);
        assert_eq!(client.response("POST").status, 400, "{bad:?}");
    }
    let mut client = proxy.connect();
    client.send(format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(matches!(client.response("GET").status, 400 | 431), "a method of 100 kB");
    // HTTP/1.2 is served as 1.1 (RFC 9110 §2.5), an extension of a chunk is passed over.
    for good in [
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;name=value;q=\"a;b\"\r\nhello\r\n0\r\n\r\n",
    ] {
        let mut client = proxy.connect();
        client.send(good);
        assert_eq!(client.response("GET").status, 200, "{good:?}");
    }
    let mut client = proxy.connect();
    client.send("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response("OPTIONS").status, 200);
    assert_eq!(origin.last().target, "*", "RFC 9112 §3.2.4");
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    assert_eq!(client.response("GET").status, 200);
    let last = origin.last();
    assert_eq!((last.header("te"), last.header("connection")), (Some("trailers"), Some("TE")));
}

#[test]
fn odd_responses_are_passed_as_the_standard_has_them() {
    let origin = Origin::start(|request: &Request| {
        Reply::Bytes(match request.target.as_str() {
            "/204" => b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".to_vec(),
            "/101" => {
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n".to_vec()
            }
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        })
    });
    let proxy = before(&origin, "", "upgrade = [\"websocket\"]", "");
    let response = proxy.get("/204");
    assert_eq!((response.status, response.header("content-length")), (204, None), "RFC 9110 §8.6");
    let mut client = proxy.connect();
    client.send(
        "GET /101 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    assert_eq!(client.response("GET").status, 502, "a tunnel of another protocol than was asked for");
}

/// Joins a connection to a new one to this port.
fn join(from: TcpStream, port: u16) {
    let Ok(to) = TcpStream::connect(("127.0.0.1", port)) else { return };
    for (mut from, mut to) in
        [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to.try_clone().unwrap(), from)]
    {
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    }
}

#[test]
fn a_request_that_comes_round_again_is_a_loop() {
    // A proxy whose backend is itself, by a way that its configuration does not show.
    let port = crate::support::free().port();
    let way = TcpListener::bind("127.0.0.1:0").unwrap();
    let back = way.local_addr().unwrap();
    std::thread::spawn(move || way.incoming().flatten().for_each(|from| join(from, port)));
    let text = format!(
        "[log]\nformat = \"json\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:{port}\"\n\
         [[listener]]\nname = \"other\"\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nname = \"in\"\nlisteners = [\"other\"]\nupstream = \"round\"\n\
         [[route]]\nname = \"round\"\nlisteners = [\"web\"]\npaths = [\"/round\"]\nredirect = {{ to = \"/\" }}\n\
         [[route]]\nname = \"all\"\nlisteners = [\"web\"]\nhosts = [\"a\"]\nupstream = \"out\"\n\
         [[upstream]]\nname = \"round\"\n[[upstream.backend]]\naddress = \"{back}\"\n\
         [[upstream]]\nname = \"out\"\n[[upstream.backend]]\naddress = \"{back}\"\n"
    );
    let proxy = Proxy::start(&text);
    let mut client = Client::connect(proxy.address("web"));
    let response = client.get_with("/", "a", "");
    assert_eq!(response.status, 508, "{}", response.text());
    let lines = || proxy.log().iter().filter(|line| line.contains("\"status\":508")).count();
    eventually("both are logged", || lines() == 2);
    let loops = proxy.log().iter().filter(|line| line.contains("\"error\":\"loop_detected\"")).count();
    assert_eq!((loops, lines()), (1, 2), "it went round once");
    // Another Pointsman on the way is no loop, and neither is what only looks like us.
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    let mut client = proxy.connect();
    assert_eq!(
        client.get_with("/", "a", "Via: 1.1 pointsman-0123456789abcdef, 1.1 pointsman\r\n").status,
        200
    );
    let via = origin.last().header("via").unwrap().to_owned();
    let own = via.rsplit(", ").next().unwrap().to_owned();
    assert!(own.starts_with("1.1 pointsman-") && own.len() == "1.1 pointsman-".len() + 16, "{via}");
    let mut client = proxy.connect();
    assert_eq!(client.get_with("/", "a", &format!("Via: 1.1 x, {own}\r\n")).status, 508);
    let before = origin.requests().len();
    let mut client = proxy.connect();
    assert_eq!(client.get_with("/", "a", &format!("Via: {}\r\n", own.replace("1.1", "2"))).status, 508);
    assert_eq!(origin.requests().len(), before);
}

#[test]
fn collapse_shares_nothing_between_clients_that_can_be_told_apart() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request: &Request| {
        held.pass();
        let who = request.header("x-api-key").unwrap_or("nobody").to_owned();
        Reply::Text(200, who)
    });
    let proxy = with_tables(&origin, ["", "collapse = true", ""], ADMIN);
    let address = proxy.address("web");
    let ask = move |fields: &'static str| {
        std::thread::spawn(move || Client::connect(address).get_with("/", "a", fields).text())
    };
    let asked = [
        ("X-Api-Key: one\r\n", "one"),
        ("X-Api-Key: two\r\n", "two"),
        ("", "nobody"),
        ("User-Agent: a\r\nAccept-Language: de\r\n", "nobody"),
        ("x-api-key: one\r\nUser-Agent: b\r\n", "one"),
    ];
    let answers: Vec<_> = asked.iter().map(|(fields, _)| ask(fields)).collect();
    eventually("all wait", || metric(&proxy, "pointsman_cache_fill_readers") == 5);
    (0..3).for_each(|_| gate.open());
    for (answer, (fields, expected)) in answers.into_iter().zip(asked) {
        assert_eq!(answer.join().unwrap(), expected, "{fields:?}");
    }
    assert_eq!(origin.requests().len(), 3, "those who are alike share all the same");
}

#[test]
fn collapse_tells_users_apart_whom_a_trusted_proxy_names() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request: &Request| {
        held.pass();
        let named =
            ["x-forwarded-user", "x-forwarded-client-cert", "x-forwarded-prefix", "sec-token-binding"];
        Reply::Text(200, named.iter().find_map(|name| request.header(name)).unwrap_or("nobody").to_owned())
    });
    let trusted = "trusted_proxies = [\"127.0.0.0/8\"]";
    let proxy = with_tables(&origin, [trusted, "collapse = true", ""], ADMIN);
    let address = proxy.address("web");
    let asked = [
        ("X-Forwarded-User: ann\r\n", "ann"),
        ("X-Forwarded-User: bob\r\n", "bob"),
        ("X-Forwarded-Client-Cert: Subject=cat\r\n", "Subject=cat"),
        ("X-Forwarded-Prefix: /dan\r\n", "/dan"),
        ("Sec-Token-Binding: eve\r\n", "eve"),
        ("X-Forwarded-For: 192.0.2.1\r\nSec-Fetch-Mode: cors\r\n", "nobody"),
        ("X-Forwarded-For: 192.0.2.2\r\nSec-CH-UA: x\r\n", "nobody"),
    ];
    let answers: Vec<_> = asked
        .iter()
        .map(|&(fields, _)| {
            std::thread::spawn(move || Client::connect(address).get_with("/", "a", fields).text())
        })
        .collect();
    eventually("all wait", || metric(&proxy, "pointsman_cache_fill_readers") == 7);
    (0..6).for_each(|_| gate.open());
    for (answer, (fields, expected)) in answers.into_iter().zip(asked) {
        assert_eq!(answer.join().unwrap(), expected, "{fields:?}");
    }
    assert_eq!(origin.requests().len(), 6, "those who are alike share all the same");
}

#[test]
fn max_forwards_ends_options_and_trace_here() {
    let origin = Origin::named("a");
    let proxy = before(&origin, "", "", "");
    let ask = |method: &str, value: &str| {
        let mut client = proxy.connect();
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n"));
        client.response(method).status
    };
    assert_eq!((ask("OPTIONS", "0"), ask("TRACE", "0")), (200, 405));
    assert!(origin.requests().is_empty(), "they go no further");
    for (method, value, left) in
        [("OPTIONS", "1", "0"), ("TRACE", "70", "69"), ("OPTIONS", "x", "x"), ("GET", "0", "0")]
    {
        assert_eq!(ask(method, value), 200, "{method} {value}");
        assert_eq!(origin.last().header("max-forwards"), Some(left), "{method} {value}");
    }
}

#[test]
fn interim_responses_without_end_are_a_bad_response() {
    let hung_up = Arc::new(AtomicUsize::new(0));
    let counted = hung_up.clone();
    let origin = Origin::start(move |_: &Request| {
        let counted = counted.clone();
        Reply::Take(Box::new(move |connection| {
            let interim = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "x".repeat(1000));
            let block = interim.repeat(64);
            // The proxy hangs up long before.
            for _ in 0..20_000 {
                if connection.stream.write_all(block.as_bytes()).is_err() {
                    counted.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        }))
    });
    // Else those who come late find it ejected.
    let proxy = before(&origin, "", "", "outlier = { consecutive_failures = 0, failure_percent = 0 }");
    let mut silent: Vec<Client> = (0..20).map(|_| proxy.connect()).collect();
    let before = proxy.memory();
    silent.iter_mut().for_each(|client| client.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n"));
    eventually("all are given up", || hung_up.load(Ordering::SeqCst) == 20);
    let held = proxy.memory().saturating_sub(before);
    assert!(held < 64 << 20, "{} MiB are held for clients that do not read", held >> 20);
    for client in &mut silent {
        assert!(client.until(b"HTTP/1.1 502 ").is_some(), "the client learns of it");
    }
    eventually("each is logged", || {
        let refused = |line: &&serde_json::Value| line["error"] == "bad_response";
        proxy.access_log().iter().filter(refused).count() == 20
    });
}

/// Else two requests of a stranger take a backend away that is well, for half a minute and longer each time.
#[test]
fn answers_that_are_not_taken_eject_nobody() {
    let origin = Origin::start(|request: &Request| {
        let mut head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n".to_owned();
        if request.header("upgrade").is_some() {
            return Reply::Bytes(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n".to_vec());
        }
        // It expires each cookie that it is sent, and says again what it is asked.
        for name in request.header("cookie").into_iter().flat_map(|cookies| cookies.split("; ")) {
            head += &format!("Set-Cookie: {name}; Max-Age=0\r\n");
        }
        if let Some(asked) = request.header("x-asked") {
            head += &format!("X-One: {asked}\r\nX-Two: {asked}\r\n");
        }
        if request.header("te").is_some() {
            let trailers: String = (0..300).map(|number| format!("X-{number}: 1\r\n")).collect();
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
            return Reply::Bytes(format!("{head}{trailers}\r\n").into_bytes());
        }
        Reply::Bytes((head + "\r\n").into_bytes())
    });
    let proxy = before(&origin, "", "upgrade = [\"*\"]", "");
    let cookies = (0..250).map(|number| format!("c{number}=")).collect::<Vec<_>>().join("; ");
    for (fields, error) in [
        (format!("Cookie: {cookies}\r\n"), "response_too_large"),
        (format!("X-Asked: {}\r\n", "a".repeat(40_000)), "response_too_large"),
        ("Connection: upgrade\r\nUpgrade: foo\r\n".to_owned(), "wrong_upgrade"),
    ] {
        for number in 0..6 {
            let (target, asked) = (format!("/{error}-{}-{number}", fields.len()), origin.requests().len());
            assert_eq!(proxy.connect().get_with(&target, "a", &fields).status, 502, "{error}");
            assert_eq!(proxy.logged(&target)["error"], error);
            assert_eq!(origin.requests().len(), asked + 1, "the next answer would be the same: {error}");
        }
        assert_eq!(proxy.get("/").status, 200, "{error}");
    }
    for number in 0..6 {
        let target = format!("/trailers-{number}");
        let answer = proxy.connect().get_with(&target, "a", "TE: trailers\r\n");
        assert_eq!((answer.status, answer.is_whole), (200, false));
        assert_eq!(proxy.logged(&target)["error"], "response_too_large");
    }
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(proxy.count_logged("ejected"), 0);
}

#[test]
fn slow_uploads_do_not_keep_backends_for_themselves() {
    let origin = Origin::named("a");
    let text = config(&[origin.address()], "queue = { size = 10, timeout = \"20s\" }\n---\n")
        .replace("name = \"b0\"\n", "name = \"b0\"\nmax_connections = 2\n");
    let proxy = Proxy::start(&text);
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let mut client = proxy.connect();
            client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
            std::thread::spawn(move || {
                // Often enough for `timeouts.body`.
                while client.try_send("x").is_ok() && client.is_silent_for(Duration::from_millis(500)) {}
                client.response("POST").status
            })
        })
        .collect();
    eventually("both have a place", || origin.connections() == 2);
    assert_eq!(proxy.get("/").status, 200, "it waits in the queue until one is given up");
    for client in slow {
        assert_eq!(client.join().unwrap(), 408);
    }
}
