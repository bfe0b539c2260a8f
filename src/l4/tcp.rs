//! THE path of a connection, from its first byte to its end. Previous stop: `listen::connection`.
//!
//! sniff (`tls`) → route → `upstream::acquire` (the next backend when connecting fails, before anything is sent) →
//! `net::tunnel` → the end: log line, counts, places given back.

use std::{pin::Pin, rc::Rc, time::Duration};

use super::{active::ActiveTunnel, client::Client, sniff};
use crate::{
    account,
    balance::Outcome as Sample,
    error::{Kind, ProxyError, Result},
    exchange::Peer,
    h1::Method,
    health::passive::Verdict,
    moment::Moment,
    net::{
        Buffer, Deadline, Stream,
        tunnel::{self, Carried, Side},
    },
    runtime::{ListenerId, Permit, Route, Serves, Worker, WorkerSnapshot, connections::Place as Entry},
    telemetry::metrics::Outcome,
    tls::conf::Starttls,
    upstream::{
        Permit as Place, WorkerUpstream, acquire::Acquire, affinity::key_of_client, announce,
        retry::is_retryable, verdict,
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
struct Joined<'a> {
    place: Place,
    stream: Stream,
    answering: Sampled,
    route: &'a Route,
    end: Option<Moment>,
}

/// How long the backend took to answer, for the balancer: to the first byte where the client spoke first, else to the
/// connection.
struct Sampled {
    /// From the pick to the connection.
    connecting: Duration,
    /// When the client's last bytes were passed on, before the backend's first.
    asked: Option<Moment>,
    is_taken: bool,
}

/// Passes a connection on, to its end; `place` is its entry among the open ones.
///
/// The parts are made before the future, and lent to what it awaits: what an `async fn` is given, and hands on, is kept
/// twice, and most connections do nothing but wait.
pub fn serve(connection: Connection, place: &Entry) -> Pin<Box<impl Future<Output = ()>>> {
    let Connection { stream, input, peer, worker, listener, permit } = connection;
    let snapshot = worker.snapshot_for(listener);
    let protocol = match snapshot.shared.listener(listener).map(|listener| &listener.serves) {
        Some(Serves::Tls) => "tls",
        _ => "tcp",
    };
    let mut client = Client { stream, input, deadline: Deadline::new(), asked: Starttls::Off };
    let mut active = ActiveTunnel::new(&worker, (listener, snapshot.clone()), &peer, protocol, place);
    Box::pin(async move {
        let opening = open_or_refuse(&snapshot, listener, &mut client, &mut active);
        let Some(joined) = Box::pin(opening).await else { return };
        carry(&mut client, joined, &mut active).await;
        drop(active);
        drop(permit);
    })
}

/// The stops up to a connection with a backend; `None` when it came to nothing, which the client was told.
async fn open_or_refuse<'a>(
    snapshot: &'a WorkerSnapshot,
    listener: ListenerId,
    client: &mut Client,
    active: &mut ActiveTunnel,
) -> Option<Joined<'a>> {
    let error = match open(snapshot, listener, client, active).await {
        Ok(joined) => return Some(joined),
        Err(error) => error,
    };
    let alert = sniff::alert(error.kind()).filter(|_| active.tunnel.protocol == "tls");
    if let Some(alert) = alert {
        client.say_last(&alert).await;
    } else {
        // Nobody shall take it for an answer that was empty.
        client.stream.reset();
    }
    active.fail(&error);
    None
}

async fn open<'a>(
    snapshot: &'a WorkerSnapshot,
    listener: ListenerId,
    client: &mut Client,
    active: &mut ActiveTunnel,
) -> Result<Joined<'a>> {
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
    active.facts.route = Some(index);
    let route = snapshot.shared.routes.get(index).ok_or(Kind::NoRoute)?;
    route.filters.on_connect(active.facts.client_address())?;
    let upstream = route.action.upstream().ok_or(Kind::NoBackend)?;
    active.facts.upstream = Some(upstream);
    let worker_upstream = snapshot.upstream(upstream).ok_or(Kind::NoBackend)?;
    let end = (!route.timeout.is_zero()).then(|| active.facts.started.plus(route.timeout));
    let key = key_of_client(&worker_upstream.upstream, active.facts.client_address());
    connect(Acquire { worker_upstream, key, sticky: None, end, connect_timeout: None }, route, client, active)
        .await
}

/// A connection with a backend, or with another when that fails.
async fn connect<'a>(
    target: Acquire<'_>,
    route: &'a Route,
    client: &mut Client,
    active: &mut ActiveTunnel,
) -> Result<Joined<'a>> {
    let worker_upstream = target.worker_upstream;
    worker_upstream.on_request(active.facts.started);
    let mut tried = Vec::new();
    loop {
        let (place, picked) = target.pick(&tried, client).await?;
        active.begin_attempt(worker_upstream, place.index(), picked);
        let conf = &worker_upstream.upstream.conf;
        let header = announce::header(conf, &active.facts, active.tunnel.server_name.as_deref());
        let opening = announce::Opening { header, starttls: client.asked, offers_http2: false };
        let dialled = target.dial(&place, client, &opening).await;
        let connected = Moment::now();
        observe(worker_upstream, &place, dialled.as_ref().map(drop), picked, connected);
        match dialled {
            Ok(stream) => {
                active.facts.response_time = Some(connected.since(active.facts.started));
                let answering = Sampled { connecting: connected.since(picked), asked: None, is_taken: false };
                return Ok(Joined { place, stream, answering, route, end: target.end });
            }
            Err(error) => {
                // Nothing was sent, so that it is as good as a method that may be repeated.
                let may = is_retryable(&conf.retry, Err(error.kind()), &Method::Get, active.facts.attempts);
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

/// Joins client and backend until the end.
fn carry<'a>(
    client: &'a mut Client,
    joined: Joined<'a>,
    active: &'a mut ActiveTunnel,
) -> impl Future<Output = ()> + 'a {
    let Joined { place, stream, mut answering, route, end } = joined;
    let Client { stream: client, input, deadline, asked: _ } = client;
    let mut ends = Ends { client, backend: stream, is_over: false };
    async move {
        let mut counted = 0;
        let mut watch = |carried: Carried| {
            let Carried { up, down, .. } = carried;
            place.count_bytes(up + down - counted);
            counted = up + down;
            answering.look(&place, carried);
            active.carried(carried);
        };
        let one = Side { stream: ends.client, input: std::mem::take(input) };
        let other = Side { stream: &mut ends.backend, input: Buffer::default() };
        let (_, ended) = tunnel::join(one, other, deadline, route.silence(), end, &mut watch).await;
        answering.take(&place);
        ends.is_over = true;
        ends.client.say_goodbye();
        ends.backend.say_goodbye();
        active.end(ended);
    }
}

/// The two ends of a tunnel. Dropped before it is over, both are reset: neither side shall take what came for all.
struct Ends<'a> {
    client: &'a mut Stream,
    backend: Stream,
    is_over: bool,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.client.reset();
            self.backend.reset();
        }
    }
}

impl Sampled {
    /// Takes the sample with the backend's first byte.
    fn look(&mut self, place: &Place, carried: Carried) {
        if carried.down > 0 {
            self.take(place);
        } else if carried.up > 0 && !self.is_taken {
            self.asked = Some(Moment::recent());
        }
    }

    fn take(&mut self, place: &Place) {
        if std::mem::replace(&mut self.is_taken, true) {
            return;
        }
        let now = Moment::recent();
        let elapsed = self.asked.map_or(self.connecting, |asked| now.since(asked));
        let sample = Sample { elapsed, failed: false };
        let worker_upstream = place.worker_upstream();
        worker_upstream.with_balancer(|balancer| balancer.on_done(place.index(), &sample, now));
    }
}
