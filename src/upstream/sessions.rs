//! How many sessions of datagrams an upstream has, and whom it has answered.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use xxhash_rust::xxh3::xxh3_64;

/// Sessions of datagrams of an upstream, over all workers and generations.
#[derive(Debug, Default)]
pub struct Sessions {
    open: AtomicU32,
    has_answered: AtomicBool,
    /// Hashes of clients that were answered, each at a place that the hash says: the last one there. Where there are many
    /// clients, a backend that is silent is so to several, and nobody looks here.
    answered: [AtomicU64; ANSWERED],
}

const ANSWERED: usize = 16;

impl Sessions {
    /// A place for one of at most so many; `None` when there is none.
    pub fn enter(self: &Arc<Self>, most: u32) -> Option<SessionPlace> {
        let before = self.open.fetch_add(1, Relaxed);
        let place = SessionPlace(self.clone());
        // Dropping the place takes the count back.
        (before < most).then_some(place)
    }

    /// Says that a backend answered a client, whose hash this is.
    pub fn note_answer(&self, client: u64) {
        if !self.has_answered.load(Relaxed) {
            self.has_answered.store(true, Relaxed);
        }
        if let Some(place) = self.place_of(client).filter(|place| place.load(Relaxed) != client) {
            place.store(client, Relaxed);
        }
    }

    /// Whether a client is known to have been answered: what it sends is what servers here answer.
    pub fn has_answered_to(&self, client: u64) -> bool {
        self.place_of(client).is_some_and(|place| place.load(Relaxed) == client)
    }

    fn place_of(&self, client: u64) -> Option<&AtomicU64> {
        let [byte, ..] = client.to_le_bytes();
        self.answered.get(usize::from(byte) % ANSWERED)
    }

    /// Whether a backend has ever answered. Where none has, silence says nothing of any: what is spoken may be a
    /// protocol without answers, such as syslog's. Where one has, see `docs/decisions/048-silence-to-strangers.md`.
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Relaxed)
    }
}

/// What a client is known by where it matters whether two are one: a hash of its address, and of IPv6 that of its /64, of
/// which one client has all addresses. Never 0.
pub fn client_hash(address: IpAddr) -> u64 {
    let hash = match address {
        IpAddr::V4(address) => xxh3_64(&address.octets()),
        IpAddr::V6(address) => xxh3_64(&(u128::from(address) >> 64).to_be_bytes()),
    };
    hash.max(1)
}

/// A session's place among those of its upstream.
#[derive(Debug)]
pub struct SessionPlace(Arc<Sessions>);

impl Drop for SessionPlace {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_sessions_than_may_be_have_a_place() {
        let sessions = Arc::new(Sessions::default());
        let held: Vec<_> = (0..3).map(|_| sessions.enter(3).unwrap()).collect();
        assert!(sessions.enter(3).is_none() && sessions.enter(3).is_none());
        drop(held);
        assert!(sessions.enter(1).is_some());
        assert_eq!(sessions.open.load(Relaxed), 0);
    }

    #[test]
    fn clients_that_were_answered_are_known_by_their_network() {
        let sessions = Sessions::default();
        let hash = |address: &str| client_hash(address.parse().unwrap());
        for answered in ["192.0.2.1", "2001:db8::1"] {
            assert!(!sessions.has_answered_to(hash(answered)), "{answered}");
            sessions.note_answer(hash(answered));
            assert!(sessions.has_answered_to(hash(answered)), "{answered}");
        }
        assert!(sessions.has_answered_to(hash("2001:db8::1:2:3:4")), "it is the same client's");
        assert!(!sessions.has_answered_to(hash("2001:db8:0:1::1")));
        assert!(!sessions.has_answered_to(hash("192.0.2.2")));
    }
}
