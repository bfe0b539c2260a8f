//! Connections of QUIC that are passed on, by their connection ids, over all workers: how a client is known whose port
//! changed, on whichever worker its datagrams come in then.
//!
//! Locks are held for one look into a map, and asked for only by datagrams whose address alone does not say where they
//! belong. Why it is so: `docs/decisions/027-quic-by-name.md`.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use super::{registry::ListenerId, snapshot::Snapshot};

/// Most bytes of a connection id (RFC 9000 §17.2).
pub const MOST_ID: usize = 20;
/// Least bytes of one that is looked for: shorter ones of different servers are too often the same.
const LEAST_ID: usize = 4;
/// Connection ids of a flow that are kept: a client's first, and what its server showed. A handshake shows two or three.
const MOST_IDS: usize = 6;
/// Parts of the map, each with a lock of its own.
const SHARDS: usize = 64;

/// A connection id (RFC 9000 §5.1): of at most 20 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    length: u8,
    bytes: [u8; MOST_ID],
}

impl ConnectionId {
    /// These bytes; `None` where they are more than 20.
    pub fn new(of: &[u8]) -> Option<Self> {
        let mut bytes = [0; MOST_ID];
        bytes.get_mut(..of.len())?.copy_from_slice(of);
        Some(Self { length: u8::try_from(of.len()).ok()?, bytes })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is known of a connection of QUIC, whatever addresses its client has.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The generation by which it was led.
    pub snapshot: Arc<Snapshot>,
    /// The slot of its listener.
    pub listener: ListenerId,
    /// Index of its route.
    pub route: usize,
    /// Index of its upstream.
    pub upstream: usize,
    /// Index of its backend there.
    pub backend: usize,
    /// The backend's address, one of those behind its name.
    pub peer: SocketAddr,
    /// The name that its client asked for.
    pub server_name: Option<Box<str>>,
    /// The protocols that its client offers, for people.
    pub alpn: Option<Box<str>>,
    /// The version of QUIC.
    pub version: u32,
}

#[derive(Debug)]
struct Entry {
    flow: Arc<Flow>,
    number: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ids: Vec<ConnectionId>,
    /// How many hold it.
    places: u32,
}

/// All of them, by the listener and a connection id.
#[derive(Debug)]
pub struct Flows {
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// Bit n: there are, or were, ids of n bytes, as short headers do not say how long theirs is.
    lengths: AtomicU32,
    next: AtomicU32,
}

type Ids = HashMap<(ListenerId, ConnectionId), Arc<Entry>>;
type Shard = Mutex<Ids>;

impl Default for Flows {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            lengths: AtomicU32::new(0),
            next: AtomicU32::new(0),
        }
    }
}

impl Flows {
    /// Keeps a flow for as long as one of its places is there.
    pub fn enter(self: &Arc<Self>, flow: Flow) -> FlowPlace {
        let number = self.next.fetch_add(1, Relaxed) % (u32::MAX - 1) + 1;
        let state = State { ids: Vec::new(), places: 1 };
        let entry = Arc::new(Entry { flow: Arc::new(flow), number, state: Mutex::new(state) });
        FlowPlace { flows: self.clone(), entry }
    }

    /// The flow that a connection id of a listener belongs to.
    pub fn find(self: &Arc<Self>, listener: ListenerId, id: &[u8]) -> Option<FlowPlace> {
        let id = ConnectionId::new(id).filter(|id| usize::from(id.length) >= LEAST_ID)?;
        if self.lengths.load(Relaxed) & 1 << id.length == 0 {
            return None;
        }
        let entry = self.shard(listener, id)?.get(&(listener, id)).cloned()?;
        Some(FlowPlace::of(self, entry))
    }

    /// The flow that a packet with a short header belongs to: after its first byte comes an id, whose length is its
    /// server's to know. Longer ones are looked for first.
    pub fn find_short(self: &Arc<Self>, listener: ListenerId, packet: &[u8]) -> Option<FlowPlace> {
        let lengths = self.lengths.load(Relaxed);
        let such = (LEAST_ID..=MOST_ID).rev().filter(|length| lengths & 1 << length != 0);
        such.into_iter().find_map(|length| self.find(listener, packet.get(1..=length)?))
    }

    fn shard(&self, listener: ListenerId, id: ConnectionId) -> Option<MutexGuard<'_, Ids>> {
        let hash = self.hasher.hash_one((listener, id));
        let shard = self.shards.get(usize::try_from(hash % self.shards.len() as u64).ok()?)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flow that somebody has a session of; its ids are forgotten with the last one.
#[derive(Debug)]
pub struct FlowPlace {
    flows: Arc<Flows>,
    entry: Arc<Entry>,
}

impl FlowPlace {
    fn of(flows: &Arc<Flows>, entry: Arc<Entry>) -> Self {
        entry.lock().places += 1;
        Self { flows: flows.clone(), entry }
    }

    /// What is known of it.
    pub fn flow(&self) -> &Arc<Flow> {
        &self.entry.flow
    }

    /// Its number, which no other has for the next four billion; neither 0 nor the greatest that there is.
    pub fn number(&self) -> u32 {
        self.entry.number
    }

    /// Its connection ids.
    pub fn ids(&self) -> Vec<ConnectionId> {
        self.entry.lock().ids.clone()
    }

    /// Says that packets with this connection id belong to it. An id that is another's already stays so, and one that is
    /// very short is not kept.
    pub fn add(&self, id: ConnectionId) {
        if usize::from(id.length) < LEAST_ID {
            return;
        }
        let mut state = self.entry.lock();
        if state.ids.len() >= MOST_IDS || state.ids.contains(&id) {
            return;
        }
        let listener = self.entry.flow.listener;
        let Some(mut shard) = self.flows.shard(listener, id) else { return };
        if shard.contains_key(&(listener, id)) {
            return;
        }
        shard.insert((listener, id), self.entry.clone());
        self.flows.lengths.fetch_or(1 << id.length, Relaxed);
        state.ids.push(id);
    }
}

impl Clone for FlowPlace {
    fn clone(&self) -> Self {
        Self::of(&self.flows, self.entry.clone())
    }
}

impl Drop for FlowPlace {
    fn drop(&mut self) {
        let mut state = self.entry.lock();
        state.places = state.places.saturating_sub(1);
        if state.places > 0 {
            return;
        }
        let listener = self.entry.flow.listener;
        for id in state.ids.drain(..) {
            if let Some(mut shard) = self.flows.shard(listener, id) {
                shard.remove(&(listener, id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        moment::Moment,
        runtime::{build, registry::Registry},
        tls::tickets::Tickets,
    };

    fn flow(listener: ListenerId) -> Flow {
        let text = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"all\"\n\
            upstream = \"u\"\n[[upstream]]\nname = \"u\"\nbackend = [{ address = \"127.0.0.1:1\" }]\n";
        let config = crate::config::parse(text, "test.toml".as_ref()).unwrap();
        let tickets = Tickets::new(Moment(1)).unwrap();
        let snapshot = build::build(config, 1, &Registry::new(1), &tickets).unwrap();
        Flow {
            snapshot: Arc::new(snapshot),
            listener,
            route: 0,
            upstream: 0,
            backend: 0,
            peer: "127.0.0.1:1".parse().unwrap(),
            server_name: None,
            alpn: None,
            version: 1,
        }
    }

    fn id(text: &str) -> ConnectionId {
        ConnectionId::new(text.as_bytes()).unwrap()
    }

    fn is_empty(flows: &Flows) -> bool {
        flows.shards.iter().all(|shard| shard.lock().unwrap().is_empty())
    }

    #[test]
    fn ids_are_found_until_the_last_place_is_given_back() {
        let flows = Arc::new(Flows::default());
        let (one, two) = (flows.enter(flow(1)), flows.enter(flow(1)));
        for (place, text) in
            [(&one, "first"), (&one, "server's own"), (&two, "other"), (&two, "first"), (&one, "abc")]
        {
            place.add(id(text));
        }
        let number = |found: Option<FlowPlace>| found.map(|place| place.number());
        assert_eq!(number(flows.find(1, b"first")), Some(one.number()), "who has it keeps it");
        assert_eq!(number(flows.find(1, b"other")), Some(two.number()));
        assert_eq!(number(flows.find(2, b"other")), None, "of another listener");
        assert_eq!(number(flows.find(1, b"abc")), None, "too short to be anybody's");
        assert_eq!(number(flows.find_short(1, b"\x40server's own and more")), Some(one.number()));
        assert_eq!(number(flows.find_short(1, b"\x40other")), Some(two.number()));
        assert_eq!(number(flows.find_short(1, b"\x40oth")), None);
        let again = flows.find(1, b"first");
        drop(one);
        assert!(flows.find(1, b"first").is_some());
        drop(again);
        assert!(flows.find(1, b"first").is_none());
        drop(two);
        assert!(is_empty(&flows));
    }

    #[test]
    fn a_server_cannot_fill_the_map() {
        let flows = Arc::new(Flows::default());
        let place = flows.enter(flow(1));
        (0..1000).for_each(|number| place.add(id(&format!("{number:08}"))));
        assert_eq!(place.ids().len(), MOST_IDS);
        drop(place);
        assert!(is_empty(&flows));
        assert_eq!(ConnectionId::new(&[0; 21]), None);
    }
}
