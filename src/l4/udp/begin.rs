//! The beginning of a session: its route, its place, its backend.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use socket2::SockRef;

use super::{
    super::{hello::ClientHello, session::Terms},
    announced::{self, Announced},
    connect::{self, Backend},
    quic_session::QuicSession,
    send::Carried,
    session::{PER_SESSION, Session},
    socket::Socket,
};
use crate::{
    account::{self, Held, Owner},
    moment::Moment,
    net::proxy_protocol::Addresses,
    runtime::{
        Listener, Permit, Route, Worker, WorkerSnapshot,
        flows::{ConnectionId, Flow, FlowPlace},
        permit::AddressPlace,
    },
    telemetry::datagrams::Dropped,
    upstream::{WorkerUpstream, sessions::SessionPlace},
};

/// A client that has no session yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) worker: &'a Worker,
    /// Open connections and sessions by worker.
    pub(super) open: &'a Arc<[AtomicI64]>,
    /// Where it came in.
    pub(super) socket: &'a Rc<Socket>,
    pub(super) from: SocketAddr,
    /// The address that it asked.
    pub(super) to: Option<IpAddr>,
    /// The PROXY header that it came with.
    pub(super) header: Option<&'a [u8]>,
    pub(super) now: Moment,
}

impl Arrival<'_> {
    /// Where the client sent its datagram to.
    fn asked(&self) -> SocketAddr {
        let local = SockRef::from(self.socket.socket.get_ref()).local_addr().ok();
        let local = local.and_then(|address| address.as_socket());
        let local = local.unwrap_or_else(|| SocketAddr::from(([0; 4], 0)));
        announced::canonical(SocketAddr::new(self.to.unwrap_or(local.ip()), local.port()))
    }

    /// The client: at the other end, or as a PROXY header names it.
    fn client(&self) -> IpAddr {
        let named = self.header.and_then(announced::read).and_then(|header| header.addresses);
        named.map_or(self.from, |named| named.source).ip().to_canonical()
    }
}

/// What its first datagram says of where it is to go.
#[derive(Debug)]
pub(super) enum Ask {
    /// Nothing: the listener alone decides.
    Listener,
    /// A ClientHello over QUIC: the version, and the connection id that the client made up for its server.
    Hello(ClientHello, u32, ConnectionId),
    /// That it is of a version of QUIC that cannot be read.
    Version(u32),
    /// A connection of QUIC that there is; its client has another address now.
    Flow(FlowPlace),
}

/// Why a session does not begin.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The upstream whose name has this number has as many as it may.
    Full(u32),
    /// For this reason.
    Dropped(Dropped),
}

impl From<Dropped> for Refusal {
    fn from(why: Dropped) -> Self {
        Self::Dropped(why)
    }
}

/// Where a session leads: the route and upstream of a generation.
pub(super) struct Way {
    pub(super) snapshot: Rc<WorkerSnapshot>,
    pub(super) route: usize,
    pub(super) upstream: usize,
}

/// Begins a session with a client's first datagram.
pub(super) fn begin(arrival: Arrival<'_>, ask: &Ask) -> Result<(Terms, Session), Refusal> {
    let Arrival { worker, open, socket, from, now, .. } = arrival;
    let slot = socket.slot.get();
    let snapshot = worker.snapshot_for(slot);
    let listener = snapshot.shared.listener(slot).ok_or(Dropped::NoRoute)?;
    let address = arrival.client();
    let refuse = |why| {
        listener.shared.refused.fetch_add(1, Relaxed);
        Refusal::Dropped(why)
    };
    if !listener.admits(address) {
        return Err(refuse(Dropped::Denied));
    }
    if account::is_full() {
        account::refuse();
        return Err(refuse(Dropped::MemoryFull));
    }
    let place = AddressPlace::take(listener, Some(address)).map_err(|_| refuse(Dropped::ClientLimit))?;
    let way = way(worker, &snapshot, listener, ask)?;
    let route = way.snapshot.shared.routes.get(way.route);
    if route.is_some_and(|route| route.filters.on_connect(address).is_err()) {
        return Err(refuse(Dropped::Denied));
    }
    let worker_upstream = way.snapshot.upstream(way.upstream).ok_or(Dropped::NoBackend)?;
    let (terms, room) = terms(worker_upstream)?;
    worker_upstream.on_request(now);
    let backend = match ask {
        Ask::Listener | Ask::Hello(..) => connect::first(worker_upstream, address, now)?,
        Ask::Version(_) => connect::by_address(worker_upstream, address, now)?,
        Ask::Flow(place) => connect::bound(worker_upstream, place.flow(), now)?,
    };
    if !listener.shared.enter(&listener.conf) {
        return Err(refuse(Dropped::MaxSessions));
    }
    let mut permit = Permit::new(open.clone(), worker.index, listener.shared.clone(), place);
    permit.series = Some(worker.series.clone());
    let quic = quic(worker, slot, &way, &backend, ask).map(Box::new);
    let name = quic.as_ref().and_then(|quic| quic.place().flow().server_name.as_deref());
    let conf = &worker_upstream.upstream.conf;
    let ends = || Addresses { source: announced::canonical(from), destination: arrival.asked() };
    let announced = Announced::of(conf, arrival.header, ends, name, |id| worker.write_id(id)).map(Box::new);
    let more = quic.as_ref().map_or(0, |it| it.held()) + announced.as_ref().map_or(0, |it| it.held());
    let session = Session {
        socket: socket.clone(),
        client: from,
        asked: socket.asked(arrival.to),
        up: Carried::default(),
        down: Carried::default(),
        slot,
        route: way.route,
        upstream: way.upstream,
        last: backend.place.index(),
        backend: Some(backend),
        attempts: 1,
        started: now,
        answered: None,
        error: None,
        is_unheard: false,
        is_handed: false,
        _held: Held::new(Owner::Sessions, PER_SESSION + more),
        quic,
        announced,
        _permit: permit,
        _room: room,
        snapshot: way.snapshot,
    };
    Ok((terms, session))
}

fn way(
    worker: &Worker,
    snapshot: &Rc<WorkerSnapshot>,
    listener: &Listener,
    ask: &Ask,
) -> Result<Way, Dropped> {
    let (route, of_nobody) = match ask {
        Ask::Flow(place) => {
            let flow = place.flow();
            let snapshot = worker.snapshot_of(&flow.snapshot);
            return Ok(Way { snapshot, route: flow.route, upstream: flow.upstream });
        }
        Ask::Listener => (listener.names.find(None, &[]), Dropped::NoRoute),
        Ask::Hello(hello, ..) => {
            (listener.names.find(hello.server_name.as_deref(), &hello.alpn), Dropped::NoRoute)
        }
        Ask::Version(_) => (listener.names.find(None, &[]), Dropped::QuicVersion),
    };
    let route = route.ok_or(of_nobody)?;
    let found: &Route = snapshot.shared.routes.get(route).ok_or(Dropped::NoRoute)?;
    let upstream = found.action.upstream().ok_or(Dropped::NoRoute)?;
    Ok(Way { snapshot: snapshot.clone(), route, upstream })
}

/// What is kept of a connection of QUIC beside its session.
fn quic(worker: &Worker, listener: usize, way: &Way, backend: &Backend, ask: &Ask) -> Option<QuicSession> {
    let (hello, version, id) = match ask {
        Ask::Listener => return None,
        Ask::Flow(place) => return Some(QuicSession::new(place.clone(), true)),
        Ask::Version(version) => (None, *version, None),
        Ask::Hello(hello, version, id) => (Some(hello), *version, Some(*id)),
    };
    let peer = backend.peer()?;
    let place = worker.shared.flows.enter(Flow {
        snapshot: way.snapshot.shared.clone(),
        listener,
        route: way.route,
        upstream: way.upstream,
        backend: backend.place.index(),
        peer,
        server_name: hello.and_then(|hello| hello.server_name.clone()),
        alpn: hello.and_then(ClientHello::alpn_text),
        version,
    });
    let mut quic = QuicSession::new(place, false);
    id.into_iter().for_each(|id| quic.learn(id));
    Some(quic)
}

/// How long it may last, and its place among those of its upstream.
pub(super) fn terms(worker_upstream: &WorkerUpstream) -> Result<(Terms, SessionPlace), Refusal> {
    let upstream = &worker_upstream.upstream;
    let conf = &upstream.conf.udp;
    let room = upstream.sessions.enter(conf.max_sessions).ok_or(Refusal::Full(upstream.name))?;
    let answer = upstream.conf.response_timeout.min(conf.idle);
    Ok((Terms { group: upstream.name, idle: conf.idle, answer }, room))
}
