//! Limits and timeouts of a listener, each with the status that says which.

use std::{
    net::Shutdown,
    time::{Duration, Instant},
};

use crate::{
    collapse::metric,
    support::{Client, Origin, Proxy, Reply, eventually, proxy::config_of},
};

fn limited(options: &str) -> (Origin, Proxy) {
    let origin = Origin::named("a");
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], options, ""));
    (origin, proxy)
}

#[test]
fn large_heads_targets_and_bodies_get_their_own_status() {
    let (origin, proxy) = limited(
        "[listener.limits]\nheader_bytes = \"2KiB\"\nheaders = 10\nuri_bytes = \"200\"\nbody_bytes = \"1KiB\"",
    );
    let send = |bytes: String| {
        let mut client = proxy.connect();
        // The proxy may close before it has taken all of it.
        let _ = client.try_send(bytes);
        client.response("POST").status
    };
    let long = "x".repeat(4000);
    assert_eq!(send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")), 431);
    assert_eq!(send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(20))), 431);
    assert_eq!(send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(300))), 414);
    assert_eq!(send(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), 414);
    assert_eq!(send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n{long}")), 413);
    assert_eq!(
        send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfa0\r\n{long}\r\n0\r\n\r\n"
        )),
        413
    );
    assert_eq!(
        send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n".to_owned() + &long[..1024]),
        200
    );
    assert!(origin.requests().iter().all(|request| request.body.len() <= 1024));
}

#[test]
fn a_refusal_gives_its_reason_and_the_logged_id() {
    let (origin, proxy) = limited("");
    for bytes in
        ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"]
    {
        let mut client = proxy.connect();
        client.send(bytes);
        let response = client.response("GET");
        assert_eq!(response.status, 400);
        assert!(response.header("proxy-status").unwrap().starts_with("pointsman; error="));
        let id = response.header("x-request-id").unwrap().to_owned();
        assert!(id.len() == 32 && response.text().contains(&id), "{response:?}");
        eventually("it is logged", || {
            proxy.access_log().iter().any(|line| line["request_id"] == id.as_str())
        });
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn slow_heads_and_bodies_are_ended() {
    let (origin, proxy) =
        limited("[listener.timeouts]\nheader = \"300ms\"\nbody = \"300ms\"\nidle = \"300ms\"");
    let begun = Instant::now();
    let mut head = proxy.connect();
    head.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    let mut body = proxy.connect();
    body.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    let mut silent = proxy.connect();
    let mut kept = proxy.connect();
    assert_eq!(kept.get("/").status, 200);
    // Bytes that trickle in do not buy a head more time.
    while begun.elapsed() < Duration::from_millis(250) {
        let _ = head.try_send("x");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(head.response("GET").status, 408);
    assert_eq!(body.response("POST").status, 408);
    assert_eq!(silent.response("GET").status, 0, "closed without a word");
    assert!(kept.is_closed());
    assert!(begun.elapsed() < Duration::from_secs(9));
    assert!(origin.requests().iter().all(|request| request.method == "GET"));
}

#[test]
fn connections_beyond_the_limit_are_closed_and_places_become_free() {
    let origin = Origin::named("a");
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let text = config_of(&[origin.address().to_string()], "max_connections = 3", admin);
    let proxy = Proxy::start(&text);
    let mut held: Vec<Client> = (0..3).map(|_| proxy.connect()).collect();
    for client in &mut held {
        assert_eq!(client.get("/").status, 200);
    }
    let mut refused = proxy.connect();
    let _ = refused.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused.response("GET").status, 0);
    assert_eq!(metric(&proxy, "pointsman_connections_refused_total{listener=\"web\"}"), 1);
    proxy.until_logged("the listener is at `max_connections`", 1);
    for client in &mut held {
        assert_eq!(client.get("/").status, 200, "those that are there go on");
    }
    held.pop();
    eventually("a place becomes free", || {
        let mut client = proxy.connect();
        let _ = client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.response("GET").status == 200
    });
}

/// The line of one stood for the other's, too, whatever it is named.
#[test]
fn each_listener_that_is_full_has_its_line() {
    let origin = Origin::named("a");
    let more = "[[listener]]\nname = \"other\"\naddress = \"127.0.0.1:0\"\nmax_connections = 1\n";
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], "max_connections = 1", more));
    let listeners = ["web", "other"];
    let mut held = listeners.map(|name| Client::connect(proxy.address(name)));
    held.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
    // Within one second, if the machine is not slow.
    let _refused = listeners.map(|name| Client::connect(proxy.address(name)));
    for name in listeners.map(|name| format!("\"listener\":\"{name}\"")) {
        let is_its = |line: &str| line.contains("is at `max_connections`") && line.contains(&name);
        eventually(&name, || proxy.log().iter().any(|line| is_its(line)));
    }
}

#[test]
fn one_address_has_its_share_and_denied_ones_have_none() {
    let (_origin, proxy) = limited("max_connections_per_address = 2");
    let mut held: Vec<Client> = (0..2).map(|_| proxy.connect()).collect();
    for client in &mut held {
        assert_eq!(client.get("/").status, 200);
    }
    let mut refused = proxy.connect();
    let _ = refused.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused.response("GET").status, 0);

    let (origin, proxy) = limited("deny = [\"127.0.0.0/8\"]");
    let mut refused = proxy.connect();
    let _ = refused.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused.response("GET").status, 0);
    assert!(origin.requests().is_empty());
    let (_origin, proxy) = limited("allow = [\"127.0.0.0/8\"]");
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn a_slow_backend_gives_504_at_the_route_limit() {
    let origin = Origin::start(|_| {
        Reply::Take(Box::new(|connection| {
            // Until the proxy gives up.
            let _ = std::io::Read::read(&mut connection.reader, &mut [0; 1]);
            let _ = connection.stream.shutdown(Shutdown::Both);
        }))
    });
    let config = config_of(
        &[origin.address().to_string()],
        "",
        "response_timeout = \"300ms\"\n---\n[upstream.retry]\nattempts = 1\n",
    );
    let proxy = Proxy::start(&config);
    let response = proxy.get("/slow");
    assert_eq!(response.status, 504);
    assert_eq!(proxy.logged("/slow")["error"], "response_timeout");
    let timed = config.replace("upstream = \"u\"\n", "upstream = \"u\"\ntimeout = \"100ms\"\n");
    let proxy = Proxy::start(&timed);
    assert_eq!(proxy.get("/timed").status, 504);
    assert_eq!(proxy.logged("/timed")["error"], "route_timeout");
}

#[test]
fn a_client_that_leaves_frees_its_place_at_the_backend() {
    let (sender, receiver) = std::sync::mpsc::channel::<bool>();
    let sender = std::sync::Mutex::new(sender);
    let origin = Origin::start(move |_| {
        let sender = sender.lock().unwrap().clone();
        Reply::Take(Box::new(move |connection| {
            let ended = std::io::Read::read(&mut connection.reader, &mut [0; 1]);
            sender.send(matches!(ended, Ok(0) | Err(_))).unwrap();
        }))
    });
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], "", ""));
    let mut client = proxy.connect();
    client.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request arrives", || origin.requests().len() == 1);
    drop(client);
    assert!(receiver.recv_timeout(crate::support::PATIENCE).unwrap(), "the backend sees the end");
    assert_eq!(proxy.logged("/left")["status"], 499);
}

#[test]
fn a_silent_connection_is_accepted_after_defer_accept() {
    const ADMIN: &str = "---\n[admin]\naddress = \"127.0.0.1:0\"\n";
    let origin = Origin::named("a");
    let config = |option: &str| config_of(&[origin.address().to_string()], option, ADMIN);
    let proxy = Proxy::start(&config("defer_accept = \"0s\"\n"));
    let open = || metric(&proxy, "pointsman_connections{listener=\"web\"}");
    let first = proxy.connect();
    eventually("it is accepted at once", || open() == 1);
    // An edit says so of the socket that is there.
    proxy.edit(&config("defer_accept = \"60s\"\n"));
    proxy.until_logged("configuration in force", 1);
    let _silent = proxy.connect();
    // What comes over it later is served; who came after it and spoke is served before.
    let mut late = proxy.connect();
    for _ in 0..3 {
        assert_eq!(proxy.get("/").status, 200);
    }
    assert_eq!(late.get("/late").status, 200);
    eventually("only who spoke has a place", || open() == 2);
    drop((first, late));
    eventually("the silent one has none", || open() == 0);
}
