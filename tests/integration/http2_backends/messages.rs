//! Heads, bodies and trailers in both directions.

use super::in_front_of;
use crate::support::{
    Client, eventually,
    h2::{Http2, request, run, whole},
    http2_origin::{Came, Http2Origin, MOST_STREAMS},
};
use bytes::Bytes;
use http::HeaderMap;

#[test]
fn a_request_goes_on_as_http2() {
    let origin = Http2Origin::echo();
    let proxy = in_front_of(&origin, "---\n");
    let mut client = proxy.connect();
    client.send("GET /a?b=c HTTP/1.1\r\nHost: www.example\r\nConnection: x-hop\r\nX-Hop: 1\r\nTE: trailers\r\nX-Own: 2\r\n\r\n");
    let response = client.response("GET");
    assert_eq!((response.status, response.text()), (200, "/a?b=c".to_owned()));
    assert_eq!(response.trailers, [("x-end".to_owned(), "1".to_owned())]);
    assert_eq!(response.header("via"), Some("2 pointsman"));
    let head = &origin.heads()[0];
    let wanted = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "www.example"),
        (":path", "/a?b=c"),
        ("x-own", "2"),
        ("te", "trailers"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "www.example"),
    ];
    for (name, value) in wanted {
        assert_eq!(head.get(name), Some(value), "{name} of {head:?}");
    }
    for name in ["host", "connection", "x-hop", "content-length", "transfer-encoding"] {
        assert_eq!(head.get(name), None, "{name}");
    }
    assert!(head.is_end && head.get("via").unwrap().starts_with("1.1 pointsman"));
    let line = proxy.logged("/a?b=c");
    assert_eq!(
        (line["protocol"].as_str(), line["upstream_protocol"].as_str()),
        (Some("HTTP/1.1"), Some("HTTP/2.0"))
    );
}

#[test]
fn a_body_goes_on_by_length_and_in_chunks() {
    let origin = Http2Origin::echo();
    let proxy = in_front_of(&origin, "---\n");
    let mut client = proxy.connect();
    client.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response("POST").text(), "/length");
    client.send("POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n");
    assert_eq!(client.response("POST").text(), "/chunked");
    client.send("POST /empty HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response("POST").text(), "/empty");
    let heads = origin.heads();
    let lengths: Vec<_> = heads.iter().map(|head| head.get("content-length")).collect();
    assert_eq!(lengths, [Some("5"), None, None, Some("0")]);
    assert_eq!((origin.body(1), origin.body(3)), (b"hello".to_vec(), b"abc".to_vec()));
    assert_eq!(heads[2].fields, [("x-sum".to_owned(), "9".to_owned())]);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn trailers_pass_both_ways_between_http2_ends() {
    let origin = Http2Origin::start(&[], |served, came| {
        if let Came::Head(head) = came
            && head.is_end
        {
            served.answer(head.stream, &[(":status", "200"), ("content-type", "a/b")], b"body");
        }
    });
    let proxy = in_front_of(&origin, "---\n");
    run(async {
        let client = Http2::connect(&proxy).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, mut body) = send.send_request(request("POST", "/"), false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "9".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        let mut body = response.await.unwrap().into_body();
        let data = body.data().await.unwrap().unwrap();
        assert_eq!(data, b"body"[..]);
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["x-end"], "1");
    });
    assert_eq!(origin.heads()[1].fields, [("x-sum".to_owned(), "9".to_owned())]);
}

#[test]
fn interim_responses_pass_and_100_only_where_expected() {
    let origin = Http2Origin::start(&[], |served, came| match came {
        Came::Head(head) => {
            if head.get("expect").is_some() {
                served.head(head.stream, &[(":status", "100")], false);
            }
            served.head(head.stream, &[(":status", "103"), ("link", "</a.css>")], false);
            if head.is_end {
                served.head(head.stream, &[(":status", "204")], true);
            }
        }
        Came::Data(stream, _, true) => served.head(*stream, &[(":status", "204")], true),
        _ => {}
    });
    let proxy = in_front_of(&origin, "---\n");
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let early = client.any_response("GET");
    assert_eq!((early.status, early.header("link")), (103, Some("</a.css>")));
    assert_eq!(client.any_response("GET").status, 204);
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.any_response("PUT").status, 100);
    client.send("ab");
    assert_eq!(client.any_response("PUT").status, 103);
    assert_eq!(client.any_response("PUT").status, 204);
}

#[test]
fn heads_without_bodies_keep_their_length() {
    let origin = Http2Origin::start(&[], |served, came| {
        if let Came::Head(head) = came {
            let status = if head.get(":method") == Some("HEAD") { "200" } else { "304" };
            served.head(
                head.stream,
                &[(":status", status), ("content-length", "7"), ("etag", "\"a\"")],
                true,
            );
        }
    });
    let proxy = in_front_of(&origin, "---\n");
    let mut client = proxy.connect();
    for (method, status) in [("HEAD", 200), ("GET", 304), ("HEAD", 200)] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response(method);
        assert_eq!((response.status, response.header("content-length")), (status, Some("7")), "{method}");
    }
}

#[test]
fn an_early_answer_ends_the_upload() {
    // RFC 9113 §8.1: a whole response, and then RST_STREAM with NO_ERROR.
    let origin = Http2Origin::start(&[], |served, came| {
        if let Came::Head(head) = came {
            served.answer(head.stream, &[(":status", "413")], b"too large");
            served.reset(head.stream, 0);
        }
    });
    let proxy = in_front_of(&origin, "---\n");
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
    let response = client.response("POST");
    assert_eq!((response.status, response.text()), (413, "too large".to_owned()));
    assert_eq!(proxy.get("/next").status, 413);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_response_that_is_reset_breaks_off_for_its_client() {
    let origin = Http2Origin::start(&[], |served, came| {
        if let Came::Head(head) = came {
            served.head(head.stream, &[(":status", "200"), ("content-length", "9")], false);
            served.data(head.stream, b"abc", false);
            if head.get(":path") == Some("/reset") {
                served.reset(head.stream, 2);
            } else {
                served.data(head.stream, b"defghi", true);
            }
        }
    });
    let proxy = in_front_of(&origin, "---\n");
    let broken = proxy.get("/reset");
    assert_eq!((broken.status, broken.is_whole), (200, false));
    run(async {
        let client = Http2::connect(&proxy).await;
        let response = client.ask(request("GET", "/reset")).await.unwrap();
        assert!(whole(response.into_body()).await.unwrap_err().is_reset());
        assert_eq!(client.get("/whole").await.unwrap(), (200, b"abcdefghi".to_vec()));
    });
    assert_eq!(origin.connections(), 1, "the connection goes on");
}

#[test]
fn a_client_that_leaves_cancels_its_stream_alone() {
    let origin = Http2Origin::start(&[(MOST_STREAMS, 100)], |served, came| {
        if let Came::Head(head) = came
            && head.get(":path") != Some("/hangs")
        {
            served.answer(head.stream, &[(":status", "200")], b"here");
        }
    });
    let proxy = in_front_of(&origin, "---\n");
    let mut leaving = Client::connect(proxy.address("web"));
    leaving.send("GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.until("the request comes", |seen| matches!(&seen.came, Came::Head(_)));
    drop(leaving);
    origin.until("its stream is cancelled", |seen| seen.came == Came::Reset(1, 8));
    assert_eq!(proxy.get("/").text(), "here");
    assert_eq!(origin.connections(), 1);
    eventually("no place is held", || proxy.get("/").status == 200);
}

#[test]
fn an_upgrade_is_ignored_where_only_http2_is_spoken() {
    let origin = Http2Origin::echo();
    let text = super::text(&origin, "---\n")
        .replace("upstream = \"u\"\n", "upstream = \"u\"\nupgrade = [\"tcp\"]\n");
    let proxy = crate::support::Proxy::start(&text);
    let mut client = proxy.connect();
    client.send("GET /tcp HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
    assert_eq!(client.response("GET").status, 200);
    assert_eq!(origin.heads()[0].get("upgrade"), None);
}

#[test]
fn trailers_come_behind_a_length_of_0() {
    let origin = Http2Origin::start(&[], |served, came| {
        let Came::Head(head) = came else { return };
        let fields = [(":status", "200"), ("content-type", "application/grpc"), ("content-length", "0")];
        served.head(head.stream, &fields, false);
        match head.get(":path") {
            Some("/trailers") => served.head(head.stream, &[("grpc-status", "5")], true),
            Some("/late") => {
                std::thread::sleep(std::time::Duration::from_millis(50));
                served.head(head.stream, &[("grpc-status", "5")], true);
            }
            Some("/reset") => served.reset(head.stream, 2),
            _ => served.data(head.stream, b"", true),
        }
    });
    let proxy = in_front_of(&origin, "---\n");
    run(async {
        let client = Http2::connect(&proxy).await;
        for path in ["/trailers", "/late", "/none"] {
            let response = client.ask(request("POST", path)).await.unwrap();
            assert_eq!(response.headers()["content-length"], "0", "{path}");
            let mut body = response.into_body();
            // The end may come in a frame of its own.
            while let Some(data) = body.data().await {
                assert!(data.unwrap().is_empty(), "{path}");
            }
            let trailers = body.trailers().await.unwrap();
            let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
            assert_eq!(status.is_some_and(|status| status == "5"), path != "/none", "{path}");
        }
        let response = client.ask(request("POST", "/reset")).await;
        let is_whole = match response {
            Ok(response) => whole(response.into_body()).await.is_ok(),
            Err(_) => false,
        };
        assert!(!is_whole, "what broke off before its end is not whole");
    });
}

#[test]
fn trailers_of_a_response_are_not_those_of_a_client() {
    let names = ["x-request-id", "an_id", "x-forwarded-host", "grpc-status", "set-cookie", "content-length"];
    let origin = Http2Origin::start(&[], move |served, came| {
        if let Came::Head(head) = came {
            served.head(head.stream, &[(":status", "200")], false);
            served.head(head.stream, &names.map(|name| (name, "1")), true);
        }
    });
    let proxy = in_front_of(&origin, "---\n");
    let passed = &names[..4];
    run(async {
        let client = Http2::connect(&proxy).await;
        let mut body = client.ask(request("GET", "/")).await.unwrap().into_body();
        assert!(body.data().await.is_none());
        let trailers = body.trailers().await.unwrap().unwrap();
        let came: Vec<_> = trailers.keys().map(|name| name.as_str()).collect();
        assert_eq!(came, passed);
    });
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response("GET");
    let came: Vec<_> = response.trailers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(came, passed);
}
