//! A worker between clients and a backend that are connected by socket pairs, all on one thread, with a clock that goes
//! on only when nobody has anything to do.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    runtime::{Builder, LocalOptions, LocalRuntime},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    cache::fill,
    config::{self, Config},
    exchange::Peer,
    http::h1::Connection,
    moment::Moment,
    net::{Buffer, Http1Stream, Plain, Stream, timer},
    runtime::{Permit, Worker, build, drain::Drain, registry::Registry, worker::Shared},
    sync::children,
    telemetry::access_log::{AccessLog, Sink},
    tls::{demo::demo_certificates, tickets::Tickets},
};

/// Runs a test on a thread-local runtime whose time is paused.
pub(super) fn run<T>(test: impl AsyncFnOnce() -> T) -> T {
    let _none = children::none();
    runtime().block_on(async { test().await })
}

/// Such a runtime, with the tasks that each worker has.
pub(super) fn runtime() -> LocalRuntime {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        tokio::task::spawn_local(timer::drive());
        tokio::task::spawn_local(fill::drive());
    });
    runtime
}

/// What a backend does with a request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Sends bytes.
    Send(&'static [u8]),
    /// Waits.
    Wait(Duration),
    /// Closes the connection.
    Close,
}

/// A worker, and a backend that follows a script.
pub(super) struct Stage {
    pub(super) worker: Rc<Worker>,
    pub(super) backend: Rc<Backend>,
    /// Whether clients are trusted proxies.
    pub(super) is_trusted: Cell<bool>,
    open: Arc<[AtomicI64]>,
    folder: PathBuf,
}

/// What a backend was asked, and what it answers: the same each time.
pub(super) struct Backend {
    /// The heads of the requests that came, with what came of their bodies.
    pub(super) requests: RefCell<Vec<String>>,
    script: RefCell<Vec<Act>>,
    /// What it sends before it has read the body of a request, and how long it waits then before it does.
    early: Cell<Option<(&'static [u8], Duration)>>,
    /// How long it waits before each of its reads, of 64 KiB at most.
    pace: Cell<Duration>,
    /// Whether it speaks HTTP/2, and how many streams it takes at once; it answers 200 then, to whole requests.
    streams: Cell<Option<u32>>,
    /// Its part of TLS, where it speaks that.
    tls: RefCell<Option<Arc<ServerConfig>>>,
    /// How many connections it was made.
    pub(super) connections: Cell<usize>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Stage {
    /// A worker with a listener and an upstream `app`; `rest` is the configuration of its routes, caches, and of the
    /// upstream (its table is open where `rest` begins, so that keys of it come first; `max_connections` is 1 where that is
    /// not the first of them). `{socket}` is the path of the backend's socket, for other upstreams.
    pub(super) fn new(upstream: &str, rest: &str, script: &[Act]) -> Self {
        static NEXT: AtomicI64 = AtomicI64::new(0);
        let number = NEXT.fetch_add(1, SeqCst);
        let folder = std::env::temp_dir().join(format!("pointsman-stage-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("app.sock");
        let config = config(&socket, upstream, rest);
        let registry = Registry::new(1);
        let tickets = Tickets::new(Moment::now()).unwrap();
        let snapshot = ArcSwap::from_pointee(build::build(config, 1, &registry, &tickets).unwrap());
        let shared = Arc::new(Shared { snapshot, registry, drain: Drain::default(), flows: Arc::default() });
        let log = AccessLog::start(Sink::Off).unwrap();
        let worker = Worker::new(0, shared, log.for_worker());
        let backend = Rc::new(Backend {
            requests: RefCell::default(),
            script: RefCell::new(script.to_vec()),
            early: Cell::default(),
            pace: Cell::default(),
            streams: Cell::default(),
            tls: RefCell::default(),
            connections: Cell::new(0),
        });
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::task::spawn_local(backend.clone().listen(listener));
        let is_trusted = Cell::new(false);
        Self { worker, backend, is_trusted, open: [AtomicI64::new(0)].into(), folder }
    }

    /// Another generation, of another configuration of the same upstream.
    pub(super) fn reload(&self, upstream: &str, rest: &str) {
        let Shared { snapshot, registry, .. } = &*self.worker.shared;
        let (before, tickets) = (snapshot.load_full(), Tickets::new(Moment::now()).unwrap());
        let generation = before.generation + 1;
        let builder = build::Builder { generation, registry, tickets: &tickets, before: Some(&before) };
        let config = config(&self.folder.join("app.sock"), upstream, rest);
        snapshot.store(Arc::new(builder.build(config).unwrap()));
    }

    /// What the backend answers from now on.
    pub(super) fn script(&self, script: &[Act]) {
        *self.backend.script.borrow_mut() = script.to_vec();
    }

    /// Has the backend send this before it has read the body of a request, wait, and then read that and follow its script.
    pub(super) fn answer_early(&self, bytes: &'static [u8], wait: Duration) {
        self.backend.early.set(Some((bytes, wait)));
    }

    /// Has the backend read slowly: so long before each piece.
    pub(super) fn read_slowly(&self, pace: Duration) {
        self.backend.pace.set(pace);
    }

    /// Has the backend speak HTTP/2, with so many streams at once on a connection.
    pub(super) fn speak_http2(&self, streams: u32) {
        self.backend.streams.set(Some(streams));
    }

    /// Has the backend speak TLS over connections that it accepts from now on, and agree by ALPN on one of these.
    pub(super) fn speak_tls(&self, protocols: &[&str]) {
        demo_certificates(&self.folder).unwrap();
        let chain = vec![CertificateDer::from_pem_file(self.folder.join("demo.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.folder.join("demo.key")).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        *self.backend.tls.borrow_mut() = Some(Arc::new(config));
    }

    /// A connection of a client: its end, and ours.
    pub(super) fn connect(&self) -> (UnixStream, Connection) {
        self.connect_to(0)
    }

    /// The same to another listener, by its number.
    pub(super) fn connect_to(&self, listener: usize) -> (UnixStream, Connection) {
        let (client, ours) = UnixStream::pair().unwrap();
        let snapshot = self.worker.snapshot();
        let listener = &snapshot.shared.listeners[listener];
        let shared = listener.shared.clone();
        assert!(shared.enter(&listener.conf));
        let permit = Permit::new(self.open.clone(), 0, shared, None);
        let stream = Http1Stream::new(Stream::Plain(Plain::Unix(ours)), Buffer::default());
        let is_trusted = self.is_trusted.get();
        let peer = Rc::new(Peer {
            text: "192.0.2.1".into(),
            is_trusted,
            terms: listener.terms.clone(),
            ..Peer::default()
        });
        (client, Connection::new(stream, peer, self.worker.clone(), listener.slot, permit))
    }

    /// Sends bytes on a connection of its own, shuts it down for sending where that is asked for, and gives all that
    /// comes back until its end.
    pub(super) async fn talk(&self, bytes: &[u8]) -> String {
        self.talk_to(0, bytes).await
    }

    /// The same to another listener, by its number.
    pub(super) async fn talk_to(&self, listener: usize, bytes: &[u8]) -> String {
        let (mut client, mut connection) = self.connect_to(listener);
        tokio::task::spawn_local(async move { Box::pin(connection.serve()).await });
        client.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Lets everything come to its end that still can, and fails where something was not given back.
    pub(super) async fn assert_all_is_given_back(&self, when: &str) {
        // Longer than any timeout of the test's configuration; the clock is paused.
        tokio::time::sleep(Duration::from_secs(600)).await;
        let snapshot = self.worker.snapshot();
        for upstream in &snapshot.shared.upstreams {
            for backend in &upstream.backends {
                let in_flight = backend.shared.in_flight.0.load(SeqCst);
                assert_eq!(in_flight, 0, "{when}: exchanges in flight at {}", backend.name);
            }
            assert_eq!(upstream.queue.len(), 0, "{when}: waiters of {}", upstream.conf.name);
        }
        for route in &snapshot.shared.routes {
            if let Some(cache) = &route.cache {
                let stats = cache.fill_stats();
                let left = (stats.under_way, stats.readers, stats.held);
                assert_eq!(left, (0, 0, 0), "{when}: fills under way, readers, bytes held");
            }
        }
        assert!(!self.worker.is_fetching(), "{when}: a fetch is under way");
        let open = self.open.iter().map(|open| open.load(SeqCst)).sum::<i64>();
        assert_eq!(open, 0, "{when}: connections");
    }
}

fn config(socket: &Path, upstream: &str, rest: &str) -> Config {
    let limit = if rest.starts_with("max_connections") { "" } else { "max_connections = 1\n" };
    let socket = socket.display().to_string();
    let text = format!(
        "[log]\naccess = \"off\"\n[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\
         trusted_proxies = [\"0.0.0.0/32\"]\n[[upstream]]\nname = \"app\"\n{upstream}\n\
         [[upstream.backend]]\naddress = \"unix:{socket}\"\nname = \"b\"\n{limit}{}",
        rest.replace("{socket}", &socket)
    );
    config::parse(&text, "test.toml".as_ref()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

impl Backend {
    async fn listen(self: Rc<Self>, listener: UnixListener) {
        while let Ok((stream, _)) = listener.accept().await {
            self.connections.set(self.connections.get() + 1);
            let (tls, streams) = (self.tls.borrow().clone(), self.streams.get());
            tokio::task::spawn_local(self.clone().accept(stream, tls, streams));
        }
    }

    async fn accept(
        self: Rc<Self>,
        stream: UnixStream,
        tls: Option<Arc<ServerConfig>>,
        streams: Option<u32>,
    ) {
        let Some(tls) = tls else { return Box::pin(self.begin(stream, streams)).await };
        if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
            Box::pin(self.begin(stream, streams)).await;
        }
    }

    async fn begin(self: Rc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin, streams: Option<u32>) {
        match streams {
            Some(most) => self.serve_http2(stream, most).await,
            None => self.serve(stream).await,
        }
    }

    async fn serve_http2(self: Rc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin, most: u32) {
        let mut builder = h2::server::Builder::new();
        let Ok(mut connection) = builder.max_concurrent_streams(most).handshake::<_, Bytes>(stream).await
        else {
            return;
        };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let backend = self.clone();
            tokio::task::spawn_local(async move {
                let (head, mut body) = request.into_parts();
                while let Some(Ok(data)) = body.data().await {
                    let _ = body.flow_control().release_capacity(data.len());
                }
                backend.requests.borrow_mut().push(format!("{} {}", head.method, head.uri.path()));
                let _ = respond.send_response(http::Response::new(()), true);
            });
        }
    }

    async fn serve(self: Rc<Self>, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut received = Vec::new();
        loop {
            let early = self.early.get();
            let pace = self.pace.get();
            let Some(request) = read_request(&mut stream, &mut received, early, pace).await else { return };
            self.requests.borrow_mut().push(request);
            let mut script: VecDeque<Act> = self.script.borrow().iter().cloned().collect();
            while let Some(act) = script.pop_front() {
                match act {
                    Act::Send(bytes) => {
                        if stream.write_all(bytes).await.is_err() {
                            return;
                        }
                    }
                    Act::Wait(time) => tokio::time::sleep(time).await,
                    Act::Close => return,
                }
            }
        }
    }
}

/// Reads a request head and its body by Content-Length, or by chunks up to the last; `None` at the end.
async fn read_request(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    received: &mut Vec<u8>,
    mut early: Option<(&[u8], Duration)>,
    pace: Duration,
) -> Option<String> {
    let mut room = vec![0; 64 * 1024];
    loop {
        let text = String::from_utf8_lossy(received).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let value = |name: &str| {
                let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
                line.split_once(": ").map(|(_, value)| value.to_owned())
            };
            let length = value("content-length").map_or(0, |length| length.parse::<usize>().unwrap());
            let end = match value("transfer-encoding") {
                Some(_) => chunked_length(body),
                None => (body.len() >= length).then_some(length),
            };
            if let Some((bytes, wait)) = early.take() {
                stream.write_all(bytes).await.ok()?;
                tokio::time::sleep(wait).await;
            }
            if let Some(end) = end {
                let whole = head.len() + 4 + end;
                received.drain(..whole);
                return Some(text[..whole].to_owned());
            }
        }
        if !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
        match stream.read(&mut room).await {
            Ok(length) if length > 0 => received.extend_from_slice(&room[..length]),
            _ => return None,
        }
    }
}

/// How long a body in chunks is, its trailers included; `None` while it is not whole.
fn chunked_length(body: &str) -> Option<usize> {
    let last = if body.starts_with("0\r\n") { 0 } else { body.find("\r\n0\r\n")? + 2 };
    body[last + 1..].find("\r\n\r\n").map(|at| last + 1 + at + 4)
}
