//! A worker's open connections: who they are, for the admin endpoint, and how to end them.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use slab::Slab;
use tokio::task::AbortHandle;

use super::registry::ListenerId;
use crate::{exchange::Peer, moment::Moment};

/// The open connections of one worker.
#[derive(Debug, Default)]
pub struct Connections(RefCell<Slab<Entry>>);

#[derive(Debug)]
struct Entry {
    peer: Weak<Peer>,
    task: Option<AbortHandle>,
    /// As few bytes as will do: there are as many of these as connections.
    slot: u32,
    /// In seconds of [`Moment`].
    since: u32,
    speaks: Speaks,
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
}

impl Connections {
    /// Makes an entry for a connection whose task begins.
    pub fn enter(self: &Rc<Self>, slot: ListenerId) -> Place {
        let since = u32::try_from(Moment::now().0 / SECOND).unwrap_or(u32::MAX);
        let slot = u32::try_from(slot).unwrap_or(u32::MAX);
        let entry = Entry { peer: Weak::new(), task: None, slot, since, speaks: Speaks::Nothing };
        let key = self.0.borrow_mut().insert(entry);
        Place { connections: self.clone(), key: u32::try_from(key).unwrap_or(u32::MAX) }
    }

    /// Says which task the connection is.
    pub fn set_task(&self, key: u32, task: AbortHandle) {
        if let Some(entry) = self.0.borrow_mut().get_mut(key as usize) {
            entry.task = Some(task);
        }
    }

    /// Ends every connection of a listener.
    pub fn end(&self, slot: ListenerId) -> usize {
        // Ended outside of the borrow: a task may be dropped at once, and its place with it.
        let tasks: Vec<AbortHandle> = {
            let entries = self.0.borrow();
            let of_slot = entries.iter().filter(|(_, entry)| entry.slot as usize == slot);
            of_slot.filter_map(|(_, entry)| entry.task.clone()).collect()
        };
        tasks.iter().for_each(AbortHandle::abort);
        tasks.len()
    }

    /// The first `most` of them, and how many there are.
    pub fn describe(&self, most: usize) -> (Vec<Description>, usize) {
        let entries = self.0.borrow();
        let described = entries.iter().take(most).map(|(_, entry)| {
            let peer = entry.peer.upgrade();
            let client = peer.as_ref().map_or_else(String::new, |peer| match peer.port {
                0 => peer.text.to_string(),
                port => format!("{}:{port}", peer.text),
            });
            let tls = peer.and_then(|peer| peer.tls.as_ref().map(|tls| tls.version));
            let since = Moment(u64::from(entry.since) * SECOND);
            Description { slot: entry.slot as usize, since, speaks: entry.speaks, client, tls }
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

    /// Says who is at the other end, and what is spoken.
    pub fn set(&self, peer: &Rc<Peer>, speaks: Speaks) {
        if let Some(entry) = self.connections.0.borrow_mut().get_mut(self.key as usize) {
            entry.peer = Rc::downgrade(peer);
            entry.speaks = speaks;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.0.borrow_mut().try_remove(self.key as usize);
    }
}
