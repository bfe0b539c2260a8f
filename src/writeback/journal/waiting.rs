//! What waits in a journal, for those who only look: the journal is not held by them.

use std::sync::{Arc, atomic::Ordering};

use super::{entry::Entry, shared::Shared};

/// What waits in a journal.
#[derive(Clone, Debug)]
pub struct Waiting(pub(super) Arc<Shared>);

impl Waiting {
    /// The newest write of a URI that the origin does not have yet.
    pub fn latest(&self, uri: &[u8]) -> Option<Arc<Entry>> {
        self.0.latest(uri)
    }

    /// Whether nothing is to be read or delivered now. What is on its way into the journal is not seen by this.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many writes are durable and not delivered.
    pub fn count(&self) -> usize {
        self.0.entries.load(Ordering::Acquire)
    }

    /// Whether both are of one journal.
    pub fn is_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Resolves when nothing of a URI waits any more.
    pub async fn until_delivered(&self, uri: &[u8]) {
        loop {
            // It is notified from here on, also before it waits.
            let completed = self.0.completed.notified();
            if self.latest(uri).is_none() {
                return;
            }
            completed.await;
        }
    }
}
