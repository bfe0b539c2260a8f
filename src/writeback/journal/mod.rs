//! The journal of the write policy `back`: writes that were acknowledged before their origin has them.
//!
//! Previous stop: a route that asks for it. [`Journal::append`] makes a write durable, then the client gets its
//! 202; [`Journal::latest`] answers GETs of its URI meanwhile; [`Journal::next`] hands it out for delivery until
//! the origin took or refused it. `docs/decisions/016` says why it is as it is.
//!
//! Invariants:
//! - What was acknowledged is in a synced record. It leaves the journal only by [`Delivery::delivered`] or
//!   [`Delivery::set_aside`], and damage that takes it is reported, never passed over.
//! - Of each URI one write is under way at a time, the oldest.
//! - Only the thread in `writer` touches the disk; requests touch `index`, behind a short mutex.

mod delivery;
mod entry;
mod files;
mod index;
mod record;
mod refused;
mod replay;
mod segment;
mod stats;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    future::Future,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use tokio::sync::{Notify, oneshot};

pub use self::{
    delivery::Delivery,
    entry::{Entry, Id, Write},
    stats::Stats,
};
use self::{
    index::{Due, Index},
    segment::Folder,
    stats::Counters,
    writer::{Message, Writer},
};
use crate::{moment::Moment, rng::Rng};

/// Where the journal is, and how much it may hold.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder; made, for us alone, where it is missing.
    pub path: PathBuf,
    /// The most that undelivered writes may come to, in memory and, times two and a little, on disk.
    pub limit: u64,
    /// A segment that is this long is followed by a new one.
    segment: u64,
}

impl Options {
    /// A journal in this folder, of so many bytes.
    pub fn new(path: impl Into<PathBuf>, limit: u64) -> Self {
        Self { path: path.into(), limit, segment: 16 << 20 }
    }
}

/// Why a write was not made durable. Nothing of it may be acknowledged.
#[derive(Clone, Debug)]
pub enum AppendError {
    /// There is no room until something is delivered.
    Full,
    /// There would be no room in an empty journal either.
    TooLarge,
    /// The disk. Whether the write is in the journal nobody knows, after a crash least of all.
    Io(Arc<io::Error>),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the journal is full"),
            Self::TooLarge => f.write_str("the write is larger than the journal"),
            Self::Io(error) => write!(f, "the journal cannot be written: {error}"),
        }
    }
}

impl std::error::Error for AppendError {}

/// What [`Journal::poll`] has.
#[derive(Debug)]
pub enum Next {
    /// A write to deliver.
    Deliver(Delivery),
    /// Nothing before this moment, or before something changes.
    Wait(Option<Moment>),
}

/// A journal that is open. Its thread ends, with everything written, when the last `Arc` goes; that last one waits
/// for it, for the length of a sync.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    sender: Sender<Message>,
    thread: Option<JoinHandle<()>>,
    chance: Mutex<Rng>,
    /// Differs from start to start, for [`Journal::new_key`].
    instance: u64,
    keys: AtomicU64,
}

/// What the journal's thread and everybody else have in common.
#[derive(Debug, Default)]
struct Shared {
    index: Mutex<Index>,
    /// How many writes the index holds, for those who only want to know that there is none.
    entries: AtomicUsize,
    /// Those who deliver wait for it.
    changed: Notify,
    /// Those who wait for a write's delivery do.
    completed: Notify,
    /// As [`Options::limit`]; another configuration may have another.
    limit: AtomicU64,
    counters: Counters,
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `entries` true; called with the lock held.
    fn note_entries(&self, index: &Index) {
        // Released before an append resolves, and acquired by `latest`: who was told 202 finds their write.
        self.entries.store(index.len(), Ordering::Release);
    }
}

impl Journal {
    /// Opens the journal in a folder, or makes it, and reads what is not delivered yet. Fails when another process
    /// has it (`WouldBlock`), or when the disk does. Reads every segment and syncs: not for an event loop.
    pub fn open(options: &Options) -> io::Result<Arc<Self>> {
        Self::open_in(Folder::open(&options.path)?, options)
    }

    fn open_in(folder: Folder, options: &Options) -> io::Result<Arc<Self>> {
        let (mut journal, writer, receiver) = Self::prepare(folder, options)?;
        let thread = std::thread::Builder::new().name("journal".into());
        journal.thread = Some(thread.spawn(move || writer.run(&receiver))?);
        Ok(Arc::new(journal))
    }

    /// The two sides of a journal and what is between them, without a thread.
    fn prepare(folder: Folder, options: &Options) -> io::Result<(Self, Writer, Receiver<Message>)> {
        let replayed = replay::replay(&folder)?;
        let shared = Arc::new(Shared { limit: AtomicU64::new(options.limit), ..Shared::default() });
        shared.counters.damaged.store(replayed.damaged, Ordering::Relaxed);
        let (sender, receiver) = channel();
        let writer = Writer::new(folder, options, shared.clone(), replayed)?;
        let journal = Self {
            shared,
            sender,
            thread: None,
            chance: Mutex::new(Rng::new(fastrand::u64(..))),
            instance: fastrand::u64(..),
            keys: AtomicU64::new(0),
        };
        Ok((journal, writer, receiver))
    }

    /// Makes a write durable. It is on its way when this returns; the future resolves when it is synced, and
    /// [`Journal::latest`] has it then. Writes of one URI are delivered in the order of these calls.
    ///
    /// Where the future is dropped early, the write may still have become durable, and is delivered then.
    pub fn append(&self, write: Write) -> impl Future<Output = Result<Id, AppendError>> + use<> {
        let begun = self.begin(write);
        async move {
            match begun?.await {
                Ok(done) => done,
                Err(_) => Err(AppendError::Io(Arc::new(io::Error::other("the journal's thread has ended")))),
            }
        }
    }

    fn begin(&self, write: Write) -> Result<oneshot::Receiver<Result<Id, AppendError>>, AppendError> {
        let cost = write.cost();
        // Lengths in records have 32 bits.
        let limit = self.limit();
        if cost > limit || cost > u64::from(u32::MAX) {
            return Err(AppendError::TooLarge);
        }
        if !self.shared.index().reserve(cost, limit) {
            return Err(AppendError::Full);
        }
        let (done, receiver) = oneshot::channel();
        self.send(Message::Append(Box::new(write), done));
        Ok(receiver)
    }

    fn send(&self, message: Message) {
        // Without its thread the journal is over: appends learn it from their own channel.
        let _thread_ended = self.sender.send(message);
    }

    fn chance(&self) -> MutexGuard<'_, Rng> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest write of a URI that the origin does not have yet.
    pub fn latest(&self, uri: &[u8]) -> Option<Arc<Entry>> {
        if self.is_empty() { None } else { self.shared.index().latest(uri) }
    }

    /// Whether nothing waits in it.
    pub fn is_empty(&self) -> bool {
        self.shared.entries.load(Ordering::Acquire) == 0
    }

    /// Resolves when nothing of a URI waits in it any more.
    pub async fn until_delivered(&self, uri: &[u8]) {
        loop {
            // It is told from here on, also before it waits.
            let completed = self.shared.completed.notified();
            if self.latest(uri).is_none() {
                return;
            }
            completed.await;
        }
    }

    /// Gives it another limit. What waits beyond it stays.
    pub fn set_limit(&self, limit: u64) {
        self.shared.limit.store(limit, Ordering::Relaxed);
    }

    fn limit(&self) -> u64 {
        self.shared.limit.load(Ordering::Relaxed)
    }

    /// The next write that may be delivered at `now`, or when to ask again.
    pub fn poll(self: &Arc<Self>, now: Moment) -> Next {
        let mut index = self.shared.index();
        let due = index.next(now);
        let more = index.is_due(now);
        drop(index);
        if more {
            // Wake-ups that nobody waited for are not counted: each who takes something wakes the next.
            self.shared.changed.notify_one();
        }
        match due {
            Due::Now(entry, attempts) => Next::Deliver(Delivery::new(self.clone(), entry, attempts)),
            Due::Later(at) => Next::Wait(at),
        }
    }

    /// The next write that may be delivered, when there is one. Any number of tasks may wait. The clock is read
    /// here, and nothing is lost when it is dropped while it waits.
    pub async fn next(self: &Arc<Self>) -> Delivery {
        loop {
            let now = Moment::now();
            match self.poll(now) {
                Next::Deliver(delivery) => return delivery,
                Next::Wait(None) => self.changed().await,
                Next::Wait(Some(at)) => {
                    let _either = tokio::time::timeout(at.since(now), self.changed()).await;
                }
            }
        }
    }

    /// Resolves when [`Journal::poll`] may have something else to say.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// A key for a write that has none: no two are the same, in no run of the program.
    pub fn new_key(&self) -> String {
        format!("{:016x}-{:x}", self.instance, self.keys.fetch_add(1, Ordering::Relaxed))
    }

    /// What it holds and what it did.
    pub fn stats(&self) -> Stats {
        let index = self.shared.index();
        let oldest = index.entries().next().map(|entry| entry.write.accepted);
        let (entries, bytes) = (index.len(), index.bytes);
        drop(index);
        self.shared.counters.read(Stats { entries, bytes, limit: self.limit(), oldest, ..Stats::default() })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.send(Message::End);
        if let Some(thread) = self.thread.take() {
            let _it_panicked = thread.join();
        }
    }
}
