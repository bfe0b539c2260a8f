//! Reading: a head at once, a body as a stream with read-ahead. Nothing leaves here that its sum does not vouch for.
//!
//! A [`Reading`] keeps its file open: an object that is evicted or removed while it is read is read to its end, and
//! its room on disk comes free then.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{
    index::Id,
    layout::{Name, SUM},
    queue::Job,
    read_stream::ReadStream,
    shared::Shared,
    store::Disk,
};

/// So many blocks wait at most for whoever reads.
const AHEAD: usize = 4;

/// The rest of a body cannot be had: it is damaged, or was gone when its reading began, or the disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// A body on its way from disk.
#[derive(Debug)]
pub struct Reading {
    disk: Arc<Disk>,
    pub(super) stream: Arc<ReadStream>,
}

impl Disk {
    /// Streams the bytes of a body from `from` to before `to`, or to its end where that comes first.
    pub fn read(self: &Arc<Self>, id: Id, from: u64, to: u64) -> Reading {
        Reading { disk: self.clone(), stream: Arc::new(ReadStream::new(id, from, to)) }
    }
}

impl Reading {
    /// The next bytes, in order; nothing after the last, or after [`Damaged`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Damaged>>> {
        let mut state = self.stream.lock();
        let next = match state.ready.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(bytes))),
            None if state.is_damaged => {
                state.is_damaged = false;
                return Poll::Ready(Some(Err(Damaged)));
            }
            None if state.from >= state.to => return Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        };
        if !state.is_scheduled && state.from < state.to && state.ready.len() <= AHEAD / 2 {
            state.is_scheduled = true;
            drop(state);
            if !self.disk.shared.queue.push(Job::Read(self.stream.clone())) {
                self.stream.end(true);
                // What was ready is still given; a waiter has been woken.
            }
        }
        next
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.stream.lock();
        state.is_dropped = true;
        state.ready.clear();
    }
}

/// Reads ahead, as far as there is room for.
pub(super) fn run(shared: &Shared, stream: &ReadStream) {
    let mut opened = stream.file.lock().unwrap_or_else(PoisonError::into_inner);
    if opened.is_none() {
        *opened = open(shared, stream.id).ok();
    }
    let Some((file, name)) = &*opened else { return stream.end(true) };
    loop {
        let (from, to) = {
            let mut state = stream.lock();
            state.to = state.to.min(name.length);
            if state.is_dropped || state.from >= state.to || state.ready.len() >= AHEAD {
                state.is_scheduled = false;
                let waker = state.waker.take();
                drop(state);
                waker.into_iter().for_each(Waker::wake);
                return;
            }
            (state.from, state.to)
        };
        let bytes = match block(file, name, from, to) {
            Ok(bytes) => bytes,
            Err(error) => {
                broken(shared, stream.id, *name, &error);
                return stream.end(true);
            }
        };
        let mut state = stream.lock();
        state.from += bytes.len() as u64;
        state.ready.push_back(bytes);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Why something of an object cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is not there any more.
    Gone,
    /// It is there, but its file cannot be opened.
    CannotOpen,
}

/// What the caller gave with an object, by its head.
pub(super) fn head(shared: &Shared, id: Id) -> Result<Vec<u8>, Unread> {
    let (file, name) = open(shared, id)?;
    let meta = read_head(&file, &name).or_else(|_| {
        // An update may have put the head elsewhere, and the next one its own in this place.
        let _moving = shared.lock_moving();
        let (file, name) = open_unmoved(shared, id)?;
        read_head(&file, &name).map_err(|error| {
            broken(shared, id, name, &error);
            Unread::Gone
        })
    })?;
    shared.counts.reads.fetch_add(1, Relaxed);
    Ok(meta)
}

fn read_head(file: &File, name: &Name) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; name.head as usize];
    file.read_exact_at(&mut bytes, name.head_at())?;
    name.decode(bytes).ok_or_else(not_as_written)
}

/// The file of an object. What was deleted behind our back leaves the index.
fn open(shared: &Shared, id: Id) -> Result<(File, Name), Unread> {
    match open_named(shared, id).ok_or(Unread::Gone)? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // An update may just be giving it another name.
            let _moving = shared.lock_moving();
            open_unmoved(shared, id)
        }
        opened => opened.map_err(|error| cannot_open(shared, &error)),
    }
}

/// The same for who sees to it that no update gives it another name meanwhile.
fn open_unmoved(shared: &Shared, id: Id) -> Result<(File, Name), Unread> {
    match open_named(shared, id).ok_or(Unread::Gone)? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            shared.remove(id);
            Err(Unread::Gone)
        }
        opened => opened.map_err(|error| cannot_open(shared, &error)),
    }
}

fn open_named(shared: &Shared, id: Id) -> Option<io::Result<(File, Name)>> {
    let (name, generation) = {
        let index = shared.lock_index();
        (index.name(id)?, index.generation)
    };
    Some(shared.folder.open_object(generation, &name, false).map(|file| (file, name)))
}

/// Too many open files, perhaps: the object is not to blame.
fn cannot_open(shared: &Shared, error: &io::Error) -> Unread {
    shared.failed("an object cannot be opened", error);
    Unread::CannotOpen
}

/// The bytes of one block from `from` on, but not beyond `to`.
fn block(file: &File, name: &Name, from: u64, to: u64) -> io::Result<Bytes> {
    let number = from / name.block_size();
    let (at, length) = name.block_at(number);
    let mut bytes = vec![0; length + SUM];
    file.read_exact_at(&mut bytes, at)?;
    if !name.is_block(number, &bytes) {
        return Err(not_as_written());
    }
    let begin = number * name.block_size();
    bytes.truncate(usize::try_from(to - begin).map_or(length, |end| end.min(length)));
    let skipped = usize::try_from(from - begin).map_or(bytes.len(), |skipped| skipped.min(bytes.len()));
    Ok(Bytes::from(bytes).slice(skipped..))
}

fn not_as_written() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a checksum is wrong")
}

/// What cannot be read is not kept: it would fail everyone who asks for it.
fn broken(shared: &Shared, id: Id, name: Name, error: &io::Error) {
    let is_damage = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
    if is_damage {
        shared.counts.damaged.fetch_add(1, Relaxed);
        shared.complain("an object is damaged and was removed", error);
    } else {
        shared.failed("an object cannot be read and was removed", error);
    }
    tracing::debug!(object = name.text(), "{error}");
    shared.remove(id);
}
