//! A connection under way. However it ends, it ends here: when it is dropped.

use std::rc::Rc;

use super::hello::ClientHello;
use crate::{
    account::{self, Owner},
    error::{Kind, ProxyError},
    exchange::{Facts, Peer, Subject, TunnelFacts},
    moment::Moment,
    net::tunnel::{Carried, End, Limits},
    runtime::{
        ListenerId, Worker, WorkerSnapshot,
        connections::{AskedFor, Passed, Place},
    },
    upstream::WorkerUpstream,
};

/// A connection that is passed on: it ends, with its log line and its counts, when this is dropped.
///
/// Most wait for hours, so that what the line will say is kept once, in [`Passed`], and becomes [`Facts`] at the end.
#[derive(Debug)]
pub(super) struct ActiveTunnel {
    pub(super) peer: Rc<Peer>,
    pub(super) passed: Rc<Passed>,
    snapshot: Rc<WorkerSnapshot>,
    worker: Rc<Worker>,
    error: Option<Box<(Kind, String)>>,
    /// The slot of its listener, in as few bytes as will do.
    listener: u32,
    is_over: bool,
}

/// Bytes that a connection takes while it is passed on, about: its task, what is known of it, and what the event loop
/// keeps of its two sockets.
const PER_TUNNEL: usize = 1536;

impl ActiveTunnel {
    /// Begins with a connection of this peer.
    pub(super) fn new(
        worker: &Rc<Worker>,
        (listener, snapshot): (ListenerId, Rc<WorkerSnapshot>),
        peer: Rc<Peer>,
        protocol: &'static str,
        place: &Place,
    ) -> Self {
        let passed = Passed::new(protocol, worker.ids.take(), Moment::now());
        place.set_passed(&passed);
        account::take(Owner::Requests, PER_TUNNEL);
        let listener = u32::try_from(listener).unwrap_or(u32::MAX);
        Self { peer, passed, snapshot, worker: worker.clone(), error: None, listener, is_over: false }
    }

    /// Notes the name that the client asked for, and what it offers.
    pub(super) fn named(&self, hello: ClientHello) {
        let alpn = hello.alpn_text();
        // Once: there is one ClientHello.
        let _ = self.passed.asked.set(Box::new(AskedFor::new(hello.server_name, alpn)));
    }

    /// Begins an attempt at a backend.
    pub(super) fn begin_attempt(&self, to: &Rc<WorkerUpstream>, index: usize) {
        self.passed.backend.replace(Some((to.clone(), index)));
        self.passed.attempts.set(self.passed.attempts.get() + 1);
    }

    /// How long it may be silent, and last; without limits until its route is known.
    pub(super) fn limits(&self) -> Limits {
        let route = self.passed.route.get().and_then(|index| self.snapshot.shared.routes.get(index));
        let Some(route) = route else { return Limits::default() };
        let end = (!route.timeout.is_zero()).then(|| self.passed.started.plus(route.timeout));
        Limits { silence: route.silence(), end }
    }

    /// It came to this end.
    pub(super) fn end(&mut self, end: End) {
        self.finish(end.into_error().as_ref());
    }

    /// It came to nothing.
    pub(super) fn fail(&mut self, error: &ProxyError) {
        self.finish(Some(error));
    }

    fn finish(&mut self, error: Option<&ProxyError>) {
        self.is_over = true;
        self.error = error.map(|error| Box::new((error.kind(), error.to_string())));
    }

    /// Whether it came to an end; else it is dropped in the middle.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// What is known of it, its end aside.
    pub(super) fn facts(&self) -> Facts {
        let passed = &*self.passed;
        let Carried { up, down, .. } = passed.carried.get();
        Facts {
            started: passed.started,
            peer: self.peer.clone(),
            has_other_trust: false,
            client: None,
            id: self.worker.ids.text(passed.id),
            route: passed.route.get(),
            upstream: passed.upstream.get(),
            backend: passed.backend.borrow().as_ref().map(|(_, index)| *index),
            backend_version: None,
            attempts: passed.attempts.get(),
            bytes_in: up,
            bytes_out: down,
            response_time: passed.response_time.get(),
            error: None,
            grpc_status: None,
            trace: None,
            recording: None,
        }
    }

    fn tunnel_facts(&self) -> TunnelFacts {
        let asked = self.passed.asked.get();
        TunnelFacts {
            protocol: self.passed.protocol,
            server_name: asked.and_then(|asked| asked.server_name.clone()),
            alpn: asked.and_then(|asked| asked.alpn.clone()),
            quic_version: None,
            is_spliced: self.passed.carried.get().is_spliced,
            datagrams: None,
        }
    }
}

impl Drop for ActiveTunnel {
    fn drop(&mut self) {
        let mut facts = self.facts();
        facts.error = self.error.take().map(|error| *error);
        if !self.is_over {
            // Dropped in the middle: by the end of the program, or of its listener, or by an administrator.
            let kind = if self.passed.is_ended.get() { Kind::Ended } else { Kind::Draining };
            facts.error = Some((kind, kind.to_string()));
        }
        let took = Moment::now().since(self.passed.started);
        let shared = &self.snapshot.shared;
        let of = (&**shared, shared.listener(self.listener as usize));
        self.worker.record(&facts, Subject::Tunnel(&self.tunnel_facts()), took, of);
        account::give(Owner::Requests, PER_TUNNEL);
    }
}
