//! Handshakes whose ClientHello has not come whole, and the datagrams that wait with them. Pure: it is given `now`.
//!
//! What strangers can have held is bounded: four datagrams and a second for each, and so many over all. Beyond, the oldest
//! has to go: what is missing of an honest one comes within milliseconds (`docs/decisions/047-waiting-handshakes.md`).

use std::{fmt, hash::Hash, time::Duration};

use super::{
    handshake::{Handshake, Useless},
    packet::{Long, Version},
};
use crate::{
    account::{self, Held, Owner},
    l4::{
        hello::ClientHello,
        session::{Due, Table, Terms},
    },
    moment::Moment,
    runtime::flows::ConnectionId,
    telemetry::datagrams::Dropped,
};

/// Datagrams in which a ClientHello must have come: with a post-quantum key share it takes two or three.
const MOST_DATAGRAMS: usize = 4;
/// How long it may take. A client sends again after as long, and what it sends then begins anew here.
const PATIENCE: Duration = Duration::from_secs(1);
/// Handshakes of a worker that wait.
const MOST_WAITING: usize = 1024;
/// Bytes of a worker that wait with them.
const MOST_BYTES: usize = 8 << 20;

const TERMS: Terms = Terms { group: 0, idle: PATIENCE, answer: PATIENCE };

/// Handshakes that wait, by client `K` and the connection id that it made up.
pub(in crate::l4) struct Waiting<K: Copy + Eq + Hash> {
    table: Table<(K, ConnectionId), Waits>,
    bytes: usize,
}

struct Waits {
    handshake: Handshake,
    datagrams: Vec<Box<[u8]>>,
    held: Held,
    bytes: usize,
}

/// What becomes of a datagram.
#[derive(Debug)]
pub(in crate::l4) enum Offer {
    /// It waits for others. So many datagrams of the oldest are dropped for it, itself among them where it is one of those.
    Waits(u64),
    /// With it the hello is whole.
    Whole(ClientHello, Vec<Box<[u8]>>),
    /// So many datagrams, this one among them, are dropped.
    Dropped(Dropped, u64),
}

impl<K: Copy + Eq + Hash> Default for Waiting<K> {
    fn default() -> Self {
        Self { table: Table::default(), bytes: 0 }
    }
}

impl<K: Copy + Eq + Hash> fmt::Debug for Waiting<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} handshakes of {} bytes", self.table.len(), self.bytes)
    }
}

impl<K: Copy + Eq + Hash> Waiting<K> {
    /// Takes a datagram of a handshake whose backend is not known yet; `long` is its first header.
    pub(in crate::l4) fn offer(
        &mut self,
        client: K,
        (long, version): (&Long<'_>, Version),
        datagram: &[u8],
        now: Moment,
    ) -> Offer {
        let Some(destination) = ConnectionId::new(long.destination) else {
            return Offer::Dropped(Dropped::QuicMalformed, 1);
        };
        let key = (client, destination);
        let Some(id) = self.table.find(&key) else {
            return self.first(key, version, datagram, now);
        };
        let Some(waits) = self.table.get_mut(id) else { return Offer::Dropped(Dropped::QuicMalformed, 1) };
        let read = waits.handshake.read(datagram);
        let (count, is_last) =
            (waits.datagrams.len() as u64 + 1, waits.datagrams.len() + 1 >= MOST_DATAGRAMS);
        self.bytes += waits.hold(datagram);
        match read {
            // Others may still make it whole.
            Err(Useless::Datagram) => Offer::Dropped(Dropped::QuicMalformed, 1),
            Ok(None) if account::is_full() => {
                self.remove(id);
                Offer::Dropped(Dropped::QuicWaiting, count)
            }
            Ok(None) if !is_last => {
                if let Some(waits) = self.table.get_mut(id) {
                    waits.datagrams.push(datagram.into());
                }
                self.kept()
            }
            Ok(None) => {
                self.remove(id);
                Offer::Dropped(Dropped::QuicIncomplete, count)
            }
            Err(Useless::Handshake) => {
                self.remove(id);
                Offer::Dropped(Dropped::QuicMalformed, count)
            }
            Ok(Some(hello)) => {
                let datagrams = self.remove(id).map(|waits| waits.datagrams);
                Offer::Whole(hello, datagrams.unwrap_or_default())
            }
        }
    }

    fn first(&mut self, key: (K, ConnectionId), version: Version, datagram: &[u8], now: Moment) -> Offer {
        let mut handshake = Handshake::new(version, key.1);
        match handshake.read(datagram) {
            Ok(Some(hello)) => return Offer::Whole(hello, Vec::new()),
            Ok(None) => {}
            Err(Useless::Datagram | Useless::Handshake) => return Offer::Dropped(Dropped::QuicMalformed, 1),
        }
        let mut waits =
            Waits { handshake, datagrams: Vec::new(), held: Held::new(Owner::Sessions, 0), bytes: 0 };
        let grown = waits.hold(datagram);
        if account::is_full() {
            return Offer::Dropped(Dropped::QuicWaiting, 1);
        }
        waits.datagrams.push(datagram.into());
        match self.table.insert(key, TERMS, now, waits) {
            Ok(_) => {
                self.bytes += grown;
                self.kept()
            }
            Err(_) => Offer::Dropped(Dropped::QuicWaiting, 1),
        }
    }

    /// What was kept makes those go that have waited for longest, as far as it needs their room.
    fn kept(&mut self) -> Offer {
        let mut dropped = 0;
        while self.table.len() > MOST_WAITING || self.bytes > MOST_BYTES {
            let oldest = self.table.oldest(TERMS.group).and_then(|(id, _)| self.remove(id));
            let Some(waits) = oldest else { break };
            dropped += waits.datagrams.len() as u64;
        }
        Offer::Waits(dropped)
    }

    fn remove(&mut self, id: u32) -> Option<Waits> {
        let (_, waits) = self.table.remove(id)?;
        self.bytes -= waits.bytes.min(self.bytes);
        Some(waits)
    }

    /// When the next one's time is over.
    pub(in crate::l4) fn next(&self) -> Option<Moment> {
        self.table.next()
    }

    /// Drops those whose time is over, and gives how many datagrams they were.
    pub(in crate::l4) fn expire(&mut self, now: Moment) -> u64 {
        let mut count = 0;
        while let Some(Due::Idle(id) | Due::Unanswered(id, _)) = self.table.due(now) {
            count += self.remove(id).map_or(0, |waits| waits.datagrams.len() as u64);
        }
        count
    }
}

impl Waits {
    /// Counts a datagram and what the handshake has grown by.
    fn hold(&mut self, datagram: &[u8]) -> usize {
        let kept: usize = self.datagrams.iter().map(|it| it.len()).sum();
        let all = size_of::<Self>() + self.handshake.held() + kept + datagram.len();
        let grown = all.saturating_sub(self.bytes);
        self.bytes += grown;
        self.held.grow(grown);
        grown
    }
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
