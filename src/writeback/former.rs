//! The journals that a cache had: until what waits in them is delivered, who reads and who writes has to know of it.
//!
//! Previous stop: [`super::journals`].

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{Acquire, Release},
    },
};

use super::journal::Journal;

/// Those that a configuration asked for earlier.
#[derive(Debug, Default)]
pub(super) struct Former {
    kept: Mutex<Kept>,
    /// Whether there is one, for those who only want to know that there is none.
    is_any: AtomicBool,
    /// How many there are that another program has still.
    awaited: AtomicUsize,
}

#[derive(Debug, Default)]
struct Kept {
    journals: Vec<Arc<Journal>>,
    /// Another program is to have them.
    is_closed: bool,
}

impl Former {
    /// Has a journal among them, unless another program is to have it.
    pub(super) fn add(&self, journal: Arc<Journal>) {
        let mut kept = self.kept();
        if !kept.is_closed && !kept.journals.iter().any(|other| Arc::ptr_eq(other, &journal)) {
            kept.journals.push(journal);
            self.is_any.store(true, Release);
        }
    }

    /// This one is in force again.
    pub(super) fn remove(&self, journal: &Arc<Journal>) {
        self.kept().journals.retain(|other| !Arc::ptr_eq(other, journal));
    }

    /// Whether it is among them.
    pub(super) fn has(&self, journal: &Arc<Journal>) -> bool {
        self.kept().journals.iter().any(|other| Arc::ptr_eq(other, journal))
    }

    /// Those in which something waits, or is on its way.
    pub(super) fn busy(&self) -> Vec<Arc<Journal>> {
        self.let_go();
        self.kept().journals.clone()
    }

    /// Lets go of those in which nothing waits any more.
    pub(super) fn let_go(&self) {
        if self.is_any.load(Acquire) {
            let mut kept = self.kept();
            kept.journals.retain(|journal| journal.is_owing());
            self.is_any.store(!kept.journals.is_empty(), Release);
        }
    }

    /// Lets go of them, and takes no more.
    pub(super) fn close(&self) {
        let mut kept = self.kept();
        kept.is_closed = true;
        kept.journals.clear();
    }

    /// Whether another program has one of them still: what waits in that nobody here knows.
    pub(super) fn is_awaiting(&self) -> bool {
        self.awaited.load(Acquire) > 0
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A journal that another program has still, and that is to be among these.
#[derive(Debug)]
pub(super) struct Awaited(Weak<Former>);

impl Awaited {
    /// Among these, until this is dropped.
    pub(super) fn of(former: &Arc<Former>) -> Self {
        former.awaited.fetch_add(1, Release);
        Self(Arc::downgrade(former))
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(former) = self.0.upgrade() {
            former.awaited.fetch_sub(1, Release);
        }
    }
}
