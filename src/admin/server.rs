//! Accepts and serves admin connections on the control loop; hyper speaks the HTTP.
//!
//! Limits: so many connections (`places`), so long for a head or a body, so large a body, so long a
//! connection: a client that does not read must not hold a place for ever.

use std::{
    convert::Infallible,
    future::Future,
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{
    Admin,
    access::Scope,
    params::{self, Checked},
    places::{Place, Places},
    reply::{Reply, busy, error},
    spec::{MOST_CONFIG, MOST_SMALL},
};
use crate::{
    config::{admin::AdminConf, listen::ListenAddress},
    listen::{admin_sockets::Each, bind::Bound, socket_files::SocketFiles},
    moment::Moment,
    net::{Plain, hyper_io::HyperIo},
    telemetry::repeated::Repeated,
};

/// Time for a request head, also the first byte of it.
const HEAD: Duration = Duration::from_secs(10);
/// Time for a request body.
const BODY: Duration = Duration::from_secs(10);
/// Time for a connection, with all that it asks.
const CONNECTION: Duration = Duration::from_secs(300);
/// Time for the exchange that is under way when the time of its connection is over.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// Time to wait for a place among the large bodies; less than for the body.
const PLACE: Duration = Duration::from_secs(5);
/// Bytes that are read of a body that is too large.
const MOST_DISCARDED: usize = 2 * MOST_CONFIG;
/// Bytes of a request head.
const MOST_HEAD: usize = 64 * 1024;
/// Pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin endpoint's socket, listening, and not yet of any event loop.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    /// The file of a unix socket.
    file: Option<File>,
    /// Where it listens; the port is a real one also when 0 was asked for.
    pub address: String,
}

impl Socket {
    /// Sockets that were bound as `conf` says, whose files are to be among `files`.
    pub fn of(
        conf: Option<&AdminConf>,
        bound: Each<Option<Bound>>,
        files: &Arc<SocketFiles>,
    ) -> Each<Option<Self>> {
        let Some(conf) = conf else { return Each::default() };
        let whole = bound.whole.and_then(|bound| Self::new(&conf.address, bound, files));
        let metrics = conf.metrics_address().zip(bound.metrics);
        let metrics = metrics.and_then(|(address, bound)| Self::new(address, bound, files));
        if let Some(socket) = &whole {
            tracing::info!(address = %socket.address, "admin listening");
        }
        if let Some(socket) = &metrics {
            tracing::info!(address = %socket.address, "metrics listening");
        }
        Each { whole, metrics }
    }

    fn new(address: &ListenAddress, mut bound: Bound, files: &Arc<SocketFiles>) -> Option<Self> {
        let socket = bound.sockets.pop()?;
        let file = match address {
            ListenAddress::Tcp(_) | ListenAddress::Udp(_) => None,
            ListenAddress::Unix(path) => {
                files.add(path, bound.owner);
                Some(File { path: path.clone(), files: files.clone() })
            }
        };
        Some(Self { socket, file, address: bound.address })
    }

    /// One by this descriptor.
    #[cfg(test)]
    pub(crate) fn of_descriptor(socket: OwnedFd) -> Self {
        Self { socket, file: None, address: String::new() }
    }

    /// Registers the socket with the present event loop. Its file, where it has one, is to be kept for as
    /// long as it is served.
    pub fn listen(self) -> io::Result<(Listener, Option<File>)> {
        let listener = match &self.file {
            Some(_) => Listener::Unix(UnixListener::from_std(self.socket.into())?),
            None => Listener::Tcp(TcpListener::from_std(self.socket.into())?),
        };
        Ok((listener, self.file))
    }
}

/// The file of a unix socket; it goes when this is dropped, unless it is another program's.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    files: Arc<SocketFiles>,
}

impl Drop for File {
    fn drop(&mut self) {
        self.files.remove(&self.path);
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

impl Listener {
    async fn accept(&self) -> io::Result<Plain> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // An answer in two writes would otherwise wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                Plain::Tcp(stream)
            }
            Self::Unix(listener) => Plain::Unix(listener.accept().await?.0),
        })
    }
}

/// Serves until it is dropped; on a local runtime.
pub async fn run(admin: Arc<Admin>, listener: Listener, scope: Scope) {
    let places = Rc::new(Places::default());
    loop {
        match listener.accept().await {
            Ok(stream) => {
                // Where every connection is being answered it is closed.
                if let Some(place) = places.take(Moment::now()) {
                    spawn_local(serve(admin.clone(), stream, place, scope));
                }
            }
            // Health is asked for without a free descriptor, too: who waits gives its own up.
            Err(_) if places.dismiss() => tokio::task::yield_now().await,
            Err(error) => {
                if let Some(times) = REFUSED.count(Moment::now()) {
                    tracing::warn!(times, "admin: cannot accept a connection: {error}");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

static REFUSED: Repeated = Repeated::new();

async fn serve(admin: Arc<Admin>, stream: Plain, place: Place, scope: Scope) {
    tokio::select! {
        () = converse(admin, stream, &place, scope) => {}
        () = place.lost() => {}
    }
}

async fn converse(admin: Arc<Admin>, stream: Plain, place: &Place, scope: Scope) {
    let service = service_fn(|request| {
        let admin = admin.clone();
        async move {
            place.begin();
            let (head, body) = respond(admin, request, place, scope).await.into_parts();
            let Ok(body) = body.collect().await;
            let body = place.end(Moment::now(), body.to_bytes());
            Ok::<_, Infallible>(Reply::from_parts(head, body.into()))
        }
    });
    let connection = http1::Builder::new()
        .timer(Timer)
        .header_read_timeout(HEAD)
        .max_buf_size(MOST_HEAD)
        .serve_connection(HyperIo(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a client's connection broke is its own affair.
    if timeout(CONNECTION, connection.as_mut()).await.is_err() {
        // What it asks just now is still answered.
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_ANSWER, connection).await;
    }
}

async fn respond(admin: Arc<Admin>, request: Request<Incoming>, place: &Place, scope: Scope) -> Reply {
    let (head, body) = request.into_parts();
    // Before the body is read: who may not ask need not send it.
    let (endpoint, mut question) = match admin.find(&head, scope) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    if endpoint.is_watched {
        // It is answered at once, whatever else is asked; a body would say nothing (RFC 9110 §9.3.1).
        return admin.answer(endpoint, question, None).await;
    }
    let Some(_asking) = place.ask() else { return busy() };
    let takes = endpoint.about.body;
    let read = async {
        let (body, place) = read(body, takes.most(), &admin.large).await?;
        params::media_type(takes, &head.headers, &body)?;
        Checked::Ok((body, place))
    };
    match timeout(BODY, read).await {
        Ok(Ok((body, place))) => (question.body, question.place) = (body, place),
        Ok(Err(refusal)) => return *refusal,
        Err(_) => {
            let message = "the body did not arrive in time";
            return error(StatusCode::REQUEST_TIMEOUT, "too_slow", message, "send it at once");
        }
    }
    if endpoint.about.is_change
        && let Err(refusal) = admin.take_turn().await
    {
        return *refusal;
    }
    let asked = admin.asked(endpoint.method, &head.uri, &question);
    admin.answer(endpoint, question, asked).await
}

/// Reads a body of at most so many bytes. A large one needs a place among the large ones.
async fn read(
    mut body: Incoming,
    most: usize,
    places: &Arc<Semaphore>,
) -> Checked<(Bytes, Option<OwnedSemaphorePermit>)> {
    let mut whole = BytesMut::new();
    let mut place = None;
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let message = "the body is incomplete";
            return Err(Box::new(error(StatusCode::BAD_REQUEST, "bad_body", message, "send all of it")));
        };
        // What is not data is trailers, which mean nothing here.
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > most {
            whole = BytesMut::new();
            // The rest is read too, up to a bound: a client that still sends would not see the answer.
            if length > MOST_DISCARDED {
                break;
            }
            continue;
        }
        if length > MOST_SMALL && place.is_none() {
            let permit = timeout(PLACE, places.clone().acquire_owned()).await;
            let Ok(Ok(permit)) = permit else { return Err(Box::new(busy())) };
            place = Some(permit);
        }
        whole.extend_from_slice(&data);
    }
    if length > most {
        let message = format!("the body has more than {} KiB", most / 1024);
        let hint = "send less";
        return Err(Box::new(error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &message, hint)));
    }
    Ok((whole.freeze(), place))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::bind::{Owner, bind_private};

    #[test]
    fn file_of_the_program_before_stays_where_this_one_fails() {
        let path = std::env::temp_dir().join(format!("pointsman-admin-{}.sock", std::process::id()));
        let address = ListenAddress::Unix(path.clone());
        let text = format!(
            "[admin]\naddress = \"{address}\"\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\n"
        );
        let conf = crate::config::parse(&text, "test.toml".as_ref()).unwrap().admin;
        let files = Arc::<SocketFiles>::default();
        let before = bind_private(&address).unwrap();
        let socket = |owner| {
            let whole = Some(Bound { owner, ..before.try_clone().unwrap() });
            Socket::of(conf.as_ref(), Each { whole, metrics: None }, &files).whole.unwrap()
        };
        drop(socket(Owner::Before));
        assert!(path.exists(), "the program before cannot be reached any more");
        let taken = socket(Owner::Before);
        files.take_over();
        assert!(path.exists());
        drop(taken);
        assert!(!path.exists());
    }
}
