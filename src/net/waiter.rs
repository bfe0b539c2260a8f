//! What waits for a backend: whoever it is, it has a deadline, and may leave.

use std::task::{Context, Poll};

use super::Deadline;
use crate::moment::Moment;

/// One who waits for a place at a backend, or for its answer: an HTTP exchange, or a connection that is passed through.
pub trait Waiter {
    /// Ready when who waits is gone, while there is nothing to write to it.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The same in a queue, where who has left keeps others out: also behind what it sent and nobody has read. That may
    /// take a descriptor and system calls, so that [`Waiter::stop_watching`] follows.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_gone(cx)
    }

    /// It waits in no queue any more: gives back what it was watched with there.
    fn stop_watching(&mut self) {}

    /// The deadline of whatever is waited for.
    fn deadline(&self) -> &Deadline;

    /// The present; a simulation gives its own.
    fn now(&self) -> Moment {
        Moment::now()
    }
}
