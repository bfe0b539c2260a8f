//! Requests of a node that has no way to any backend, through a peer that has one.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::{
    peers::{certificates, cluster, until_known},
    support::{
        Client, Origin, Proxy, Reply, Request,
        client::Response,
        eventually, free,
        h2::{Http2, request, run, whole},
        http2_origin::{Came, Http2Origin, MOST_STREAMS},
        nobody, proxy,
    },
};

/// Nodes of one cluster, each with its own way to the backend.
fn nodes(backends: &[SocketAddr], listener: &str) -> Vec<Proxy> {
    nodes_with(backends, listener, "")
}

/// The same with these options of the upstream.
fn nodes_with(backends: &[SocketAddr], listener: &str, options: &str) -> Vec<Proxy> {
    let folder = certificates(backends.len());
    let members: Vec<_> = backends.iter().map(|_| free()).collect();
    let start = |(index, backend): (usize, &SocketAddr)| {
        let cluster = cluster(&folder, index, &members);
        let peers = "[cluster.peers]\nresponse_timeout = \"10s\"\n";
        let cluster = cluster.replace("[cluster.peers]\n", peers);
        let upstream = format!("{options}relay = true\n[upstream.retry]\nattempts = 1\n");
        let text = proxy::config_of(&[backend.to_string()], listener, &format!("{upstream}---\n{cluster}"));
        Proxy::start(&text)
    };
    let nodes: Vec<Proxy> = backends.iter().enumerate().map(start).collect();
    until_known(&nodes);
    nodes
}

fn post(client: &mut Client, fields: &str, body: &str) -> Response {
    let length = body.len();
    client
        .send(format!("POST /post HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n{fields}\r\n{body}"));
    client.response("POST")
}

fn metric(node: &Proxy, name: &str) -> u64 {
    let text = Client::connect(node.address("admin")).get("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(&format!("pointsman_{name} "))).unwrap().parse().unwrap()
}

#[test]
fn node_without_a_way_relays_through_one_that_has() {
    let origin = Origin::start(|request: &Request| Reply::Text(200, request.target.clone()));
    // One client at a time: what the peer does is no second of it.
    let nodes = nodes(&[nobody(), origin.address()], "max_connections_per_address = 1\n");
    // One connection: that of the client before may still have its place when the next one comes.
    let mut client = nodes[0].connect();
    eventually("the peer's way is known", || client.get("/get").status == 200);
    assert_eq!(client.get("/once?a=1").text(), "/once?a=1");
    let log = nodes[0].logged("/once?a=1");
    assert_eq!(
        (&log["relay"], &log["upstream"], &log["status"]),
        (&"node1".into(), &"u".into(), &200.into())
    );
    let log = nodes[1].logged("/once?a=1");
    assert_eq!((&log["for_peer"], &log["client"]), (&"node0".into(), &"127.0.0.1".into()), "{log}");
    let spoofed = "X-Forwarded-For: 6.6.6.6\r\nExpect: 100-continue\r\n";
    let body = "b".repeat(300_000);
    assert_eq!(post(&mut client, spoofed, &body).status, 200);
    let request = origin.requests().into_iter().find(|it| it.method == "POST").unwrap();
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.body, body.as_bytes());
    assert_eq!(origin.requests().iter().filter(|it| it.method == "POST").count(), 1);
    assert_eq!(request.header("pointsman-peer"), None);
    assert!(metric(&nodes[0], "relayed_total") >= 3);
    assert_eq!(metric(&nodes[1], "relayed_total"), 0);
}

/// As the backend would be asked, and the client answered, without a hop.
#[test]
fn via_is_what_the_listener_says_over_a_peer_too() {
    for (via, expected) in [("off", &[][..]), ("edge", &["1.1 edge", "1.1 edge"])] {
        let origin = Origin::start(|request: &Request| Reply::Text(200, request.target.clone()));
        let nodes = nodes(&[nobody(), origin.address()], &format!("via = \"{via}\"\n"));
        let mut client = nodes[0].connect();
        eventually("the peer's way is known", || client.get("/get").status == 200);
        let answer = client.get("/once");
        let back = answer.headers.iter().filter(|(name, _)| name == "via").map(|(_, value)| value.as_str());
        assert_eq!((answer.status, back.collect::<Vec<_>>()), (200, expected.to_vec()), "{via}");
        assert_eq!(origin.last().all("via").join(", "), expected.join(", "));
    }
}

#[test]
fn no_way_anywhere_gives_the_usual_error() {
    let nodes = nodes(&[nobody(), nobody(), nobody()], "");
    for number in 0..10 {
        let node = &nodes[number % 3];
        let answer = node.get("/nowhere");
        assert!(matches!(answer.status, 502 | 503), "{}", answer.status);
        assert!(node.logged("/nowhere")["relay"].is_null());
    }
    // Nobody claims a way, so nobody is asked in the end.
    let asked = || nodes.iter().map(|node| node.count_logged("for_peer")).sum::<usize>();
    assert!(asked() <= 20, "a request goes over one hop to two peers at most: {}", asked());
}

#[test]
fn what_a_peer_may_have_done_goes_to_no_other() {
    let origin = Origin::start(|request: &Request| match request.method.as_str() {
        "POST" => Reply::Close(Vec::new()),
        _ => Reply::Text(200, request.target.clone()),
    });
    let nodes = nodes(&[nobody(), origin.address(), origin.address()], "");
    let mut client = nodes[0].connect();
    eventually("a way is known", || client.get("/get").status == 200);
    let answer = post(&mut client, "", "");
    assert!(matches!(answer.status, 502 | 503), "{}", answer.status);
    assert_eq!(origin.requests().iter().filter(|it| it.method == "POST").count(), 1);
}

#[test]
fn peer_takes_the_route_that_the_client_gets_there() {
    let origin = Origin::start(|request: &Request| Reply::Text(200, request.target.clone()));
    let folder = certificates(2);
    let members = [free(), free()];
    let ports: Vec<u16> = (0..2).map(|_| free().port()).collect();
    let nodes: Vec<Proxy> = [nobody(), origin.address()]
        .iter()
        .enumerate()
        .map(|(index, backend)| {
            let peers = "[cluster.peers]\nresponse_timeout = \"10s\"\n";
            let cluster = cluster(&folder, index, &members).replace("[cluster.peers]\n", peers);
            let upstream = "relay = true\n[upstream.retry]\nattempts = 1\n";
            let text = proxy::config_of(&[backend.to_string()], "", &format!("{upstream}---\n{cluster}"));
            let named = format!(
                "[[route]]\nname = \"own\"\nports = [{}]\nprotocol = \"http1\"\nupstream = \"u\"\n\
                 rewrite = {{ path = \"/own\" }}\n[[route]]\n",
                ports[0]
            );
            let text = text.replacen("[[route]]\n", &named, 1);
            Proxy::start(&text.replacen("127.0.0.1:0", &format!("127.0.0.1:{}", ports[index]), 1))
        })
        .collect();
    until_known(&nodes);
    eventually("the peer's way is known", || nodes[0].get("/get").status == 200);
    assert_eq!(nodes[0].get("/a").text(), "/own", "by the port of the asking node");
    assert_eq!(nodes[1].logged("/a")["route"], "own");
    assert_eq!(nodes[1].get("/b").text(), "/b", "which is none of this one");
    assert_eq!(nodes[1].logged("/b")["route"], "all");
}

/// Between the nodes there is HTTP/1.1, which a call does not notice: messages go both ways at once, and trailers come whole.
#[test]
fn calls_of_grpc_go_through_a_peer_to_http2() {
    let origin = Http2Origin::start(&[(MOST_STREAMS, 100)], |served, came| match came {
        Came::Head(head) => {
            let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")];
            match head.get(":path") {
                Some("/t.T/Echo") => served.head(head.stream, &fields[..2], false),
                Some("/t.T/Fails") => served.head(head.stream, &fields, true),
                _ => served.head(head.stream, &fields[..1], true),
            }
        }
        Came::Data(stream, data, is_end) => {
            if !data.is_empty() {
                served.data(*stream, data, false);
            }
            if *is_end {
                served.head(*stream, &[("grpc-status", "0")], true);
            }
        }
        Came::Reset(..) | Came::GoAway(_) | Came::End => {}
    });
    let options = "protocol = \"h2\"\nconnect_timeout = \"20s\"\n";
    let nodes = nodes_with(&[nobody(), origin.address()], "", options);
    eventually("the peer's way is known", || nodes[0].get("/get").status == 200);
    let call = |target: &str| {
        let mut call = request("POST", target);
        call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        call.headers_mut().insert("te", "trailers".parse().unwrap());
        call
    };
    run(async {
        let client = Http2::connect(&nodes[0]).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, mut messages) = send.send_request(call("/t.T/Echo"), false).unwrap();
        messages.send_data(Bytes::from_static(b"ping"), false).unwrap();
        let mut answers = response.await.unwrap().into_body();
        assert_eq!(answers.data().await.unwrap().unwrap(), "ping", "before the call is whole");
        messages.send_data(Bytes::from_static(b"pong"), true).unwrap();
        assert_eq!(answers.data().await.unwrap().unwrap(), "pong");
        assert!(answers.data().await.is_none());
        assert_eq!(answers.trailers().await.unwrap().unwrap()["grpc-status"], "0");
        let failed = client.ask(call("/t.T/Fails")).await.unwrap();
        assert_eq!(failed.headers()["grpc-status"], "5", "all is in its head");
        assert!(whole(failed.into_body()).await.unwrap().is_empty());
    });
    let log = nodes[0].logged("/t.T/Echo");
    assert_eq!((&log["relay"], &log["grpc_status"]), (&"node1".into(), &0.into()), "{log}");
}

/// Two nodes, of which the second has a way to every backend, and the first to none of upstream `other`.
fn pair(own: SocketAddr, backends: [SocketAddr; 2], route: &str, first: &str) -> Vec<Proxy> {
    let folder = certificates(2);
    let members = [free(), free()];
    let start = |(index, backend): (usize, &SocketAddr)| {
        let peers = "[cluster.peers]\nresponse_timeout = \"10s\"\n";
        let cluster = cluster(&folder, index, &members).replace("[cluster.peers]\n", peers);
        let upstream = "relay = true\n[upstream.retry]\nattempts = 1\n";
        let more = format!(
            "{upstream}---\n{cluster}\n[[upstream]]\nname = \"other\"\n{upstream}\
             [[upstream.backend]]\naddress = \"{backend}\"\n"
        );
        let text = proxy::config_of(&[own.to_string()], "", &more);
        let text = text.replace("upstream = \"u\"\n", &format!("upstream = \"u\"\n{route}"));
        Proxy::start(&text.replacen("[[route]]\n", &format!("{first}[[route]]\n"), 1))
    };
    let nodes: Vec<Proxy> = backends.iter().enumerate().map(start).collect();
    until_known(&nodes);
    nodes
}

#[test]
fn peer_takes_the_route_that_took_the_request() {
    let (own, other) = (Origin::named("own"), Origin::named("other"));
    let first = "[[route]]\nname = \"beta\"\nheaders = { x-beta = \"1\" }\nupstream = \"other\"\n\
                 request_headers = { remove = [\"x-beta\"] }\n";
    let nodes = pair(own.address(), [nobody(), other.address()], "", first);
    let mut client = nodes[0].connect();
    eventually("the peer's way is known", || {
        let answer = client.get_with("/get", "test", "X-Beta: 1\r\n");
        assert!(answer.status != 200 || answer.text() == "other", "{}", answer.text());
        answer.status == 200
    });
    assert_eq!(post(&mut client, "X-Beta: 1\r\n", "body").text(), "other");
    assert_eq!(post(&mut client, "", "body").text(), "own");
    assert_eq!(own.requests().iter().filter(|it| it.method == "POST").count(), 1);
}

#[test]
fn buffered_body_is_relayed_too() {
    let (own, other) = (Origin::named("own"), Origin::named("other"));
    let first =
        "[[route]]\nname = \"buffered\"\npaths = [\"/post\"]\nupstream = \"other\"\nbuffer = \"1MiB\"\n";
    let nodes = pair(own.address(), [nobody(), other.address()], "", first);
    let mut client = nodes[0].connect();
    let body = "b".repeat(300_000);
    eventually("the peer's way is known", || {
        post(&mut client, "Expect: 100-continue\r\n", &body).status == 200
    });
    let asked = other.requests();
    assert_eq!((asked.len(), asked[0].body.len()), (1, body.len()));
    assert!(own.requests().is_empty());
    assert!(metric(&nodes[0], "relayed_total") >= 1);
}

/// Else what only the copy is for would be done by the production backend, a second time.
#[test]
fn copy_goes_to_its_own_upstream_through_a_peer() {
    let (own, next) = (Origin::named("own"), Origin::named("next"));
    let mirror = "mirror = { upstream = \"other\", percent = 100 }\n";
    let nodes = pair(own.address(), [nobody(), next.address()], mirror, "");
    let mut client = nodes[0].connect();
    let mut count = 0;
    eventually("copies arrive", || {
        count += 1;
        assert_eq!(post(&mut client, "", "body").text(), "own");
        !next.requests().is_empty()
    });
    let own = own.requests();
    assert!(own.iter().all(|it| it.header("x-pointsman-mirror").is_none()));
    assert_eq!(own.iter().filter(|it| it.method == "POST").count(), count);
}

#[test]
fn peer_takes_the_upstream_that_was_chosen_of_several() {
    let (own, other) = (Origin::named("own"), Origin::named("other"));
    let split = "[[route]]\nname = \"split\"\npaths = [\"/split\"]\n\
                 split = [{ upstream = \"u\", weight = 1 }, { upstream = \"other\", weight = 1 }]\n";
    let nodes = pair(own.address(), [nobody(), other.address()], "", split);
    let mut client = nodes[0].connect();
    eventually("the peer's way is known", || (0..20).all(|_| client.get("/split").status == 200));
    // What goes to a peer is for the upstream to which there is no way here.
    nodes[1].until_logged("\"for_peer\":\"node0\"", 1);
    for line in nodes[1].access_log().iter().filter(|line| line["for_peer"] == "node0") {
        assert_eq!(line["upstream"], "other", "{line}");
    }
}
