//! From clients to backends.

use std::{io, rc::Rc, time::Duration};

use rustix::event::epoll;
use tokio::task::yield_now;

use super::{
    super::session::{Id, Table},
    batch::Received,
    begin::{self, Arrival, Ask, Refusal},
    relay::Relay,
    send::{self, Sent, Way, is_refusal, send, send_behind},
    session::{Client, EndedBy, Session},
    socket::Socket,
};
use crate::{
    error::Kind,
    moment::Moment,
    runtime::{Listener, Serves},
    telemetry::datagrams::Dropped,
};

/// Reads of one socket before others have a turn.
const READS_PER_TURN: usize = 4;
/// Pieces that one read takes from a listener's socket.
const MOST_PIECES: usize = 32;
/// A session that was silent for so long may have to go for another.
const SPARED: Duration = Duration::from_secs(1);

impl Relay {
    /// Reads a listener's socket for as long as it is open.
    pub(super) async fn take_questions(self: Rc<Self>, socket: Rc<Socket>) {
        loop {
            let Ok(mut guard) = socket.socket.readable().await else { return };
            let mut is_empty = false;
            for _ in 0..READS_PER_TURN {
                match self.read(&socket) {
                    Ok(MOST_PIECES..) => {}
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                        // What came back for an answer; what there is to read is read next.
                        tracing::debug!("a sent datagram was rejected: {error}");
                    }
                    // Fewer than there was room for: it is empty.
                    Ok(_) | Err(_) => {
                        guard.clear_ready();
                        is_empty = true;
                        break;
                    }
                }
            }
            if !is_empty {
                yield_now().await;
            }
        }
    }

    /// Reads once, and gives how many pieces there were.
    pub(super) fn read(&self, socket: &Rc<Socket>) -> io::Result<usize> {
        let mut batch = self.batch.borrow_mut();
        let count = batch.receive(&socket.state, socket.socket.get_ref(), MOST_PIECES)?;
        let now = Moment::now();
        let mut table = self.table.borrow_mut();
        let slot = socket.slot.get();
        let snapshot = self.worker.snapshot_for(slot);
        let listener = snapshot.shared.listener(slot);
        for received in batch.received(count) {
            let counts = &self.worker.series.datagrams;
            counts.received.add(received.count() as u64);
            let is_behind = listener.filter(|it| it.needs_proxy_header(received.from.ip().to_canonical()));
            let Some(listener) = is_behind else {
                self.pass_up(&mut table, (socket, listener), received, now);
                continue;
            };
            // Each has a header of its own, or none.
            for datagram in received.datagrams() {
                let one = Received { bytes: datagram, each: datagram.len(), ..received };
                let client = Client::new(socket.number, one.from, socket.asked(one.to));
                match self.take_header(&mut table, &client, one, listener.conf.proxy_protocol_udp) {
                    Ok(one) => self.pass_up(&mut table, (socket, Some(listener)), one, now),
                    Err(why) => counts.drop(why, 1),
                }
            }
        }
        self.set_due(&table);
        Ok(count)
    }

    /// Passes datagrams of a client on, by what its listener serves.
    fn pass_up(
        &self,
        table: &mut Table<Client, Session>,
        (socket, listener): (&Rc<Socket>, Option<&Listener>),
        received: Received<'_>,
        now: Moment,
    ) {
        if listener.is_some_and(|listener| matches!(listener.serves, Serves::Tls)) {
            self.pass_up_quic(table, socket, received, now);
        } else if let Err(why) = self.pass_up_by_address(table, socket, received, now) {
            self.worker.series.datagrams.drop(why, received.count() as u64);
        }
    }

    /// Passes datagrams of a client on to the backend of its session.
    fn pass_up_by_address(
        &self,
        table: &mut Table<Client, Session>,
        socket: &Rc<Socket>,
        received: Received<'_>,
        now: Moment,
    ) -> Result<(), Dropped> {
        if received.from.port() == 0 {
            return Err(Dropped::NoReturn);
        }
        let client = Client::new(socket.number, received.from, socket.asked(received.to));
        let id = match table.find(&client) {
            Some(id) => id,
            None => self.begin(table, client, (socket, &received), &Ask::Listener, now)?,
        };
        self.forward(table, id, received, now)
    }

    /// Passes datagrams of a session on.
    pub(super) fn forward(
        &self,
        table: &mut Table<Client, Session>,
        id: Id,
        received: Received<'_>,
        now: Moment,
    ) -> Result<(), Dropped> {
        let mut sent = self.try_up(table, id, received, now)?;
        if sent.error.as_ref().is_some_and(is_refusal) && sent.carried.datagrams == 0 {
            // It was for an earlier one; this one has not left.
            Self::refused(table, id, now);
            sent = self.try_up(table, id, received, now)?;
        }
        let session = table.get_mut(id).ok_or(Dropped::Unsent)?;
        let is_asking = session.is_asking();
        session.went_up(&sent, now);
        if sent.carried.datagrams > 0 {
            table.touch(id, now);
            if is_asking {
                table.ask(id, now);
            }
        }
        if let Some(error) = &sent.error {
            self.worker.series.datagrams.drop(send::reason(error), sent.failed);
        }
        Ok(())
    }

    /// Sends to the session's backend, or to another where that one failed.
    fn try_up(
        &self,
        table: &mut Table<Client, Session>,
        id: Id,
        received: Received<'_>,
        now: Moment,
    ) -> Result<Sent, Dropped> {
        let mut session = table.get_mut(id).ok_or(Dropped::Unsent)?;
        if session.backend.is_none() {
            let before = session.number();
            session.move_on(&self.worker.shared.flows, now)?;
            let (after, watched) = (session.number(), self.watch(session, id));
            if let (Some(before), Some(after)) = (before, after) {
                renumber(table, id, before, after);
            }
            watched?;
            session = table.get_mut(id).ok_or(Dropped::Unsent)?;
        }
        let backend = session.backend.as_ref().ok_or(Dropped::NoBackend)?;
        let header = |datagram: &[u8]| session.header(datagram, now);
        if session.announced.is_some() && received.datagrams().any(|it| !header(it).is_empty()) {
            let mut joined = self.joined.borrow_mut();
            return Ok(send_behind(&session.socket.state, &backend.socket, header, &mut joined, received));
        }
        Ok(send(&session.socket.state, &backend.socket, Way::Connected, received))
    }

    /// Begins a session, for which another may have to go.
    pub(super) fn begin(
        &self,
        table: &mut Table<Client, Session>,
        client: Client,
        (socket, received): (&Rc<Socket>, &Received<'_>),
        ask: &Ask,
        now: Moment,
    ) -> Result<Id, Dropped> {
        let (worker, open) = (&self.worker, &self.open);
        let Received { from, to, header, .. } = *received;
        let arrival = Arrival { worker, open, socket, from, to, header, now };
        let begin = || begin::begin(arrival, ask);
        let begun = match begin() {
            Err(Refusal::Full(group)) => {
                let oldest = table.oldest(group).filter(|(_, last)| now.since(*last) >= SPARED);
                let (id, _) = oldest.ok_or(Dropped::MaxSessions)?;
                self.end_one(table, id, EndedBy::MaxSessions);
                begin()
            }
            begun => begun,
        };
        let (terms, session) = begun.map_err(|refusal| match refusal {
            Refusal::Full(_) => Dropped::MaxSessions,
            Refusal::Dropped(why) => why,
        })?;
        let id = table.insert(client, terms, now, session).map_err(|_| Dropped::MaxSessions)?;
        let watched = table.get_mut(id).map_or(Err(Dropped::Unsent), |session| self.watch(session, id));
        if watched.is_err() {
            table.remove(id);
        }
        watched.map(|()| id)
    }

    /// Has what a backend sends found.
    pub(super) fn watch(&self, session: &Session, id: Id) -> Result<(), Dropped> {
        let backend = session.backend.as_ref().ok_or(Dropped::NoBackend)?;
        let data = epoll::EventData::new_u64(id.into());
        let flags = epoll::EventFlags::IN;
        epoll::add(self.backends.get_ref(), &backend.socket, data, flags).map_err(|_| Dropped::NoSocket)
    }

    /// The backend of a session refused its datagrams.
    pub(super) fn refused(table: &mut Table<Client, Session>, id: Id, now: Moment) {
        let asked = table.answered(id);
        if let Some(session) = table.get_mut(id) {
            session.failed(Kind::Connect, asked, now);
        }
    }
}

/// Makes the number of a session's connection another: where it stands beside others of its client, it is known by it.
fn renumber(table: &mut Table<Client, Session>, id: Id, before: u32, after: u32) {
    let key = table.get(id).map(|(key, _)| *key);
    if let Some(key) = key.filter(|key| before != after && *key == key.of(before)) {
        table.rename(id, key.of(after));
    }
}
