//! A body that is being read, between the reader and the io threads.

use std::{
    collections::VecDeque,
    fs::File,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use bytes::Bytes;

use super::{index::Id, layout::Name};

/// What the reader and the io threads share.
#[derive(Debug)]
pub(super) struct ReadStream {
    pub(super) id: Id,
    pub(super) state: Mutex<State>,
    /// Opened at the first step; touched by the thread that runs the stream only.
    pub(super) file: Mutex<Option<(File, Name)>>,
}

/// How far it is.
#[derive(Debug)]
pub(super) struct State {
    pub(super) ready: VecDeque<Bytes>,
    /// What is not read yet.
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) is_damaged: bool,
    /// A job for it waits or runs.
    pub(super) is_scheduled: bool,
    /// Nobody waits for it any more.
    pub(super) is_dropped: bool,
    pub(super) waker: Option<Waker>,
}

impl ReadStream {
    pub(super) fn new(id: Id, from: u64, to: u64) -> Self {
        let state = State {
            ready: VecDeque::new(),
            from: from.min(to),
            to,
            is_damaged: false,
            is_scheduled: false,
            is_dropped: false,
            waker: None,
        };
        Self { id, state: Mutex::new(state), file: Mutex::new(None) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whatever became of it, nobody waits for more.
    pub(super) fn end(&self, is_damaged: bool) {
        let mut state = self.lock();
        (state.from, state.is_damaged, state.is_scheduled) = (state.to, is_damaged, false);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
impl ReadStream {
    /// How many blocks wait for the reader.
    pub(super) fn ready_blocks(&self) -> usize {
        self.lock().ready.len()
    }
}
