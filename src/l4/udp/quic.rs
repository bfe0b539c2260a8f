//! Datagrams of QUIC: which connection each is of.
//!
//! A datagram is looked up by its client's address, as every other, and by the connection id that it is for. Clients of
//! which nothing is known begin with a ClientHello, which [`Waiting`](crate::l4::quic::waiting::Waiting) reads.

use std::rc::Rc;

use super::{
    super::{
        quic::{
            handshake::LEAST,
            packet::{Kind, Long, is_long, known},
            waiting::Offer,
        },
        session::{Id, Table},
    },
    batch::Received,
    begin::Ask,
    relay::Relay,
    session::{Client, EndedBy, OF_NO_VERSION, Session},
    socket::Socket,
};
use crate::{
    moment::Moment,
    runtime::flows::{ConnectionId, FlowPlace},
    telemetry::datagrams::Dropped,
};

/// Least bytes of the connection id that a client makes up for its server (RFC 9000 §7.2).
const LEAST_FIRST_ID: usize = 8;

/// Sessions by client.
type Sessions = Table<Client, Session>;

impl Relay {
    /// Passes a client's datagrams on, each to where it belongs.
    pub(super) fn pass_up_quic(
        &self,
        table: &mut Sessions,
        socket: &Rc<Socket>,
        received: Received<'_>,
        now: Moment,
    ) {
        let counts = &self.worker.series.datagrams;
        let client = Client::new(socket.number, received.from, socket.asked(received.to));
        if let Some(id) = own(table, &client, received) {
            if let Err(why) = self.forward(table, id, received, now) {
                counts.drop(why, received.count() as u64);
            }
            return;
        }
        for datagram in received.datagrams() {
            let one = Received { bytes: datagram, each: datagram.len(), ..received };
            if let Err((why, count)) = self.pass_one(table, socket, client, one, now) {
                counts.drop(why, count);
            }
        }
    }

    /// Passes one on whose address alone does not say where it belongs.
    fn pass_one(
        &self,
        table: &mut Sessions,
        socket: &Rc<Socket>,
        client: Client,
        one: Received<'_>,
        now: Moment,
    ) -> Result<(), (Dropped, u64)> {
        let (slot, flows) = (socket.slot.get(), &self.worker.shared.flows);
        let single = |why| (why, 1);
        let known_to_address = |table: &Sessions| table.find(&client).ok_or((Dropped::QuicUnknown, 1));
        if one.from.port() == 0 {
            return Err((Dropped::NoReturn, 1));
        }
        if !is_long(one.bytes) {
            let id = match flows.find_short(slot, one.bytes) {
                Some(place) => self.session_of(table, socket, client, (place, one), now).map_err(single)?,
                None => known_to_address(table)?,
            };
            return self.forward(table, id, one, now).map_err(single);
        }
        let long = Long::read(one.bytes).ok_or((Dropped::QuicMalformed, 1))?;
        let version = known(long.version);
        if version.is_some() && !long.has_short_ids() {
            return Err((Dropped::QuicMalformed, 1));
        }
        let found = flows.find(slot, long.destination).filter(|_| version.is_some());
        let id = match (found, version) {
            (Some(place), _) => self.session_of(table, socket, client, (place, one), now).map_err(single)?,
            // Of Version Negotiation, which is a server's.
            (None, None) if long.version == 0 => return Err((Dropped::QuicMalformed, 1)),
            (None, None) => self.of_version(table, socket, client, (&long, one), now).map_err(single)?,
            (None, Some(version)) => match long.kind(version) {
                Kind::Initial | Kind::ZeroRtt if long.destination.len() >= LEAST_FIRST_ID => {
                    return self.begin_by_name(table, socket, client, (&long, one), now);
                }
                // A server may have chosen an id of no length.
                Kind::Initial | Kind::ZeroRtt | Kind::Handshake | Kind::Retry => known_to_address(table)?,
            },
        };
        self.forward(table, id, one, now).map_err(single)
    }

    /// The session that this client has of a connection; where it came from another address before, a new one, which
    /// leads to the same backend.
    fn session_of(
        &self,
        table: &mut Sessions,
        socket: &Rc<Socket>,
        client: Client,
        (place, one): (FlowPlace, Received<'_>),
        now: Moment,
    ) -> Result<Id, Dropped> {
        let number = place.number();
        let places = [client, client.of(number), client.of(OF_NO_VERSION)];
        let own = places.iter().filter_map(|client| table.find(client)).find(|id| {
            let session = table.get(*id).map(|(_, session)| session);
            session.and_then(|it| it.quic.as_ref()).is_some_and(|it| it.place().number() == number)
        });
        let id = match own {
            Some(id) => id,
            None => self.begin_first(table, client, (socket, &one), &Ask::Flow(place), now)?,
        };
        // Next time it is known without a look into what workers share.
        if let Some(quic) = table.get_mut(id).and_then(|session| session.quic.as_mut())
            && let Some(known) = quic.place().ids().into_iter().find(|known| starts_with(one.bytes, known))
        {
            quic.learn(known);
        }
        Ok(id)
    }

    fn of_version(
        &self,
        table: &mut Sessions,
        socket: &Rc<Socket>,
        client: Client,
        (long, one): (&Long<'_>, Received<'_>),
        now: Moment,
    ) -> Result<Id, Dropped> {
        let key = client.of(OF_NO_VERSION);
        if let Some(id) = table.find(&key) {
            return Ok(id);
        }
        // RFC 9000 §5.2.2: what is smaller than a first datagram of a version that the server has gets no answer.
        if one.bytes.len() < LEAST {
            return Err(Dropped::QuicVersion);
        }
        let came = came_before(table, &client, &one);
        let one = Received { header: one.header.or(came.as_deref()), ..one };
        let id = self.begin(table, key, (socket, &one), &Ask::Version(long.version), now)?;
        if !long.has_short_ids() {
            expect_nothing(table, id);
        }
        Ok(id)
    }

    /// Reads on in a client's ClientHello, and begins a session once it is whole.
    fn begin_by_name(
        &self,
        table: &mut Sessions,
        socket: &Rc<Socket>,
        client: Client,
        (long, one): (&Long<'_>, Received<'_>),
        now: Moment,
    ) -> Result<(), (Dropped, u64)> {
        let (Some(version), Some(id)) = (known(long.version), ConnectionId::new(long.destination)) else {
            return Err((Dropped::QuicMalformed, 1));
        };
        let offer = self.waiting.borrow_mut().offer(client, (long, version), one.bytes, now);
        let (hello, before) = match offer {
            Offer::Waits(gone) => {
                self.worker.series.datagrams.drop(Dropped::QuicWaiting, gone);
                return Ok(());
            }
            Offer::Dropped(why, count) => return Err((why, count)),
            Offer::Whole(hello, before) => (hello, before),
        };
        let count = before.len() as u64 + 1;
        let mut datagrams = before.iter().map(|it| &**it).chain([one.bytes]);
        let is_owed = datagrams.any(|it| Long::read(it).is_some_and(|long| long.is_to_be_answered(version)));
        let ask = Ask::Hello(hello, long.version, id);
        let id = self.begin_first(table, client, (socket, &one), &ask, now).map_err(|why| (why, count))?;
        if !is_owed {
            expect_nothing(table, id);
        }
        let before = before.iter().map(|bytes| Received { bytes, each: bytes.len(), ecn: None, ..one });
        for datagram in before.chain([one]) {
            self.forward(table, id, datagram, now).map_err(|why| (why, 1))?;
        }
        Ok(())
    }

    /// Begins a session to which everything of this client belongs of which nothing else is known. What had that place
    /// stays beside it.
    fn begin_first(
        &self,
        table: &mut Sessions,
        client: Client,
        (socket, one): (&Rc<Socket>, &Received<'_>),
        ask: &Ask,
        now: Moment,
    ) -> Result<Id, Dropped> {
        let came = came_before(table, &client, one);
        let one = &Received { header: one.header.or(came.as_deref()), ..*one };
        let number =
            |id| Some(table.get(id)?.1.quic.as_ref()?.place().number()).map(|number: u32| (id, number));
        let before = table.find(&client).map(|id| number(id).ok_or(id));
        // A reload made this socket one of QUIC, and nothing of before is.
        if let Some(Err(id)) = before {
            self.end_one(table, id, EndedBy::Closing);
        }
        let before = before.and_then(Result::ok);
        if let Some((id, number)) = before {
            table.rename(id, client.of(number));
        }
        let begun = self.begin(table, client, (socket, one), ask, now);
        if let (Err(_), Some((id, _))) = (&begun, before) {
            table.rename(id, client);
        }
        begun
    }
}

/// The session that all of these datagrams are of, where their client's address says so and their ids do.
fn own(table: &Sessions, client: &Client, received: Received<'_>) -> Option<Id> {
    let id = table.find(client)?;
    let quic = table.get(id)?.1.quic.as_ref()?;
    received.datagrams().all(|datagram| quic.has(datagram)).then_some(id)
}

/// The PROXY header that the session of this client began with, where this datagram has none: `first` says it for an address
/// and port, and one client's connections have these in common.
fn came_before(table: &Sessions, client: &Client, one: &Received<'_>) -> Option<Box<[u8]>> {
    if one.header.is_some() {
        return None;
    }
    let (_, session) = table.get(table.find(client)?)?;
    Some(session.announced.as_ref()?.came().into())
}

/// Notes that a session's backend may stay silent.
fn expect_nothing(table: &mut Sessions, id: Id) {
    if let Some(quic) = table.get_mut(id).and_then(|session| session.quic.as_mut()) {
        quic.expect_nothing();
    }
}

/// Whether a client's datagram begins with this connection id.
fn starts_with(datagram: &[u8], id: &ConnectionId) -> bool {
    let at = if is_long(datagram) { 6 } else { 1 };
    datagram.get(at..).is_some_and(|rest| rest.starts_with(id.as_bytes()))
}
