//! A session: a client's address and port, and the backend that was picked for it.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use super::{
    super::session::{Table, Terms},
    batch::Received,
    connect::{self, Backend},
    send::Carried,
    socket::Socket,
};
use crate::{
    account::{self, Held, Owner},
    error::Kind,
    exchange::{Datagrams, Facts, Peer, Subject, TunnelFacts},
    moment::Moment,
    runtime::{ListenerId, Permit, Route, Worker, WorkerSnapshot, permit::AddressPlace},
    telemetry::datagrams::Dropped,
    upstream::{WorkerUpstream, sessions::SessionPlace},
};

/// What a session is known by: where it came in, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    address: Ipv6Addr,
    scope: u32,
    /// The address that is asked, where the socket has several: each is a server of its own to the client.
    asked: Ipv6Addr,
    socket: u32,
    port: u16,
}

impl Client {
    pub(super) fn new(socket: u32, from: SocketAddr, asked: Option<IpAddr>) -> Self {
        let (address, scope) = match from {
            SocketAddr::V4(from) => (from.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(from) => (*from.ip(), from.scope_id()),
        };
        let asked = match asked {
            Some(IpAddr::V4(asked)) => asked.to_ipv6_mapped(),
            Some(IpAddr::V6(asked)) => asked,
            None => Ipv6Addr::UNSPECIFIED,
        };
        Self { address, scope, asked, socket, port: from.port() }
    }
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) socket: Rc<Socket>,
    pub(super) client: SocketAddr,
    /// The address that the client asked, where the socket has several.
    pub(super) asked: Option<IpAddr>,
    /// Whom it was picked for; none after it refused, or did not answer, until the client sends again.
    pub(super) backend: Option<Backend>,
    pub(super) up: Carried,
    pub(super) down: Carried,
    snapshot: Rc<WorkerSnapshot>,
    slot: ListenerId,
    route: usize,
    upstream: usize,
    /// The backend that was asked last.
    last: usize,
    attempts: u32,
    started: Moment,
    answered: Option<Moment>,
    error: Option<Kind>,
    _permit: Permit,
    _room: SessionPlace,
    _held: Held,
}

/// Bytes that a session takes here; the kernel's socket, whose buffers are its own account, comes beside it.
pub(super) const PER_SESSION: usize = Table::<Client, Session>::BYTES_PER_SESSION;
const _: () = assert!(PER_SESSION <= 560, "a session takes little more than half a kilobyte");

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

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// Neither side sent anything for `udp.idle`.
    Idle,
    /// The client has its answers (`udp.responses`).
    Responses,
    /// Another one needed its place (`udp.max_sessions`).
    MaxSessions,
    /// The listener is gone, or the program stops.
    Closing,
}

impl EndedBy {
    fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Responses => "responses",
            Self::MaxSessions => "max_sessions",
            Self::Closing => "closing",
        }
    }
}

impl Session {
    /// Begins a session with a client's first datagram: its route, its place, its backend.
    pub(super) fn begin(
        worker: &Worker,
        open: &Arc<[AtomicI64]>,
        socket: &Rc<Socket>,
        received: &Received<'_>,
        now: Moment,
    ) -> Result<(Terms, Self), Refusal> {
        let slot = socket.slot.get();
        let snapshot = worker.snapshot_for(slot);
        let listener = snapshot.shared.listener(slot).ok_or(Dropped::NoRoute)?;
        let address = received.from.ip().to_canonical();
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
        let route = listener.names.find(None, &[]).ok_or(Dropped::NoRoute)?;
        let found: &Route = snapshot.shared.routes.get(route).ok_or(Dropped::NoRoute)?;
        let upstream = found.action.upstream().ok_or(Dropped::NoRoute)?;
        let worker_upstream = snapshot.upstream(upstream).ok_or(Dropped::NoBackend)?;
        let (terms, room) = terms(worker_upstream)?;
        worker_upstream.on_request(now);
        let backend = connect::first(worker_upstream, address, now)?;
        if !listener.shared.enter(&listener.conf) {
            return Err(refuse(Dropped::ClientLimit));
        }
        let mut permit = Permit::new(open.clone(), worker.index, listener.shared.clone(), place);
        permit.series = Some(worker.series.clone());
        let session = Self {
            socket: socket.clone(),
            client: received.from,
            asked: socket.asked(received.to),
            up: Carried::default(),
            down: Carried::default(),
            slot,
            route,
            upstream,
            last: backend.place.index(),
            backend: Some(backend),
            attempts: 1,
            started: now,
            answered: None,
            error: None,
            _permit: permit,
            _room: room,
            _held: Held::new(Owner::Sessions, PER_SESSION),
            snapshot: snapshot.clone(),
        };
        Ok((terms, session))
    }

    /// The slot of its listener.
    pub(super) fn slot(&self) -> ListenerId {
        self.slot
    }

    /// The client, as people write it.
    pub(super) fn peer_address(&self) -> SocketAddr {
        SocketAddr::new(self.client.ip().to_canonical(), self.client.port())
    }

    /// When it began.
    pub(super) fn started(&self) -> Moment {
        self.started
    }

    /// Whether its backend has answered: from then on it stays there.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// Whether the client has its answers.
    pub(super) fn is_over(&self) -> bool {
        let upstream = self.snapshot.shared.upstreams.get(self.upstream);
        let each = upstream.map_or(0, |upstream| u64::from(upstream.conf.udp.responses));
        each > 0 && self.down.datagrams >= each.saturating_mul(self.up.datagrams)
    }

    /// Has another backend picked than the one that failed, for a datagram that the client sends again.
    pub(super) fn move_on(&mut self, now: Moment) -> Result<(), Dropped> {
        let worker_upstream = self.snapshot.upstream(self.upstream).ok_or(Dropped::NoBackend)?;
        let backend = connect::another(worker_upstream, self.client.ip().to_canonical(), self.last, now)?;
        self.last = backend.place.index();
        self.attempts += 1;
        self.backend = Some(backend);
        Ok(())
    }

    /// The client's datagrams went to the backend.
    pub(super) fn went_up(&mut self, carried: Carried) {
        self.up.add(carried);
        if let Some(backend) = &self.backend {
            backend.place.count_bytes(carried.bytes);
        }
    }

    /// The backend answered; `asked` is when it was asked, where it was the first time.
    pub(super) fn went_down(&mut self, carried: Carried, asked: Option<Moment>, now: Moment) {
        self.down.add(carried);
        self.error = None;
        let Some(backend) = &self.backend else { return };
        backend.place.count_bytes(carried.bytes);
        if self.answered.is_none() {
            self.answered = Some(now);
            connect::answered(&backend.place, now.since(asked.unwrap_or(now)), now);
        }
    }

    /// The backend refused, or did not answer in time. One that never answered is left; where one has, the session
    /// stays with it.
    pub(super) fn failed(&mut self, kind: Kind, asked: Option<Moment>, now: Moment) {
        let kind = if self.is_answered() { Kind::Reset } else { kind };
        self.error = Some(kind);
        if let Some(backend) = &self.backend {
            connect::failed(&backend.place, kind, now.since(asked.unwrap_or(self.started)), now);
        }
        if !self.is_answered() {
            self.backend = None;
        }
    }

    /// Whether silence says something of the backend.
    pub(super) fn may_blame(&self) -> bool {
        let upstream = self.snapshot.shared.upstreams.get(self.upstream);
        upstream.is_some_and(|upstream| upstream.sessions.has_answered())
    }

    /// Its end: a line of the log, and counts.
    pub(super) fn end(self, worker: &Worker, ended_by: EndedBy) {
        if let Some(backend) = self.backend.as_ref().filter(|_| !self.is_answered()) {
            connect::unheard(&backend.place);
        }
        let (address, port) = (self.peer_address().ip(), self.client.port());
        let text = address.to_string().into();
        let peer = Rc::new(Peer { address, port, text, ..Peer::default() });
        let mut facts = Facts::default();
        facts.reset(&peer, self.started);
        worker.write_id(&mut facts.id);
        (facts.route, facts.upstream, facts.backend) =
            (Some(self.route), Some(self.upstream), Some(self.last));
        facts.attempts = self.attempts;
        (facts.bytes_in, facts.bytes_out) = (self.up.bytes, self.down.bytes);
        facts.response_time = self.answered.map(|answered| answered.since(self.started));
        facts.error = self.error.map(|kind| (kind, detail(kind)));
        let datagrams =
            Datagrams { received: self.up.datagrams, sent: self.down.datagrams, ended_by: ended_by.label() };
        let tunnel =
            TunnelFacts { protocol: "udp", server_name: None, is_spliced: false, datagrams: Some(datagrams) };
        let shared = &self.snapshot.shared;
        let took = Moment::now().since(self.started);
        worker.record(&facts, Subject::Tunnel(&tunnel), took, (shared, shared.listener(self.slot)));
    }
}

/// What happened, for people.
fn detail(kind: Kind) -> String {
    match kind {
        Kind::Connect => "the backend refused its datagrams (ICMP)".to_owned(),
        Kind::Reset => "the backend refused its datagrams (ICMP) after it had answered".to_owned(),
        other => other.to_string(),
    }
}

/// How long it may last, and its place among those of its upstream.
fn terms(worker_upstream: &WorkerUpstream) -> Result<(Terms, SessionPlace), Refusal> {
    let upstream = &worker_upstream.upstream;
    let conf = &upstream.conf.udp;
    let room = upstream.sessions.enter(conf.max_sessions).ok_or(Refusal::Full(upstream.name))?;
    let answer = upstream.conf.response_timeout.min(conf.idle);
    Ok((Terms { group: upstream.name, idle: conf.idle, answer }, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_differ_by_socket_address_port_and_scope() {
        let of = |socket, from: &str| Client::new(socket, from.parse().unwrap(), None);
        assert_eq!(of(1, "10.0.0.1:5"), of(1, "[::ffff:10.0.0.1]:5"));
        let all = [
            of(1, "10.0.0.1:5"),
            of(2, "10.0.0.1:5"),
            of(1, "10.0.0.1:6"),
            of(1, "10.0.0.2:5"),
            of(1, "[fe80::1%1]:5"),
            of(1, "[fe80::1%2]:5"),
            Client::new(1, "10.0.0.1:5".parse().unwrap(), Some([127, 0, 0, 1].into())),
            Client::new(1, "10.0.0.1:5".parse().unwrap(), Some([127, 0, 0, 2].into())),
        ];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(at));
        }
    }
}
