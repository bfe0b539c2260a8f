//! The way to each worker: connections that another one accepted, and what the control side asks for.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use socket2::{SockRef, Type};
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender},
    oneshot,
};

use crate::{
    l4::udp::{Handed, HandedSessions},
    runtime::{ListenerId, Permit, connections::Description},
};

/// A connection that was accepted and has no event loop yet.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, non-blocking.
    pub socket: OwnedFd,
    /// The peer's address; `None` over a unix socket.
    pub source: Option<std::net::SocketAddr>,
    /// The slot of its listener.
    pub listener: ListenerId,
    /// Its place among the open connections.
    pub permit: Permit,
    /// Whether `allow`, `deny` and the limit by address were asked already.
    pub is_judged: bool,
}

/// What a worker is sent.
#[derive(Debug)]
pub enum Message {
    /// It has this connection now.
    Accepted(Accepted),
    /// A generation was published: these are the sockets to accept on from here.
    Published(Change),
    /// The time for the connections of this listener, which is gone, is over.
    End(ListenerId),
    /// Ends a connection: its place, and which of those that had it. The answer is whether it was there.
    EndOne(u32, u32, oneshot::Sender<bool>),
    /// Sessions for the next program: so many of them at most, and none at the end. From the first time on, datagrams of
    /// clients are left to that.
    Hand(usize, oneshot::Sender<HandedSessions>),
    /// Whether the next program has taken what was handed over.
    HandedOver(bool),
    /// Sockets of datagrams to begin with, and the sessions that the program before had there. The answer is how many of
    /// them go on.
    TakeOver(Change, Vec<Handed>, oneshot::Sender<usize>),
    /// How its clients are to come to another node. The answer is that it does so, and of [`Yielding::Now`] that what had
    /// come before was accepted.
    Yield(Yielding, oneshot::Sender<()>),
    /// A request of its own through each listener. The answer is whether it served them.
    Probe(oneshot::Sender<bool>),
    /// Who is connected: so many of them at most.
    Describe(usize, oneshot::Sender<(Vec<Description>, usize)>),
}

/// How far a node is with having its clients come to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yielding {
    /// It serves.
    No,
    /// Connections end with the response that they carry.
    Soon,
    /// Nor do new ones begin.
    Now,
}

/// How the sockets of a worker change with a generation.
#[derive(Debug, Default)]
pub struct Change {
    /// Sockets to begin with, each with its number and the listener that it belongs to.
    pub open: Vec<(SocketId, ListenerId, OwnedFd)>,
    /// Sockets that pass to another listener.
    pub pass: Vec<(SocketId, ListenerId)>,
    /// Sockets that are taken empty and closed.
    pub close: Vec<SocketId>,
}

impl Change {
    /// Takes the sockets of datagrams out, to be opened later.
    pub fn take_datagrams(&mut self) -> Self {
        let is_datagrams =
            |socket: &OwnedFd| SockRef::from(socket).r#type().is_ok_and(|kind| kind == Type::DGRAM);
        let (datagrams, others) =
            std::mem::take(&mut self.open).into_iter().partition(|(.., socket)| is_datagrams(socket));
        self.open = others;
        Self { open: datagrams, ..Self::default() }
    }
}

/// The number of one address of a listener, never another's: the sockets of all workers there have it.
pub type SocketId = u64;

/// The way to each worker, and how many connections each has.
#[derive(Clone, Debug)]
pub struct Mailboxes {
    senders: Arc<[UnboundedSender<Message>]>,
    open: Arc<[AtomicI64]>,
}

impl Mailboxes {
    /// The mailboxes of these workers.
    pub fn new(senders: Vec<UnboundedSender<Message>>) -> Self {
        let open = senders.iter().map(|_| AtomicI64::new(0)).collect();
        Self { senders: senders.into(), open }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.senders.len()
    }

    /// Sends to a worker. One that has ended takes no more, and the message comes back.
    pub fn send(&self, worker: usize, message: Message) -> Result<(), Message> {
        match self.senders.get(worker) {
            Some(sender) => sender.send(message).map_err(|refused| refused.0),
            None => Err(message),
        }
    }

    /// Open connections by worker.
    pub fn counts(&self) -> Arc<[AtomicI64]> {
        self.open.clone()
    }

    /// Open connections of a worker.
    pub fn open(&self, worker: usize) -> i64 {
        self.open.get(worker).map_or(0, |open| open.load(Relaxed))
    }

    /// Who takes the next connection: the worker that accepted it, unless another has clearly fewer.
    /// The kernel spreads by a hash, and a few long connections must not pile up on one worker.
    pub fn choose(&self, own: usize) -> usize {
        let mine = self.open(own);
        let least = (0..self.open.len()).min_by_key(|worker| self.open(*worker)).unwrap_or(own);
        let slack = (mine / 8).max(1);
        if self.open(least) + slack < mine { least } else { own }
    }
}

/// Closes a worker's mailbox, and has all that was sent to it taken.
pub async fn close(mailbox: &mut UnboundedReceiver<Message>, mut take: impl FnMut(Message)) {
    mailbox.close();
    // To its end, and not until it is empty: a sender that was let in before may still leave its message.
    while let Some(message) = mailbox.recv().await {
        take(message);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        hint::spin_loop,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        time::{Duration, Instant},
    };

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[derive(Default)]
    struct Stage {
        mailboxes: Mutex<Option<Mailboxes>>,
        /// The round that a mailbox is there for, that its sender begins, and that it has ended.
        given: AtomicUsize,
        begun: AtomicUsize,
        ended: AtomicUsize,
        sent: AtomicUsize,
    }

    /// The last round.
    const END: usize = usize::MAX;

    fn wait(count: &AtomicUsize, round: usize) -> usize {
        for turn in 0.. {
            let now = count.load(SeqCst);
            if now >= round {
                return now;
            }
            // The other thread may want this core.
            if turn % 1000 == 999 { std::thread::yield_now() } else { spin_loop() }
        }
        END
    }

    fn send(stage: &Stage) {
        for round in 1.. {
            if wait(&stage.given, round) == END {
                return;
            }
            let mailboxes = stage.mailboxes.lock().unwrap().take().unwrap();
            stage.begun.store(round, SeqCst);
            (0..round % 40).for_each(|_| spin_loop());
            stage.sent.fetch_add(usize::from(mailboxes.send(0, Message::End(0)).is_ok()), SeqCst);
            stage.ended.store(round, SeqCst);
        }
    }

    /// Two threads, again and again for a while, since the channel is not ours: a sender that was let in has not left
    /// its message yet for a few nanoseconds.
    #[tokio::test]
    async fn what_was_sent_before_a_mailbox_closed_is_taken() {
        let stage = Arc::new(Stage::default());
        let other = stage.clone();
        let sender = std::thread::spawn(move || send(&other));
        let (began, mut taken) = (Instant::now(), 0);
        for round in (1..).take_while(|_| began.elapsed() < Duration::from_secs(1)) {
            let (sender, mut mailbox) = unbounded_channel();
            *stage.mailboxes.lock().unwrap() = Some(Mailboxes::new(vec![sender]));
            stage.given.store(round, SeqCst);
            wait(&stage.begun, round);
            (0..round / 40 % 40).for_each(|_| spin_loop());
            close(&mut mailbox, |_| taken += 1).await;
            wait(&stage.ended, round);
            assert_eq!(taken, stage.sent.load(SeqCst), "in round {round}");
        }
        stage.given.store(END, SeqCst);
        sender.join().unwrap();
    }
}
