//! Sessions that go to the next program on an upgrade: the sockets to their backends, and what is known of them.
//!
//! The listener is not read meanwhile; datagrams wait in the kernel until the next program has the sessions and reads it.
//! What that does not understand it leaves out, as with everything that is handed over.

use std::{io, net::SocketAddr, os::fd::OwnedFd, rc::Rc, time::Duration};

use rustix::event::epoll;
use serde_json::{Value, json};

use super::{
    super::session::Id,
    announced::Announced,
    begin::{self, Way},
    connect::Backend,
    lost,
    quic_session::QuicSession,
    relay::{Listening, Relay},
    send::Carried,
    session::{Client, PER_SESSION, Session},
    socket::Socket,
};
use crate::{
    account::{Held, Owner},
    moment::Moment,
    runtime::{
        Permit,
        flows::{ConnectionId, Flow},
        permit::AddressPlace,
    },
    upstream::conf::written_alike,
};

/// A session on its way to another program.
#[derive(Debug)]
pub struct Handed {
    /// What is known of it.
    pub facts: Value,
    /// Its socket to its backend.
    pub socket: OwnedFd,
}

/// Sessions that are handed over together.
#[derive(Debug, Default)]
pub struct HandedSessions {
    /// Themselves; none at the end, or where there is no descriptor.
    pub sessions: Vec<Handed>,
    /// How many are left because there was no descriptor for the next one; there may be when these are gone.
    pub left: usize,
}

impl Relay {
    /// The next sessions that were not handed over yet, at most so many. They go on here until they are forgotten.
    pub fn hand(&self, most: usize) -> HandedSessions {
        self.hand_by(most, OwnedFd::try_clone)
    }

    pub(super) fn hand_by(
        &self,
        most: usize,
        clone: impl Fn(&OwnedFd) -> io::Result<OwnedFd>,
    ) -> HandedSessions {
        let last = self.last_handed.get();
        let some = self.hand_from(last, most, &clone);
        if last == 0 || !some.sessions.is_empty() || some.left > 0 {
            return some;
        }
        // Some before it may have a backend only now.
        self.hand_from(0, most, &clone)
    }

    fn hand_from(
        &self,
        first: Id,
        most: usize,
        clone: &impl Fn(&OwnedFd) -> io::Result<OwnedFd>,
    ) -> HandedSessions {
        let now = Moment::now();
        let mut table = self.table.borrow_mut();
        let (mut ids, mut some) = (Vec::new(), HandedSessions::default());
        // What is not handed over ends here, with a line, when its listener is closed.
        for (id, key, session) in table.iter_from(first).filter(|(.., it)| !it.is_handed) {
            let Some(backend) = &session.backend else { continue };
            if some.left > 0 {
                some.left += 1;
                continue;
            }
            if ids.len() >= most {
                break;
            }
            let Some(facts) = facts(session, key.is_beside(), now) else { continue };
            match clone(&backend.socket) {
                Ok(socket) => {
                    ids.push(id);
                    some.sessions.push(Handed { facts, socket });
                }
                Err(_) => some.left = 1,
            }
        }
        for id in ids {
            if let Some(session) = table.get_mut(id) {
                session.is_handed = true;
            }
            self.last_handed.set(id);
        }
        some
    }

    /// Lets go of what was handed over, which goes on elsewhere; or, where it does not, keeps it.
    pub fn handed_over(&self, is_taken: bool) {
        self.last_handed.set(0);
        let mut table = self.table.borrow_mut();
        let ids: Vec<Id> = table.iter().filter(|(.., it)| it.is_handed).map(|(id, ..)| id).collect();
        for id in ids {
            if !is_taken {
                if let Some(session) = table.get_mut(id) {
                    session.is_handed = false;
                }
            } else if let Some((_, session)) = table.remove(id)
                && let Some(backend) = &session.backend
            {
                // The other program has the socket, so that closing this descriptor would not end it.
                let _ = epoll::delete(self.backends.get_ref(), &backend.socket);
            }
        }
    }

    /// Goes on with sessions of the program before, and gives how many of them there are here. The others end.
    pub fn take_over<'l>(
        &self,
        listening: impl Iterator<Item = &'l Listening> + Clone,
        handed: Vec<Handed>,
    ) -> usize {
        let now = Moment::now();
        let mut taken = 0;
        for Handed { facts, socket } in handed {
            if self.take_one(listening.clone(), &facts, socket, now).is_some() {
                taken += 1;
            } else {
                // Without a line where not even its client is known.
                let _ = lost::end(&self.worker, &facts, now);
            }
        }
        taken
    }

    fn take_one<'l>(
        &self,
        listening: impl Iterator<Item = &'l Listening> + Clone,
        facts: &Value,
        socket: OwnedFd,
        now: Moment,
    ) -> Option<()> {
        let text = |key: &str| facts.get(key)?.as_str();
        let mut named = listening.filter(|it| {
            let snapshot = self.worker.snapshot_for(it.slot());
            snapshot.shared.listener(it.slot()).is_some_and(|own| Some(&*own.conf.name) == text("listener"))
        });
        // A listener may have several addresses; a version that knew of one only did not say which.
        let local: Option<SocketAddr> = text("local").and_then(|local| local.parse().ok());
        let same = named.clone().find(|it| local.is_some() && it.socket().local == local);
        let listening = same.or_else(|| named.next())?;
        let client: SocketAddr = text("client")?.parse().ok()?;
        let asked = text("asked").and_then(|asked| asked.parse().ok());
        let (key, terms, session) = self.session(listening.socket(), (client, asked), facts, socket, now)?;
        let mut table = self.table.borrow_mut();
        if table.find(&key).is_some() {
            return None;
        }
        let is_asking = session.is_asking();
        let id = table.insert(key, terms, now, session).ok()?;
        if table.get(id).is_none_or(|(_, session)| self.watch(session, id).is_err()) {
            table.remove(id);
            return None;
        }
        if is_asking {
            table.ask(id, now);
        }
        self.set_due(&table);
        Some(())
    }

    fn session(
        &self,
        socket: &Rc<Socket>,
        (client, asked): (SocketAddr, Option<std::net::IpAddr>),
        facts: &Value,
        descriptor: OwnedFd,
        now: Moment,
    ) -> Option<(Client, super::super::session::Terms, Session)> {
        let (text, slot) = (|key: &str| facts.get(key)?.as_str(), socket.slot.get());
        let snapshot = self.worker.snapshot_for(slot);
        let listener = snapshot.shared.listener(slot)?;
        let route = snapshot.shared.routes.iter().position(|it| Some(&*it.name) == text("route"))?;
        let upstream =
            snapshot.shared.upstreams.iter().position(|it| Some(&*it.conf.name) == text("upstream"))?;
        let worker_upstream = snapshot.upstream(upstream)?;
        let backends = &worker_upstream.upstream.backends;
        // A version before this one has an address as the file does.
        let known = text("backend").map(written_alike);
        let backend = backends.iter().position(|it| Some(&*it.address.to_string()) == known.as_deref())?;
        let (terms, room) = begin::terms(worker_upstream).ok()?;
        let place = worker_upstream.pick_kept(backend, now)?;
        let backend = Backend { place, socket: descriptor };
        let way = Way { snapshot: snapshot.clone(), route, upstream };
        let announced = facts.get("announced").and_then(Announced::from_json).map(Box::new);
        let quic = facts.get("quic").filter(|it| it.is_object());
        let quic = quic.map(|it| self.quic(slot, &way, &backend, it)).map(|it| it.map(Box::new));
        let quic = match quic {
            Some(None) => return None,
            quic => quic.flatten(),
        };
        let named = announced.as_deref().and_then(Announced::client);
        let address = named.unwrap_or(client).ip().to_canonical();
        let address = AddressPlace::take(listener, Some(address)).ok()?;
        listener.shared.enter(&listener.conf).then_some(())?;
        let mut permit = Permit::new(self.open.clone(), self.worker.index, listener.shared.clone(), address);
        permit.series = Some(self.worker.series.clone());
        let beside = quic.as_ref().filter(|_| facts.get("is_beside") == Some(&Value::Bool(true)));
        let key = Client::new(socket.number, client, asked);
        let key = beside.map_or(key, |quic| key.beside(quic.place()));
        let more = quic.as_ref().map_or(0, |it| it.held()) + announced.as_ref().map_or(0, |it| it.held());
        let age = |key: &str| facts.get(key)?.as_u64().map(Duration::from_micros);
        let count = |key: &str| facts.get(key).and_then(Value::as_u64).unwrap_or(0);
        let started = now.minus(age("age_us")?);
        let session = Session {
            socket: socket.clone(),
            client,
            asked,
            up: Carried { datagrams: count("datagrams_in"), bytes: count("bytes_in") },
            down: Carried { datagrams: count("datagrams_out"), bytes: count("bytes_out") },
            slot,
            route,
            upstream,
            last: backend.place.index(),
            backend: Some(backend),
            attempts: u32::try_from(count("attempts")).unwrap_or(u32::MAX),
            started,
            answered: age("answered_after_us").map(|after| started.plus(after)),
            error: None,
            is_unheard: false,
            is_handed: false,
            quic,
            announced,
            _held: Held::new(Owner::Sessions, PER_SESSION + more),
            _permit: permit,
            _room: room,
            snapshot,
        };
        Some((key, terms, session))
    }

    fn quic(&self, listener: usize, way: &Way, backend: &Backend, facts: &Value) -> Option<QuicSession> {
        let ids: Vec<ConnectionId> = facts.get("ids")?.as_array()?.iter().filter_map(id).collect();
        let text = |key: &str| Some(facts.get(key)?.as_str()?.into());
        let flows = &self.worker.shared.flows;
        // Another address of the same client may have brought it.
        let known = ids.iter().find_map(|id| flows.find(listener, id.as_bytes()));
        let place = match known {
            Some(place) => place,
            None => flows.enter(Flow {
                snapshot: way.snapshot.shared.clone(),
                listener,
                route: way.route,
                upstream: way.upstream,
                backend: backend.place.index(),
                peer: backend.peer()?,
                server_name: text("server_name"),
                alpn: text("alpn"),
                version: u32::try_from(facts.get("version")?.as_u64()?).ok()?,
            }),
        };
        let mut quic = QuicSession::new(place, facts.get("is_bound") == Some(&Value::Bool(true)));
        if facts.get("is_owed") == Some(&Value::Bool(false)) {
            quic.expect_nothing();
        }
        ids.into_iter().for_each(|id| quic.learn(id));
        Some(quic)
    }
}

/// What is known of a session; `None` where it is of what the next program will not have.
fn facts(session: &Session, is_beside: bool, now: Moment) -> Option<Value> {
    let shared = &session.snapshot.shared;
    let upstream = shared.upstreams.get(session.upstream)?;
    let quic = session.quic.as_ref().map(|quic| {
        let flow = quic.place().flow();
        json!({
            "ids": quic.place().ids().iter().map(|id| format!("{id:?}")).collect::<Vec<_>>(),
            "server_name": flow.server_name,
            "alpn": flow.alpn,
            "version": flow.version,
            "is_bound": quic.is_bound(),
            "is_owed": quic.is_owed(),
        })
    });
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    Some(json!({
        "listener": shared.listener(session.slot)?.conf.name,
        "local": session.socket.local.map(|local| local.to_string()),
        "route": &*shared.routes.get(session.route)?.name,
        "upstream": upstream.conf.name,
        "backend": upstream.backends.get(session.last)?.address.to_string(),
        "client": session.client.to_string(),
        "asked": session.asked.map(|asked| asked.to_string()),
        "datagrams_in": session.up.datagrams,
        "bytes_in": session.up.bytes,
        "datagrams_out": session.down.datagrams,
        "bytes_out": session.down.bytes,
        "attempts": session.attempts,
        "age_us": micros(now.since(session.started)),
        "answered_after_us": session.answered.map(|answered| micros(answered.since(session.started))),
        "is_beside": is_beside,
        "quic": quic,
        "announced": session.announced.as_ref().map(|announced| announced.to_json()),
    }))
}

fn id(text: &Value) -> Option<ConnectionId> {
    ConnectionId::new(&bytes(text.as_str()?)?)
}

/// Bytes of their hexadecimal digits.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
