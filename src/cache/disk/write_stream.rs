//! An object that is being written, between the writer and the io threads.

use std::{
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use bytes::Bytes;

use super::{
    index::Id,
    judge::{Finished, Judge, Visit},
    layout::Keyed,
};
use crate::cache::pieces::Pieces;

/// So many bytes of one object may wait before whoever can slow down does.
pub(super) const MOST_WAITING: usize = 8 << 20;

/// What the writer and the io threads share.
#[derive(Debug)]
pub(super) struct WriteStream {
    pub(super) key: u128,
    pub(super) meta: Vec<u8>,
    pub(super) length: Option<u64>,
    /// A store that was cleared since then does not take it.
    pub(super) generation: u32,
    pub(super) waiting: Mutex<Waiting>,
    /// Touched by the thread that runs the stream only.
    pub(super) target: Mutex<Target>,
}

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) chunks: Pieces,
    pub(super) bytes: usize,
    /// No more comes.
    pub(super) end: Option<End>,
    pub(super) is_given_up: bool,
    /// A job for it waits or runs.
    pub(super) is_scheduled: bool,
    /// Woken when less waits, or nothing will be written.
    pub(super) waker: Option<Waker>,
}

/// What becomes of an object that is whole.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// These are replaced.
    pub(super) replaces: Vec<Id>,
    /// What is known of its key.
    pub(super) keyed: Keyed,
    /// Who says what becomes of it, and is told when it was finished.
    pub(super) judge: Option<(Arc<dyn Judge>, Finished)>,
}

impl End {
    /// What becomes of it, as far as is known now.
    pub(super) fn judge(&self, meta: &[u8]) -> Visit {
        self.judge.as_ref().map_or(Visit::Keep, |(judge, finished)| judge.judge(meta, *finished))
    }
}

/// The file.
#[derive(Debug, Default)]
pub(super) struct Target {
    pub(super) file: Option<File>,
    pub(super) sequence: u64,
    /// The bytes that are in it, with sums.
    pub(super) at: u64,
    /// The bytes of the body so far, and its blocks.
    pub(super) length: u64,
    pub(super) blocks: u64,
    /// The room that it has in the index.
    pub(super) reserved: u64,
}

/// What is to be done next.
pub(super) enum Step {
    Wait,
    Abandon,
    Write { chunks: Vec<Bytes>, bytes: usize, end: Option<End> },
}

impl WriteStream {
    /// Its `meta` has its place among what waits already.
    pub(super) fn new(key: u128, meta: Vec<u8>, length: Option<u64>, generation: u32) -> Self {
        let (waiting, target) = (Mutex::default(), Mutex::default());
        Self { key, meta, length, generation, waiting, target }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn step(&self, block: usize) -> Step {
        let mut waiting = self.lock();
        if waiting.is_given_up {
            return Step::Abandon;
        }
        if waiting.bytes < block && waiting.end.is_none() {
            waiting.is_scheduled = false;
            return Step::Wait;
        }
        let bytes = waiting.bytes.min(block);
        let mut chunks = Vec::new();
        let mut missing = bytes;
        while missing > 0
            && let Some(chunk) = waiting.chunks.take(missing)
        {
            missing -= chunk.len();
            chunks.push(chunk);
        }
        waiting.bytes -= bytes;
        if waiting.bytes < MOST_WAITING
            && let Some(waker) = waiting.waker.take()
        {
            waker.wake();
        }
        let end = if waiting.bytes == 0 { waiting.end.clone() } else { None };
        Step::Write { chunks, bytes, end }
    }
}
