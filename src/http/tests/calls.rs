//! What says that it is a call of gRPC, and is a GET: what it asks for itself is no matter of others, nor of caches on the
//! way to it.

use std::time::Duration;

use h2::client;

use super::stage::{Act, Stage, run};
use crate::http::h2::serve;

const ROUTES: &str = "[[cache]]\nname = \"pages\"\nmemory = \"1MiB\"\n\
    [[route]]\nname = \"cached\"\nupstream = \"app\"\ncache = \"pages\"\n";
const SLOW: &[Act] = &[
    Act::Wait(Duration::from_millis(200)),
    Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello"),
];

/// Status, `grpc-status` and length of what a GET gets; with a deadline, it has that of a call of gRPC.
async fn ask(stage: &Stage, deadline: Option<&str>) -> (u16, bool, usize) {
    let (client, connection) = stage.connect();
    tokio::task::spawn_local(serve(connection));
    let (mut send, driver) = client::handshake(client).await.unwrap();
    tokio::task::spawn_local(driver);
    let mut request = http::Request::get("http://a.test/");
    if let Some(deadline) = deadline {
        request = request.header("content-type", "application/grpc").header("grpc-timeout", deadline);
    }
    let (response, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut length = 0;
    while let Some(data) = body.data().await {
        length += data.unwrap().len();
    }
    (head.status.as_u16(), head.headers.contains_key("grpc-status"), length)
}

#[test]
fn nobody_s_deadline_ends_what_is_fetched_for_many() {
    run(async || {
        let stage = Stage::new("", ROUTES, SLOW);
        let (first, second, other) =
            tokio::join!(ask(&stage, Some("20m")), ask(&stage, Some("40m")), ask(&stage, None));
        assert_eq!(other, (200, false, 5));
        assert_eq!([first, second], [other, other]);
        assert_eq!(stage.backend.requests.borrow().len(), 1);
        stage.assert_all_is_given_back("deadlines that are none").await;
    });
}

#[test]
fn an_error_is_a_success_to_calls_alone() {
    run(async || {
        let stage = Stage::new("", ROUTES, &[Act::Close]);
        let (status, is_call, _) = ask(&stage, Some("1S")).await;
        assert!(status >= 500 && !is_call, "{status}");
    });
}
