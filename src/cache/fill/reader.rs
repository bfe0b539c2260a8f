//! One who reads what a fill brings, or waits for it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{
    answer::{Answer, Failure, Origin, gone},
    fills::Fill,
    hub,
    source::Source,
    state::{At, Phase},
};
use crate::cache::stored_response::StoredResponse;

/// One who reads what a fill brings. It stands for one request, on the worker that made it.
#[derive(Debug)]
pub struct Reader {
    fill: Arc<Fill>,
    /// Among the fill's readers.
    index: usize,
    place: Option<hub::Place>,
    may_lead: bool,
    /// How far the body was when this one last had to wait for it.
    come: u64,
}

/// What came of waiting.
#[derive(Debug)]
pub enum FillOutcome {
    /// The head is here, and the body comes.
    Coming(Arc<Answer>),
    /// What is stored answers.
    Stored(Arc<StoredResponse>, Origin),
    /// The answer was for the one who asked, or there was none and this one does not ask for others: it asks for itself.
    Released,
    /// Who asked failed; this one asks now, for all who wait.
    Lead(Source),
    /// There is no answer for anyone.
    Failed(Failure),
}

/// Why a body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// It broke off.
    Broken,
    /// The reader was so slow that what it would read next is not kept any more.
    Behind,
}

impl Reader {
    /// The first reader of a fill.
    pub(super) fn new(fill: Arc<Fill>) -> Self {
        let index = fill.state().readers.insert(0);
        Self::counted(fill, index)
    }

    /// A reader that is counted among the fill's already.
    pub(super) fn counted(fill: Arc<Fill>, index: usize) -> Self {
        fill.fills.counts.waiters.fetch_add(1, Relaxed);
        Self { fill, index, place: None, may_lead: true, come: 0 }
    }

    /// This one asks for nobody else: where who asked failed, it goes, and another one asks.
    pub fn follow_only(&mut self) {
        self.may_lead = false;
    }

    /// Ready once there is a head, or will be none.
    pub fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<FillOutcome> {
        let mut state = self.fill.state();
        let outcome = match &state.phase {
            Phase::Asking => {
                state.subscribe();
                hub::wait(self.fill.id, &mut self.place, cx);
                return Poll::Pending;
            }
            Phase::Orphaned if !self.may_lead => FillOutcome::Released,
            Phase::Orphaned => {
                state.phase = Phase::Asking;
                state.tries += 1;
                self.fill.fills.counts.taken_over.fetch_add(1, Relaxed);
                FillOutcome::Lead(Source::new(self.fill.clone()))
            }
            Phase::Coming(answer) => FillOutcome::Coming(answer.clone()),
            Phase::Stored(object, origin) => FillOutcome::Stored(object.clone(), *origin),
            Phase::Released => FillOutcome::Released,
            Phase::Failed(failure) => FillOutcome::Failed(failure.clone()),
        };
        Poll::Ready(outcome)
    }

    /// Whether what is read is fetched to its end also where nobody reads it.
    pub fn goes_on_unread(&self) -> bool {
        self.fill.state().goes_on_unread()
    }

    /// How far the body had come when this one last had to wait for it, which may be for what comes much later.
    pub fn come(&self) -> u64 {
        self.come
    }

    /// The bytes of the body from an offset on, as far as they are in one piece; `None` at its end.
    pub fn poll_at(&mut self, offset: u64, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        let mut state = self.fill.state();
        if let Some(at) = state.readers.get_mut(self.index) {
            *at = offset;
        }
        let at = state.tape.at(offset);
        if state.tape.is_paced {
            state.wake_producer();
        }
        Poll::Ready(match at {
            At::Bytes(bytes) => Ok(Some(bytes)),
            At::End => Ok(None),
            At::Broken => Err(ReadError::Broken),
            At::Behind => Err(ReadError::Behind),
            At::NotYet => {
                self.come = state.tape.pieces.end();
                state.subscribe();
                hub::wait(self.fill.id, &mut self.place, cx);
                return Poll::Pending;
            }
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        hub::leave(self.fill.id, &mut self.place);
        let mut state = self.fill.state();
        state.readers.try_remove(self.index);
        if state.readers.is_empty() || state.tape.is_paced {
            state.wake_producer();
        }
        let is_orphaned = matches!(state.phase, Phase::Orphaned);
        let is_last = state.readers.is_empty();
        if is_orphaned && is_last {
            state.phase = Phase::Failed(gone());
        } else if is_orphaned {
            // The one who was called to ask again may be the one who leaves: another is.
            state.notify(self.fill.id);
        }
        drop(state);
        if is_orphaned && is_last {
            self.fill.close();
        }
        self.fill.fills.counts.waiters.fetch_sub(1, Relaxed);
    }
}
