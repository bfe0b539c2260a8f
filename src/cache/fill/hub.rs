//! Waking those who wait for a fill, once per worker and batch: whoever brings news puts a number into the inbox of
//! each worker that has waiters, and wakes that worker once; the worker's own task ([`drive`]) wakes its waiters
//! without leaving its thread.

use std::{
    cell::RefCell,
    collections::HashMap,
    future::poll_fn,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use slab::Slab;

use crate::sync::{self, Mutex};

sync::local! {
    static HUB: RefCell<Hub> = RefCell::default();
}

/// What other threads notify a worker of: numbers of fills that have news.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    news: Mutex<News>,
}

#[derive(Debug, Default)]
struct News {
    fills: Vec<u64>,
    driver: Option<Waker>,
}

#[derive(Debug, Default)]
struct Hub {
    inbox: Arc<Inbox>,
    waiting: HashMap<u64, Waiting>,
    /// Turns begun so far.
    turns: u64,
}

/// Who waits on this worker for one fill, until all are woken.
#[derive(Debug)]
struct Waiting {
    wakers: Slab<Waker>,
    /// A number of its own: whoever was woken, and comes back with the place that he had, finds it to be his no more.
    turn: u64,
}

/// A place among those who wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    index: usize,
    turn: u64,
}

/// This worker's inbox.
pub(super) fn inbox() -> Arc<Inbox> {
    HUB.with_borrow(|hub| hub.inbox.clone())
}

/// Waits for news of a fill. `place` is where it waited before.
pub(super) fn wait(fill: u64, place: &mut Option<Place>, cx: &Context<'_>) {
    HUB.with_borrow_mut(|hub| {
        let Hub { waiting, turns, .. } = hub;
        let waiting = waiting.entry(fill).or_insert_with(|| {
            *turns += 1;
            Waiting { wakers: Slab::new(), turn: *turns }
        });
        if let Some(kept) = place.filter(|place| place.turn == waiting.turn)
            && let Some(waker) = waiting.wakers.get_mut(kept.index)
        {
            waker.clone_from(cx.waker());
            return;
        }
        let index = waiting.wakers.insert(cx.waker().clone());
        *place = Some(Place { index, turn: waiting.turn });
    });
}

/// Waits no more.
pub(super) fn leave(fill: u64, place: &mut Option<Place>) {
    let Some(place) = place.take() else { return };
    // While the thread ends the hub may be gone already.
    let _ = HUB.try_with(|hub| {
        let mut hub = hub.borrow_mut();
        let Some(waiting) = hub.waiting.get_mut(&fill) else { return };
        if place.turn == waiting.turn {
            waiting.wakers.try_remove(place.index);
        }
        if waiting.wakers.is_empty() {
            hub.waiting.remove(&fill);
        }
    });
}

/// Notifies a worker that a fill has news.
pub(super) fn notify(inbox: &Arc<Inbox>, fill: u64) {
    let is_own = HUB.try_with(|hub| Arc::ptr_eq(&hub.borrow().inbox, inbox)).unwrap_or(false);
    if is_own {
        wake(fill);
        return;
    }
    let driver = {
        let mut news = inbox.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.fills.push(fill);
        news.driver.take()
    };
    if let Some(driver) = driver {
        driver.wake();
    }
}

/// Wakes everyone on this worker who waits for a fill.
fn wake(fill: u64) {
    let waiting = HUB.with_borrow_mut(|hub| hub.waiting.remove(&fill));
    for (_, waker) in waiting.into_iter().flat_map(|waiting| waiting.wakers) {
        waker.wake();
    }
}

/// Wakes this worker's waiters as news come; to be run by each worker.
pub async fn drive() {
    let inbox = inbox();
    loop {
        let fills = poll_fn(|cx| {
            let mut news = inbox.news.lock().unwrap_or_else(PoisonError::into_inner);
            if news.fills.is_empty() {
                news.driver = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(std::mem::take(&mut news.fills))
        })
        .await;
        fills.into_iter().for_each(wake);
    }
}
