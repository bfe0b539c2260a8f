//! What is known of a connection that is passed on, while it is.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use crate::{net::tunnel::Carried, upstream::WorkerUpstream};

/// A connection that is passed on, as it is now. Who passes it on keeps this up to date.
#[derive(Debug)]
pub struct Passed {
    /// What its listener serves: `tcp` or `tls`.
    pub protocol: &'static str,
    /// The name that the client asked for.
    pub server_name: RefCell<Option<Box<str>>>,
    /// The backend, once one is picked: its upstream, and its index there.
    pub backend: RefCell<Option<(Rc<WorkerUpstream>, usize)>>,
    /// Bytes so far.
    pub carried: Cell<Carried>,
    /// Whether an administrator has ended it.
    pub is_ended: Cell<bool>,
}

impl Passed {
    /// One of which nothing is known yet.
    pub fn new(protocol: &'static str) -> Rc<Self> {
        Rc::new(Self {
            protocol,
            server_name: RefCell::default(),
            backend: RefCell::default(),
            carried: Cell::default(),
            is_ended: Cell::default(),
        })
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
            server_name: self.server_name.borrow().clone(),
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
