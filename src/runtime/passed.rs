//! What is known of a connection that is passed on, while it is.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    time::Duration,
};

use super::request_ids::RequestId;
use crate::{
    account::{Held, Owner},
    moment::Moment,
    net::tunnel::Carried,
    upstream::WorkerUpstream,
};

/// A connection that is passed on, as it is now. Who passes it on keeps this up to date, and makes its line of the log
/// of it: until then it has no other facts, so that it holds little while it waits.
#[derive(Debug)]
pub struct Passed {
    /// When it began.
    pub started: Moment,
    /// Its id, for the log.
    pub id: RequestId,
    /// What its listener serves: `tcp` or `tls`.
    pub protocol: &'static str,
    /// What the client asked for, where it was a TLS client that is passed on.
    pub asked: OnceCell<Box<AskedFor>>,
    /// Index of the route in the snapshot.
    pub route: Cell<Option<usize>>,
    /// Index of the upstream in the snapshot.
    pub upstream: Cell<Option<usize>>,
    /// The backend, once one is picked: its upstream, and its index there.
    pub backend: RefCell<Option<(Rc<WorkerUpstream>, usize)>>,
    /// How many times a backend was asked.
    pub attempts: Cell<u32>,
    /// From the start to the connection with a backend.
    pub response_time: Cell<Option<Duration>>,
    /// Bytes so far.
    pub carried: Cell<Carried>,
    /// Whether an administrator has ended it.
    pub is_ended: Cell<bool>,
}

/// What a TLS client that is passed on asked for in its ClientHello.
#[derive(Debug)]
pub struct AskedFor {
    /// The name of a server.
    pub server_name: Option<Box<str>>,
    /// The protocols that it offers, for people.
    pub alpn: Option<Box<str>>,
    _held: Held,
}

impl AskedFor {
    /// Counts what it holds, which the client has chosen, for as long as it is there.
    pub fn new(server_name: Option<Box<str>>, alpn: Option<Box<str>>) -> Self {
        let texts = [&server_name, &alpn].into_iter().flatten().map(|text| text.len()).sum::<usize>();
        Self { server_name, alpn, _held: Held::new(Owner::Requests, size_of::<Self>() + texts) }
    }
}

impl Passed {
    /// One that begins, of which nothing more is known yet.
    pub fn new(protocol: &'static str, id: RequestId, started: Moment) -> Rc<Self> {
        Rc::new(Self {
            started,
            id,
            protocol,
            asked: OnceCell::new(),
            route: Cell::default(),
            upstream: Cell::default(),
            backend: RefCell::default(),
            attempts: Cell::default(),
            response_time: Cell::default(),
            carried: Cell::default(),
            is_ended: Cell::default(),
        })
    }

    /// The name that the client asked for.
    pub fn server_name(&self) -> Option<&str> {
        self.asked.get().and_then(|asked| asked.server_name.as_deref())
    }

    pub(super) fn describe(&self) -> PassedDescription {
        let backend = self.backend.borrow();
        let names = backend.as_ref().and_then(|(worker_upstream, index)| {
            let upstream = &worker_upstream.upstream;
            let backend = upstream.backends.get(*index)?;
            Some((upstream.conf.name.clone(), backend.name.clone()))
        });
        PassedDescription {
            protocol: self.protocol,
            server_name: self.server_name().map(Box::from),
            backend: names,
            carried: self.carried.get(),
        }
    }
}

/// A connection that is passed on, for people.
#[derive(Clone, Debug)]
pub struct PassedDescription {
    /// `tcp`, `tls`, `quic` or `udp`.
    pub protocol: &'static str,
    /// The name that the client asked for.
    pub server_name: Option<Box<str>>,
    /// Upstream and backend.
    pub backend: Option<(String, Box<str>)>,
    /// Bytes so far.
    pub carried: Carried,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_connection_passed_on_is_small() {
        // With the counts of `Rc` 160 bytes, which is a size that the allocator has.
        assert!(size_of::<Passed>() <= 144, "{} bytes", size_of::<Passed>());
    }
}
