//! What a route bounds for itself: bodies, times, clients, and how many requests are under way.

use std::{fmt::Write as _, io::Read, net::SocketAddr, time::Duration};

use crate::support::{
    Client, Origin, Proxy, Reply, eventually,
    proxy::{config, config_of},
};

/// A proxy whose one route has these options.
fn with(origin: &Origin, options: &str) -> Proxy {
    with_more(origin, options, "")
}

fn with_more(origin: &Origin, options: &str, more: &str) -> Proxy {
    let text = config(&[origin.address()], more);
    Proxy::start(&text.replace("upstream = \"u\"\n", &format!("upstream = \"u\"\n{options}\n")))
}

fn post(client: &mut Client, target: &str, length: usize) -> u16 {
    client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
    // One that is refused at once may be refused before it is sent.
    let _ = client.try_send(vec![b'x'; length]);
    client.response("POST").status
}

#[test]
fn body_limit_of_a_route_replaces_that_of_its_listener() {
    let origin = Origin::named("whole");
    let text = config_of(&[origin.address().to_string()], "limits = { body_bytes = 10 }\n", "").replace(
        "[[route]]\n",
        "[[route]]\nname = \"large\"\npaths = [\"/large\"]\nlimits = { body_bytes = 20 }\nupstream = \"u\"\n\
         [[route]]\nname = \"any\"\npaths = [\"/any\"]\nlimits = { body_bytes = 0 }\nupstream = \"u\"\n[[route]]\n",
    );
    let proxy = Proxy::start(&text);
    for (target, length, status) in
        [("/", 10, 200), ("/", 11, 413), ("/large", 20, 200), ("/large", 21, 413), ("/any", 100_000, 200)]
    {
        assert_eq!(post(&mut proxy.connect(), target, length), status, "{target} {length}");
    }
    let mut client = proxy.connect();
    client.send("POST /large HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n");
    client.send(format!("{}\r\n0\r\n\r\n", "x".repeat(21)));
    assert_eq!(client.response("POST").status, 413, "chunks are counted too");
}

#[test]
fn clients_that_a_route_does_not_let_in_get_403() {
    let origin = Origin::named("in");
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let text = config_of(&[origin.address().to_string()], "trusted_proxies = [\"127.0.0.1\"]\n", admin).replace(
        "[[route]]\n",
        "[[route]]\nname = \"inside\"\npaths = [\"/inside\"]\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.1.0.0/16\"]\n\
         upstream = \"u\"\n[[route]]\n",
    );
    let proxy = Proxy::start(&text);
    let from = |address: &str, target: &str| {
        proxy.connect().get_with(target, "a", &format!("X-Forwarded-For: {address}\r\n")).status
    };
    assert_eq!(from("10.0.0.1", "/inside"), 200);
    assert_eq!(from("10.1.0.1", "/inside"), 403, "`deny` goes before `allow`");
    assert_eq!(from("192.0.2.1", "/inside"), 403);
    assert_eq!(from("192.0.2.1", "/"), 200, "other routes let it in");
    assert_eq!(origin.requests().len(), 2);
    let is_denied = |line: &serde_json::Value| line["status"] == 403;
    eventually("the lines are written", || proxy.access_log().iter().filter(|it| is_denied(it)).count() == 2);
    let denied = proxy.access_log().into_iter().find(is_denied).unwrap();
    assert_eq!((&denied["route"], &denied["error"]), (&"inside".into(), &"client_denied".into()), "{denied}");
    let metrics = Client::connect(proxy.address("admin")).get("/metrics").text();
    let counted =
        "pointsman_requests_total{listener=\"web\",route=\"inside\",upstream=\"\",code=\"403\"} 2\n";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn requests_above_those_of_a_route_get_503() {
    let (release, origin) = Origin::holding();
    let text = config(&[origin.address()], "").replace(
        "[[route]]\n",
        "[[route]]\nname = \"few\"\npaths = [\"/held\"]\nmax_in_flight = 2\nupstream = \"u\"\n[[route]]\n",
    );
    let proxy = Proxy::start(&text);
    let mut held: Vec<Client> = (0..2).map(|_| proxy.connect()).collect();
    held.iter_mut().for_each(|client| client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n"));
    eventually("both are at the backend", || origin.connections() == 2);
    let refused = proxy.connect().get("/held");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(proxy.get("/").status, 200, "other routes have no bound");
    // Those of the generation before count on.
    proxy.edit(&text.replace("max_in_flight = 2", "max_in_flight = 2\nforwarded = true"));
    proxy.until_logged("configuration in force", 1);
    assert_eq!(proxy.get("/held").status, 503);
    // Which of the two each lets go is not said.
    (0..2).for_each(|_| release.send(()).unwrap());
    for client in &mut held {
        assert_eq!(client.response("GET").status, 200);
    }
    eventually("a place is free again", || {
        let mut client = proxy.connect();
        client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
        let _ = release.send(());
        client.response("GET").status == 200
    });
    let is_full = |line: &serde_json::Value| line["status"] == 503;
    eventually("the line is written", || proxy.access_log().iter().any(is_full));
    let full = proxy.access_log().into_iter().find(is_full).unwrap();
    assert_eq!((&full["route"], &full["error"]), (&"few".into(), &"route_full".into()), "{full}");
}

#[test]
fn a_buffered_body_comes_whole_and_holds_no_backend_before() {
    let origin = Origin::named("whole");
    let proxy = with_more(&origin, "buffer = \"1KiB\"", "retry = { replay_bytes = 0 }\n---\n");
    let mut client = proxy.connect();
    client.send("POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    // Another request, which begins later, is served meanwhile: the first one is surely here.
    assert_eq!(proxy.get("/other").status, 200);
    assert_eq!(origin.connections(), 1, "nobody was connected to for the one that is not whole");
    client.send("4\r\ndefg\r\n0\r\n\r\n");
    assert_eq!(client.response("POST").text(), "whole");
    let request = origin.last();
    assert_eq!((request.target.as_str(), request.body.as_slice()), ("/slow", &b"abcdefg"[..]));
    assert_eq!((request.header("content-length"), request.header("transfer-encoding")), (Some("7"), None));
    // Only chunks can have trailers behind them.
    client.send("POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("3\r\nabc\r\n0\r\nx-a: b\r\n\r\n");
    assert_eq!(client.response("POST").text(), "whole");
    let request = origin.last();
    assert_eq!(request.body, b"abc");
    assert_eq!(
        (request.header("content-length"), request.header("transfer-encoding")),
        (None, Some("chunked"))
    );
    // Above the bound, said or not.
    let before = origin.requests().len();
    assert_eq!(post(&mut proxy.connect(), "/large", 1025), 413);
    let mut client = proxy.connect();
    client.send("POST /large HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n");
    client.send(format!("{}\r\n", "x".repeat(1025)));
    assert_eq!(client.response("POST").status, 413);
    assert_eq!(origin.requests().len(), before);
    // Who waits for a 100 gets it from us.
    let mut client = proxy.connect();
    client.send("POST /asks HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.any_response("POST").status, 100);
    client.send("ok");
    assert_eq!(client.response("POST").status, 200);
    assert_eq!((origin.last().header("expect"), origin.last().body.as_slice()), (None, &b"ok"[..]));
    // Empty ones, and those without a body.
    assert_eq!(post(&mut proxy.connect(), "/empty", 0), 200);
    assert_eq!(proxy.get("/none").status, 200);
}

#[test]
fn a_buffered_body_goes_to_another_backend_whatever_its_length() {
    let broken = Origin::start(|_| Reply::Close(Vec::new()));
    let good = Origin::named("good");
    let more = "retry = { replay_bytes = 0, non_idempotent = true }\n---\n";
    let text = config(&[broken.address(), good.address()], more)
        .replace("upstream = \"u\"\n", "upstream = \"u\"\nbuffer = \"1MiB\"\n");
    let proxy = Proxy::start(&text);
    for _ in 0..4 {
        assert_eq!(post(&mut proxy.connect(), "/", 300_000), 200);
    }
    assert!(good.requests().iter().all(|request| request.body.len() == 300_000));
    assert!(broken.connections() > 0);
}

#[test]
fn times_of_a_route_replace_those_of_listener_and_upstream() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/body" => Reply::Take(Box::new(|connection| {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
            let _ = connection.reader.read(&mut [0]);
        })),
        "/head" => Reply::Take(Box::new(|connection| {
            let _ = connection.reader.read(&mut [0]);
        })),
        _ => Reply::Text(200, "at once".into()),
    });
    // For heads there is more: those of a busy machine must come.
    let proxy =
        with(&origin, "timeouts = { body = \"300ms\", response = \"5s\", response_body = \"300ms\" }");
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(proxy.get("/head").status, 504);
    assert_eq!(proxy.logged("/head")["error"], "response_timeout");
    let mut client = proxy.connect();
    client.send("GET /body HTTP/1.1\r\nHost: a\r\n\r\n");
    let _half = client.until(b"half");
    assert!(client.is_closed(), "it breaks off");
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    assert_eq!(client.response("POST").status, 408);
}

#[test]
fn connecting_has_the_time_that_the_route_gives() {
    // Nobody accepts there, and the queue of those who wait is full.
    let full = full_queue();
    let mut options = String::new();
    write!(options, "timeouts = {{ connect = \"50ms\" }}").unwrap();
    let text = config(&[full.1], "connect_timeout = \"1h\"\nretry = { attempts = 1 }\n---\n")
        .replace("upstream = \"u\"\n", &format!("upstream = \"u\"\n{options}\n"));
    let proxy = Proxy::start(&text);
    assert_eq!(proxy.get("/").status, 504);
    assert_eq!(proxy.logged("/")["error"], "connect_timeout");
}

/// A listener whose queue is full, so that connecting to it takes for ever.
fn full_queue() -> ((socket2::Socket, Vec<socket2::Socket>), SocketAddr) {
    let new = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let listener = new();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    loop {
        let one = new();
        let is_full = one.connect_timeout(&address, Duration::from_millis(200)).is_err();
        waiting.push(one);
        if is_full {
            return ((listener, waiting), address.as_socket().unwrap());
        }
    }
}
