//! Accepts and serves admin connections on the control loop; hyper speaks the HTTP.
//!
//! Limits: so many connections, so long for a head or a body, so large a body, so long a connection: a
//! client that does not read must not hold a place for ever.

use std::{
    convert::Infallible,
    future::Future,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{
    Admin,
    reply::{Reply, error},
};
use crate::{
    config::{admin::AdminConf, listen::ListenAddress},
    listen::socket::Bound,
    net::hyper_io::HyperIo,
};

/// Connections at a time; further ones wait to be accepted.
const MOST_CONNECTIONS: usize = 64;
/// Time for a request head, also the first byte of it.
const HEAD: Duration = Duration::from_secs(10);
/// Time for a request body.
const BODY: Duration = Duration::from_secs(10);
/// Time for a connection, with all that it asks.
const CONNECTION: Duration = Duration::from_secs(300);
/// Time for the exchange that is under way when the time of its connection is over.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// Bytes of a request body.
const MOST_BODY: usize = 1024 * 1024;
/// Bytes of a request head.
const MOST_HEAD: usize = 64 * 1024;
/// Pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin endpoint's socket, listening, and not yet of any event loop.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    is_unix: bool,
    /// Where it listens; the port is a real one also when 0 was asked for.
    pub address: String,
}

impl Socket {
    /// A socket that was bound as `conf` says.
    pub fn of(conf: &AdminConf, mut bound: Bound) -> Option<Self> {
        let socket = bound.sockets.pop()?;
        let is_unix = matches!(conf.address, ListenAddress::Unix(_));
        tracing::info!(address = %bound.address, "admin listening");
        Some(Self { socket, is_unix, address: bound.address })
    }

    /// Registers the socket with the present event loop.
    pub fn listen(self) -> io::Result<Listener> {
        Ok(match self.is_unix {
            true => Listener::Unix(UnixListener::from_std(self.socket.into())?),
            false => Listener::Tcp(TcpListener::from_std(self.socket.into())?),
        })
    }
}

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// Serves until it is dropped; on a local runtime.
pub async fn run(admin: Arc<Admin>, listener: Listener) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        // It is closed by nobody.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let admin = admin.clone();
        let begun = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                // An answer in two writes would otherwise wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                spawn_local(async move { (serve(admin, stream).await, place) })
            }),
            Listener::Unix(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| spawn_local(async move { (serve(admin, stream).await, place) })),
        };
        if let Err(error) = begun {
            tracing::warn!("admin: cannot accept: {error}");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn serve(admin: Arc<Admin>, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
    let service = service_fn(|request| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(respond(&admin, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(Timer)
        .header_read_timeout(HEAD)
        .max_buf_size(MOST_HEAD)
        .serve_connection(HyperIo(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a client's connection broke is its own affair.
    if timeout(CONNECTION, connection.as_mut()).await.is_err() {
        // What it asks just now it is still told.
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_ANSWER, connection).await;
    }
}

async fn respond(admin: &Admin, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    // Before the body is read: who may not ask need not send it.
    let (endpoint, mut question) = match admin.find(&head) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    match read(body).await {
        Ok(body) => question.body = body,
        Err(refusal) => return *refusal,
    }
    (endpoint.answer)(admin, &question)
}

async fn read(body: Incoming) -> Result<Bytes, Box<Reply>> {
    let refusal = |status, code, message| Err(Box::new(error(status, code, message, "")));
    match timeout(BODY, Limited::new(body, MOST_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than 1 MiB")
        }
        Ok(Err(_)) => refusal(StatusCode::BAD_REQUEST, "bad_body", "the body broke off"),
        Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not come in time"),
    }
}

/// Tokio's clock as hyper takes it.
#[derive(Clone, Copy, Debug)]
struct Timer;

struct Sleep(Pin<Box<tokio::time::Sleep>>);

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl hyper::rt::Sleep for Sleep {}
