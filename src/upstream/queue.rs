//! Exchanges that wait because every backend is at `max_connections`; first come, first served, over
//! all workers.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use super::conf::WhenAllDown;
use crate::{
    backend::Backend,
    balance::{self, Outlook},
    moment::Moment,
    sync::{AtomicU8, AtomicUsize, Mutex, fence},
};

/// The queue of one upstream, over its generations: who came with an earlier one knows other backends, or other limits of
/// them, and a place may be free for some of those who wait and not for others.
#[derive(Debug)]
pub struct Queue {
    most: AtomicUsize,
    /// Whether backends that health took out are used where it took out all (`when_all_down`): for all who wait, whichever
    /// generation they came with.
    uses_all: AtomicBool,
    /// How many wait, so that the release of a permit costs a load when nobody does.
    length: AtomicUsize,
    waiting: Mutex<Line>,
    /// How many were called and have not come yet.
    called: AtomicUsize,
}

/// The backends of a generation of the upstream.
pub type Fleet = Arc<[Arc<Backend>]>;

/// Those who wait, in the order in which they came.
#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Arc<Waiter>>,
    /// The fleets that they wait for, and how many for each: one nearly always.
    fleets: Vec<(Fleet, usize)>,
    /// The number of the next who comes.
    next: u64,
}

/// Among whom the first is called.
#[derive(Clone, Copy, Debug)]
enum Among<'a> {
    /// All who wait, if it is for this fleet.
    All(&'a Fleet),
    /// Those who wait for one of these.
    Those(&'a [Fleet]),
}

#[derive(Debug)]
struct Waiter {
    fleet: Fleet,
    number: u64,
    /// [`WAITING`], then [`CALLED`] or [`GONE`]: whoever of the two comes first decides, in one exchange, so that no
    /// call goes to one that has left. A call that is used up is gone, too.
    state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

const WAITING: u8 = 0;
const CALLED: u8 = 1;
const GONE: u8 = 2;

impl Waiter {
    fn new(fleet: &Fleet, number: u64) -> Self {
        let (state, waker) = (AtomicU8::new(WAITING), Mutex::new(None));
        Self { fleet: fleet.clone(), number, state, waker }
    }

    /// Ends the wait; false when the other side did.
    fn end_as(&self, end: u8) -> bool {
        self.state.compare_exchange(WAITING, end, SeqCst, SeqCst).is_ok()
    }
}

impl Line {
    /// How many wait for this fleet.
    fn count(&self, fleet: &Fleet) -> usize {
        self.fleets.iter().find(|(it, _)| Arc::ptr_eq(it, fleet)).map_or(0, |(_, count)| *count)
    }

    /// Puts one where its number has its place.
    fn insert(&mut self, waiter: Arc<Waiter>) {
        match self.fleets.iter_mut().find(|(fleet, _)| Arc::ptr_eq(fleet, &waiter.fleet)) {
            Some((_, count)) => *count += 1,
            None => self.fleets.push((waiter.fleet.clone(), 1)),
        }
        // Who comes anew is the last, and who comes again was among the first.
        let behind = match self.waiters.back() {
            Some(last) if last.number > waiter.number => {
                self.waiters.iter().position(|it| it.number > waiter.number)
            }
            _ => None,
        };
        self.waiters.insert(behind.unwrap_or(self.waiters.len()), waiter);
    }

    /// Takes the first among these.
    fn take(&mut self, among: Among<'_>) -> Option<Arc<Waiter>> {
        let is_of =
            |fleets: &[Fleet], waiter: &Waiter| fleets.iter().any(|it| Arc::ptr_eq(it, &waiter.fleet));
        let at = match among {
            Among::All(_) => 0,
            Among::Those(fleets) => self.waiters.iter().position(|waiter| is_of(fleets, waiter))?,
        };
        let waiter = self.waiters.remove(at)?;
        self.forget(&waiter.fleet);
        Some(waiter)
    }

    /// Takes out one that leaves, where it is still there.
    fn remove(&mut self, waiter: &Arc<Waiter>) {
        if let Some(at) = self.waiters.iter().position(|it| Arc::ptr_eq(it, waiter)) {
            self.waiters.remove(at);
            self.forget(&waiter.fleet);
        }
    }

    /// Counts one less who waits for this fleet.
    fn forget(&mut self, fleet: &Fleet) {
        self.fleets.retain_mut(|(it, count)| {
            *count -= usize::from(Arc::ptr_eq(it, fleet));
            *count > 0
        });
    }
}

impl Queue {
    /// A queue of at most `most` waiters.
    pub fn new(most: usize) -> Self {
        Self {
            most: AtomicUsize::new(most),
            uses_all: AtomicBool::new(false),
            length: AtomicUsize::new(0),
            waiting: Mutex::default(),
            called: AtomicUsize::new(0),
        }
    }

    /// Changes how many may wait in it; who waits already stays.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, SeqCst);
    }

    /// Changes what is done where health took out all backends.
    pub fn set_when_all_down(&self, when_all_down: WhenAllDown) {
        self.uses_all.store(when_all_down == WhenAllDown::UseAll, SeqCst);
    }

    /// Whether backends are used that health took out, where it took out all.
    pub fn uses_all(&self) -> bool {
        self.uses_all.load(SeqCst)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.length.load(SeqCst)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether somebody waits for this fleet.
    pub fn has_waiters_of(&self, fleet: &Fleet) -> bool {
        !self.is_empty() && self.waiting.lock().unwrap_or_else(PoisonError::into_inner).count(fleet) > 0
    }

    /// Whether others come before one who would wait for this fleet: those who wait for it already, and those for whom a
    /// backend has a place.
    pub fn has_before(&self, fleet: &Fleet, now: Moment) -> bool {
        let is_any_free = || !self.fleets_with(&[Outlook::Free], now).is_empty();
        !self.is_empty() && (self.has_waiters_of(fleet) || is_any_free())
    }

    /// Takes a place at the end, of one who waits for this fleet; `None` when the queue is full of those. One that was
    /// called and found nothing after all has its place `again`, by the number that it had.
    pub fn join(self: &Arc<Self>, fleet: &Fleet, again: Option<u64>) -> Option<Place> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Who waits for the backends of another generation takes nobody's room.
        if again.is_none() && waiting.count(fleet) >= self.most.load(SeqCst) {
            return None;
        }
        let number = again.unwrap_or(waiting.next);
        waiting.next = waiting.next.max(number.saturating_add(1));
        let waiter = Arc::new(Waiter::new(fleet, number));
        waiting.insert(waiter.clone());
        self.length.store(waiting.waiters.len(), SeqCst);
        // With the one in `call_next`: either its load sees this one, or this one's look sees the free place. The
        // counts of exchanges are not ordered by themselves.
        fence(SeqCst);
        let is_first = again.is_some() || waiting.waiters.len() == 1;
        Some(Place { queue: self.clone(), waiter, is_first })
    }

    /// Calls the first in the queue, because a place at a backend of this fleet became free; where those who wait know
    /// other backends, the first for whom one is free.
    ///
    /// The race with [`Queue::join`] is harmless: who joins looks once more for a free backend after it
    /// is in the queue, so either that look or this call finds it. So is that with one who leaves: the first of
    /// the two decides.
    pub fn call_next(&self, fleet: &Fleet) {
        fence(SeqCst);
        if self.length.load(SeqCst) == 0 {
            return;
        }
        if !self.call(Among::All(fleet)) {
            self.call_for_free(Moment::now());
        }
    }

    /// Calls the first in the queue for whom a backend has a place: for places that no exchange gave back, as when a
    /// backend is up again. Where all are down, and none is used all the same, there is nothing to wait for, and whoever
    /// is called ends its wait. Nobody is called for nothing: it would be out of the queue until it is in its place
    /// again, and be overtaken meanwhile. One that was called already calls the next where there is a place for both.
    pub fn call_if_free(&self, now: Moment) {
        if !self.is_empty() && self.called.load(SeqCst) == 0 {
            self.call_for_free(now);
        }
    }

    fn call_for_free(&self, now: Moment) {
        let free = self.fleets_with(&[Outlook::Free, Outlook::Nothing], now);
        if !free.is_empty() {
            self.call(Among::Those(&free));
        }
    }

    /// The fleets that somebody waits for and of which there is one of these to say.
    fn fleets_with(&self, outlooks: &[Outlook], now: Moment) -> Vec<Fleet> {
        // Looked for without the lock, since there may be thousands of backends.
        let fleets = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).fleets.clone();
        let is_such = |fleet: &Fleet| outlooks.contains(&balance::outlook(fleet, self.uses_all(), now));
        fleets.into_iter().map(|(fleet, _)| fleet).filter(is_such).collect()
    }

    /// Calls the first among these; false where it is to be the first of all, and not all wait for the same.
    fn call(&self, among: Among<'_>) -> bool {
        loop {
            let next = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if let Among::All(fleet) = among
                    && waiting.fleets.iter().any(|(it, _)| !Arc::ptr_eq(it, fleet))
                {
                    return false;
                }
                let next = waiting.take(among);
                self.length.store(waiting.waiters.len(), SeqCst);
                next
            };
            let Some(waiter) = next else { return true };
            self.called.fetch_add(1, SeqCst);
            if !waiter.end_as(CALLED) {
                self.called.fetch_sub(1, SeqCst);
                continue;
            }
            let waker = waiter.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
            return true;
        }
    }
}

/// A place in the queue; left by dropping it.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    waiter: Arc<Waiter>,
    is_first: bool,
}

impl Place {
    /// Whether nobody stood before it when it joined, so that it may look for a free backend itself.
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// Ready when it was called.
    pub fn poll_called(&self, cx: &mut Context<'_>) -> Poll<()> {
        *self.waiter.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if self.waiter.state.load(SeqCst) == CALLED { Poll::Ready(()) } else { Poll::Pending }
    }

    /// It was called and comes: the call is used up. Gives its number, for when it finds nothing.
    pub fn served(self) -> u64 {
        self.waiter.state.store(GONE, SeqCst);
        self.queue.called.fetch_sub(1, SeqCst);
        self.waiter.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.waiter.end_as(GONE) {
            let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.remove(&self.waiter);
            self.queue.length.store(waiting.waiters.len(), SeqCst);
        } else if self.waiter.state.load(SeqCst) == CALLED {
            // Called, but it left instead: the call goes to the next.
            self.queue.called.fetch_sub(1, SeqCst);
            self.queue.call_next(&self.waiter.fleet);
        }
    }
}

#[cfg(test)]
mod tests;
