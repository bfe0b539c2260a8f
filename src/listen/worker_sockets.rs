//! What one worker accepts on: a set of sockets that changes with the configuration.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::unix::AsyncFd,
    sync::mpsc::UnboundedReceiver,
    task::{JoinHandle, spawn_local},
};

use super::{
    accept, connection,
    mailbox::{self, Change, Mailboxes, Message},
};
use crate::{
    moment::Moment,
    net::timer,
    runtime::{ListenerId, Worker},
};

/// The sockets of a worker.
#[derive(Debug)]
pub struct WorkerSockets {
    worker: Rc<Worker>,
    mailboxes: Mailboxes,
    sockets: RefCell<Vec<Socket>>,
}

#[derive(Debug)]
struct Socket {
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
        Self { worker, mailboxes, sockets: RefCell::default() }
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
                let ended = self.worker.connections.end(slot);
                if ended > 0 {
                    tracing::warn!(ended, "the time of a listener that is gone is over");
                }
            }
            Message::EndOne(key, serial, answer) => {
                let is_ended = self.worker.connections.end_one(key, serial);
                self.worker.series.ended.add(u64::from(is_ended));
                // Who asked may have left.
                let _ = answer.send(is_ended);
            }
            // Who asked may have left.
            Message::Describe(most, answer) => drop(answer.send(self.worker.connections.describe(most))),
        }
    }

    /// Accepts on what the new generation has. Called once it is published.
    pub fn change(&self, Change { open, pass, close }: Change) {
        // Before anything else, so that the listeners of the new sockets are known.
        drop(self.worker.snapshot());
        let is_passed = !pass.is_empty();
        for (from, to) in pass {
            let sockets = self.sockets.borrow();
            sockets.iter().filter(|it| it.slot.get() == from).for_each(|it| it.slot.set(to));
        }
        for (slot, socket) in open {
            if self.worker.is_draining() {
                // It is published as the program stops; its own queue is empty still.
                break;
            }
            // A socket that cannot be registered is out of a descriptor or of memory; the others accept.
            match register(socket) {
                Ok(socket) => self.open(slot, Rc::new(socket)),
                Err(error) => tracing::error!("cannot accept on a listener: {error}"),
            }
        }
        let is_gone = |it: &Socket| close.contains(&it.slot.get());
        let (closed, kept) = self.sockets.take().into_iter().partition(is_gone);
        self.sockets.replace(kept);
        self.empty(closed);
        if close.is_empty() && !is_passed {
            return;
        }
        // Their connections end by and by, also where the socket goes on under another name.
        timer::hurry_idle(Moment::now().plus(IDLE_GRACE), |slot| self.worker.is_closing(slot));
    }

    /// Stops accepting. What waits to be accepted is taken first.
    pub fn stop(&self) {
        self.empty(self.sockets.take());
        timer::hurry_idle(Moment::now().plus(IDLE_GRACE), |_| true);
    }

    fn open(&self, slot: ListenerId, socket: Rc<AsyncFd<OwnedFd>>) {
        let slot = Rc::new(Cell::new(slot));
        let run = accept::run(self.worker.clone(), slot.clone(), socket.clone(), self.mailboxes.clone());
        self.sockets.borrow_mut().push(Socket { slot, socket, task: spawn_local(run) });
    }

    fn empty(&self, sockets: Vec<Socket>) {
        for Socket { slot, socket, task } in sockets {
            task.abort();
            accept::empty(&self.worker, slot.get(), &socket, &self.mailboxes);
        }
    }
}

/// Registers a listening socket with this worker's event loop.
#[expect(unsafe_code, reason = "an `OwnedFd` is open, stays the same, and is closed by the `AsyncFd` alone")]
fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the `AsyncFd` from here to its end, and `as_raw_fd` of an
    // `OwnedFd` never changes, which is what `register` asks for.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}
