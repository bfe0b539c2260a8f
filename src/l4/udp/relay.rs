//! A worker's sessions: what is read goes to whom it is for, and what is due happens.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    os::fd::OwnedFd,
    rc::Rc,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use rustix::event::epoll;
use tokio::{
    io::unix::AsyncFd,
    task::{JoinHandle, spawn_local, yield_now},
};

use super::{
    super::{
        quic::waiting::Waiting,
        session::{Due, Id, Table},
    },
    batch::Batch,
    session::{Client, EndedBy, Session},
    socket::Socket,
};
use crate::{
    moment::Moment,
    net::{Deadline, descriptors},
    runtime::{
        ListenerId, Worker,
        connections::{Description, Speaks},
    },
    telemetry::datagrams::Dropped,
};

/// Reads of a socket that is closed.
const LAST_READS: usize = 128;
/// Things that are due before others have a turn.
const DUE_PER_TURN: usize = 256;
/// Silence that ends a session whose listener is closed: answers under way still reach their clients.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The sessions of a worker, over all its sockets.
#[derive(Debug)]
pub struct Relay {
    pub(super) worker: Rc<Worker>,
    /// Open connections and sessions by worker.
    pub(super) open: Arc<[AtomicI64]>,
    pub(super) table: RefCell<Table<Client, Session>>,
    /// Handshakes of QUIC whose backend is not known yet.
    pub(super) waiting: RefCell<Waiting<Client>>,
    pub(super) batch: RefCell<Batch>,
    /// A datagram behind a PROXY header, while it is sent.
    pub(super) joined: RefCell<Vec<u8>>,
    /// The sockets of all sessions in an event queue of their own, so that none needs a task.
    pub(super) backends: AsyncFd<OwnedFd>,
    due: Deadline,
    due_at: Cell<Option<Moment>>,
    sockets: Cell<u32>,
    /// Up to which session they went to the next program in this upgrade: those behind it are next.
    pub(super) last_handed: Cell<Id>,
}

/// A listener's socket that is read.
#[derive(Debug)]
pub struct Listening {
    socket: Rc<Socket>,
    task: JoinHandle<()>,
    is_paused: bool,
}

impl Listening {
    /// The slot of the listener that it belongs to.
    pub fn slot(&self) -> ListenerId {
        self.socket.slot.get()
    }

    /// Its socket.
    pub(super) fn socket(&self) -> &Rc<Socket> {
        &self.socket
    }

    /// Reads it no more: another program is to.
    pub fn pause(&mut self) {
        self.task.abort();
        self.is_paused = true;
    }

    /// Makes it another listener's: sessions that there are stay as they are.
    pub fn pass_to(&self, slot: ListenerId) {
        self.socket.slot.set(slot);
    }
}

impl Relay {
    /// No sessions yet; its tasks run on this thread. Fails where the kernel gives no event queue.
    pub fn start(worker: Rc<Worker>, open: Arc<[AtomicI64]>) -> io::Result<Rc<Self>> {
        let backends = descriptors::register(epoll::create(epoll::CreateFlags::CLOEXEC)?)?;
        let relay = Rc::new(Self {
            worker,
            open,
            table: RefCell::default(),
            waiting: RefCell::default(),
            batch: RefCell::new(Batch::new()),
            joined: RefCell::default(),
            backends,
            due: Deadline::new(),
            due_at: Cell::new(None),
            sockets: Cell::new(0),
            last_handed: Cell::new(0),
        });
        spawn_local(relay.clone().take_answers());
        spawn_local(relay.clone().watch_time());
        Ok(relay)
    }

    /// Reads a listener's socket from here on.
    pub fn listen(self: &Rc<Self>, slot: ListenerId, socket: OwnedFd) -> io::Result<Listening> {
        let number = self.sockets.get();
        self.sockets.set(number.wrapping_add(1));
        let socket = Rc::new(Socket::new(socket, number, slot)?);
        let task = spawn_local(self.clone().take_questions(socket.clone()));
        Ok(Listening { socket, task, is_paused: false })
    }

    /// Reads a socket again that was not read for a while.
    pub fn go_on(self: &Rc<Self>, listening: &mut Listening) {
        if std::mem::replace(&mut listening.is_paused, false) {
            listening.task = spawn_local(self.clone().take_questions(listening.socket.clone()));
        }
    }

    /// Ends reading a socket, with what waits there. Its sessions end when they have been silent for a second: what is
    /// asked already is answered.
    pub fn close(&self, listening: Listening) {
        let Listening { socket, task, is_paused } = listening;
        task.abort();
        // What waits at one that was paused is another program's.
        for _ in 0..if is_paused { 0 } else { LAST_READS } {
            if !matches!(self.read(&socket), Ok(1..)) {
                break;
            }
        }
        let now = Moment::now();
        let mut table = self.table.borrow_mut();
        let of_socket = table.iter().filter(|(.., it)| it.socket.number == socket.number);
        let ids: Vec<Id> = of_socket.map(|(id, ..)| id).collect();
        ids.into_iter().for_each(|id| table.hasten(id, LAST_WAIT, now));
        self.set_due(&table);
    }

    /// Ends every session of a listener.
    pub fn end(&self, slot: ListenerId) -> usize {
        let mut table = self.table.borrow_mut();
        let ids: Vec<Id> = table.iter().filter(|(.., it)| it.slot() == slot).map(|(id, ..)| id).collect();
        ids.iter().for_each(|id| self.end_one(&mut table, *id, EndedBy::Closing));
        ids.len()
    }

    /// The first `most` of them, and how many there are.
    pub fn describe(&self, most: usize) -> (Vec<Description>, usize) {
        let table = self.table.borrow();
        let described = table.iter().take(most).map(|(_, _, session)| Description {
            id: None,
            slot: session.slot(),
            since: session.started(),
            speaks: Speaks::Udp,
            client: session.peer_address().to_string(),
            tls: None,
            passed: Some(session.passed()),
        });
        (described.collect(), table.len())
    }

    /// Does what is due, when it is.
    async fn watch_time(self: Rc<Self>) {
        loop {
            poll_fn(|cx| self.due.poll_elapsed(cx)).await;
            self.do_what_is_due(Moment::now());
            yield_now().await;
        }
    }

    pub(super) fn do_what_is_due(&self, now: Moment) {
        let mut table = self.table.borrow_mut();
        for _ in 0..DUE_PER_TURN {
            match table.due(now) {
                None => break,
                Some(Due::Idle(id)) => self.end_one(&mut table, id, EndedBy::Idle),
                Some(Due::Unanswered(id, asked)) => {
                    if let Some(session) = table.get_mut(id) {
                        session.unanswered(asked, now);
                    }
                }
            }
        }
        let expired = self.waiting.borrow_mut().expire(now);
        self.worker.series.datagrams.drop(Dropped::QuicIncomplete, expired);
        self.due_at.set(None);
        self.due.clear();
        self.set_due(&table);
    }

    /// Has the time watched for the next thing, where that comes before what is watched for.
    pub(super) fn set_due(&self, table: &Table<Client, Session>) {
        let waiting = self.waiting.borrow().next();
        let Some(next) = table.next().into_iter().chain(waiting).min() else { return };
        if self.due_at.get().is_none_or(|at| next < at) {
            self.due_at.set(Some(next));
            self.due.at(next);
        }
    }

    pub(super) fn end_one(&self, table: &mut Table<Client, Session>, id: Id, ended_by: EndedBy) {
        if let Some((_, session)) = table.remove(id) {
            session.end(&self.worker, ended_by);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The program ends, and did not wait for these.
        let mut table = self.table.take();
        let ids: Vec<Id> = table.iter().map(|(id, ..)| id).collect();
        ids.into_iter().for_each(|id| self.end_one(&mut table, id, EndedBy::Closing));
    }
}
