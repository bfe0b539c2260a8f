//! Writing: an object as it comes, block by block, into a file that becomes visible when it is whole.
//!
//! Whoever pushes never waits. What was pushed waits in memory until there is a block of it, and counts against what
//! may wait in all; above that the object is given up. Room on disk is taken step by step, before it is used.

use std::{
    borrow::Cow,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{
    index::Id,
    judge::{Finished, Judge, Visit},
    layout::{self, Keyed, Name, on_disk},
    queue::Job,
    shared::Shared,
    store::Disk,
    visit,
    write_stream::{End, MOST_WAITING, Step, Target, Waiting, WriteStream},
};
use crate::cache::pieces::Pieces;

/// So many bytes are written before another job has its turn: most objects are whole by then, and few files are open.
const BYTES_AT_ONCE: usize = 512 << 10;

/// What a full disk is asked to give back at least, so that the store lives on with the room that there is.
const LEAST_EVICTED: u64 = 1 << 20;

/// An object on its way to disk. Dropped before [`Self::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Writing {
    disk: Arc<Disk>,
    stream: Arc<WriteStream>,
    pushed: u64,
}

impl Disk {
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
        let stream = Arc::new(WriteStream::new(key, meta, length, generation));
        Some(Writing { disk: self.clone(), stream, pushed: 0 })
    }
}

impl Writing {
    /// Adds bytes; never waits. False when too many wait already, when there are more than were announced, when the
    /// store was cleared, or when the disk failed: then the object is given up.
    pub fn push(&mut self, bytes: Bytes) -> bool {
        let shared = &self.disk.shared;
        self.pushed += bytes.len() as u64;
        let mut waiting = self.stream.lock();
        let is_too_long = self.stream.length.is_some_and(|length| self.pushed > length);
        if waiting.is_given_up || is_too_long || !shared.take_place(bytes.len()) {
            self.stream.give_up(shared, &mut waiting);
            return false;
        }
        waiting.bytes += bytes.len();
        waiting.chunks.push(bytes);
        if waiting.bytes >= shared.block_size() {
            self.stream.schedule(shared, &mut waiting);
        }
        !waiting.is_given_up
    }

    /// Ready when not so much waits that the disk is behind; else the caller is woken when it is not. For who can slow
    /// down what it writes.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.stream.lock();
        if waiting.bytes < MOST_WAITING || waiting.is_given_up {
            return Poll::Ready(());
        }
        waiting.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The object is whole. It becomes visible when all of it is on disk, in the place of those that it replaces; an
    /// object that is shorter than announced never does.
    pub fn finish(self, replaces: &[Id]) {
        self.end(End { replaces: replaces.to_vec(), keyed: Keyed::Unknown, judge: None });
    }

    /// The same of one of whose key this is known; before it is visible, the judge is asked what becomes of it, and told
    /// when it was finished. False where it was given up already.
    pub fn finish_before(self, replaces: &[Id], keyed: Keyed, judge: (Arc<dyn Judge>, Finished)) -> bool {
        self.end(End { replaces: replaces.to_vec(), keyed, judge: Some(judge) })
    }

    fn end(self, end: End) -> bool {
        let shared = &self.disk.shared;
        let mut waiting = self.stream.lock();
        if self.stream.length.is_none_or(|length| length == self.pushed) && !waiting.is_given_up {
            waiting.end = Some(end);
            self.stream.schedule(shared, &mut waiting);
            return !waiting.is_given_up;
        }
        false
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut waiting = self.stream.lock();
        if waiting.end.is_none() {
            self.stream.give_up(&self.disk.shared, &mut waiting);
        }
    }
}

impl WriteStream {
    fn schedule(self: &Arc<Self>, shared: &Shared, waiting: &mut Waiting) {
        if !waiting.is_scheduled {
            waiting.is_scheduled = shared.queue.push(Job::Write(self.clone()));
            if !waiting.is_scheduled {
                self.let_go(shared, waiting);
            }
        }
    }

    fn give_up(self: &Arc<Self>, shared: &Shared, waiting: &mut Waiting) {
        if !waiting.is_given_up {
            self.let_go(shared, waiting);
            // Whoever runs it deletes the file.
            if !waiting.is_scheduled {
                waiting.is_scheduled = shared.queue.push(Job::Write(self.clone()));
            }
        }
    }

    fn let_go(&self, shared: &Shared, waiting: &mut Waiting) {
        waiting.is_given_up = true;
        waiting.chunks = Pieces::default();
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        shared.give_place(std::mem::take(&mut waiting.bytes) + self.meta.len());
        shared.counts.given_up.fetch_add(1, Relaxed);
    }
}

/// Writes what waits, and ends the object where it is whole.
pub(super) fn run(shared: &Shared, stream: &Arc<WriteStream>) {
    let mut target = stream.target.lock().unwrap_or_else(PoisonError::into_inner);
    let mut done = 0;
    while done < BYTES_AT_ONCE {
        let (chunks, bytes, end) = match stream.step(shared.block_size()) {
            Step::Wait => return,
            Step::Abandon => return abandon(shared, &mut target),
            Step::Write { chunks, bytes, end } => (chunks, bytes, end),
        };
        let is_last = end.is_some();
        let mut replaced = end.as_ref().map_or_else(Vec::new, |end| end.replaces.clone());
        let written = write(shared, stream, &mut target, &chunks, end);
        shared.give_place(bytes);
        match written {
            Ok(true) if is_last => {
                shared.give_place(stream.meta.len());
                shared.counts.writes.fetch_add(1, Relaxed);
                return;
            }
            Ok(true) => done += bytes,
            other => {
                if let Err(error) = other {
                    failed(shared, &target, &error);
                }
                let mut waiting = stream.lock();
                replaced.extend(waiting.end.iter().flat_map(|end| &end.replaces));
                if !waiting.is_given_up {
                    stream.let_go(shared, &mut waiting);
                }
                drop(waiting);
                // It is older than what was served, and would be found again.
                replaced.into_iter().for_each(|id| shared.remove_now(id));
                return abandon(shared, &mut target);
            }
        }
    }
    if !shared.queue.push(Job::Write(stream.clone())) {
        stream.let_go(shared, &mut stream.lock());
        abandon(shared, &mut target);
    }
}

/// Writes a block, and with the last one the head; then the object is visible. False when there is no room for it.
fn write(
    shared: &Shared,
    stream: &WriteStream,
    target: &mut Target,
    chunks: &[Bytes],
    end: Option<End>,
) -> io::Result<bool> {
    if target.file.is_none() && !begin(shared, stream, target)? {
        return Ok(false);
    }
    // Who looks through the objects from here on waits until this one is among them.
    let _placing = end.is_some().then(|| shared.begin_placing());
    let mut meta = Cow::Borrowed(stream.meta.as_slice());
    match end.as_ref().map(|end| end.judge(&meta)) {
        Some(Visit::Remove) => return Ok(false),
        Some(Visit::Update(newer)) => meta = Cow::Owned(newer),
        Some(Visit::Keep) | None => {}
    }
    let body: usize = chunks.iter().map(Bytes::len).sum();
    let mut bytes = Vec::with_capacity(body + layout::SUM + if end.is_some() { meta.len() + 64 } else { 0 });
    chunks.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
    if body > 0 {
        let sum = layout::sum(stream.key, target.sequence, target.blocks, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        target.blocks += 1;
        target.length += body as u64;
    }
    let mut name = Name {
        key: stream.key,
        sequence: target.sequence,
        length: target.length,
        shift: 0,
        head: layout::head_length(meta.len()),
        block: shared.block,
        mark: None,
        keyed: end.as_ref().map_or(Keyed::Unknown, |end| end.keyed),
    };
    if end.is_some() {
        let head = name.encode(&meta);
        name = name.marked(&head);
        bytes.extend_from_slice(&head);
    }
    if !reserve(shared, stream, target, bytes.len() as u64) {
        return Ok(false);
    }
    let Some(file) = &target.file else { return Ok(false) };
    file.write_all_at(&bytes, target.at)?;
    target.at += bytes.len() as u64;
    match end {
        Some(end) => publish(shared, stream, target, name, &end),
        None => Ok(true),
    }
}

/// Opens the file, unless the store was cleared.
fn begin(shared: &Shared, stream: &WriteStream, target: &mut Target) -> io::Result<bool> {
    {
        let mut index = shared.lock_index();
        if index.generation != stream.generation {
            return Ok(false);
        }
        target.sequence = index.next_sequence;
        index.next_sequence += 1;
    }
    target.file = Some(shared.folder.create(target.sequence)?);
    Ok(true)
}

/// Takes the room for the next bytes, unless the store was cleared.
fn reserve(shared: &Shared, stream: &WriteStream, target: &mut Target, more: u64) -> bool {
    let missing = on_disk(target.at + more).saturating_sub(target.reserved);
    let mut gone = Vec::new();
    let has_room = {
        let mut index = shared.lock_index();
        index.generation == stream.generation && (missing == 0 || index.reserve(missing, &mut gone))
    };
    shared.unlink_now(&gone);
    if has_room {
        target.reserved += missing;
    }
    has_room
}

fn publish(
    shared: &Shared,
    stream: &WriteStream,
    target: &mut Target,
    name: Name,
    end: &End,
) -> io::Result<bool> {
    if shared.lock_index().generation != stream.generation {
        return Ok(false);
    }
    shared.folder.publish(stream.generation, &name)?;
    target.file = None;
    let mut gone = Vec::new();
    let mut index = shared.lock_index();
    index.release(std::mem::take(&mut target.reserved));
    let is_meant = index.generation == stream.generation;
    let stored = if is_meant { index.insert(name, &end.replaces, &mut gone) } else { None };
    drop(index);
    if stored.is_none() {
        gone.push((stream.generation, name));
    }
    shared.unlink_now(&gone);
    // A write that came since it was judged looks through nothing: it took out what it found then.
    if let Some(id) = stored.filter(|_| end.judge(&stream.meta) == Visit::Remove) {
        visit::apply(shared, id, Visit::Remove);
    }
    Ok(stored.is_some())
}

fn abandon(shared: &Shared, target: &mut Target) {
    if target.file.take().is_some()
        && let Err(error) = shared.folder.discard(target.sequence)
    {
        shared.failed("a file that was given up cannot be deleted", &error);
    }
    let reserved = std::mem::take(&mut target.reserved);
    if reserved > 0 {
        shared.lock_index().release(reserved);
    }
}

fn failed(shared: &Shared, target: &Target, error: &io::Error) {
    shared.failed("an object cannot be written and was given up", error);
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        let mut gone = Vec::new();
        shared.lock_index().evict_bytes(target.reserved.max(LEAST_EVICTED), &mut gone);
        shared.unlink_now(&gone);
    }
}
