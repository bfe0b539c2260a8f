//! An exchange under way. However it ends, it ends here: when it is dropped.

use std::{
    ops::{Deref, DerefMut},
    rc::Rc,
};

use crate::{
    account::{Held, Owner},
    error::Kind,
    exchange::Exchange,
    runtime::{ListenerId, Worker, WorkerSnapshot, admission::InFlight, permit::AddressPlace},
};

/// An exchange under way: it ends, with its log line and its counts, when this is dropped, however
/// that comes about.
#[derive(Debug)]
pub struct ActiveExchange {
    exchange: Option<Box<Exchange>>,
    snapshot: Rc<WorkerSnapshot>,
    worker: Rc<Worker>,
    listener: ListenerId,
    /// Its place among those of its client's address, where requests are counted.
    place: Option<AddressPlace>,
    /// Its place among those of its route, where they are bounded.
    on_route: Option<InFlight>,
    /// What is held for it.
    _held: Held,
}

/// Bytes that a request under way takes beside its head, about: its future, its facts, its log line.
const PER_REQUEST: usize = 4096;

impl ActiveExchange {
    /// Begins an exchange whose request head is whole.
    pub fn new(worker: &Rc<Worker>, listener: ListenerId, exchange: Box<Exchange>) -> Self {
        let snapshot = worker.snapshot_for(listener);
        let head = exchange.request.target.len() + exchange.request.fields.size();
        let _held = Held::new(Owner::Requests, PER_REQUEST + head);
        Self {
            exchange: Some(exchange),
            snapshot,
            worker: worker.clone(),
            listener,
            place: None,
            on_route: None,
            _held,
        }
    }

    /// The worker that serves it.
    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The snapshot that it began with.
    pub(super) fn snapshot(&self) -> &Rc<WorkerSnapshot> {
        &self.snapshot
    }

    /// Keeps a place of its client's address until it ends.
    pub(super) fn keep(&mut self, place: Option<AddressPlace>) {
        self.place = place;
    }

    /// Keeps a place of its route until it ends.
    pub(super) fn keep_on_route(&mut self, place: Option<InFlight>) {
        self.on_route = place;
    }

    /// Has it count as one that came over another listener, as it did where it was received.
    pub(super) fn stand_for(&mut self, listener: ListenerId) {
        self.listener = listener;
    }

    /// The listener that it came over.
    pub(super) fn listener(&self) -> ListenerId {
        self.listener
    }

    /// An exchange of its own for what this one asks, to be changed on its way to the origin.
    pub(super) fn fork(&mut self) -> Fork<'_> {
        let spare = self.worker.take_exchange();
        let forked = self.as_mut().fork(spare);
        Fork { of: self, forked: Some(forked) }
    }

    /// Takes what became of a fork that went its own way.
    pub(super) fn absorb(&mut self, mut fork: Box<Exchange>) {
        self.as_mut().absorb(&mut fork);
        self.worker.give_back(fork);
    }

    #[expect(clippy::expect_used, reason = "taken by drop only")]
    fn as_mut(&mut self) -> &mut Exchange {
        self.exchange.as_mut().expect("an exchange is there until it is dropped")
    }
}

impl Deref for ActiveExchange {
    type Target = Exchange;

    #[expect(clippy::expect_used, reason = "taken by drop only")]
    fn deref(&self) -> &Exchange {
        self.exchange.as_ref().expect("an exchange is there until it is dropped")
    }
}

impl DerefMut for ActiveExchange {
    fn deref_mut(&mut self) -> &mut Exchange {
        self.as_mut()
    }
}

impl Drop for ActiveExchange {
    fn drop(&mut self) {
        if let Some(mut exchange) = self.exchange.take() {
            // Dropped in the middle, by a client that left or by the end of the program.
            if exchange.response.status == 0 {
                exchange.response.status = 499;
                exchange.facts.error.get_or_insert((Kind::ClientGone, "dropped".to_owned()));
            }
            self.worker.finish(exchange, &self.snapshot, self.listener);
        }
    }
}

/// A fork of an exchange that is asked in its place. What becomes of it is the exchange's once this is dropped: its
/// response, who was asked, and what was noted for its spans.
#[derive(Debug)]
pub(super) struct Fork<'a> {
    of: &'a mut ActiveExchange,
    forked: Option<Box<Exchange>>,
}

impl Fork<'_> {
    /// Takes the fork, for one who is asked as a task of its own; it comes back by [`ActiveExchange::absorb`].
    pub(super) fn into_inner(mut self) -> Box<Exchange> {
        self.forked.take().unwrap_or_default()
    }
}

impl Deref for Fork<'_> {
    type Target = Exchange;

    #[expect(clippy::expect_used, reason = "taken by drop and into_inner only")]
    fn deref(&self) -> &Exchange {
        self.forked.as_ref().expect("a fork is there until it is dropped")
    }
}

impl DerefMut for Fork<'_> {
    #[expect(clippy::expect_used, reason = "taken by drop and into_inner only")]
    fn deref_mut(&mut self) -> &mut Exchange {
        self.forked.as_mut().expect("a fork is there until it is dropped")
    }
}

impl Drop for Fork<'_> {
    fn drop(&mut self) {
        if let Some(forked) = self.forked.take() {
            self.of.absorb(forked);
        }
    }
}
