//! The journal as requests and deliveries have it; its thread is in [`super::writer`].

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering, fence},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use tokio::sync::oneshot;

use super::{
    append_error::AppendError,
    ends::Ends,
    entry::{Entry, Id, Write},
    options::Options,
    replay,
    segment::Folder,
    shared::Shared,
    stats::Stats,
    waiting::Waiting,
    writer::{Message, Writer},
};
use crate::rng::Rng;

/// A journal that is open. Its thread ends, with everything written, when the last `Arc` goes, and is among
/// [`Options::closing_among`] from then on: a sync is waited for there, by who wants to.
#[derive(Debug)]
pub struct Journal {
    pub(super) shared: Arc<Shared>,
    sender: Sender<Message>,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
    ends: Option<Arc<Ends>>,
    chance: Mutex<Rng>,
    /// Differs from start to start, for [`Journal::new_key`].
    instance: u64,
    keys: AtomicU64,
}

impl Journal {
    /// Opens the journal in a folder, or makes it, and reads what is not delivered yet. Fails when another process
    /// has it (`WouldBlock`), or when the disk does. Reads every segment and syncs: not for an event loop.
    pub fn open(options: &Options) -> io::Result<Arc<Self>> {
        Self::open_in(Folder::open(&options.path)?, options)
    }

    pub(super) fn open_in(folder: Folder, options: &Options) -> io::Result<Arc<Self>> {
        Self::start(folder, options, || {})
    }

    /// Opens one whose disk takes its time: its thread does nothing before `stall` has returned.
    #[cfg(test)]
    pub fn open_stalled(options: &Options, stall: impl FnOnce() + Send + 'static) -> Arc<Self> {
        let folder = Folder::open(&options.path).unwrap();
        Self::start(folder, options, stall).unwrap()
    }

    fn start(
        folder: Folder,
        options: &Options,
        before: impl FnOnce() + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let (mut journal, writer, receiver) = Self::prepare(folder, options)?;
        let run = move || {
            before();
            writer.run(&receiver);
        };
        journal.thread = Some(std::thread::Builder::new().name("journal".into()).spawn(run)?);
        Ok(Arc::new(journal))
    }

    /// The two sides of a journal and what is between them, without a thread.
    pub(super) fn prepare(
        folder: Folder,
        options: &Options,
    ) -> io::Result<(Self, Writer, Receiver<Message>)> {
        let replayed = replay::replay(&folder)?;
        let shared = Arc::new(Shared { limit: AtomicU64::new(options.limit), ..Shared::default() });
        shared.counters.damaged.store(replayed.damaged, Ordering::Relaxed);
        let (sender, receiver) = channel();
        let writer = Writer::new(folder, options, shared.clone(), replayed);
        let journal = Self {
            shared,
            sender,
            path: options.path.clone(),
            thread: None,
            ends: options.ends.clone(),
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

    pub(super) fn begin(
        &self,
        write: Write,
    ) -> Result<oneshot::Receiver<Result<Id, AppendError>>, AppendError> {
        let cost = write.cost();
        // Lengths in records have 32 bits.
        let limit = self.limit();
        if cost > limit || cost > u64::from(u32::MAX) {
            return Err(AppendError::TooLarge);
        }
        let is_overfull = self.shared.is_overfull.load(Ordering::Relaxed);
        if is_overfull || !self.shared.index().reserve(cost, limit) {
            return Err(AppendError::Full);
        }
        let (done, receiver) = oneshot::channel();
        self.send(Message::Append(Box::new(write), done));
        Ok(receiver)
    }

    pub(super) fn send(&self, message: Message) {
        // Without its thread the journal is over: appends learn it from their own channel.
        let _thread_ended = self.sender.send(message);
    }

    pub(super) fn chance(&self) -> MutexGuard<'_, Rng> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest write of a URI that the origin does not have yet.
    pub fn latest(&self, uri: &[u8]) -> Option<Arc<Entry>> {
        self.shared.latest(uri)
    }

    /// Whether something waits in it, or is on its way into it: of that a client may be told at any moment that it is
    /// accepted.
    pub fn is_owing(&self) -> bool {
        self.shared.index().bytes > 0
    }

    /// Whether it is owing, or somebody has it besides those who hold it `own` times.
    pub fn is_needed(self: &Arc<Self>, own: usize) -> bool {
        // In this order: who has it may give it a write and let go of it between the two looks. The fence goes with the
        // release in the drop of their `Arc`, so that what they gave it is seen.
        let is_held = Arc::strong_count(self) > own;
        fence(Ordering::Acquire);
        is_held || self.is_owing()
    }

    /// What waits in it, for those who do not hold it.
    pub fn waiting(&self) -> Waiting {
        Waiting(self.shared.clone())
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it another limit. What waits beyond it stays.
    pub fn set_limit(&self, limit: u64) {
        self.shared.limit.store(limit, Ordering::Relaxed);
    }

    /// The most that may wait in it.
    pub fn limit(&self) -> u64 {
        self.shared.limit.load(Ordering::Relaxed)
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
            match &self.ends {
                Some(ends) => ends.add(std::mem::take(&mut self.path), thread),
                None => _ = thread.join(),
            }
        }
    }
}
