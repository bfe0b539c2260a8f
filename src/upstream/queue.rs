//! Exchanges that wait because every backend is at `max_connections`; first come, first served, over
//! all workers.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

/// The queue of one upstream.
#[derive(Debug)]
pub struct Queue {
    most: AtomicUsize,
    /// Length of `waiting`, so that the release of a permit costs a load when nobody waits.
    length: AtomicUsize,
    waiting: Mutex<VecDeque<Arc<Waiter>>>,
}

#[derive(Debug, Default)]
struct Waiter {
    called: AtomicBool,
    gone: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Queue {
    /// A queue that `most` may stand in.
    pub fn new(most: usize) -> Self {
        Self { most: AtomicUsize::new(most), length: AtomicUsize::new(0), waiting: Mutex::default() }
    }

    /// Changes how many may stand in it; who stands there already stays.
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
        let waiter = Arc::new(Waiter::default());
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
        let is_first = again || waiting.len() == 1;
        Some(Place { queue: self.clone(), waiter, is_first })
    }

    /// Calls the first in the queue, because a place at a backend became free.
    ///
    /// The race with [`Queue::join`] is harmless: who joins looks once more for a free backend after it
    /// stands in the queue, so either that look or this call finds it.
    pub fn call_next(&self) {
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
            if waiter.gone.load(SeqCst) {
                continue;
            }
            waiter.called.store(true, SeqCst);
            let waker = waiter.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
            return;
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
        if self.waiter.called.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// It was called and took the free place: the call is used up.
    pub fn served(self) {
        self.waiter.called.store(false, SeqCst);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiter.gone.store(true, SeqCst);
        {
            let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|other| !Arc::ptr_eq(other, &self.waiter));
            self.queue.length.store(waiting.len(), SeqCst);
        }
        // Called, but it left instead: the call goes to the next.
        if self.waiter.called.load(SeqCst) {
            self.queue.call_next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_called(place: &Place) -> bool {
        place.poll_called(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn first_come_first_served_and_no_more_than_fit() {
        let queue = Arc::new(Queue::new(2));
        let (first, second) = (queue.join(false).unwrap(), queue.join(false).unwrap());
        assert!(first.is_first() && !second.is_first());
        assert!(queue.join(false).is_none());
        queue.call_next();
        assert!(is_called(&first) && !is_called(&second));
        first.served();
        assert!(!is_called(&second));
        queue.call_next();
        assert!(is_called(&second));
    }

    #[test]
    fn a_call_to_one_that_leaves_goes_to_the_next() {
        let queue = Arc::new(Queue::new(3));
        let (first, second, third) =
            (queue.join(false).unwrap(), queue.join(false).unwrap(), queue.join(false).unwrap());
        drop(second);
        assert_eq!(queue.len(), 2);
        queue.call_next();
        drop(first);
        assert!(is_called(&third));
        assert!(queue.is_empty());
        queue.call_next();
    }
}
