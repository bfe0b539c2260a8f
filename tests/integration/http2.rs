//! HTTP/2 with clients (RFC 9113), over TLS and with prior knowledge, in front of HTTP/1.1 backends.

use std::{
    io::Read,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};
use tokio::net::TcpStream;

use crate::support::{
    Origin, PATIENCE, Proxy, Reply, Request, eventually,
    h2::{Http2, request, run, whole},
    proxy::{config, config_of},
    tls::{self, SECURE},
};

fn through(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Origin, Proxy) {
    let origin = Origin::start(script);
    let proxy = Proxy::start(&config(&[origin.address()], ""));
    (origin, proxy)
}

fn echo(request: &Request) -> Reply {
    // Known only when the head came: the body is read by `Reply::Text` and kept by the backend.
    Reply::Text(200, request.target.clone())
}

async fn exchange(client: &Http2) {
    assert_eq!(client.get("/get?a=b").await.unwrap(), (200, b"/get?a=b".to_vec()));
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, mut body) = send.send_request(request("POST", "/post"), false).unwrap();
    body.send_data(Bytes::from_static(b"hello "), false).unwrap();
    body.send_data(Bytes::from_static(b"world"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-in", HeaderValue::from_static("1"));
    body.send_trailers(trailers).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["via"], "1.1 pointsman");
    assert!(!response.headers().contains_key("connection"));
    let mut body = response.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "/post");
}

fn check_exchange(origin: &Origin, proxy: &Proxy, scheme: &str) {
    let requests = origin.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert_eq!(request.header("host"), Some("localhost"));
        assert_eq!(request.header("x-forwarded-proto"), Some(scheme));
        assert_eq!(request.header("via"), Some("2 pointsman"), "as the request was received");
        assert!(request.head.contains(" HTTP/1.1\r\n") && !request.head.contains("\r\n:"));
    }
    assert_eq!(requests[0].header("transfer-encoding"), None, "a GET has no body");
    assert_eq!(requests[1].body, b"hello world");
    assert_eq!(requests[1].header("transfer-encoding"), Some("chunked"), "the length was not said");
    assert_eq!(requests[1].trailers, [("x-in".to_owned(), "1".to_owned())]);
    assert_eq!(proxy.logged("/post")["status"], 200);
}

#[test]
fn requests_go_through_over_tls() {
    let origin = Origin::start(echo);
    let proxy = Proxy::start_in(tls::folder(), &config_of(&[origin.address().to_string()], SECURE, ""));
    run(async { exchange(&Http2::connect_tls(&proxy).await).await });
    check_exchange(&origin, &proxy, "https");
}

#[test]
fn requests_go_through_with_prior_knowledge() {
    let (origin, proxy) = through(echo);
    run(async { exchange(&Http2::connect(&proxy).await).await });
    check_exchange(&origin, &proxy, "http");
}

#[test]
fn trailers_of_a_response_arrive_and_are_not_put_in_its_head() {
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
fn many_streams_run_at_once_over_one_connection() {
    // Nobody is answered before a hundred have come: they really are there together.
    let waiting = Arc::new(AtomicUsize::new(0));
    let (origin, proxy) = through(move |request| {
        if request.target == "/first" {
            return Reply::Text(200, "first".into());
        }
        waiting.fetch_add(1, Ordering::SeqCst);
        let (waiting, target) = (waiting.clone(), request.target.clone());
        Reply::Take(Box::new(move |connection| {
            eventually("a hundred requests are there", || waiting.load(Ordering::SeqCst) >= 100);
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()));
        }))
    });
    run(async {
        let client = Arc::new(Http2::connect(&proxy).await);
        // With its answer the client knows how many streams it may open; more would be refused.
        client.get("/first").await.unwrap();
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move {
                    let target = format!("/{number}");
                    assert_eq!(client.get(&target).await.unwrap(), (200, target.into_bytes()));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(origin.requests().len(), 201);
}

#[test]
fn a_slow_reader_holds_its_own_stream_back_and_not_the_memory_nor_the_others() {
    const LENGTH: usize = 50_000_000;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let (_origin, proxy) = through(move |request| match request.target.as_str() {
        "/large" => {
            let counter = counter.clone();
            Reply::Take(Box::new(move |connection| {
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
                let block = vec![b'x'; 50_000];
                for _ in 0..LENGTH / block.len() {
                    connection.send(&block);
                    counter.fetch_add(block.len(), Ordering::SeqCst);
                }
            }))
        }
        _ => Reply::Text(200, "small".into()),
    });
    // What the first request brings in is not the question.
    proxy.get("/small");
    let before = proxy.memory();
    run(async {
        // A connection window that one stream cannot use up.
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(64 * 1024).initial_connection_window_size(1024 * 1024);
        let stream = TcpStream::connect(proxy.address("web")).await.unwrap();
        let client = Http2::over(stream, &builder).await;
        let mut body = client.ask(request("GET", "/large")).await.unwrap().into_body();
        let mut seen = 0;
        while seen < 64 * 1024 {
            seen += body.data().await.unwrap().unwrap().len();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(sent.load(Ordering::SeqCst) < LENGTH / 2, "the backend is held back");
        assert!(proxy.memory() < before + 8 * 1024 * 1024, "{} bytes, then {}", before, proxy.memory());
        assert_eq!(client.get("/small").await.unwrap().1, b"small");
        body.flow_control().release_capacity(seen).unwrap();
        assert_eq!(seen + whole(body).await.unwrap().len(), LENGTH);
    });
}

#[test]
fn a_slow_backend_holds_an_upload_back_and_not_the_memory() {
    const LENGTH: usize = 50_000_000;
    let (sender, receiver) = mpsc::channel::<()>();
    let receiver = Mutex::new(Some(receiver));
    let (origin, proxy) = through(move |_| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        Reply::Take(Box::new(move |connection| {
            receiver.recv().unwrap();
            let mut seen = 0;
            let mut bytes = vec![0; 64 * 1024];
            while seen < LENGTH {
                seen += connection.reader.read(&mut bytes).unwrap();
            }
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{seen:8}"));
        }))
    });
    // What the first request brings in is not the question.
    assert_eq!(proxy.connect().get_with("/", "a b", "").status, 400);
    let before = proxy.memory();
    run(async {
        let client = Http2::connect(&proxy).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let mut post = request("POST", "/upload");
        post.headers_mut().insert("content-length", LENGTH.into());
        let (response, mut body) = send.send_request(post, false).unwrap();
        let block = Bytes::from(vec![b'x'; 50_000]);
        let mut left = LENGTH;
        let mut is_told = false;
        while left > 0 {
            body.reserve_capacity(left.min(block.len()));
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx));
            match tokio::time::timeout(Duration::from_millis(300), room).await {
                Ok(room) => {
                    let length = room.unwrap().unwrap().min(left);
                    left -= length;
                    body.send_data(block.slice(..length), left == 0).unwrap();
                }
                Err(_) => {
                    assert!(!is_told, "it goes on once the backend reads");
                    assert!(left > LENGTH / 2, "the client is held back");
                    assert!(
                        proxy.memory() < before + 8 * 1024 * 1024,
                        "{} bytes, then {}",
                        before,
                        proxy.memory()
                    );
                    sender.send(()).unwrap();
                    is_told = true;
                }
            }
        }
        assert!(is_told);
        assert_eq!(whole(response.await.unwrap().into_body()).await.unwrap(), b"50000000");
    });
    let request = origin.last();
    assert_eq!(request.header("content-length"), Some("50000000"));
    assert_eq!(request.header("transfer-encoding"), None);
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
fn a_stream_that_the_client_ends_frees_the_backend() {
    let (sender, receiver) = mpsc::channel::<bool>();
    let sender = Mutex::new(sender);
    let (origin, proxy) = through(move |request| match request.target.as_str() {
        "/after" => Reply::Text(200, "ok".into()),
        target => {
            let is_begun = target == "/begun";
            let sender = sender.lock().unwrap().clone();
            Reply::Take(Box::new(move |connection| {
                if is_begun {
                    connection.send("HTTP/1.1 200 OK\r\n\r\nfirst");
                }
                let ended = connection.reader.read(&mut [0; 1]);
                sender.send(matches!(ended, Ok(0) | Err(_))).unwrap();
            }))
        }
    });
    run(async {
        let client = Http2::connect(&proxy).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, mut body) = send.send_request(request("GET", "/left"), true).unwrap();
        while origin.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        body.send_reset(Reason::CANCEL);
        drop(response);
        // The reset goes out with the connection's task.
        assert_eq!(client.get("/after").await.unwrap().1, b"ok");
        assert!(receiver.recv_timeout(PATIENCE).unwrap(), "the backend sees the end");

        let (response, mut body) =
            send.ready().await.unwrap().send_request(request("GET", "/begun"), true).unwrap();
        let mut response = response.await.unwrap().into_body();
        assert_eq!(response.data().await.unwrap().unwrap(), "first");
        body.send_reset(Reason::CANCEL);
        assert_eq!(client.get("/after").await.unwrap().1, b"ok");
        assert!(receiver.recv_timeout(PATIENCE).unwrap(), "the backend sees the end");
    });
    assert_eq!(proxy.logged("/left")["status"], 499);
    assert_eq!(proxy.logged("/begun")["error"], "client_gone");
}

#[test]
fn a_broken_response_is_reset_and_never_ended_cleanly() {
    let (_origin, proxy) = through(|request| match request.target.as_str() {
        "/length" => Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec()),
        "/chunked" => {
            Reply::Close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nab".to_vec())
        }
        "/chunk" => {
            Reply::Close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nZ\r\n".to_vec())
        }
        "/nothing" => Reply::Close(b"nonsense\r\n\r\n".to_vec()),
        _ => Reply::Text(200, "ok".into()),
    });
    run(async {
        let client = Http2::connect(&proxy).await;
        for target in ["/length", "/chunked", "/chunk"] {
            let response = client.ask(request("GET", target)).await.unwrap();
            assert_eq!(response.status(), 200);
            let error = whole(response.into_body()).await.expect_err(target);
            assert_eq!((error.is_reset(), error.reason()), (true, Some(Reason::INTERNAL_ERROR)), "{target}");
        }
        assert_eq!(client.get("/nothing").await.unwrap().0, 502);
        assert_eq!(client.get("/after").await.unwrap().1, b"ok", "other streams go on");
    });
    assert_eq!(proxy.logged("/length")["error"], "body_broken");
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
fn a_body_that_is_not_as_long_as_it_says_is_not_sent_on_as_whole() {
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
fn streams_that_are_reset_at_once_do_not_pile_up() {
    let (_origin, proxy) =
        through(|_| Reply::Take(Box::new(|connection| drop(connection.reader.read(&mut [0; 1])))));
    run(async {
        let client = Http2::connect(&proxy).await;
        // CVE-2023-44487. The proxy may end the connection for it, and must not for others.
        for _ in 0..2000 {
            let Ok(mut send) = client.send.clone().ready().await else { break };
            let Ok((_, mut body)) = send.send_request(request("GET", "/reset"), true) else { break };
            body.send_reset(Reason::CANCEL);
            tokio::task::yield_now().await;
        }
    });
    assert!(proxy.memory() < 64 * 1024 * 1024);
    eventually("its places are free", || proxy.access_log().iter().all(|line| line["status"] == 499));
    let mut other = proxy.connect();
    other.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_eq!(other.response("GET").status, 400, "others are served");
}

#[test]
fn a_connection_that_is_gone_frees_what_its_streams_held() {
    let (sender, receiver) = mpsc::channel::<()>();
    let sender = Mutex::new(sender);
    let (origin, proxy) = through(move |_| {
        let sender = sender.lock().unwrap().clone();
        Reply::Take(Box::new(move |connection| {
            let _ = connection.reader.read(&mut [0; 1]);
            sender.send(()).unwrap();
        }))
    });
    run(async {
        let client = Arc::new(Http2::connect(&proxy).await);
        for number in 0..5 {
            let client = client.clone();
            tokio::spawn(async move { client.get(&format!("/{number}")).await });
        }
        while origin.requests().len() < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        client.connection.abort();
    });
    for number in 0..5 {
        receiver.recv_timeout(PATIENCE).unwrap();
        assert_eq!(proxy.logged(&format!("/{number}"))["status"], 499);
    }
}

#[test]
fn a_drain_says_goaway_and_lets_streams_finish() {
    let (sender, receiver) = mpsc::channel::<()>();
    let receiver = Mutex::new(Some(receiver));
    let (origin, mut proxy) = through(move |request| match request.target.as_str() {
        "/slow" => {
            let receiver = receiver.lock().unwrap().take().unwrap();
            Reply::Take(Box::new(move |connection| {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
                receiver.recv().unwrap();
                connection.send("half");
            }))
        }
        _ => Reply::Text(200, "ok".into()),
    });
    run(async {
        let mut client = Http2::connect(&proxy).await;
        let mut body = client.ask(request("GET", "/slow")).await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "half");
        proxy.signal("TERM");
        // Streams that come before the client has seen GOAWAY are served too.
        let mut served = 1;
        let refused = loop {
            match client.get("/more").await {
                Ok((200, _)) => served += 1,
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(refused.is_go_away() && refused.reason() == Some(Reason::NO_ERROR), "{refused:?}");
        assert_eq!(origin.requests().len(), served, "none was lost or sent twice");
        assert!(proxy.is_running());
        sender.send(()).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "half");
        assert!(body.data().await.is_none());
        drop(body);
        (&mut client.connection).await.unwrap().unwrap();
    });
    assert!(proxy.wait().success());
}

#[test]
fn curl_and_h2load_get_what_they_ask_for() {
    let origin = Origin::named("hello");
    let proxy = Proxy::start_in(tls::folder(), &config_of(&[origin.address().to_string()], SECURE, ""));
    let url = format!("https://127.0.0.1:{}/tool", proxy.address("web").port());
    let tool = |name: &str, arguments: &[&str]| match Command::new(name).args(arguments).arg(&url).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) => {
            crate::support::skipped(name);
            None
        }
    };
    let ca = proxy.folder().join("ca.pem");
    let arguments = ["-sS", "--max-time", "20", "--http2", "-w", " %{http_version}", "-d", "a=b", "--cacert"];
    if let Some(output) = tool("curl", &[&arguments[..], &[ca.to_str().unwrap()]].concat()) {
        assert_eq!(output, "hello 2");
        assert_eq!(origin.last().body, b"a=b");
        assert_eq!(origin.last().header("content-length"), Some("3"));
    }
    let before = origin.requests().len();
    if let Some(output) = tool("h2load", &["-n", "2000", "-c", "4", "-m", "50"]) {
        assert!(output.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{output}");
        assert!(output.contains("Application protocol: h2"), "{output}");
        assert_eq!(origin.requests().len() - before, 2000);
    }
}
