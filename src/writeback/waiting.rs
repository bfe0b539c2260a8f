//! What waits in all journals of the program. A route may get another cache, or none, while a write of its waits in the
//! journal of the cache before: whoever writes to that URI now has to know of it.
//!
//! Previous stop: [`super::journals`], which knows the journals.

use std::sync::{
    Arc, Weak,
    atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
};

use arc_swap::ArcSwap;

use super::journal::{Entry, Journal, Waiting};

/// The journals that are delivered from, for those who only look what waits in them. They are not held by this.
#[derive(Debug, Default)]
pub(super) struct AllWaiting {
    seen: ArcSwap<Vec<Seen>>,
    /// Whether there are any, for those who only want to know that there are none.
    is_any: AtomicBool,
}

#[derive(Debug)]
struct Seen {
    journal: Weak<Journal>,
    waiting: Waiting,
}

impl Seen {
    /// Whether something waits in it that is to be delivered from here; of one that was let go of, another program does that.
    fn is_owing(&self) -> bool {
        !self.waiting.is_empty() && self.journal.strong_count() > 0
    }
}

impl AllWaiting {
    /// These are all there are now.
    pub(super) fn set<'a>(&self, journals: impl Iterator<Item = &'a Arc<Journal>>) {
        let seen =
            |journal: &Arc<Journal>| Seen { journal: Arc::downgrade(journal), waiting: journal.waiting() };
        let seen: Vec<_> = journals.map(seen).collect();
        let is_any = !seen.is_empty();
        self.seen.store(Arc::new(seen));
        self.is_any.store(is_any, Release);
    }

    /// The newest write of a URI that waits in one of them.
    pub(super) fn latest(&self, uri: &[u8]) -> Option<Arc<Entry>> {
        if !self.is_any.load(Acquire) {
            return None;
        }
        self.seen.load().iter().filter(|seen| seen.is_owing()).find_map(|seen| seen.waiting.latest(uri))
    }

    /// Whether anything waits in any of them.
    pub(super) fn is_owing(&self) -> bool {
        self.is_any.load(Acquire) && self.seen.load().iter().any(Seen::is_owing)
    }

    /// Resolves when no write of a URI waits in any of them but this.
    pub(super) async fn until_delivered(&self, uri: &[u8], but: Option<&Waiting>) {
        let all = self.seen.load_full();
        let others = all.iter().filter(|seen| but.is_none_or(|own| !own.is_of(&seen.waiting)));
        for seen in others.filter(|seen| seen.is_owing()) {
            seen.waiting.until_delivered(uri).await;
        }
    }
}
