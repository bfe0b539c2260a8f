//! A worker's open connections: who they are, for the admin endpoint, and how to end them.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::{Rc, Weak},
    str::FromStr,
};

use slab::Slab;
use tokio::task::AbortHandle;

use super::registry::ListenerId;
use crate::{exchange::Peer, moment::Moment, net::tunnel::Carried, upstream::WorkerUpstream};

/// The open connections of one worker.
#[derive(Debug, Default)]
pub struct Connections {
    entries: RefCell<Slab<Entry>>,
    /// How many were entered; it goes round.
    entered: Cell<u32>,
}

#[derive(Debug)]
struct Entry {
    peer: Weak<Peer>,
    task: Option<AbortHandle>,
    /// As few bytes as will do: there are as many of these as connections.
    slot: u32,
    /// In seconds of [`Moment`].
    since: u32,
    speaks: Speaks,
    /// Its number among those that were entered: places are used again.
    serial: u32,
    tunnel: Option<Rc<Passed>>,
}

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

    fn describe(&self) -> PassedDescription {
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

/// What a connection of a worker is called: its place, and which of those that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionId {
    /// The worker.
    pub worker: usize,
    /// Its place there.
    pub key: u32,
    /// Its number among those that were entered.
    pub serial: u32,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.worker, self.key, self.serial)
    }
}

impl FromStr for ConnectionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let (worker, key, serial) = (parts.next(), parts.next(), parts.next());
        let number = |part: Option<&str>| part.and_then(|part| part.parse().ok()).ok_or(());
        let id = Self {
            worker: worker.and_then(|part| part.parse().ok()).ok_or(())?,
            key: number(key)?,
            serial: number(serial)?,
        };
        // In one way only: no sign, no zeros before it.
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

/// A second in terms of [`Moment`].
const SECOND: u64 = 1_000_000;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speaks {
    /// Nothing yet: a handshake, or the wait for the first bytes.
    #[default]
    Nothing,
    /// HTTP/1.1 or HTTP/1.0.
    Http1,
    /// HTTP/2.
    Http2,
    /// It is a tunnel.
    Tunnel,
    /// Datagrams.
    Udp,
}

/// An open connection, for people.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its place, and which of those that had it; a session of UDP has none.
    pub id: Option<(u32, u32)>,
    /// The slot of its listener.
    pub slot: ListenerId,
    /// When it was accepted.
    pub since: Moment,
    /// What it speaks.
    pub speaks: Speaks,
    /// The client's address, and its port where it has one.
    pub client: String,
    /// The version of TLS, with TLS.
    pub tls: Option<&'static str>,
    /// What is known of it while it is passed on.
    pub passed: Option<PassedDescription>,
}

impl Connections {
    /// Makes an entry for a connection whose task begins.
    pub fn enter(self: &Rc<Self>, slot: ListenerId) -> Place {
        let since = u32::try_from(Moment::now().0 / SECOND).unwrap_or(u32::MAX);
        let slot = u32::try_from(slot).unwrap_or(u32::MAX);
        let serial = self.entered.get();
        self.entered.set(serial.wrapping_add(1));
        let (peer, speaks) = (Weak::new(), Speaks::Nothing);
        let entry = Entry { peer, task: None, slot, since, speaks, serial, tunnel: None };
        let key = self.entries.borrow_mut().insert(entry);
        Place { connections: self.clone(), key: u32::try_from(key).unwrap_or(u32::MAX) }
    }

    /// Says which task the connection is.
    pub fn set_task(&self, key: u32, task: AbortHandle) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(key as usize) {
            entry.task = Some(task);
        }
    }

    /// Ends every connection of a listener.
    pub fn end(&self, slot: ListenerId) -> usize {
        // Ended outside of the borrow: a task may be dropped at once, and its place with it.
        let tasks: Vec<AbortHandle> = {
            let entries = self.entries.borrow();
            let of_slot = entries.iter().filter(|(_, entry)| entry.slot as usize == slot);
            of_slot.filter_map(|(_, entry)| entry.task.clone()).collect()
        };
        tasks.iter().for_each(AbortHandle::abort);
        tasks.len()
    }

    /// Ends one connection; false where it is gone already.
    pub fn end_one(&self, key: u32, serial: u32) -> bool {
        let task = {
            let entries = self.entries.borrow();
            let entry = entries.get(key as usize).filter(|entry| entry.serial == serial);
            let Some(entry) = entry else { return false };
            if let Some(tunnel) = &entry.tunnel {
                tunnel.is_ended.set(true);
            }
            entry.task.clone()
        };
        task.inspect(AbortHandle::abort).is_some()
    }

    /// The first `most` of them, and how many there are.
    pub fn describe(&self, most: usize) -> (Vec<Description>, usize) {
        let entries = self.entries.borrow();
        let described = entries.iter().take(most).map(|(key, entry)| {
            let peer = entry.peer.upgrade();
            let client = peer.as_ref().map_or_else(String::new, |peer| match peer.port {
                0 => peer.text.to_string(),
                port => format!("{}:{port}", peer.text),
            });
            let tls = peer.and_then(|peer| peer.tls.as_ref().map(|tls| tls.version));
            let since = Moment(u64::from(entry.since) * SECOND);
            Description {
                id: Some((u32::try_from(key).unwrap_or(u32::MAX), entry.serial)),
                slot: entry.slot as usize,
                since,
                speaks: entry.speaks,
                client,
                tls,
                passed: entry.tunnel.as_ref().map(|tunnel| tunnel.describe()),
            }
        });
        (described.collect(), entries.len())
    }
}

/// A connection's entry; it goes with it.
#[derive(Debug)]
pub struct Place {
    connections: Rc<Connections>,
    key: u32,
}

impl Place {
    /// The number of the entry.
    pub fn key(&self) -> u32 {
        self.key
    }

    /// Says that it is passed on, and what is known of that.
    pub fn set_passed(&self, passed: &Rc<Passed>) {
        if let Some(entry) = self.connections.entries.borrow_mut().get_mut(self.key as usize) {
            entry.tunnel = Some(passed.clone());
        }
    }

    /// Says who is at the other end, and what is spoken.
    pub fn set(&self, peer: &Rc<Peer>, speaks: Speaks) {
        if let Some(entry) = self.connections.entries.borrow_mut().get_mut(self.key as usize) {
            entry.peer = Rc::downgrade(peer);
            entry.speaks = speaks;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.entries.borrow_mut().try_remove(self.key as usize);
    }
}
