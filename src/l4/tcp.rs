//! THE path of a connection, from its first byte to a backend. Previous stop: `listen::connection`.
//!
//! sniff (`tls`) → route → `upstream::acquire` (the next backend when connecting fails, before anything is sent) →
//! `l4::passing`, where it is until its end: log line, counts, places given back.

use std::rc::Rc;

use super::{
    active::ActiveTunnel,
    client::Client,
    passing::{Answering, Tunnel},
    sniff,
};
use crate::{
    account,
    balance::Outcome as Sample,
    error::{Kind, ProxyError, Result},
    exchange::Peer,
    h1::Method,
    health::passive::Verdict,
    moment::Moment,
    net::{Buffer, Deadline, Departure, Stream, tunnel::Joint},
    runtime::{ListenerId, Permit, Serves, Worker, WorkerSnapshot, connections::Place as Entry},
    telemetry::metrics::Outcome,
    tls::conf::Starttls,
    upstream::{
        Permit as Place, WorkerUpstream, acquire::Acquire, affinity::key_of_client, announce,
        conf::SendProxyProtocol, retry::is_retryable, verdict,
    },
};

/// A connection of a client.
#[derive(Debug)]
pub struct Connection {
    /// Its bytes.
    pub stream: Stream,
    /// What was read already.
    pub input: Buffer,
    /// Who is at its other end.
    pub peer: Rc<Peer>,
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The slot of its listener.
    pub listener: ListenerId,
    /// Its place among the open connections.
    pub permit: Permit,
}

/// A connection to a backend, and the place there.
struct Connected {
    place: Place,
    stream: Stream,
    answering: Answering,
}

/// The stops up to a connection with a backend; `None` when it came to nothing, which the client was told. `entry` is its
/// own among the open ones.
pub async fn open(connection: Connection, entry: Entry) -> Option<Tunnel> {
    let Connection { stream, input, peer, worker, listener, permit } = connection;
    let snapshot = worker.snapshot_for(listener);
    let protocol = match snapshot.shared.listener(listener).map(|listener| &listener.serves) {
        Some(Serves::Tls) => "tls",
        _ => "tcp",
    };
    let (deadline, departure) = (Deadline::new(), Departure::default());
    let mut client = Client { stream, input, deadline, departure, asked: Starttls::Off };
    let mut active = ActiveTunnel::new(&worker, (listener, snapshot.clone()), peer, protocol, &entry);
    let error = match find_backend(&snapshot, listener, &mut client, &active).await {
        Ok(Connected { place, stream: backend, answering }) => {
            let Client { stream: client, input, deadline, departure: _, asked: _ } = client;
            let joint = Joint::new(input, Buffer::default());
            return Some(Tunnel {
                backend,
                place,
                answering,
                active,
                _permit: permit,
                client,
                deadline,
                joint,
                _entry: entry,
            });
        }
        Err(error) => error,
    };
    let alert = sniff::alert(error.kind()).filter(|_| protocol == "tls");
    if let Some(alert) = alert {
        client.say_last(&alert).await;
    } else {
        // Nobody shall take it for an answer that was empty.
        client.stream.reset();
    }
    active.fail(&error);
    None
}

/// Its route, and a connection with a backend of that.
async fn find_backend(
    snapshot: &WorkerSnapshot,
    listener: ListenerId,
    client: &mut Client,
    active: &ActiveTunnel,
) -> Result<Connected> {
    if account::is_full() {
        account::refuse();
        return Err(Kind::MemoryFull.into());
    }
    let listener = snapshot.shared.listener(listener).ok_or(Kind::Draining)?;
    let index = match listener.serves {
        Serves::Tls => {
            let hello = sniff::hello(client, listener.conf.starttls).await?;
            let index = listener.names.find(hello.server_name.as_deref(), &hello.alpn);
            active.named(hello);
            index
        }
        Serves::Tcp(_) | Serves::Http | Serves::Https(_) | Serves::Udp => listener.names.find(None, &[]),
    };
    let index = index.ok_or(Kind::NoRoute)?;
    active.passed.route.set(Some(index));
    let route = snapshot.shared.routes.get(index).ok_or(Kind::NoRoute)?;
    route.filters.on_connect(active.peer.address)?;
    let upstream = route.action.upstream().ok_or(Kind::NoBackend)?;
    active.passed.upstream.set(Some(upstream));
    let worker_upstream = snapshot.upstream(upstream).ok_or(Kind::NoBackend)?;
    let end = active.limits().end;
    let key = key_of_client(&worker_upstream.upstream, active.peer.address);
    connect(Acquire { worker_upstream, key, sticky: None, end, connect_timeout: None }, client, active).await
}

/// A connection with a backend, or with another when that fails.
async fn connect(target: Acquire<'_>, client: &mut Client, active: &ActiveTunnel) -> Result<Connected> {
    let worker_upstream = target.worker_upstream;
    let passed = &active.passed;
    worker_upstream.on_request(passed.started);
    let mut tried = Vec::new();
    loop {
        let (place, picked) = target.pick(&tried, client).await?;
        active.begin_attempt(worker_upstream, place.index());
        let conf = &worker_upstream.upstream.conf;
        let header = match conf.proxy_protocol {
            SendProxyProtocol::Off => Vec::new(),
            SendProxyProtocol::V1 | SendProxyProtocol::V2 => {
                announce::header(conf, &active.facts(), passed.server_name())
            }
        };
        let opening = announce::Opening { header, starttls: client.asked, offers_http2: false };
        let dialled = target.dial(&place, client, &opening).await;
        let connected = Moment::now();
        observe(worker_upstream, &place, dialled.as_ref().map(drop), picked, connected);
        match dialled {
            Ok(stream) => {
                passed.response_time.set(Some(connected.since(passed.started)));
                let answering = Answering::Connected(connected.since(picked));
                return Ok(Connected { place, stream, answering });
            }
            Err(error) => {
                // Nothing was sent, so that it is as good as a method that may be repeated.
                let attempts = passed.attempts.get();
                let may = is_retryable(&conf.retry, Err(error.kind()), &Method::Get, attempts);
                if !may
                    || target.end.is_some_and(|end| end <= connected)
                    || !worker_upstream.may_retry(connected)
                {
                    return Err(error);
                }
                tried.push(place.index());
            }
        }
    }
}

/// Says to health, balancer and metrics how connecting went.
fn observe(
    worker_upstream: &Rc<WorkerUpstream>,
    place: &Place,
    dialled: Result<(), &ProxyError>,
    picked: Moment,
    now: Moment,
) {
    let index = place.index();
    let (verdict, outcome) = match dialled {
        Ok(()) => (Verdict::Success, Outcome::Tunnel),
        Err(error) => verdict::of_error(error.kind()),
    };
    if let Some(series) = worker_upstream.series.get(index) {
        series.record(outcome);
        series.response.record(now.since(picked));
    }
    if dialled.is_err()
        && let Some(failed) = verdict::is_failure(verdict)
    {
        let sample = Sample { elapsed: now.since(picked), failed };
        worker_upstream.with_balancer(|balancer| balancer.on_done(index, &sample, now));
    }
    worker_upstream.record_health(index, verdict, now);
}
