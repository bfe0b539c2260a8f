//! One who brings what a fill waits for. Dropped before the end, it leaves an error, or the lead, to those who wait.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{
    answer::{Answer, Failure, Origin, gone},
    fills::Fill,
    state::{Phase, State},
};
use crate::{
    account,
    cache::{
        key::Key,
        purge::Rule,
        stored_response::{Body, StoredResponse},
    },
    error::Kind,
    moment::Moment,
};

/// How often a fetch is asked for before all who wait get the error.
const MOST_TRIES: u32 = 2;
/// How far whoever brings a body that outgrew the bounds may be ahead of the fastest reader.
pub(super) const RUN_AHEAD: u64 = 256 * 1024;

/// One who brings what a fill waits for.
#[derive(Debug)]
pub struct Source {
    fill: Arc<Fill>,
    is_concluded: bool,
}

impl Source {
    pub(super) fn new(fill: Arc<Fill>) -> Self {
        Self { fill, is_concluded: false }
    }

    /// What is fetched.
    pub fn key(&self) -> &Key {
        &self.fill.key
    }

    /// Ready when nobody waits for the head any more; then nobody can join either.
    pub fn poll_abandoned(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.fill.state();
        if !state.readers.is_empty() {
            state.producer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if matches!(state.phase, Phase::Asking) {
            state.phase = Phase::Failed(gone());
        }
        Poll::Ready(())
    }

    /// The head has come, and is shared.
    pub fn answer(&mut self, answer: Arc<Answer>) {
        let mut state = self.fill.state();
        let is_open = answer.is_open;
        state.phase = Phase::Coming(answer);
        state.progressed = Moment::now();
        state.notify(self.fill.id);
        drop(state);
        if !is_open {
            self.fill.close();
        }
    }

    /// Some of the body has come.
    pub fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        let fills = &self.fill.fills;
        let bounds = fills.bounds();
        let mut state = self.fill.state();
        let before = state.tape.pieces.held();
        state.tape.pieces.push(chunk);
        state.progressed = Moment::now();
        let held = fills.account(before, state.tape.pieces.held());
        // At the bound of all memory it grows no more, as if it had outgrown its own.
        let is_full = account::is_full();
        let outgrown = state.tape.pieces.end() > bounds.max_object || held > bounds.held || is_full;
        let is_new = outgrown && !state.tape.is_paced;
        if is_new && is_full {
            account::refuse();
        }
        state.tape.is_paced |= outgrown;
        state.notify(self.fill.id);
        // One that is kept may be stored, and is to hear of purges to its end.
        let is_over = is_new && !state.is_kept;
        drop(state);
        if is_over {
            self.fill.close();
        }
    }

    /// Ready when more of the body may come: always, until it outgrows its bounds; from then on it waits for the
    /// fastest reader. False when nobody wants it: it is not stored, and nobody reads it.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let fills = &self.fill.fills;
        let mut state = self.fill.state();
        let is_open = state.is_open();
        if state.readers.is_empty() && !state.goes_on_unread() {
            return Poll::Ready(false);
        }
        if !state.tape.is_paced {
            if !is_open {
                state.producer = Some(cx.waker().clone());
            }
            return Poll::Ready(true);
        }
        let State { tape, readers, producer, .. } = &mut *state;
        let before = tape.pieces.held();
        tape.trim(fills.bounds().max_object, readers);
        fills.account(before, tape.pieces.held());
        // Also woken when the last reader leaves.
        *producer = Some(cx.waker().clone());
        let fastest = readers.iter().map(|(_, at)| *at).max();
        match fastest.is_some_and(|at| tape.pieces.end().saturating_sub(at) >= RUN_AHEAD) {
            true => Poll::Pending,
            false => Poll::Ready(true),
        }
    }

    /// Whether somebody reads, or waits to.
    pub fn is_read(&self) -> bool {
        !self.fill.state().readers.is_empty()
    }

    /// Says whether the body is kept by whoever brings it: then it is wanted to its end though nobody reads it.
    pub fn set_kept(&mut self, is_kept: bool) {
        let mut state = self.fill.state();
        let was_kept = std::mem::replace(&mut state.is_kept, is_kept);
        let is_over = was_kept && !is_kept && state.tape.is_paced;
        drop(state);
        if is_over {
            self.fill.close();
        }
    }

    /// When the fill began, in milliseconds of the wall clock.
    pub fn begun(&self) -> u64 {
        self.fill.begun
    }

    /// The same by the clock that is never set back.
    pub fn since(&self) -> Moment {
        self.fill.since
    }

    /// The purges since it began.
    pub fn purges(&self) -> Vec<Rule> {
        self.fill.state().rules.clone()
    }

    /// Whether the body can still be stored: it has not outgrown its bounds.
    pub fn is_whole_kept(&self) -> bool {
        !self.fill.state().tape.is_paced
    }

    /// The body has ended, and is whole. `store` is given it, unless it outgrew its bounds, and the purges since it
    /// began.
    pub fn finish(mut self, store: impl FnOnce(Option<Body>, &[Rule])) {
        self.is_concluded = true;
        let mut state = self.fill.state();
        state.tape.end_is_whole = Some(true);
        store(state.tape.whole().map(Body::of), &state.rules);
        state.notify(self.fill.id);
        drop(state);
        self.fill.close();
    }

    /// What is stored answers everyone. `store` is given the purges since the fill began.
    pub fn object(mut self, object: Arc<StoredResponse>, origin: Origin, store: impl FnOnce(&[Rule])) {
        self.is_concluded = true;
        let mut state = self.fill.state();
        store(&state.rules);
        state.phase = Phase::Stored(object, origin);
        state.notify(self.fill.id);
        drop(state);
        self.fill.close();
    }

    /// The answer is for the one who asked only: everyone else goes, at once.
    pub fn release(mut self) {
        self.fill.fills.counts.released.fetch_add(1, Relaxed);
        self.conclude(Phase::Released);
    }

    /// There is no head. One of those who wait asks again, unless it was asked often enough.
    pub fn fail(mut self, failure: Failure) {
        self.orphan(failure);
    }

    fn orphan(&mut self, failure: Failure) {
        self.is_concluded = true;
        let mut state = self.fill.state();
        let is_over = state.tries >= MOST_TRIES || state.readers.is_empty();
        state.phase = if is_over { Phase::Failed(failure) } else { Phase::Orphaned };
        state.notify(self.fill.id);
        drop(state);
        if is_over {
            self.fill.close();
        }
    }

    fn conclude(&mut self, phase: Phase) {
        self.is_concluded = true;
        let mut state = self.fill.state();
        state.phase = phase;
        state.notify(self.fill.id);
        drop(state);
        self.fill.close();
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if self.is_concluded {
            return;
        }
        let is_asking = matches!(self.fill.state().phase, Phase::Asking | Phase::Orphaned);
        if is_asking {
            self.orphan(Failure { kind: Kind::Reset, text: "the request that started it ended".to_owned() });
            return;
        }
        let mut state = self.fill.state();
        // A body that breaks off is an error for everyone who reads it.
        state.tape.end_is_whole.get_or_insert(false);
        state.notify(self.fill.id);
        drop(state);
        self.fill.close();
    }
}
