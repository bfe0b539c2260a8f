//! A session: a client's address and port, and the backend that was picked for it.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use super::{
    super::{quic::packet::known, session::Table},
    announced::{self, Announced},
    connect::{self, Backend},
    quic_session::QuicSession,
    send::{Carried, Sent, reason},
    socket::Socket,
};
use crate::{
    account::Held,
    error::Kind,
    exchange::{Datagrams, Facts, Peer, Subject, TunnelFacts},
    moment::Moment,
    net::tunnel,
    runtime::{
        ListenerId, Permit, Worker, WorkerSnapshot,
        connections::PassedDescription,
        flows::{Flow, FlowPlace, Flows},
    },
    telemetry::datagrams::Dropped,
    upstream::sessions::SessionPlace,
};

/// What a session is known by: where it came in, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    address: Ipv6Addr,
    scope: u32,
    /// The address that is asked, where the socket has several: each is a server of its own to the client.
    asked: Ipv6Addr,
    socket: u32,
    /// Of a connection of QUIC that is not the only one of this address: its number; else 0.
    flow: u32,
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
        Self { address, scope, asked, socket, flow: 0, port: from.port() }
    }

    /// Whether another connection of this client is known by its address alone.
    pub(super) fn is_beside(&self) -> bool {
        self.flow != 0
    }

    /// The same client, and another of its connections.
    pub(super) fn of(self, flow: u32) -> Self {
        Self { flow, ..self }
    }

    /// The same client, and that connection of it, which stands beside others.
    pub(super) fn beside(self, place: &FlowPlace) -> Self {
        let is_known = known(place.flow().version).is_some();
        self.of(if is_known { place.number() } else { OF_NO_VERSION })
    }
}

/// The flow's number of a session whose version is not known: it stands beside the others of its client.
pub(super) const OF_NO_VERSION: u32 = u32::MAX;

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
    pub(super) snapshot: Rc<WorkerSnapshot>,
    pub(super) slot: ListenerId,
    pub(super) route: usize,
    pub(super) upstream: usize,
    /// The backend that was asked last.
    pub(super) last: usize,
    pub(super) attempts: u32,
    pub(super) started: Moment,
    pub(super) answered: Option<Moment>,
    pub(super) error: Option<Kind>,
    /// Whether its backend was left for a silence that counts against nobody, so that to pick another is no retry.
    pub(super) is_unheard: bool,
    /// Whether another program is given it.
    pub(super) is_handed: bool,
    /// Of a connection of QUIC: what is known of it.
    pub(super) quic: Option<Box<QuicSession>>,
    /// PROXY headers that it came with, or goes out with.
    pub(super) announced: Option<Box<Announced>>,
    pub(super) _held: Held,
    pub(super) _permit: Permit,
    pub(super) _room: SessionPlace,
}

/// Bytes that a session takes here; the kernel's socket, whose buffers are its own account, comes beside it.
pub(super) const PER_SESSION: usize = Table::<Client, Session>::BYTES_PER_SESSION;
const _: () = assert!(PER_SESSION <= 560, "a session takes little more than half a kilobyte");

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// Neither side sent anything for `udp.idle`.
    Idle,
    /// The client has its answers (`udp.responses`).
    Responses,
    /// What came from its address is another client's, as a PROXY header says.
    NewClient,
    /// Another one needed its place (`udp.max_sessions`).
    MaxSessions,
    /// The listener is gone, or the program stops.
    Closing,
}

impl EndedBy {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Responses => "responses",
            Self::NewClient => "new_client",
            Self::MaxSessions => "max_sessions",
            Self::Closing => "closing",
        }
    }
}

impl Session {
    /// The slot of its listener.
    pub(super) fn slot(&self) -> ListenerId {
        self.slot
    }

    /// What is passed on, as metrics and the log call it.
    pub(super) fn protocol(&self) -> &'static str {
        if self.quic.is_some() { "quic" } else { "udp" }
    }

    /// What is known of it, for people.
    pub(super) fn passed(&self) -> PassedDescription {
        let upstream = self.snapshot.shared.upstreams.get(self.upstream);
        let backend = upstream.and_then(|upstream| {
            let backend = upstream.backends.get(self.last)?;
            Some((upstream.conf.name.clone(), backend.name.clone()))
        });
        PassedDescription {
            protocol: self.protocol(),
            server_name: self.quic.as_ref().and_then(|quic| quic.place().flow().server_name.clone()),
            backend,
            carried: tunnel::Carried {
                up: self.up.bytes,
                down: self.down.bytes,
                ..tunnel::Carried::default()
            },
        }
    }

    /// The client, as people write it.
    pub(super) fn peer_address(&self) -> SocketAddr {
        let named = self.announced.as_ref().and_then(|announced| announced.client());
        named.unwrap_or_else(|| announced::canonical(self.client))
    }

    /// When it began.
    pub(super) fn started(&self) -> Moment {
        self.started
    }

    /// Whether its backend has answered: from then on it stays there.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.is_some() || self.is_bound()
    }

    /// Of a connection of QUIC: its number.
    pub(super) fn number(&self) -> Option<u32> {
        self.quic.as_ref().map(|quic| quic.place().number())
    }

    /// Whether its backend has yet to answer, and no server that is there may stay silent.
    pub(super) fn is_asking(&self) -> bool {
        !self.is_answered() && self.quic.as_ref().is_none_or(|quic| quic.is_owed())
    }

    /// Whether its backend was picked for another address of its client.
    fn is_bound(&self) -> bool {
        self.quic.as_ref().is_some_and(|quic| quic.is_bound())
    }

    /// Whether the client has its answers.
    pub(super) fn is_over(&self) -> bool {
        let upstream = self.snapshot.shared.upstreams.get(self.upstream);
        let each = upstream.map_or(0, |upstream| u64::from(upstream.conf.udp.responses));
        each > 0 && self.quic.is_none() && self.down.datagrams >= each.saturating_mul(self.up.datagrams)
    }

    /// Has another backend picked than the one that was left, for a datagram that the client sends again.
    pub(super) fn move_on(&mut self, flows: &Arc<Flows>, now: Moment) -> Result<(), Dropped> {
        let worker_upstream = self.snapshot.upstream(self.upstream).ok_or(Dropped::NoBackend)?;
        let left = (self.last, !self.is_unheard);
        let backend = connect::another(worker_upstream, self.peer_address().ip(), left, now)?;
        self.is_unheard = false;
        self.last = backend.place.index();
        self.attempts += 1;
        if let Some(quic) = &mut self.quic
            && let Some(peer) = backend.peer()
        {
            let flow = Flow { backend: self.last, peer, ..Flow::clone(quic.place().flow()) };
            quic.move_to(flows.enter(flow));
        }
        self.backend = Some(backend);
        Ok(())
    }

    /// What this datagram goes out with before it.
    pub(super) fn header(&self, datagram: &[u8], now: Moment) -> &[u8] {
        self.announced.as_ref().map_or(&[], |it| it.header(datagram, self.answered.is_some(), now))
    }

    /// The client's datagrams went to the backend, or did not.
    pub(super) fn went_up(&mut self, sent: &Sent, now: Moment) {
        self.up.add(sent.carried);
        if let Some(announced) = &mut self.announced {
            if sent.carried.datagrams > 0 {
                announced.asked(now);
            } else if sent.error.as_ref().is_some_and(|error| reason(error) == Dropped::TooLarge) {
                announced.was_too_large(now);
            }
        }
        if let Some(backend) = &self.backend {
            backend.place.count_bytes(sent.carried.bytes);
        }
    }

    /// The backend answered; `asked` is when it was asked, where it was the first time.
    pub(super) fn went_down(&mut self, carried: Carried, asked: Option<Moment>, now: Moment) {
        self.down.add(carried);
        self.error = None;
        if let Some(announced) = &mut self.announced {
            announced.answered();
        }
        let Some(backend) = &self.backend else { return };
        backend.place.count_bytes(carried.bytes);
        if self.answered.is_none() {
            self.answered = Some(now);
            if self.is_bound() {
                return;
            }
            let waited = now.since(asked.unwrap_or(self.started));
            connect::answered(&backend.place, self.peer_address().ip(), waited, now);
        }
    }

    /// The backend did not answer in time: what the client sends next goes to another. That need not be its fault:
    /// strangers can send what every server drops in silence.
    pub(super) fn unanswered(&mut self, asked: Moment, now: Moment) {
        let upstream = self.snapshot.shared.upstreams.get(self.upstream);
        if !upstream.is_some_and(|upstream| upstream.sessions.has_answered()) {
            return;
        }
        match &self.backend {
            Some(backend) if !connect::is_to_blame(&backend.place, self.peer_address().ip(), asked) => {
                connect::unheard(&backend.place);
                self.error = Some(Kind::ResponseTimeout);
                self.backend = None;
                self.is_unheard = true;
            }
            Some(_) | None => self.failed(Kind::ResponseTimeout, Some(asked), now),
        }
    }

    /// The backend refused, or did not answer in time. One that never answered is left; where one has, the session
    /// stays with it, and whoever is there next is told of whom it is.
    pub(super) fn failed(&mut self, kind: Kind, asked: Option<Moment>, now: Moment) {
        let kind = if self.is_answered() { Kind::Reset } else { kind };
        self.error = Some(kind);
        if let Some(announced) = &mut self.announced {
            announced.failed();
        }
        if let Some(backend) = &self.backend {
            connect::failed(&backend.place, kind, now.since(asked.unwrap_or(self.started)), now);
        }
        if !self.is_answered() {
            self.backend = None;
        }
    }

    /// Its end: a line of the log, and counts.
    pub(super) fn end(self, worker: &Worker, ended_by: EndedBy) {
        if let Some(backend) = self.backend.as_ref().filter(|_| !self.is_answered()) {
            connect::unheard(&backend.place);
        }
        let (address, port) = (self.peer_address().ip(), self.peer_address().port());
        let text = address.to_string().into();
        let peer = Rc::new(Peer { address, port, text, ..Peer::default() });
        let mut facts = Facts::default();
        facts.reset(&peer, self.started);
        match self.announced.as_ref().map_or("", |announced| announced.id()) {
            "" => worker.write_id(&mut facts.id),
            told => facts.id.push_str(told),
        }
        (facts.route, facts.upstream, facts.backend) =
            (Some(self.route), Some(self.upstream), Some(self.last));
        facts.attempts = self.attempts;
        (facts.bytes_in, facts.bytes_out) = (self.up.bytes, self.down.bytes);
        facts.response_time = self.answered.map(|answered| answered.since(self.started));
        facts.error = self.error.map(|kind| (kind, detail(kind)));
        let datagrams =
            Datagrams { received: self.up.datagrams, sent: self.down.datagrams, ended_by: ended_by.label() };
        let quic = self.quic.as_ref().map(|quic| quic.place().flow());
        let tunnel = TunnelFacts {
            protocol: self.protocol(),
            server_name: quic.and_then(|quic| quic.server_name.clone()),
            alpn: quic.and_then(|quic| quic.alpn.clone()),
            quic_version: quic.map(|quic| quic.version),
            is_spliced: false,
            datagrams: Some(datagrams),
        };
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
