//! The disk tier of the cache: larger than memory, and there again after a restart. A file per object; it becomes
//! visible when it is whole, and every byte that is read back is vouched for by a checksum.
//!
//! - `layout`: how an object lies in its file, and what the file's name says;
//! - `folder`: what lies where; every call to the file system;
//! - `index`: what is stored, and what leaves; in memory;
//! - `queue`: the io threads and their jobs: `read`, `write`, `update`;
//! - `scan`: the index filled at start; `visit`: all objects for purging.
//!
//! Invariants. No call here waits for the disk, but for [`Disk::open`], [`Disk::clear`] and [`Disk::visit`]: io is on
//! threads of its own. What is read is what was written, or nothing: a damaged object is a miss, and removed. The
//! files together never cost more than the limit; of an object that is removed while it is being read, the room
//! comes free when the reading ends. An error of the disk loses objects and nothing else: it is counted, and logged
//! once in a while. No lock is held over io.
//!
//! Nothing is synced. What the process has written is the kernel's, which kill −9 does not touch; what a failing
//! power supply tears, the checksums tell. `docs/decisions/015-disk-tier.md` says why all this is so.

mod folder;
mod index;
mod layout;
mod queue;
mod read;
mod scan;
mod stats;
#[cfg(test)]
mod tests;
mod update;
mod visit;
mod write;

use std::{
    fmt, io,
    num::NonZeroU8,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use tokio::sync::oneshot;

use self::{
    folder::Folder,
    index::{Gone, Index},
    queue::{Job, Queue},
    stats::Counts,
};
pub use self::{
    index::{Found, Id},
    read::{Damaged, Reading},
    stats::Stats,
    visit::Visit,
    write::Writing,
};
use crate::cache::conf::Eviction;

/// What a store is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder. It is made where it is missing; what else lies in it is left alone.
    pub path: PathBuf,
    /// The most bytes that the files may cost, heads, checksums and the rounding to 4 KiB included.
    pub limit: u64,
    /// Which object leaves when room is needed.
    pub eviction: Eviction,
    /// The bytes that one checksum covers, and that are read at once; rounded up to a power of two from 512 bytes
    /// to 16 MiB. Files written with another size stay readable.
    pub block: usize,
    /// The bytes that may wait to be written.
    pub queue: usize,
    /// The io threads.
    pub threads: usize,
}

impl Options {
    /// A folder and a limit, and the rest as it suits most: blocks of 64 KiB, 64 MiB that may wait, four threads.
    pub fn new(path: impl Into<PathBuf>, limit: u64) -> Self {
        Self {
            path: path.into(),
            limit,
            eviction: Eviction::default(),
            block: 64 << 10,
            queue: 64 << 20,
            threads: 4,
        }
    }
}

/// The store. Its threads end, and its folder is free for another, soon after the last `Arc` is dropped; what was
/// finished before is written first.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
}

impl Disk {
    /// Opens or makes the folder, and starts the threads and the scan; until the scan has come by an object, it is
    /// not found. [`io::ErrorKind::WouldBlock`] while another process, or another store, has the folder.
    pub fn open(options: &Options) -> io::Result<Arc<Self>> {
        let (folder, generation) = Folder::open(&options.path)?;
        let shared = Arc::new(Shared {
            folder,
            index: Mutex::new(Index::new(options.eviction, options.limit, generation)),
            scanned: Condvar::new(),
            queue: Queue::default(),
            heads: Mutex::default(),
            places_taken: AtomicUsize::new(0),
            places: options.queue,
            block: layout::block_of(options.block),
            counts: Counts::default(),
        });
        // Should a thread not start, those before it end with this.
        let disk = Arc::new(Self { shared });
        queue::start(&disk.shared, options.threads)?;
        Ok(disk)
    }

    /// What is stored under a key, the newest first; from memory. Several are there where several were stored and
    /// none replaced the other, also where a kill came between an object and the deletion of the one that it
    /// replaced: so of two that fit, take the first.
    pub fn find(&self, key: u128) -> Vec<Found> {
        self.shared.lock_index().find(key)
    }

    /// What was given as `meta` when the object was written or updated. Nothing where it is gone or damaged, which
    /// removes it.
    pub async fn head(&self, id: Id) -> Option<Vec<u8>> {
        self.shared.lock_index().name(id)?;
        if let Some(meta) = update::waiting(&self.shared, id) {
            return Some(meta);
        }
        let (reply, meta) = oneshot::channel();
        self.shared.queue.push(Job::Head(id, reply));
        meta.await.ok().flatten()
    }

    /// Streams the bytes of a body from `from` to before `to`, or to its end where that comes first.
    pub fn read(self: &Arc<Self>, id: Id, from: u64, to: u64) -> Reading {
        Reading { disk: self.clone(), stream: Arc::new(read::Stream::new(id, from, to)) }
    }

    /// Begins to write an object; `length` is that of its body, where it is known. Nothing where too much waits to
    /// be written already, or where the object could never fit: then it is not stored.
    pub fn begin(self: &Arc<Self>, key: u128, meta: Vec<u8>, length: Option<u64>) -> Option<Writing> {
        let shared = &self.shared;
        let block = shared.block;
        let body = layout::body_end(length.filter(|length| layout::is_possible(*length)).unwrap_or(0), block);
        let size = layout::on_disk(body + u64::from(layout::head_length(meta.len())));
        let is_possible = meta.len() <= layout::LONGEST_META && length.is_none_or(layout::is_possible);
        let (limit, generation) = {
            let index = shared.lock_index();
            (index.limit(), index.generation)
        };
        if !is_possible || size > limit || shared.queue.is_closed() || !shared.take_place(meta.len()) {
            shared.counts.given_up.fetch_add(1, Relaxed);
            return None;
        }
        let stream = Arc::new(write::Stream::new(key, meta, length, generation));
        Some(Writing { disk: self.clone(), stream, pushed: 0 })
    }

    /// Gives the object a new `meta`; its body stays. [`Self::head`] tells it from now on.
    pub fn update(&self, id: Id, meta: Vec<u8>) {
        if update::note(&self.shared, id, meta) {
            update::schedule(&self.shared, id);
        }
    }

    /// Removes an object: it is not found from now on, and its file is deleted soon.
    pub fn remove(&self, id: Id) {
        self.shared.remove(id);
    }

    /// Removes all under a key, also what the scan at start has not come by yet.
    pub fn remove_key(&self, key: u128) {
        let mut gone = Vec::new();
        self.shared.lock_index().remove_key(key, &mut gone);
        self.shared.unlink(gone);
    }

    /// The object was asked for, which may let it stay longer.
    pub fn touch(&self, id: Id) {
        self.shared.lock_index().touch(id);
    }

    /// Removes everything, also what is being written now. When this returns, nothing of it comes back, whatever
    /// becomes of the process; the files are deleted in the background, and until then take room. Makes a folder,
    /// so call it where waiting for the disk is allowed.
    pub fn clear(&self) {
        let generation = {
            let mut index = self.shared.lock_index();
            index.clear();
            index.generation
        };
        update::forget_all(&self.shared);
        if let Err(error) = self.shared.folder.make_generation(generation) {
            self.shared.failed("the folder for what comes after a clearing cannot be made", &error);
        }
        self.shared.scanned.notify_all();
        self.shared.queue.sweep();
    }

    /// Shows every object's `meta` to `visit`, and does what that answers; returns when all are through. Waits for
    /// the scan at start, and for the disk: not for an event loop. What is stored meanwhile may not be shown.
    pub fn visit(&self, visit: &mut dyn FnMut(&[u8]) -> Visit) {
        visit::all(&self.shared, visit);
    }

    /// Sets another limit; what is above it leaves in the background.
    pub fn set_limit(&self, limit: u64) {
        self.shared.lock_index().set_limit(limit);
        self.shared.queue.push(Job::Shrink);
    }

    /// What is there, and what happened so far.
    pub fn stats(&self) -> Stats {
        self.shared.counts.stats(&self.shared.lock_index(), self.shared.places_taken.load(Relaxed))
    }

    /// Takes no more and finds no more, though somebody still holds the store: its folder is free for another soon,
    /// as for a program that takes over. What was finished is written first, what is being read breaks off.
    pub fn close(&self) {
        self.shared.queue.close();
    }

    /// Closes it and waits, though not longer than `patience`, until what was finished is written and what was removed
    /// is deleted. For the end of the program, which would cut that off: what was removed would be there again.
    pub fn finish(&self, patience: Duration) {
        self.close();
        self.shared.queue.wait_for_end(patience);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the threads share with the callers.
struct Shared {
    folder: Folder,
    index: Mutex<Index>,
    /// The scan at start is through.
    scanned: Condvar,
    queue: Queue,
    /// Heads that wait to be written.
    heads: Mutex<update::Heads>,
    /// The bytes that wait to be written, and the most that may.
    places_taken: AtomicUsize,
    places: usize,
    block: NonZeroU8,
    counts: Counts,
}

impl Shared {
    fn lock_index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block_size(&self) -> usize {
        1 << self.block.get()
    }

    /// Lets `bytes` more wait to be written, if they may.
    fn take_place(&self, bytes: usize) -> bool {
        let add = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.places);
        self.places_taken.fetch_update(Release, Acquire, add).is_ok()
    }

    fn give_place(&self, bytes: usize) {
        self.places_taken.fetch_sub(bytes, Release);
    }

    fn remove(&self, id: Id) {
        let mut gone = Vec::new();
        self.lock_index().remove(id, &mut gone);
        self.unlink(gone);
    }

    /// Has files deleted.
    fn unlink(&self, gone: Vec<Gone>) {
        if !gone.is_empty() {
            self.queue.push(Job::Unlink(gone));
        }
    }

    /// Deletes files; waits for the disk.
    fn unlink_now(&self, gone: &[Gone]) {
        for (generation, name) in gone {
            if let Err(error) = self.folder.remove_object(*generation, name) {
                self.failed("a file of the disk cache cannot be deleted", &error);
            }
        }
    }

    /// Evicts what a lower limit has no room for, in steps, so that the index is free in between.
    fn shrink(&self) {
        loop {
            let mut gone = Vec::new();
            let is_done = self.lock_index().shrink(1 << 20, &mut gone);
            self.unlink_now(&gone);
            if is_done {
                return;
            }
        }
    }

    /// The scan is through, or will not be: writing begins.
    fn end_scan(&self) {
        self.lock_index().end_scan();
        self.scanned.notify_all();
        self.queue.begin_writing();
    }

    /// An error of the disk.
    fn failed(&self, what: &str, error: &io::Error) {
        self.counts.io_errors.fetch_add(1, Relaxed);
        self.complain(what, error);
    }

    /// Logs, but not more than once in a while.
    fn complain(&self, what: &str, error: &dyn fmt::Display) {
        if let Some(unsaid) = self.counts.may_complain() {
            tracing::warn!(unsaid, "{what}: {error}");
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("folder", &self.folder).finish_non_exhaustive()
    }
}
