//! Streams: many at once, slow ones, and how they and their connection end.

use super::*;
use crate::support::h2::run_within;

/// What many megabytes may take on a busy machine.
const LONG: Duration = Duration::from_secs(6 * PATIENCE.as_secs());

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
fn a_slow_reader_slows_only_its_own_stream() {
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
    run_within(LONG, async {
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
        // It goes on, far beyond what was on its way. All of it, window by window, takes long on a busy machine.
        let mut more = 0;
        while more < 8 << 20 {
            let part = body.data().await.unwrap().unwrap();
            more += part.len();
            body.flow_control().release_capacity(part.len()).unwrap();
        }
    });
}

#[test]
fn a_slow_backend_slows_the_upload_and_holds_no_memory() {
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
    run_within(LONG, async {
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
            // Once it is told, a busy machine may take as long as it likes.
            let patience = if is_told { PATIENCE } else { Duration::from_millis(300) };
            match tokio::time::timeout(patience, room).await {
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
            // And the backend is not taken out for failures in a row.
            assert_eq!(client.get("/after").await.unwrap().1, b"ok", "other streams go on");
        }
        assert_eq!(client.get("/nothing").await.unwrap().0, 502);
        assert_eq!(client.get("/after").await.unwrap().1, b"ok", "other streams go on");
    });
    assert_eq!(proxy.logged("/length")["error"], "body_broken");
}

#[test]
fn streams_that_are_reset_at_once_do_not_pile_up() {
    let origin =
        Origin::start(|_| Reply::Take(Box::new(|connection| drop(connection.reader.read(&mut [0; 1])))));
    let proxy = Proxy::start(&config(&[origin.address()], ADMIN));
    run(async {
        let client = Http2::connect(&proxy).await;
        // CVE-2023-44487. The proxy may end the connection for it, and must not for others.
        for _ in 0..2000 {
            let Ok(mut send) = client.send.clone().ready().await else { break };
            let Ok((_, mut body)) = send.send_request(request("GET", "/reset"), true) else { break };
            body.send_reset(Reason::CANCEL);
            tokio::task::yield_now().await;
        }
        // Else the connection might end before any of it was read.
        while proxy.access_log().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(proxy.memory() < 64 * 1024 * 1024);
    eventually("its places are free", || metric(&proxy, "pointsman_backend_in_flight") == 0);
    eventually("all are given up", || proxy.access_log().iter().all(|line| line["status"] == 499));
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
