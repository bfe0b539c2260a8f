//! Exchanges that wait because every backend is at `max_connections`; first come, first served, over
//! all workers.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, atomic::Ordering::SeqCst},
    task::{Context, Poll, Waker},
};

use crate::{
    backend::Backend,
    balance,
    moment::Moment,
    sync::{AtomicU8, AtomicUsize, Mutex, fence},
};

/// The queue of one upstream.
#[derive(Debug)]
pub struct Queue {
    most: AtomicUsize,
    /// Length of `waiting`, so that the release of a permit costs a load when nobody waits.
    length: AtomicUsize,
    waiting: Mutex<VecDeque<Arc<Waiter>>>,
    /// How many were called and have not come yet.
    called: AtomicUsize,
}

#[derive(Debug)]
struct Waiter {
    /// [`WAITING`], then [`CALLED`] or [`GONE`]: whoever of the two comes first decides, in one exchange, so that no
    /// call goes to one that has left. A call that is used up is gone, too.
    state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

const WAITING: u8 = 0;
const CALLED: u8 = 1;
const GONE: u8 = 2;

impl Waiter {
    fn new() -> Self {
        Self { state: AtomicU8::new(WAITING), waker: Mutex::new(None) }
    }

    /// Ends the wait; false when the other side did.
    fn end_as(&self, end: u8) -> bool {
        self.state.compare_exchange(WAITING, end, SeqCst, SeqCst).is_ok()
    }
}

impl Queue {
    /// A queue of at most `most` waiters.
    pub fn new(most: usize) -> Self {
        Self {
            most: AtomicUsize::new(most),
            length: AtomicUsize::new(0),
            waiting: Mutex::default(),
            called: AtomicUsize::new(0),
        }
    }

    /// Changes how many may wait in it; who waits already stays.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, SeqCst);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.length.load(SeqCst)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a place at the end; `None` when the queue is full. One that was called and found nothing
    /// after all takes its place at the front again.
    pub fn join(self: &Arc<Self>, again: bool) -> Option<Place> {
        let waiter = Arc::new(Waiter::new());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.most.load(SeqCst) && !again {
            return None;
        }
        if again {
            waiting.push_front(waiter.clone());
        } else {
            waiting.push_back(waiter.clone());
        }
        self.length.store(waiting.len(), SeqCst);
        // With the one in `call_next`: either its load sees this one, or this one's look sees the free place. The
        // counts of exchanges are not ordered by themselves.
        fence(SeqCst);
        let is_first = again || waiting.len() == 1;
        Some(Place { queue: self.clone(), waiter, is_first })
    }

    /// Calls the first in the queue, because a place at a backend became free.
    ///
    /// The race with [`Queue::join`] is harmless: who joins looks once more for a free backend after it
    /// is in the queue, so either that look or this call finds it. So is that with one who leaves: the first of
    /// the two decides.
    pub fn call_next(&self) {
        fence(SeqCst);
        if self.length.load(SeqCst) == 0 {
            return;
        }
        loop {
            let next = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let next = waiting.pop_front();
                self.length.store(waiting.len(), SeqCst);
                next
            };
            let Some(waiter) = next else { return };
            self.called.fetch_add(1, SeqCst);
            if !waiter.end_as(CALLED) {
                self.called.fetch_sub(1, SeqCst);
                continue;
            }
            let waker = waiter.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
            return;
        }
    }

    /// Calls the first in the queue if one of `backends` has a place: for places that no exchange gave back, as when a
    /// backend is up again. Nobody is called for nothing: it would be out of the queue until it is at the front
    /// again, and be overtaken meanwhile. One that was called already calls the next where there is a place for both.
    pub fn call_if_free(&self, backends: &[Arc<Backend>], now: Moment) {
        if !self.is_empty() && self.called.load(SeqCst) == 0 && balance::is_any_free(backends, now) {
            self.call_next();
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

    /// It was called and took the free place: the call is used up.
    pub fn served(self) {
        self.waiter.state.store(GONE, SeqCst);
        self.queue.called.fetch_sub(1, SeqCst);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.waiter.end_as(GONE) {
            let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|other| !Arc::ptr_eq(other, &self.waiter));
            self.queue.length.store(waiting.len(), SeqCst);
        } else if self.waiter.state.load(SeqCst) == CALLED {
            // Called, but it left instead: the call goes to the next.
            self.queue.called.fetch_sub(1, SeqCst);
            self.queue.call_next();
        }
    }
}

#[cfg(test)]
mod tests;
