//! Connections to backends that are one client's alone: over which more comes than was asked for, that are logged in, or that are
//! of before a reload.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::sleep,
};

use super::stage::{Act, Stage, run};

const ROUTE: &str = "[[route]]\nname = \"all\"\nupstream = \"app\"\n";
const HELLO: Act = Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");

/// Asks twice over one connection of a client; what the second was answered, over how many connections to the backend.
async fn second_answer(stage: &Stage, first: &str) -> (String, usize) {
    let (mut client, mut connection) = stage.connect();
    tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
    let mut room = [0; 4096];
    client.write_all(format!("{first} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    let length = client.read(&mut room).await.unwrap();
    assert!(room[..length].starts_with(b"HTTP/1.1 200 "));
    // Not so long that a connection is too old for it.
    sleep(Duration::from_millis(100)).await;
    // A method that is not tried again by itself.
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    (answer, stage.backend.connections.get())
}

#[test]
fn bytes_that_belong_to_no_request_end_a_bound_connection() {
    let late = [HELLO, Act::Wait(Duration::from_millis(10)), Act::Send(b"HTTP/1.1 408 Late\r\n\r\n")];
    // A body behind the head that HEAD gets, at once or a little later, and an answer to nothing.
    let delayed = [
        Act::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        Act::Wait(Duration::from_millis(10)),
        Act::Send(b"hello"),
    ];
    for (first, script) in [("HEAD", &[HELLO][..]), ("HEAD", &delayed[..]), ("GET", &late[..])] {
        run(async || {
            let stage = Stage::new("proxy_protocol = \"v1\"", ROUTE, script);
            let (answer, connections) = second_answer(&stage, first).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhello"), "{answer}");
            assert_eq!(connections, 2, "{first} {script:?}");
            stage.assert_all_is_given_back("a bound connection").await;
        });
    }
}

#[test]
fn a_bound_connection_that_is_quiet_goes_on() {
    run(async || {
        let stage = Stage::new("proxy_protocol = \"v1\"", ROUTE, &[HELLO]);
        let (answer, connections) = second_answer(&stage, "GET").await;
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
        assert_eq!(connections, 1);
    });
}

/// What the backend sends to everybody, and a cache may keep.
const TO_ALL: Act = Act::Send(
    b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello",
);

/// A stage with this cache.
fn cached(cache: &str) -> Stage {
    let routes = format!(
        "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n{cache}\n\
         [[route]]\nname = \"all\"\nupstream = \"app\"\ncache = \"pages\"\n"
    );
    Stage::new("", &routes, &[TO_ALL])
}

/// A client's connection, which is served.
fn connected(stage: &Stage) -> UnixStream {
    let (client, mut connection) = stage.connect();
    tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
    client
}

const LOGIN: &str = "GET /login HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM alice\r\n\r\n";
const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Else one client's pages would be everybody's: it says who it is once, and its requests do not say it again.
#[test]
fn nothing_of_a_login_is_stored() {
    for (cache, request) in [
        ("", PLAIN),
        ("", "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\n\r\n"),
        ("collapse = { enabled = false }", PLAIN),
        ("collapse = { credentials = true }", LOGIN),
        ("write_policy = \"through\"", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"),
    ] {
        run(async || {
            let stage = cached(cache);
            let mut alice = connected(&stage);
            hello(&mut alice, LOGIN).await;
            hello(&mut alice, request).await;
            assert_eq!(stage.backend.connections.get(), 1, "{cache} {request}: both over hers");
            hello(&mut connected(&stage), PLAIN).await;
            assert_eq!(stage.backend.requests.borrow().len(), 3, "{cache} {request}: another asks");
        });
    }
}

/// Else it would get what is for nobody in the place of its own.
#[test]
fn nothing_that_is_stored_is_served_to_a_login() {
    run(async || {
        let stage = cached("");
        let (mut alice, mut bob) = (connected(&stage), connected(&stage));
        for (client, request, asked) in
            [(0, PLAIN, 1), (0, PLAIN, 1), (1, PLAIN, 1), (1, LOGIN, 2), (1, PLAIN, 3), (0, PLAIN, 3)]
        {
            hello(if client == 0 { &mut bob } else { &mut alice }, request).await;
            assert_eq!(stage.backend.requests.borrow().len(), asked, "{client} {request}");
        }
    });
}

/// Else whoever logs in somewhere would have every other upstream asked for what its cache has.
#[test]
fn a_login_to_one_upstream_leaves_another_its_cache() {
    run(async || {
        let routes = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n\
             [[upstream]]\nname = \"other\"\n[[upstream.backend]]\naddress = \"unix:{socket}\"\n\
             [[route]]\nname = \"other\"\npaths = [\"/other\"]\nupstream = \"other\"\ncache = \"pages\"\n\
             [[route]]\nname = \"all\"\nupstream = \"app\"\ncache = \"pages\"\n";
        let stage = Stage::new("", routes, &[TO_ALL]);
        let other = "GET /other HTTP/1.1\r\nHost: a\r\n\r\n";
        let (mut alice, mut bob) = (connected(&stage), connected(&stage));
        for (client, request, asked) in
            [(0, other, 1), (0, PLAIN, 2), (1, LOGIN, 3), (1, other, 3), (1, PLAIN, 4), (0, PLAIN, 4)]
        {
            hello(if client == 0 { &mut bob } else { &mut alice }, request).await;
            assert_eq!(stage.backend.requests.borrow().len(), asked, "{client} {request}");
        }
    });
}

/// Sends a request, and reads its answer to the end.
async fn hello(client: &mut UnixStream, request: &str) {
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut room) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\r\n\r\nhello") {
        let length = client.read(&mut room).await.unwrap();
        assert!(length > 0, "{request}: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&room[..length]);
    }
}

#[test]
fn a_login_stays_where_others_have_found_http2() {
    run(async || {
        let tls = "protocol = \"auto\"\n[upstream.tls]\nserver_name = \"a\"\nverify = false\n";
        let stage = Stage::new(tls, ROUTE, &[HELLO]);
        stage.speak_tls(&[]);
        let mut alice = connected(&stage);
        hello(&mut alice, LOGIN).await;
        // Another client needs a connection of its own, over which the backend says that it speaks HTTP/2 by now.
        stage.speak_tls(&["h2"]);
        stage.speak_http2(100);
        let bob = stage.talk(b"GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(bob.starts_with("HTTP/1.1 200 "), "{bob}");
        assert_eq!(stage.backend.requests.borrow().last().unwrap(), "GET /other");
        hello(&mut alice, PLAIN).await;
        assert_eq!(stage.backend.connections.get(), 2);
    });
}

/// Else what is to be encrypted by now goes on in the clear, and to whom is not trusted any more.
#[test]
fn a_login_ends_where_its_backend_is_spoken_to_otherwise() {
    run(async || {
        let stage = Stage::new("", ROUTE, &[HELLO]);
        let mut alice = connected(&stage);
        hello(&mut alice, LOGIN).await;
        stage.reload("connect_timeout = \"7s\"", ROUTE);
        hello(&mut alice, PLAIN).await;
        assert_eq!(stage.backend.connections.get(), 1, "that is for those that are made");
        stage.speak_tls(&[]);
        for (name, connections) in [("a", 2), ("b", 3)] {
            stage.reload(&format!("[upstream.tls]\nserver_name = \"{name}\"\nverify = false\n"), ROUTE);
            hello(&mut alice, PLAIN).await;
            assert_eq!(stage.backend.connections.get(), connections, "{name}");
            hello(&mut alice, LOGIN).await;
            assert_eq!(stage.backend.connections.get(), connections, "{name}: it is bound");
        }
    });
}

/// Else a client that logs in step by step never gets to the last, for the first is a 401.
#[test]
fn an_error_that_a_page_stands_for_leaves_its_connection() {
    let page = std::env::temp_dir().join(format!("pointsman-bound-{}.txt", std::process::id()));
    std::fs::write(&page, "hello").unwrap();
    let route = format!(
        "[[route]]\nname = \"all\"\nupstream = \"app\"\nintercept_errors = true\n\
         error_pages = {{ 4xx = \"{}\" }}\n",
        page.display()
    );
    let late = |wait| {
        [
            Act::Send(b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 4\r\n\r\nwh"),
            Act::Wait(wait),
            Act::Send(b"o?"),
        ]
    };
    let [soon, never] = [Duration::from_millis(10), Duration::from_secs(30)].map(late);
    let cases: [(&[Act], usize); 7] = [
        (&[Act::Send(b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 4\r\n\r\nwho?")], 1),
        (&[Act::Send(b"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nwho?")], 1),
        (&[Act::Send(b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwho?\r\n0\r\n\r\n")], 1),
        (&[Act::Send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")], 1),
        (&soon, 1),
        (&never, 2),
        // More than is read of what nobody wants.
        (&[Act::Send(b"HTTP/1.1 404 No\r\nContent-Length: 100000\r\n\r\nwho?")], 2),
    ];
    for (script, connections) in cases {
        run(async || {
            let stage = Stage::new("", &route, script);
            let mut client = connected(&stage);
            hello(&mut client, PLAIN).await;
            hello(&mut client, PLAIN).await;
            assert_eq!(stage.backend.connections.get(), connections, "{script:?}");
            drop(client);
            stage.assert_all_is_given_back("a page for an error").await;
        });
    }
    let _ = std::fs::remove_file(page);
}

/// Else it would be a second later that such a client sees the end, and what it asks for next comes over another connection.
#[test]
fn a_page_that_ends_its_connection_waits_for_no_rest() {
    let page = std::env::temp_dir().join(format!("pointsman-unbound-{}.txt", std::process::id()));
    std::fs::write(&page, "hello").unwrap();
    let route = format!("{ROUTE}intercept_errors = true\nerror_pages = {{ 4xx = \"{}\" }}\n", page.display());
    let whole = [Act::Send(b"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nwho?")];
    let never = [
        Act::Send(b"HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nwh"),
        Act::Wait(Duration::from_secs(30)),
        Act::Send(b"o?"),
    ];
    for request in
        ["GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\n\r\n"]
    {
        run(async || {
            let stage = Stage::new("", &route, &whole);
            for _ in 0..2 {
                let answer = stage.talk(request.as_bytes()).await;
                assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
                assert_eq!(stage.backend.connections.get(), 1, "what is here already is read: {request:?}");
            }
            stage.script(&never);
            let begun = tokio::time::Instant::now();
            let answer = stage.talk(request.as_bytes()).await;
            assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
            let took = begun.elapsed();
            assert!(took < Duration::from_millis(500), "{request:?}: {took:?}");
            stage.assert_all_is_given_back("a page that ends its connection").await;
        });
    }
    let _ = std::fs::remove_file(page);
}
