//! What one worker accepts on: a set of sockets that changes with the configuration.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    os::fd::OwnedFd,
    rc::Rc,
    time::Duration,
};

use socket2::{SockRef, Type};
use tokio::{
    io::unix::AsyncFd,
    sync::mpsc::UnboundedReceiver,
    task::{JoinHandle, spawn_local},
};

use super::{
    accept, connection,
    mailbox::{self, Change, Mailboxes, Message, SocketId, Yielding},
    probe,
    yielding::{SOON, hold_back},
};
use crate::{
    l4::udp::{Listening, Relay},
    moment::Moment,
    net::{descriptors, tunnel},
    runtime::{ListenerId, Worker, connections::Description},
};

/// The sockets of a worker.
#[derive(Debug)]
pub struct WorkerSockets {
    worker: Rc<Worker>,
    mailboxes: Mailboxes,
    sockets: RefCell<Vec<Socket>>,
    /// What passes datagrams on, once there is a socket for them.
    relay: OnceCell<Rc<Relay>>,
    datagrams: RefCell<Vec<(SocketId, Listening)>>,
}

#[derive(Debug)]
struct Socket {
    id: SocketId,
    slot: Rc<Cell<ListenerId>>,
    socket: Rc<AsyncFd<OwnedFd>>,
    task: JoinHandle<()>,
}

/// How often a worker that is to end looks whether it can.
const LOOK: Duration = Duration::from_millis(10);

/// What an idle connection is given when its listener closes: a request may be on its way.
const IDLE_GRACE: Duration = Duration::from_secs(1);

impl WorkerSockets {
    /// The sockets of a worker: none yet.
    pub fn new(worker: Rc<Worker>, mailboxes: Mailboxes) -> Self {
        Self {
            worker,
            mailboxes,
            sockets: RefCell::default(),
            relay: OnceCell::new(),
            datagrams: RefCell::default(),
        }
    }

    /// Does what the worker is sent, until it is dropped.
    pub async fn serve(&self, mailbox: &mut UnboundedReceiver<Message>) {
        while let Some(message) = mailbox.recv().await {
            self.take(message);
        }
        std::future::pending().await
    }

    /// Does what the worker is still sent, and ends once it has no connection any more.
    pub async fn finish(&self, mailbox: &mut UnboundedReceiver<Message>) {
        let is_over = || self.mailboxes.open(self.worker.index) <= 0 && !self.worker.is_fetching();
        loop {
            tokio::select! {
                Some(message) = mailbox.recv() => self.take(message),
                () = tokio::time::sleep(LOOK) => {}
            }
            if !is_over() {
                continue;
            }
            // Another worker may send what it accepts to the end. From here on it keeps that for itself.
            mailbox::close(mailbox, |message| self.take(message)).await;
            while !is_over() {
                tokio::time::sleep(LOOK).await;
            }
            return;
        }
    }

    fn take(&self, message: Message) {
        match message {
            Message::Accepted(accepted) => connection::begin(&self.worker, accepted),
            Message::Published(change) => self.change(change),
            Message::End(slot) => {
                let sessions = self.relay.get().map_or(0, |it| it.end(slot));
                spawn_local(end(self.worker.clone(), slot, sessions));
            }
            Message::EndOne(key, serial, answer) => {
                let is_ended = self.worker.connections.end_one(key, serial);
                self.worker.series.ended.add(u64::from(is_ended));
                // Who asked may have left.
                let _ = answer.send(is_ended);
            }
            Message::Hand(most, answer) => {
                self.datagrams.borrow_mut().iter_mut().for_each(|(_, it)| it.pause());
                let handed = self.relay.get().map(|relay| relay.hand(most));
                drop(answer.send(handed.unwrap_or_default()));
            }
            Message::HandedOver(is_taken) => self.handed_over(is_taken),
            Message::TakeOver(change, handed, answer) => {
                self.change(change);
                let datagrams = self.datagrams.borrow();
                let listening = datagrams.iter().map(|(_, it)| it);
                // Also with none of its listeners here any more: the sessions have an end.
                let relay = if handed.is_empty() { self.relay.get() } else { self.relay().ok() };
                let taken = relay.map(|it| it.take_over(listening, handed));
                // Who asked may have left.
                let _ = answer.send(taken.unwrap_or(0));
            }
            Message::Yield(yielding, done) => {
                self.yields(yielding);
                // Who asked may have left.
                let _ = done.send(());
            }
            Message::Probe(answer) => {
                let probing = probe::is_answered(self.worker.clone());
                spawn_local(async move {
                    // Who asked may have left.
                    let _ = answer.send(probing.await);
                });
            }
            // Who asked may have left.
            Message::Describe(most, answer) => drop(answer.send(self.describe(most))),
        }
    }

    fn yields(&self, yielding: Yielding) {
        self.worker.set_yielding(yielding != Yielding::No);
        if yielding == Yielding::Soon {
            self.worker.connections.hurry_idle(Moment::now().plus(SOON * 3 / 4), |_| true);
        }
        for Socket { slot, socket, .. } in self.sockets.borrow().iter() {
            hold_back(socket.get_ref(), yielding == Yielding::Now);
            if yielding == Yielding::Now {
                accept::empty(&self.worker, slot.get(), socket, &self.mailboxes);
            }
        }
    }

    fn handed_over(&self, is_taken: bool) {
        let Some(relay) = self.relay.get() else { return };
        relay.handed_over(is_taken);
        if !is_taken {
            self.datagrams.borrow_mut().iter_mut().for_each(|(_, it)| relay.go_on(it));
        }
    }

    /// The first `most` connections and sessions, and how many there are.
    fn describe(&self, most: usize) -> (Vec<Description>, usize) {
        let (mut described, mut count) = self.worker.connections.describe(most);
        if let Some(relay) = self.relay.get() {
            let (sessions, more) = relay.describe(most - described.len());
            described.extend(sessions);
            count += more;
        }
        (described, count)
    }

    /// Accepts on what the new generation has. Called once it is published.
    pub fn change(&self, Change { open, pass, close }: Change) {
        // Before anything else, so that the listeners of the new sockets are known.
        drop(self.worker.snapshot());
        let is_passed = !pass.is_empty();
        for (id, to) in pass {
            self.sockets.borrow().iter().filter(|it| it.id == id).for_each(|it| it.slot.set(to));
            self.datagrams.borrow().iter().filter(|(of, _)| *of == id).for_each(|(_, it)| it.pass_to(to));
        }
        for (id, slot, socket) in open {
            if self.worker.is_draining() {
                // It is published as the program stops; its own queue is empty still.
                break;
            }
            // A socket that cannot be registered is out of a descriptor or of memory; the others accept.
            if let Err(error) = self.open(id, slot, socket) {
                tracing::error!("cannot accept on a listener: {error}");
            }
        }
        let is_gone = |it: &Socket| close.contains(&it.id);
        let (closed, kept) = self.sockets.take().into_iter().partition(is_gone);
        self.sockets.replace(kept);
        self.empty(closed);
        let is_gone = |(id, _): &(SocketId, Listening)| close.contains(id);
        let (closed, kept) = self.datagrams.take().into_iter().partition(is_gone);
        self.datagrams.replace(kept);
        self.close(closed);
        if close.is_empty() && !is_passed {
            return;
        }
        // Their connections end by and by, also where the socket goes on under another name.
        self.worker
            .connections
            .hurry_idle(Moment::now().plus(IDLE_GRACE), |slot| self.worker.is_closing(slot));
    }

    /// Stops accepting. What waits to be accepted is taken first.
    pub fn stop(&self) {
        self.empty(self.sockets.take());
        self.close(self.datagrams.take());
        self.worker.connections.hurry_idle(Moment::now().plus(IDLE_GRACE), |_| true);
    }

    fn open(&self, id: SocketId, slot: ListenerId, socket: OwnedFd) -> io::Result<()> {
        if SockRef::from(&socket).r#type()? == Type::DGRAM {
            let listening = self.relay()?.listen(slot, socket)?;
            self.datagrams.borrow_mut().push((id, listening));
            return Ok(());
        }
        let socket = Rc::new(descriptors::register(socket)?);
        let slot = Rc::new(Cell::new(slot));
        let run = accept::run(self.worker.clone(), slot.clone(), socket.clone(), self.mailboxes.clone());
        self.sockets.borrow_mut().push(Socket { id, slot, socket, task: spawn_local(run) });
        Ok(())
    }

    fn relay(&self) -> io::Result<&Rc<Relay>> {
        if self.relay.get().is_none() {
            let relay = Relay::start(self.worker.clone(), self.mailboxes.counts())?;
            // It was empty a moment ago, on this thread.
            let _ = self.relay.set(relay);
        }
        self.relay.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn close(&self, listening: Vec<(SocketId, Listening)>) {
        if let Some(relay) = self.relay.get() {
            listening.into_iter().for_each(|(_, it)| relay.close(it));
        }
    }

    fn empty(&self, sockets: Vec<Socket>) {
        for Socket { slot, socket, task, .. } in sockets {
            task.abort();
            accept::empty(&self.worker, slot.get(), &socket, &self.mailboxes);
            // Another program, or a service manager, may go on with it; that this one does not yield any more comes too
            // late for a socket that it does not have.
            hold_back(socket.get_ref(), false);
        }
    }
}

/// Ends what is left of the connections of a listener that is gone, WebSockets in good order; so many sessions of
/// datagrams are ended already.
async fn end(worker: Rc<Worker>, slot: ListenerId, sessions: usize) {
    let told = worker.tunnels.close(|of| of == slot);
    if told > 0 {
        let _cut_off = tokio::time::timeout(tunnel::CLOSING * 2, worker.tunnels.closed()).await;
    }
    // It may have come back meanwhile, and its connections with it.
    let is_back = worker.snapshot().shared.listener(slot).is_some();
    let ended = sessions + told + if is_back { 0 } else { worker.connections.end(slot) };
    if ended > 0 {
        tracing::warn!(ended, "the drain time of a removed listener is over");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use tokio::{
        runtime::{Builder, LocalOptions},
        sync::mpsc::unbounded_channel,
    };

    use super::*;
    use crate::{
        admin::tests::{CONFIG, shared},
        telemetry::access_log::{AccessLog, Sink},
    };

    #[test]
    fn socket_that_a_worker_has_left_holds_nobody_back() {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async {
            // As of a service manager, or of the next program.
            let others = TcpListener::bind("127.0.0.1:0").unwrap();
            others.set_nonblocking(true).unwrap();
            let address = others.local_addr().unwrap();
            let log = AccessLog::start(Sink::Off).unwrap();
            let worker = Worker::new(0, shared(CONFIG), log.for_worker());
            let slot = worker.snapshot().shared.listeners[0].slot;
            let sockets = WorkerSockets::new(worker, Mailboxes::new(vec![unbounded_channel().0]));
            let own = (1, slot, others.try_clone().unwrap().into());
            sockets.change(Change { open: vec![own], ..Change::default() });
            sockets.yields(Yielding::Now);
            let short = Duration::from_millis(50);
            assert!(TcpStream::connect_timeout(&address, short).is_err());
            // The end of it comes when it has stopped already.
            sockets.stop();
            sockets.yields(Yielding::No);
            assert!(TcpStream::connect_timeout(&address, short * 100).is_ok());
        });
    }
}
