//! Connections to backends that are one client's alone, over which more comes than was asked for.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
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

#[test]
fn a_login_stays_where_others_have_found_http2() {
    run(async || {
        let stage = Stage::new("", ROUTE, &[HELLO]);
        let (mut client, mut connection) = stage.connect();
        tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        let mut room = [0; 4096];
        let login = b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM alice\r\n\r\n";
        client.write_all(login).await.unwrap();
        let length = client.read(&mut room).await.unwrap();
        assert!(room[..length].starts_with(b"HTTP/1.1 200 "));
        // Every exchange begins with HTTP/2 now, as beside those to whom the backend has said that it speaks it.
        let tls = "protocol = \"auto\"\n[upstream.tls]\nserver_name = \"a\"\nverify = false\n";
        stage.reload(tls, ROUTE);
        sleep(Duration::from_millis(100)).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhello"), "{answer}");
        assert_eq!(stage.backend.connections.get(), 1);
    });
}
