//! Requests and responses: fields, trailers, lengths, interim responses, limits.

use super::*;

#[test]
fn response_trailers_arrive_and_are_not_merged() {
    let (_origin, proxy) = through(|_| {
        Reply::Bytes(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 7\r\n\r\n"
                .to_vec(),
        )
    });
    run(async {
        let client = Http2::connect(&proxy).await;
        let response = client.ask(request("GET", "/")).await.unwrap();
        assert!(!response.headers().contains_key("grpc-status"));
        assert!(!response.headers().contains_key("transfer-encoding"));
        let mut body = response.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "abc");
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "7");
    });
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    let (_origin, proxy) = through(|request| match request.target.as_str() {
        "/204" => Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        "/304" => Reply::Bytes(b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_vec()),
        "/empty" => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
        _ => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_vec()),
    });
    run(async {
        let client = Http2::connect(&proxy).await;
        for (method, target, status) in
            [("GET", "/204", 204), ("GET", "/304", 304), ("GET", "/empty", 200), ("HEAD", "/head", 200)]
        {
            let response = client.ask(request(method, target)).await.unwrap();
            assert_eq!(response.status(), status, "{target}");
            if method == "HEAD" {
                assert_eq!(response.headers()["content-length"], "10");
            }
            if status == 304 {
                assert_eq!(response.headers()["etag"], "\"x\"");
            }
            assert_eq!(whole(response.into_body()).await.unwrap(), b"", "{target}");
        }
    });
}

#[test]
fn cookie_crumbs_are_joined_and_the_authority_is_the_host() {
    let (origin, proxy) = through(|_| Reply::Text(200, "ok".into()));
    run(async {
        let client = Http2::connect(&proxy).await;
        let mut crumbs = request("GET", "/crumbs");
        for crumb in ["a=1", "b=2", "c=3"] {
            crumbs.headers_mut().append("cookie", HeaderValue::from_static(crumb));
        }
        crumbs.headers_mut().insert("host", HeaderValue::from_static("LOCALHOST"));
        assert_eq!(client.ask(crumbs).await.unwrap().status(), 200);
        assert_eq!(origin.last().all("cookie"), ["a=1; b=2; c=3"]);
        assert_eq!(origin.last().all("host").len(), 1);

        let mut other = request("GET", "/other");
        other.headers_mut().insert("host", HeaderValue::from_static("elsewhere"));
        assert_eq!(client.ask(other).await.unwrap().status(), 400);
        assert_eq!(client.get("/after").await.unwrap().0, 200, "the connection goes on");
    });
    assert!(origin.requests().iter().all(|request| request.target != "/other"));
    assert_eq!(proxy.logged("/after")["status"], 200);
}

#[test]
fn cookie_crumbs_count_as_one_field() {
    let (origin, proxy) = through(echo);
    run(async {
        let client = Http2::connect(&proxy).await;
        let crumbs = |count: usize, others: usize| {
            let mut asked = request("GET", "/");
            for number in 0..count {
                asked.headers_mut().append("cookie", format!("c{number}=1").parse().unwrap());
            }
            for number in 0..others {
                let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
                asked.headers_mut().append(name, HeaderValue::from_static("1"));
            }
            asked
        };
        assert_eq!(client.ask(crumbs(300, 90)).await.unwrap().status(), 200);
        assert_eq!(client.ask(crumbs(2, 150)).await.unwrap().status(), 431);
    });
    let requests = origin.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].all("cookie").len(), 1);
}

#[test]
fn trailers_that_frame_route_or_authenticate_are_left_out() {
    let (origin, proxy) = through(echo);
    let names = ["content-length", "host", "authorization", "cookie", "x-forwarded-for", "x_in", "x-in"];
    run(async {
        let client = Http2::connect(&proxy).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, mut body) = send.send_request(request("POST", "/two"), false).unwrap();
        body.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let mut trailers = HeaderMap::new();
        for name in names {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        body.send_trailers(trailers).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
    let mut client = proxy.connect();
    let trailers: String = names.iter().map(|name| format!("{name}: 1\r\n")).collect();
    client.send(format!(
        "POST /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
    ));
    assert_eq!(client.response("POST").status, 200);
    for request in origin.requests() {
        assert_eq!(request.trailers, [("x-in".to_owned(), "1".to_owned())], "{}", request.target);
    }
}

#[test]
fn interim_responses_are_passed_on() {
    let (_origin, proxy) = through(|_| {
        Reply::Bytes(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        )
    });
    run(async {
        let client = Http2::connect(&proxy).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let (mut response, _) = send.send_request(request("GET", "/"), true).unwrap();
        let hints = std::future::poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(
            (hints.status().as_u16(), &hints.headers()["link"]),
            (103, &HeaderValue::from_static("</a.css>"))
        );
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(whole(response.into_body()).await.unwrap(), b"ok");
    });
}

#[test]
fn a_response_before_the_end_of_the_upload_is_whole() {
    let (_origin, proxy) = through(|_| {
        Reply::Take(Box::new(|connection| {
            connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
        }))
    });
    run(async {
        let client = Http2::connect(&proxy).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, mut body) = send.send_request(request("POST", "/"), false).unwrap();
        body.send_data(Bytes::from_static(b"some"), false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(whole(response.into_body()).await.unwrap(), b"big");
    });
}

#[test]
fn a_body_of_wrong_length_is_not_forwarded_as_whole() {
    let (origin, proxy) = through(|_| Reply::Text(200, "ok".into()));
    run(async {
        let client = Http2::connect(&proxy).await;
        for (sent, length) in [("abc", 10), ("abcdefghijkl", 3)] {
            let mut send = client.send.clone().ready().await.unwrap();
            let mut post = request("POST", "/wrong");
            post.headers_mut().insert("content-length", length.into());
            let (response, mut body) = send.send_request(post, false).unwrap();
            body.send_data(Bytes::from_static(sent.as_bytes()), true).unwrap();
            if let Ok(response) = response.await {
                assert_ne!(response.status(), 200, "{sent} as {length}");
            }
        }
    });
    assert!(origin.requests().is_empty(), "RFC 9113 §8.1.1: malformed");
}

#[test]
fn limits_are_the_same_as_for_http_1() {
    let origin = Origin::named("ok");
    let limits = "[listener.limits]\nheader_bytes = \"4KiB\"\nheaders = 10\nuri_bytes = \"200\"\nbody_bytes = \"1KiB\"\n\
                  [listener.timeouts]\nbody = \"300ms\"\n";
    let proxy = Proxy::start(&config_of(&[origin.address().to_string()], limits, ""));
    run(async {
        let client = Http2::connect(&proxy).await;
        let long = "x".repeat(300);
        let response = client.ask(request("GET", &format!("/{long}"))).await.unwrap();
        assert_eq!(response.status(), 414);
        assert_eq!(response.headers()["x-request-id"].len(), 32);
        let mut many = request("GET", "/many");
        for _ in 0..11 {
            many.headers_mut().append("x", HeaderValue::from_static("1"));
        }
        assert_eq!(client.ask(many).await.unwrap().status(), 431);
        let mut large = request("GET", "/large");
        large.headers_mut().insert("x", HeaderValue::from_str(&"x".repeat(6000)).unwrap());
        assert_eq!(client.ask(large).await.unwrap().status(), 431);
        let mut twice = request("GET", "/twice");
        for _ in 0..2 {
            twice.headers_mut().append("host", HeaderValue::from_static("localhost"));
        }
        assert_eq!(client.ask(twice).await.unwrap().status(), 400);
        for (target, length, status) in
            [("/said", Some(2000), 413), ("/unsaid", None, 413), ("/slow", Some(10), 408)]
        {
            let mut send = client.send.clone().ready().await.unwrap();
            let mut post = request("POST", target);
            if let Some(length) = length {
                post.headers_mut().insert("content-length", length.into());
            }
            let (response, mut body) = send.send_request(post, false).unwrap();
            let (bytes, is_end) = if target == "/slow" { (3, false) } else { (2000, true) };
            // It may be refused before it is sent.
            let _ = body.send_data(Bytes::from(vec![b'x'; bytes]), is_end);
            assert_eq!(response.await.unwrap().status(), status, "{target}");
        }
        assert_eq!(client.get("/after").await.unwrap().0, 200);
    });
    let served: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(served, ["/after"]);
}

#[test]
fn trailers_of_a_chunked_response_keep_their_names() {
    let (_origin, proxy) = through(|_| {
        let trailers = "X-Request-Id: 1\r\nan_id: 1\r\nX-End: 1\r\nSet-Cookie: a=b\r\n";
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
        Reply::Bytes(format!("{head}{trailers}\r\n").into_bytes())
    });
    let passed = ["x-request-id", "an_id", "x-end"];
    run(async {
        let client = Http2::connect(&proxy).await;
        let mut body = client.ask(request("GET", "/")).await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "abc");
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), passed);
    });
    let trailers = proxy.get("/").trailers;
    let came: Vec<_> = trailers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(came, passed);
}

/// Some who read trailers put them with the fields: what the route says of the client would be the client's word.
#[test]
fn trailers_do_not_say_what_the_route_says() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "POST" => echo(request),
        _ => {
            let trailers = "X-Inner: 1\r\nX-Policy: none\r\nX-End: 1\r\n";
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
            Reply::Bytes(format!("{head}{trailers}\r\n").into_bytes())
        }
    });
    let edits = "request_headers = { set = { x-user = \"nobody\" }, remove = [\"x-admin\"] }\n\
                 response_headers = { set = { x-policy = \"all\" }, remove = [\"X-Inner\"] }\nupstream = \"u\"\n";
    let config = config(&[origin.address()], "").replacen("upstream = \"u\"\n", edits, 1);
    let by = "name = \"web\"\nclient_address_from = \"header:x-client\"\n";
    let proxy = Proxy::start(&config.replacen("name = \"web\"\n", by, 1));
    let names = ["x-user", "X-Admin", "x-client", "x-in"];
    run(async {
        let client = Http2::connect(&proxy).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, mut body) = send.send_request(request("POST", "/two"), false).unwrap();
        body.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let trailers = names.iter().map(|name| (name.parse().unwrap(), HeaderValue::from_static("1")));
        body.send_trailers(trailers.collect::<HeaderMap>()).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
        let mut body = client.ask(request("GET", "/two")).await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "abc");
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x-end"]);
    });
    let mut client = proxy.connect();
    let trailers: String = names.iter().map(|name| format!("{name}: 1\r\n")).collect();
    client.send(format!(
        "POST /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
    ));
    assert_eq!(client.response("POST").status, 200);
    for request in origin.requests().iter().filter(|it| it.method == "POST") {
        assert_eq!(request.trailers, [("x-in".to_owned(), "1".to_owned())], "{}", request.target);
        assert_eq!(request.header("x-user"), Some("nobody"));
    }
    let answer = client.get("/one");
    assert_eq!(
        answer.trailers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect::<Vec<_>>(),
        ["x-end"]
    );
}
