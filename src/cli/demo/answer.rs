//! What a demonstration backend answers.

use std::{
    cell::Cell,
    fmt::Write,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::{Body, Bytes, Frame, Incoming};
use tokio::{
    sync::Notify,
    time::{Interval, interval, sleep},
};

use super::server::{AWAY, Server};

/// Events of `/stream`, and the time between them.
const EVENTS: (u32, Duration) = (10, Duration::from_millis(300));

/// Bytes of `/big`.
const BIG: usize = 10 << 20;

/// How long `/slow` takes.
const SLOW: Duration = Duration::from_secs(1);

/// What a backend counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    requests: Cell<u64>,
}

/// A response body.
pub(super) enum Reply {
    /// All there is, once.
    Whole(Option<Bytes>),
    /// What the request brings.
    Echo(Incoming),
    /// A piece, so many times.
    Repeated(Bytes, usize),
    /// Server-sent events: which backend, how many are left, when the next is due.
    Events(&'static str, u32, Interval),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Echo(body) => Pin::new(body).poll_frame(cx),
            Self::Repeated(_, 0) | Self::Events(_, 0, _) => Poll::Ready(None),
            Self::Repeated(piece, left) => {
                *left -= 1;
                Poll::Ready(Some(Ok(Frame::data(piece.clone()))))
            }
            Self::Events(name, left, next) => next.poll_tick(cx).map(|_| {
                *left -= 1;
                let event = format!("data: backend {name}, {left} to come\n\n");
                Some(Ok(Frame::data(event.into())))
            }),
        }
    }
}

/// Answers a request, and notifies `die` when that is what it asks for.
pub(super) async fn answer(
    server: Server,
    counts: &Counts,
    die: &Notify,
    request: Request<Incoming>,
) -> Response<Reply> {
    let Server { name, delay, .. } = server;
    match (request.method(), request.uri().path()) {
        // Health checks are neither counted nor slow.
        (_, "/healthz") => return response(name, StatusCode::OK, "text/plain", text("ok\n")),
        (&Method::POST, "/die") => {
            die.notify_one();
            let said = format!("backend {name} dies now and comes back in {} s\n", AWAY.as_secs());
            return response(name, StatusCode::OK, "text/plain", text(said));
        }
        (_, "/die") => {
            let hint = text("send a POST to kill this backend\n");
            return response(name, StatusCode::METHOD_NOT_ALLOWED, "text/plain", hint);
        }
        (_, "/slow" | "/cached/slow") => sleep(SLOW).await,
        _ => {}
    }
    let count = counts.requests.get() + 1;
    counts.requests.set(count);
    sleep(delay).await;
    let is_cached = request.uri().path().starts_with("/cached/");
    let (media, reply) = match request.uri().path() {
        "/headers" => ("text/plain", text(fields(name, &request))),
        "/echo" => ("application/octet-stream", Reply::Echo(request.into_body())),
        "/stream" => ("text/event-stream", Reply::Events(name, EVENTS.0, interval(EVENTS.1))),
        "/big" => {
            let piece = Bytes::from_static(&[b'.'; 1 << 16]);
            ("application/octet-stream", Reply::Repeated(piece, BIG >> 16))
        }
        _ => ("text/plain", text(line(name, count, &request))),
    };
    let mut response = response(name, StatusCode::OK, media, reply);
    if is_cached {
        let fresh = http::HeaderValue::from_static("max-age=10");
        response.headers_mut().insert("cache-control", fresh);
    }
    response
}

/// Who answers, and what of the request the proxy made.
fn line(name: &str, count: u64, request: &Request<Incoming>) -> String {
    let field = |field: &str| value(request.headers(), field);
    format!(
        "backend {name:<4} request {count:>3}: {} {} for {} over {}\n",
        request.method(),
        request.uri(),
        field("x-forwarded-for"),
        field("x-forwarded-proto"),
    )
}

fn fields(name: &str, request: &Request<Incoming>) -> String {
    let mut text = format!("backend {name} got\n\n{} {}\n", request.method(), request.uri());
    for (field, value) in request.headers() {
        // Writing to a `String` does not fail.
        let _ = writeln!(text, "{field}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    text
}

fn value<'a>(fields: &'a HeaderMap, name: &str) -> &'a str {
    fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or("nobody")
}

fn text(text: impl Into<Bytes>) -> Reply {
    Reply::Whole(Some(text.into()))
}

fn response(name: &'static str, status: StatusCode, media: &'static str, reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert("content-type", http::HeaderValue::from_static(media));
    fields.insert("x-backend", http::HeaderValue::from_static(name));
    response
}
