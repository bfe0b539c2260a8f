//! What a request may turn its connection into, by its route.

use std::{
    io::Read,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{Origin, Proxy, Reply, proxy::config};

fn with(origin: &Origin, upgrade: &str) -> Proxy {
    let text = config(&[origin.address()], "");
    Proxy::start(&text.replace("upstream = \"u\"\n", &format!("upstream = \"u\"\nupgrade = {upgrade}\n")))
}

/// What the CLI of Docker sends for `docker exec -i`.
fn exec() -> String {
    let body = "{\"Detach\":false,\"Tty\":false}";
    format!(
        "POST /v1.43/exec/4f2c/start HTTP/1.1\r\nHost: api.moby.localhost\r\nUser-Agent: Docker-Client/24.0.7 (linux)\r\n\
         Content-Length: {}\r\nConnection: Upgrade\r\nContent-Type: application/json\r\nUpgrade: tcp\r\n\r\n{body}",
        body.len()
    )
}

/// What came on a stream.
type Heard = Arc<Mutex<Vec<u8>>>;

/// A daemon of Docker: what comes on the stream is heard, and goes back in capitals; with `head` 200 as those of old.
fn daemon(head: &'static str) -> (Heard, Origin) {
    let heard = Heard::default();
    let noted = heard.clone();
    let origin = Origin::start(move |request| match request.header("upgrade") {
        None if head.contains("101") => Reply::Text(400, "unable to upgrade to tcp, received 200".into()),
        _ => {
            let heard = noted.clone();
            Reply::Take(Box::new(move |connection| {
                let mut body = [0; 28];
                connection.reader.read_exact(&mut body).unwrap();
                assert_eq!(&body, b"{\"Detach\":false,\"Tty\":false}");
                connection.send(head);
                connection.send("welcome\n");
                let mut line = [0; 5];
                while connection.reader.read_exact(&mut line).is_ok() {
                    heard.lock().unwrap().extend(line);
                    connection.send(line.to_ascii_uppercase());
                }
                connection.send("bye");
            }))
        }
    });
    (heard, origin)
}

const UPGRADED: &str = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
                        Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const OF_OLD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";

#[test]
fn docker_exec_goes_through_where_the_route_lists_tcp() {
    let (_, origin) = daemon(UPGRADED);
    for upgrade in ["[\"websocket\", \"tcp\"]", "[\"TCP\"]", "\"*\"", "[\"*\"]"] {
        let proxy = with(&origin, upgrade);
        let mut client = proxy.connect();
        client.send(exec());
        let response = client.response("GET");
        assert_eq!((response.status, response.header("upgrade")), (101, Some("tcp")), "{upgrade}");
        assert_eq!(client.exactly(8), b"welcome\n");
        client.send("hello");
        assert_eq!(client.exactly(5), b"HELLO");
        // The end of standard input; what the command says then still comes.
        client.shut();
        assert_eq!(client.exactly(3), b"bye");
        assert!(client.is_closed());
    }
}

#[test]
fn what_a_route_does_not_list_is_taken_out() {
    let origin = Origin::named("plain");
    let proxy = with(&origin, "[\"websocket\", \"spdy/3.1\"]");
    let mut client = proxy.connect();
    client.send(exec());
    assert_eq!(client.response("POST").text(), "plain");
    let request = origin.last();
    assert_eq!((request.header("upgrade"), request.header("connection")), (None, None));
    assert_eq!(request.body, b"{\"Detach\":false,\"Tty\":false}");
    // Of several, those that it lists stay.
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c, SPDY/3.1, tcp\r\n\r\n");
    assert_eq!(client.response("GET").text(), "plain");
    assert_eq!(origin.last().all("upgrade"), ["SPDY/3.1"]);
    // RFC 9110 §7.8: of HTTP/1.0 it is ignored.
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response("GET").text(), "plain");
    assert_eq!(origin.last().header("upgrade"), None);
}

#[test]
fn h2c_is_taken_out_whatever_the_route_lists() {
    let origin = Origin::named("plain");
    let proxy = with(&origin, "\"*\"");
    let mut client = proxy.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n",
    );
    assert_eq!(client.response("GET").text(), "plain");
    let request = origin.last();
    assert_eq!((request.header("upgrade"), request.header("http2-settings")), (None, None));
}

#[test]
fn a_backend_may_switch_only_to_what_went_on() {
    let origin = Origin::start(|_| {
        Reply::Close(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n".to_vec(),
        )
    });
    let proxy = with(&origin, "[\"websocket\"]");
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, tcp\r\nSec-WebSocket-Key: x\r\n\r\n");
    assert_eq!(client.response("GET").status, 502);
}

#[test]
fn a_stream_behind_200_comes_and_nothing_goes_back() {
    // As daemons of before 2014 have it: no upgrade for HTTP, so that what the client sends behind its request is none.
    let (heard, origin) = daemon(OF_OLD);
    let proxy = with(&origin, "[\"tcp\"]");
    let mut client = proxy.connect();
    client.send(exec());
    client.send("hello");
    let head = client.until(b"welcome\n").unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    assert!(client.is_silent_for(Duration::from_millis(300)));
    assert_eq!(*heard.lock().unwrap(), b"");
}
