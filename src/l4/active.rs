//! A connection under way. However it ends, it ends here: when it is dropped.

use std::rc::Rc;

use super::hello::ClientHello;
use crate::{
    account::{Held, Owner},
    error::{Kind, ProxyError},
    exchange::{Facts, Peer, Subject, TunnelFacts},
    moment::Moment,
    net::tunnel::{Carried, End},
    runtime::{
        ListenerId, Worker, WorkerSnapshot,
        connections::{Passed, Place},
    },
    upstream::WorkerUpstream,
};

/// A connection that is passed on: it ends, with its log line and its counts, when this is dropped.
#[derive(Debug)]
pub(super) struct ActiveTunnel {
    pub(super) facts: Facts,
    pub(super) tunnel: TunnelFacts,
    snapshot: Rc<WorkerSnapshot>,
    worker: Rc<Worker>,
    listener: ListenerId,
    is_over: bool,
    passed: Rc<Passed>,
    _held: Held,
}

/// Bytes that a connection takes while it is passed on, about: its future and its facts.
const PER_TUNNEL: usize = 1536;

impl ActiveTunnel {
    /// Begins with a connection of this peer.
    pub(super) fn new(
        worker: &Rc<Worker>,
        (listener, snapshot): (ListenerId, Rc<WorkerSnapshot>),
        peer: &Rc<Peer>,
        protocol: &'static str,
        place: &Place,
    ) -> Self {
        let passed = Passed::new(protocol);
        place.set_passed(&passed);
        let mut facts = Facts::default();
        facts.reset(peer, Moment::now());
        worker.write_id(&mut facts.id);
        Self {
            facts,
            tunnel: TunnelFacts {
                protocol,
                server_name: None,
                alpn: None,
                quic_version: None,
                is_spliced: false,
                datagrams: None,
            },
            snapshot,
            worker: worker.clone(),
            listener,
            is_over: false,
            passed,
            _held: Held::new(Owner::Requests, PER_TUNNEL),
        }
    }

    /// Notes the name that the client asked for, and what it offers.
    pub(super) fn named(&mut self, hello: ClientHello) {
        self.passed.server_name.replace(hello.server_name.clone());
        self.tunnel.alpn = hello.alpn_text();
        self.tunnel.server_name = hello.server_name;
    }

    /// Begins an attempt at a backend.
    pub(super) fn begin_attempt(&mut self, to: &Rc<WorkerUpstream>, index: usize, now: Moment) {
        self.passed.backend.replace(Some((to.clone(), index)));
        self.facts.begin_attempt(index, now);
    }

    /// Notes how far it is.
    pub(super) fn carried(&mut self, carried: Carried) {
        (self.facts.bytes_in, self.facts.bytes_out) = (carried.up, carried.down);
        self.tunnel.is_spliced = carried.is_spliced;
        self.passed.carried.set(carried);
    }

    /// It came to this end.
    pub(super) fn end(&mut self, end: End) {
        let error = match end {
            End::Done => None,
            End::Idle => Some(Kind::TunnelIdle.into()),
            End::Over => Some(Kind::RouteTimeout.into()),
            End::FirstBroke(error) => Some(ProxyError::because(Kind::ClientGone, error)),
            End::SecondBroke(error) => Some(ProxyError::because(Kind::TunnelBroken, error)),
        };
        self.finish(error.as_ref());
    }

    /// It came to nothing.
    pub(super) fn fail(&mut self, error: &ProxyError) {
        self.finish(Some(error));
    }

    fn finish(&mut self, error: Option<&ProxyError>) {
        self.is_over = true;
        self.facts.error = error.map(|error| (error.kind(), error.to_string()));
    }
}

impl Drop for ActiveTunnel {
    fn drop(&mut self) {
        if !self.is_over {
            // Dropped in the middle: by the end of the program, or of its listener, or by an administrator.
            let kind = if self.passed.is_ended.get() { Kind::Ended } else { Kind::Draining };
            self.facts.error = Some((kind, kind.to_string()));
        }
        let took = Moment::now().since(self.facts.started);
        let shared = &self.snapshot.shared;
        let of = (&**shared, shared.listener(self.listener));
        self.worker.record(&self.facts, Subject::Tunnel(&self.tunnel), took, of);
    }
}
