//! A worker's open connections: who they are, for the admin endpoint, and how to end them.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    rc::{Rc, Weak},
};

use slab::Slab;
use tokio::task::AbortHandle;

pub use super::{
    connection_id::ConnectionId,
    passed::{AskedFor, Passed, PassedDescription},
};
use super::{
    parked::{Parked, Waiting},
    registry::ListenerId,
};
use crate::{exchange::Peer, moment::Moment, net::timer};

/// The open connections of one worker.
#[derive(Debug, Default)]
pub struct Connections {
    entries: RefCell<Slab<Entry>>,
    /// How many were entered; it goes round.
    entered: Cell<u32>,
    /// What waits for those that are parked, once something does.
    waiting: OnceCell<Rc<Waiting>>,
    /// The end that idle connections were given last, of listeners that close.
    idle_until: Cell<Moment>,
}

#[derive(Debug)]
struct Entry {
    peer: Weak<Peer>,
    held: Held,
    /// As few bytes as will do: there are as many of these as connections.
    slot: u32,
    /// In seconds of [`Moment`].
    since: u32,
    speaks: Speaks,
    /// Its number among those that were entered: places are used again.
    serial: u32,
    tunnel: Option<Rc<Passed>>,
}

/// Who has a connection.
#[derive(Debug)]
enum Held {
    /// Its task is about to begin.
    Nobody,
    /// Its task.
    Task(AbortHandle),
    /// The entry itself, until something comes, or its time is over.
    Entry(Box<Parked>, Moment),
}

impl Held {
    /// Ends a connection; false where there is nothing to end.
    fn end(self) -> bool {
        match self {
            Self::Nobody => return false,
            Self::Task(task) => task.abort(),
            Self::Entry(parked, _) => drop(parked),
        }
        true
    }
}

/// The key of no entry.
const NO_KEY: u32 = u32::MAX;

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
        let entry = Entry { peer, held: Held::Nobody, slot, since, speaks, serial, tunnel: None };
        let key = self.entries.borrow_mut().insert(entry);
        Place { connections: self.clone(), key: u32::try_from(key).unwrap_or(u32::MAX) }
    }

    /// Says which task the connection is.
    pub fn set_task(&self, key: u32, task: AbortHandle) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(key as usize) {
            entry.held = Held::Task(task);
        }
    }

    /// Ends every connection of a listener.
    pub fn end(&self, slot: ListenerId) -> usize {
        // Ended outside of the borrow: a task may be dropped at once, and its place with it.
        let ended: Vec<Held> = {
            let mut entries = self.entries.borrow_mut();
            let of_slot = entries.iter().filter(|(_, entry)| entry.slot as usize == slot);
            let keys: Vec<usize> = of_slot.map(|(key, _)| key).collect();
            keys.into_iter().filter_map(|key| take_held(&mut entries, key)).collect()
        };
        ended.into_iter().map(Held::end).filter(|is_ended| *is_ended).count()
    }

    /// Ends one connection; false where it is gone already.
    pub fn end_one(&self, key: u32, serial: u32) -> bool {
        let held = {
            let mut entries = self.entries.borrow_mut();
            let entry = entries.get(key as usize).filter(|entry| entry.serial == serial);
            let Some(entry) = entry else { return false };
            if let Some(tunnel) = &entry.tunnel {
                tunnel.is_ended.set(true);
            }
            take_held(&mut entries, key as usize)
        };
        held.is_some_and(Held::end)
    }

    /// Has connections parked from here on: they are told by what this gives.
    ///
    /// # Errors
    ///
    /// There is no descriptor left.
    pub fn park_from_now_on(&self) -> io::Result<Rc<Waiting>> {
        let waiting = Rc::new(Waiting::new()?);
        // Once for a worker.
        let _ = self.waiting.set(waiting.clone());
        Ok(waiting)
    }

    /// Whether connections are parked.
    pub fn are_parked(&self) -> bool {
        self.waiting.get().is_some()
    }

    /// The parked connection of this name, which is parked no longer; `None` where it has ended meanwhile.
    pub fn wake(self: &Rc<Self>, name: u64) -> Option<(Place, Parked)> {
        let (key, serial) = (u32::try_from(name >> 32).ok()?, u32::try_from(name & 0xffff_ffff).ok()?);
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(key as usize).filter(|entry| entry.serial == serial)?;
        let Held::Entry(..) = entry.held else { return None };
        let Held::Entry(parked, _) = std::mem::replace(&mut entry.held, Held::Nobody) else { return None };
        if let Some(waiting) = self.waiting.get() {
            waiting.remove(&parked.socket);
        }
        Some((Place { connections: self.clone(), key }, *parked))
    }

    /// Ends parked connections whose time is over.
    pub fn end_expired(&self, now: Moment) {
        let mut soonest: Option<Moment> = None;
        let mut expired = Vec::new();
        let mut entries = self.entries.borrow_mut();
        for (key, entry) in entries.iter() {
            match entry.held {
                Held::Entry(_, until) if until <= now => expired.push(key),
                Held::Entry(_, until) => soonest = Some(soonest.map_or(until, |soonest| soonest.min(until))),
                Held::Nobody | Held::Task(_) => {}
            }
        }
        expired.into_iter().for_each(|key| drop(entries.try_remove(key)));
        if let Some(waiting) = self.waiting.get() {
            waiting.looked_through(soonest, now);
        }
    }

    /// Has idle connections whose listener `is_meant` end at a moment, where that is earlier than they would.
    pub fn hurry_idle(&self, at: Moment, is_meant: impl Fn(ListenerId) -> bool) {
        self.idle_until.set(at);
        timer::hurry_idle(at, &is_meant);
        let Some(waiting) = self.waiting.get() else { return };
        for (_, entry) in self.entries.borrow_mut().iter_mut() {
            if let Held::Entry(_, until) = &mut entry.held
                && is_meant(entry.slot as usize)
            {
                *until = at.min(*until);
            }
        }
        waiting.hurry(at);
    }

    /// How long connections of listeners that close may be idle.
    pub fn idle_until(&self) -> Moment {
        self.idle_until.get()
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

/// Takes what has a connection out of its entry, and the entry with what is parked in it.
fn take_held(entries: &mut Slab<Entry>, key: usize) -> Option<Held> {
    match &entries.get(key)?.held {
        Held::Entry(..) => entries.try_remove(key).map(|entry| entry.held),
        Held::Nobody => None,
        Held::Task(task) => Some(Held::Task(task.clone())),
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

    /// Parks the connection in its entry until a moment. Where it cannot be waited for it ends.
    pub fn park(mut self, parked: Parked, until: Moment) {
        let connections = self.connections.clone();
        let Some(waiting) = connections.waiting.get() else { return };
        let mut entries = connections.entries.borrow_mut();
        let Some(entry) = entries.get_mut(self.key as usize) else { return };
        let name = u64::from(self.key) << 32 | u64::from(entry.serial);
        if waiting.add(&parked.socket, name, until).is_ok() {
            entry.held = Held::Entry(Box::new(parked), until);
            // The entry stays when this is dropped.
            self.key = NO_KEY;
        }
        // Before this is dropped.
        drop(entries);
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
