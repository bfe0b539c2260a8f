//! What opens a WebSocket, and what does not.

use std::{
    io::Read,
    sync::{Arc, Mutex, mpsc},
};

use super::{
    ENABLE_CONNECT, Http2Client, KEY, Of, echo, extended_connect, http1_backend, open, opening, switching,
};
use crate::support::{
    Origin, Proxy, Reply, eventually,
    frames::{PING, get},
    proxy::config,
};

/// Both clients' statuses for a WebSocket of this path.
fn statuses(proxy: &Proxy, target: &'static str) -> (u16, String) {
    let mut client = proxy.connect();
    client.send(opening(target));
    (client.response("GET").status, Http2Client::connect(proxy).ask(1, target).0)
}

#[test]
fn a_wrong_proof_is_502() {
    let origin = Origin::start(|request| {
        let key = request.header("sec-websocket-key").unwrap();
        let right = switching(key);
        let proof = right.split("Sec-WebSocket-Accept: ").nth(1).unwrap().split("\r\n").next().unwrap();
        Reply::Close(
            match request.target.as_str() {
                "/none" => right.replace(&format!("Sec-WebSocket-Accept: {proof}\r\n"), ""),
                "/clients" => switching(KEY),
                "/twice" => right.replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Accept: {proof}\r\n\r\n")),
                _ => right.replace(proof, &proof.to_ascii_lowercase()),
            }
            .into_bytes(),
        )
    });
    for target in ["/none", "/clients", "/twice", "/case"] {
        // One that answers so is ejected soon.
        let proxy = Proxy::start(&config(&[origin.address()], ""));
        assert_eq!(statuses(&proxy, target), (502, "502".into()), "{target}");
        assert_eq!(proxy.logged(target)["error"], "bad_response");
    }
}

#[test]
fn another_answer_passes_and_a_success_does_not() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/forbidden" => Reply::Text(403, "not you".into()),
        "/moved" => {
            Reply::Bytes(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n".to_vec())
        }
        _ => Reply::Text(200, "a page".into()),
    });
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    assert_eq!(statuses(&proxy, "/moved"), (302, "302".into()));
    // To a client of HTTP/2 it would mean that its WebSocket is open.
    assert_eq!(statuses(&proxy, "/page"), (200, "502".into()));
    let mut client = Http2Client::connect(&proxy);
    assert_eq!(client.ask(1, "/forbidden").0, "403");
    assert!(matches!(client.next(1), Of::Data(body, _) if body == b"not you"));
}

#[test]
fn nothing_behind_the_head_reaches_a_backend_before_it_switches() {
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Arc::new(Mutex::new(may_go));
    let early = Arc::new(Mutex::new(Vec::new()));
    let seen = early.clone();
    let origin = Origin::start(move |request| {
        let Some(key) = request.header("sec-websocket-key").map(str::to_owned) else {
            return Reply::Text(200, "plain".into());
        };
        if request.target == "/refused" {
            return Reply::Text(403, "no".into());
        }
        let (may_go, seen) = (may_go.clone(), seen.clone());
        Reply::Take(Box::new(move |connection| {
            may_go.lock().unwrap().recv().unwrap();
            connection.stream.set_nonblocking(true).unwrap();
            let mut bytes = connection.reader.buffer().to_vec();
            let mut more = [0; 100];
            let came = connection.stream.read(&mut more).unwrap_or(0);
            bytes.extend_from_slice(&more[..came]);
            seen.lock().unwrap().extend(bytes);
            connection.stream.set_nonblocking(false).unwrap();
            connection.send(switching(&key));
            echo(connection);
        }))
    });
    let text = config(&[origin.address()], "").replace("workers = 2", "workers = 1");
    let proxy = Proxy::start(&text);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

    let mut client = Http2Client::connect(&proxy);
    client.frames.ask(1, &extended_connect("/held"), false);
    client.send(1, smuggled.as_bytes(), false);
    // Who answers has looked at what came before.
    client.frames.send(PING, 0, 0, b"lookedat");
    while client.frames.next().unwrap().kind != PING {}
    go.send(()).unwrap();
    assert!(matches!(client.next(1), Of::Head(..)));
    assert_eq!(client.exactly(1, smuggled.len()).0, smuggled.as_bytes());

    let mut client = proxy.connect();
    client.send(opening("/held") + smuggled);
    // The one worker has gone on to another since.
    assert_eq!(proxy.get("/another").text(), "plain");
    go.send(()).unwrap();
    assert_eq!(client.response("GET").status, 101);
    assert_eq!(client.exactly(smuggled.len()), smuggled.as_bytes());
    assert_eq!(*early.lock().unwrap(), b"");

    // Nor where it never switches, on a connection that is used again.
    let mut client = Http2Client::connect(&proxy);
    client.frames.ask(1, &extended_connect("/refused"), false);
    client.send(1, smuggled.as_bytes(), false);
    assert!(matches!(client.next(1), Of::Head(..)));
    assert_eq!(proxy.get("/another").text(), "plain");
    assert!(origin.requests().iter().all(|request| request.target != "/smuggled"));
}

#[test]
fn a_body_or_another_number_of_keys_opens_nothing() {
    let origin = http1_backend(echo);
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    for (with, what) in [
        ("Content-Length: 5\r\n\r\nhello", "a body"),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "chunks"),
        ("Sec-WebSocket-Key: AAAA\r\n\r\n", "two keys"),
    ] {
        let mut client = proxy.connect();
        client.send(opening("/").replace("\r\n\r\n", "\r\n") + with);
        assert_eq!(client.response("GET").status, 400, "{what}");
    }
    // Nor is one opened without a proof: who leaves the key out would have a backend's 101 believed.
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response("GET").status, 400);
    let mut client = proxy.connect();
    client.send(opening("/").replace("GET", "POST").replace(&format!("Sec-WebSocket-Key: {KEY}\r\n"), ""));
    assert_eq!(client.response("POST").status, 200);
    assert_eq!(origin.last().header("upgrade"), None, "by another method it is ignored");
    let asked = origin.requests().len();
    let mut client = Http2Client::connect(&proxy);
    let mut fields = extended_connect("/");
    fields.push((b"content-length", b"5"));
    client.frames.ask(1, &fields, false);
    assert!(matches!(client.next(1), Of::Head(fields, _) if fields[0].1 == "400"));
    assert_eq!(origin.requests().len(), asked);
}

#[test]
fn extended_connect_is_announced_where_a_route_takes_it() {
    let origin = http1_backend(echo);
    let takes = config(&[origin.address()], "");
    let takes_not = takes.replace("upstream = \"u\"\n", "upstream = \"u\"\nupgrade = [\"tcp\"]\n");
    let proxy = Proxy::start(&takes_not);
    let mut before = Http2Client::connect(&proxy);
    assert!(before.settings.iter().all(|(id, _)| *id != ENABLE_CONNECT));
    assert_eq!(before.ask(1, "/unannounced").0, "400");
    proxy.edit(&takes);
    eventually("it is announced", || Http2Client::connect(&proxy).settings.contains(&(ENABLE_CONNECT, 1)));
    // What was announced to a connection stays so.
    assert_eq!(before.ask(3, "/unannounced").0, "400");
    let mut after = Http2Client::connect(&proxy);
    assert_eq!(after.ask(1, "/chat").0, "200");
    proxy.edit(&takes_not);
    eventually("it is announced no more", || {
        !Http2Client::connect(&proxy).settings.contains(&(ENABLE_CONNECT, 1))
    });
    assert_eq!(after.ask(3, "/no-more").0, "501");
    after.send(1, b"goes on", false);
    assert_eq!(after.exactly(1, 7).0, b"goes on");
}

#[test]
fn what_no_backend_takes_is_501() {
    let origin = http1_backend(echo);
    let text = config(&[origin.address()], "")
        + "[[route]]\nname = \"own\"\npaths = [\"/own\"]\nrespond = { status = 200, body = \"own\" }\n\
           [[route]]\nname = \"moved\"\npaths = [\"/moved\"]\nredirect = { to = \"/other\" }\n\
           [[route]]\nname = \"plain\"\npaths = [\"/plain\"]\nupstream = \"u\"\nupgrade = []\n\
           [[route]]\nname = \"chosen\"\npaths = [\"/chosen\"]\nheaders = { upgrade = \"websocket\" }\n\
           respond = { status = 403, body = \"chosen\" }\n";
    let proxy = Proxy::start(&text);
    let mut client = Http2Client::connect(&proxy);
    for (stream, target, status) in [
        (1, "/own", "501"),
        (3, "/plain", "501"),
        (5, "/moved", "308"),
        (7, "/chosen", "403"),
        (9, "/chat", "200"),
    ] {
        assert_eq!(client.ask(stream, target).0, status, "{target}");
    }
    let mut other = extended_connect("/chat");
    other[1].1 = b"connect-udp";
    client.frames.ask(11, &other, false);
    assert!(matches!(client.next(11), Of::Head(fields, _) if fields[0].1 == "501"));
    assert_eq!(proxy.logged("/own")["error"], "not_implemented");
    // What is no extended CONNECT.
    for (stream, without) in [(13, ":scheme"), (15, ":path"), (17, ":authority")] {
        let mut fields = extended_connect("/chat");
        fields.retain(|(name, _)| *name != without.as_bytes());
        client.frames.ask(stream, &fields, false);
        assert!(matches!(client.next(stream), Of::Head(fields, _) if fields[0].1 == "400"), "{without}");
    }
    let mut fields = get("/chat").to_vec();
    fields.push((b":protocol", b"websocket"));
    client.frames.ask(19, &fields, false);
    assert!(matches!(client.next(19), Of::Head(fields, _) if fields[0].1 == "400"));
    // And over HTTP/1.1 an Upgrade that is not taken is ignored.
    let mut over_http1 = proxy.connect();
    over_http1.send(opening("/own"));
    assert_eq!(over_http1.response("GET").text(), "own");
    drop(open(&proxy, "/chat"));
}

#[test]
fn a_backend_may_not_switch_a_websocket_to_another_protocol() {
    let origin = Origin::start(|request| {
        let head = switching(request.header("sec-websocket-key").unwrap());
        Reply::Close(head.replace("Upgrade: websocket", "Upgrade: tcp").into_bytes())
    });
    let text = config(&[origin.address()], "");
    let text = text.replace("upstream = \"u\"\n", "upstream = \"u\"\nupgrade = [\"websocket\", \"tcp\"]\n");
    let proxy = Proxy::start(&text);
    let mut client = proxy.connect();
    client.send(opening("/").replace("Upgrade: websocket", "Upgrade: tcp, websocket"));
    assert_eq!(client.response("GET").status, 502);
    assert_eq!(origin.last().all("upgrade"), ["websocket"]);
}
