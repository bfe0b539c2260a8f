//! What a fill has come to, behind its lock: how far it is, the bytes that readers have not had yet, who is notified.

use std::{sync::Arc, task::Waker};

use bytes::Bytes;
use slab::Slab;

use super::{
    answer::{Answer, Failure, Origin},
    hub,
};
use crate::{
    cache::{pieces::Pieces, purge::Rule, stored_response::StoredResponse},
    moment::Moment,
};

/// How far a fill is.
#[derive(Debug)]
pub(super) enum Phase {
    /// The head is awaited.
    Asking,
    /// Who asked failed before a head came; one of those who wait may ask again.
    Orphaned,
    /// The head is here, the body comes.
    Coming(Arc<Answer>),
    /// What is stored answers.
    Stored(Arc<StoredResponse>, Origin),
    /// The answer is for the one who asked only.
    Released,
    /// There is no answer.
    Failed(Failure),
}

/// A worker that has readers.
#[derive(Debug)]
struct Subscriber {
    inbox: Arc<hub::Inbox>,
    /// Whether it was notified, and none of its readers has looked since.
    is_notified: bool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) tape: Tape,
    /// Who reads, or waits to: the offset at which each is.
    pub(super) readers: Slab<u64>,
    /// When something came last, or it was asked for.
    pub(super) progressed: Moment,
    /// How many times it was asked.
    pub(super) tries: u32,
    /// Purges since it began.
    pub(super) rules: Vec<Rule>,
    /// Whether the body is kept by whoever brings it, so that it is wanted without readers.
    pub(super) is_kept: bool,
    /// Woken when a reader leaves or goes on.
    pub(super) producer: Option<Waker>,
    subscribers: Vec<Subscriber>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Asking,
            tape: Tape::default(),
            readers: Slab::new(),
            progressed: Moment::now(),
            tries: 1,
            rules: Vec::new(),
            is_kept: false,
            producer: None,
            subscribers: Vec::new(),
        }
    }

    /// Whether an answer is coming that others may still join.
    pub(super) fn is_open(&self) -> bool {
        matches!(&self.phase, Phase::Coming(answer) if answer.is_open)
    }

    /// Whether the body is wanted without readers: it is kept, or may yet be stored.
    pub(super) fn goes_on_unread(&self) -> bool {
        self.is_kept || self.is_open() && !self.tape.is_paced
    }

    /// Has this thread's worker notified of news from now on.
    pub(super) fn subscribe(&mut self) {
        let own = hub::inbox();
        match self.subscribers.iter_mut().find(|other| Arc::ptr_eq(&other.inbox, &own)) {
            Some(subscriber) => subscriber.is_notified = false,
            None => self.subscribers.push(Subscriber { inbox: own, is_notified: false }),
        }
    }

    /// Notifies every worker that has readers, unless it was notified and nobody looked.
    pub(super) fn notify(&mut self, fill: u64) {
        for subscriber in &mut self.subscribers {
            if !std::mem::replace(&mut subscriber.is_notified, true) {
                hub::notify(&subscriber.inbox, fill);
            }
        }
    }

    pub(super) fn wake_producer(&mut self) {
        if let Some(producer) = self.producer.take() {
            producer.wake();
        }
    }
}

/// The bytes of a body as they come. Readers are at offsets of their own.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) pieces: Pieces,
    /// Whether it outgrew what may be kept: only the newest of it is kept, and whoever brings it waits for readers.
    pub(super) is_paced: bool,
    /// Set at the end: whether the body came whole.
    pub(super) end_is_whole: Option<bool>,
}

/// What a reader finds at its offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum At {
    Bytes(Bytes),
    NotYet,
    End,
    Broken,
    Behind,
}

impl Tape {
    pub(super) fn at(&self, offset: u64) -> At {
        if offset >= self.pieces.end() {
            return match self.end_is_whole {
                None => At::NotYet,
                Some(true) => At::End,
                Some(false) => At::Broken,
            };
        }
        self.pieces.at(offset).map_or(At::Behind, At::Bytes)
    }

    /// Lets go of what all readers have had, and of what is more than `keep` behind the end; a single reader loses
    /// nothing, however slow.
    pub(super) fn trim(&mut self, keep: u64, readers: &Slab<u64>) {
        let end = self.pieces.end();
        let slowest = readers.iter().map(|(_, at)| *at).min().unwrap_or(end);
        let least = match readers.len() {
            0 | 1 => slowest,
            _ => slowest.max(end.saturating_sub(keep)),
        };
        self.pieces.forget(least);
    }

    /// All of it, when nothing is gone.
    pub(super) fn whole(&self) -> Option<impl Iterator<Item = Bytes>> {
        (self.pieces.start() == 0 && !self.is_paced)
            .then(|| self.pieces.iter().map(|piece| piece.bytes.clone()))
    }
}
