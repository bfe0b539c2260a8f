//! Deadlines: one timer per worker, however many connections wait.
//!
//! A wheel of lists holds every deadline. Moving a deadline later costs a store: the list it is in
//! is looked at when its time comes, and the deadline is moved on then. Only an earlier deadline is
//! relinked. [`drive`] sleeps until the next list that is not empty.

mod wheel;

use std::{
    cell::RefCell,
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use self::wheel::{NEVER, TICK, Wheel};
use crate::moment::Moment;

thread_local! {
    static WHEEL: RefCell<Wheel> = RefCell::new(Wheel::new());
}

/// A deadline that can be moved; belongs to one task at a time.
#[derive(Debug)]
pub struct Deadline(u32);

impl Deadline {
    /// A deadline that never comes.
    #[expect(
        clippy::new_without_default,
        reason = "takes a place in the worker's timer; a default hides that"
    )]
    pub fn new() -> Self {
        Self(WHEEL.with_borrow_mut(Wheel::insert))
    }

    /// Moves it to `after` from now; zero is at once.
    pub fn after(&self, after: Duration) {
        self.at(Moment::now().plus(after));
    }

    /// Moves it to `after` from [`Moment::recent`], where the clock was read for something else a moment ago.
    pub fn after_recent(&self, after: Duration) {
        self.at(Moment::recent().plus(after));
    }

    /// Moves it to a moment.
    pub fn at(&self, at: Moment) {
        WHEEL.with_borrow_mut(|wheel| wheel.set(self.0, at.0));
    }

    /// Moves it to never.
    pub fn clear(&self) {
        WHEEL.with_borrow_mut(|wheel| wheel.set(self.0, NEVER));
    }

    /// Says whether what waits for it is idle, and may be hurried by [`hurry_idle`]: it is when it is given
    /// the number that it belongs to.
    pub fn set_idle(&self, of: Option<usize>) {
        WHEEL.with_borrow_mut(|wheel| wheel.set_idle(self.0, of));
    }

    /// Ready once its moment has come; else the task is woken then.
    pub fn poll_elapsed(&self, cx: &mut Context<'_>) -> Poll<()> {
        WHEEL.with_borrow_mut(|wheel| wheel.poll(self.0, cx))
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // While the thread ends the wheel may be gone already.
        let _ = WHEEL.try_with(|wheel| wheel.borrow_mut().remove(self.0));
    }
}

/// Moves every idle deadline of this worker whose number `is_meant`, and that is later than `at`, to it.
pub fn hurry_idle(at: Moment, is_meant: impl Fn(usize) -> bool) {
    WHEEL.with_borrow_mut(|wheel| wheel.hurry_idle(at.0, is_meant));
}

/// Runs this worker's timer; every deadline of the thread depends on it.
pub async fn drive() {
    loop {
        let next = poll_fn(|cx| WHEEL.with_borrow_mut(|wheel| wheel.poll_armed(cx))).await;
        let sleep = tokio::time::sleep(Moment(next * TICK).since(Moment::now()));
        tokio::pin!(sleep);
        // An earlier deadline ends the sleep, and the loop takes that one.
        poll_fn(|cx| {
            if WHEEL.with_borrow_mut(|wheel| wheel.is_armed_before(next, cx)) {
                return Poll::Ready(());
            }
            sleep.as_mut().poll(cx)
        })
        .await;
        for waker in WHEEL.with_borrow_mut(|wheel| wheel.fire(Moment::now())) {
            waker.wake();
        }
    }
}
