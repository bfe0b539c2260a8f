//! A write on its way to the origin.
//!
//! Previous stop: [`super::Journal::next`]. Next stop: [`super::writer`], which notes that it is done with.

use std::sync::{Arc, atomic::Ordering};

use super::{
    entry::{Entry, Id, Write},
    handle::Journal,
    index::Due,
    writer::{Message, Outcome},
};
use crate::moment::Moment;

/// A write that is to be delivered now. Nobody else has it, nor a later one of its URI, until this says what became
/// of it; dropped without a word (a task that was cancelled, a panic) it has failed.
#[derive(Debug)]
pub struct Delivery {
    journal: Arc<Journal>,
    entry: Arc<Entry>,
    attempts: u32,
    completed: bool,
}

impl Delivery {
    pub(super) fn new(journal: Arc<Journal>, entry: Arc<Entry>, attempts: u32) -> Self {
        Self { journal, entry, attempts, completed: false }
    }

    /// The write's number.
    pub fn id(&self) -> Id {
        self.entry.id
    }

    /// What is to be sent.
    pub fn write(&self) -> &Write {
        &self.entry.write
    }

    /// How many attempts failed before this one, since the program began.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The origin has it. Becomes durable a little later: after a crash before that it is delivered again.
    pub fn delivered(mut self) {
        self.complete(Outcome::Delivered);
    }

    /// The origin refused it for good. It goes to the file of refused writes, with the reason, and the next one of
    /// its URI has its turn.
    pub fn set_aside(mut self, why: &str) {
        let write = &self.entry.write;
        tracing::error!(
            id = self.entry.id.0,
            route = write.route,
            "{} {}{} is refused by the origin and set aside: {why}",
            write.method,
            write.authority,
            write.target
        );
        self.complete(Outcome::Refused(why.to_owned()));
    }

    /// The origin could not be reached, or could not do it now: again after a while.
    pub fn failed(mut self, now: Moment) {
        self.fail(now);
    }

    fn fail(&mut self, now: Moment) {
        self.completed = true;
        self.journal.shared.counters.failed.fetch_add(1, Ordering::Relaxed);
        let mut index = self.journal.shared.index();
        index.failed(self.entry.id, now, &mut self.journal.chance());
        drop(index);
        // Whoever waits for a later moment waits for this one now.
        self.journal.shared.changed.notify_one();
    }

    fn complete(&mut self, outcome: Outcome) {
        self.completed = true;
        // The writer gets it before a later write of this URI can be taken: in the journal, as here, they are
        // completed in order.
        self.journal.send(Message::Complete(self.entry.id, outcome));
        let mut index = self.journal.shared.index();
        index.complete(self.entry.id);
        self.journal.shared.note_entries(&index);
        drop(index);
        self.journal.shared.changed.notify_one();
        self.journal.shared.completed.notify_waiters();
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.completed {
            self.fail(Moment::now());
        }
    }
}

/// What [`Journal::poll`] has.
#[derive(Debug)]
pub enum Next {
    /// A write to deliver.
    Deliver(Delivery),
    /// Nothing before this moment, or before something changes.
    Wait(Option<Moment>),
}

impl Journal {
    /// The next write that may be delivered at `now`, or when to ask again.
    pub fn poll(self: &Arc<Self>, now: Moment) -> Next {
        let mut index = self.shared.index();
        let due = index.next(now);
        let more = index.is_due(now);
        drop(index);
        if more {
            // Wake-ups that nobody waited for are not counted: each who takes something wakes the next.
            self.shared.changed.notify_one();
        }
        match due {
            Due::Now(entry, attempts) => Next::Deliver(Delivery::new(self.clone(), entry, attempts)),
            Due::Later(at) => Next::Wait(at),
        }
    }

    /// The next write that may be delivered, when there is one. Any number of tasks may wait. The clock is read
    /// here, and nothing is lost when it is dropped while it waits.
    pub async fn next(self: &Arc<Self>) -> Delivery {
        loop {
            let now = Moment::now();
            match self.poll(now) {
                Next::Deliver(delivery) => return delivery,
                Next::Wait(None) => self.changed().await,
                Next::Wait(Some(at)) => {
                    let _either = tokio::time::timeout(at.since(now), self.changed()).await;
                }
            }
        }
    }
}
