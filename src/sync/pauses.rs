//! Places between two steps of a task at which other workers may do something, for a simulation on one thread.

use std::{cell::Cell, future::poll_fn, task::Poll};

/// Where a task is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// It is in a queue and has not looked yet.
    Joined,
    /// It was called and has not looked yet.
    Called,
    /// It was called for nothing, and is not in the queue again yet.
    CalledForNothing,
}

thread_local! {
    /// Whether tasks are left, and where the last one was.
    static PAUSES: Cell<Option<Option<Pause>>> = const { Cell::new(None) };
}

/// Leaves the task once, where it is polled [`with_pauses`]; it is woken for the next step.
pub(crate) async fn pause(at: Pause) {
    let mut is_left = PAUSES.get().is_none();
    poll_fn(|cx| {
        if std::mem::replace(&mut is_left, true) {
            return Poll::Ready(());
        }
        PAUSES.set(Some(Some(at)));
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls a task, and gives where it was left, if it was.
pub(crate) fn with_pauses<T>(poll: impl FnOnce() -> T) -> (T, Option<Pause>) {
    PAUSES.set(Some(None));
    let result = poll();
    (result, PAUSES.take().flatten())
}
