//! What a session of QUIC has beside what every session has: the connection that it is of, and the ids by which its
//! datagrams are known without a look into what workers share.

use crate::{
    l4::quic::packet::{Long, is_long},
    runtime::flows::{ConnectionId, FlowPlace},
};

/// Connection ids that a session knows of its own: a client's first, and what its server showed.
const MOST_IDS: usize = 6;

/// A session's part in a connection of QUIC.
#[derive(Debug)]
pub(super) struct QuicSession {
    place: FlowPlace,
    ids: Vec<ConnectionId>,
    /// Whether its backend was picked before the client had this address: it is not left for another.
    is_bound: bool,
    /// Whether a server that is there answers what it began with.
    is_owed: bool,
}

impl QuicSession {
    pub(super) fn new(place: FlowPlace, is_bound: bool) -> Self {
        Self { place, ids: Vec::new(), is_bound, is_owed: true }
    }

    /// Bytes of memory, about: its own and those of the connection.
    pub(super) fn held(&self) -> usize {
        let flow = self.place.flow();
        let texts =
            [&flow.server_name, &flow.alpn].into_iter().flatten().map(|text| text.len()).sum::<usize>();
        size_of::<Self>() + 2 * MOST_IDS * size_of::<ConnectionId>() + 256 + texts
    }

    pub(super) fn place(&self) -> &FlowPlace {
        &self.place
    }

    pub(super) fn is_bound(&self) -> bool {
        self.is_bound
    }

    pub(super) fn is_owed(&self) -> bool {
        self.is_owed
    }

    /// It began with what a server may drop in silence.
    pub(super) fn expect_nothing(&mut self) {
        self.is_owed = false;
    }

    /// Goes on as another connection: its backend is another one. What leads to it is the same.
    pub(super) fn move_to(&mut self, place: FlowPlace) {
        let ids = self.place.ids();
        // The last one gives its ids back.
        self.place = place;
        ids.into_iter().for_each(|id| self.place.add(id));
    }

    /// Packets with this connection id are of it.
    pub(super) fn learn(&mut self, id: ConnectionId) {
        if id.as_bytes().is_empty() || self.ids.contains(&id) {
            return;
        }
        self.place.add(id);
        if self.ids.len() >= MOST_IDS {
            // A client goes on from id to id, and not back.
            self.ids.remove(1);
        }
        self.ids.push(id);
    }

    /// Whether a client's datagram begins with one of its ids.
    pub(super) fn has(&self, datagram: &[u8]) -> bool {
        if is_long(datagram) {
            return Long::read(datagram)
                .is_some_and(|long| self.ids.iter().any(|id| id.as_bytes() == long.destination));
        }
        let rest = datagram.get(1..).unwrap_or_default();
        self.ids.iter().any(|id| rest.starts_with(id.as_bytes()))
    }

    /// Looks at what a server sends for the ids that clients are to use.
    pub(super) fn look_at(&mut self, datagram: &[u8]) {
        let long = Long::read(datagram).filter(|long| long.version != 0);
        if let Some(id) = long.and_then(|long| ConnectionId::new(long.source)) {
            self.learn(id);
        }
    }
}
