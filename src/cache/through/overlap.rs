//! Purges and writes that come while an exchange is under way whose outcome is to be stored.
//!
//! Fetches that others may join are notified by [`crate::cache::fill`]; this is for what nobody joins: a request that fetches for
//! itself, and a write whose body is to be stored. There is one list for all of them, in which each knows its place, so
//! that neither many who watch nor many purges cost more than themselves.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use crate::cache::purge::Rule;

/// So many purges are kept for those who watch; who began before them is not stored.
const MOST: usize = 1024;
/// So many bytes of what they name are kept.
const MOST_BYTES: usize = 1 << 20;

/// Who is to hear of purges.
#[derive(Debug, Default)]
pub struct Watches {
    /// How many there are.
    open: AtomicUsize,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    /// How many purges there were while anybody watched.
    count: u64,
    /// The newest of them, oldest first.
    rules: VecDeque<Rule>,
    bytes: usize,
}

impl List {
    fn add(&mut self, rule: &Rule) {
        self.count += 1;
        self.bytes += bytes(rule);
        self.rules.push_back(rule.clone());
        while self.rules.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.rules.pop_front() else { return };
            self.bytes -= bytes(&oldest);
        }
    }

    /// The purges since there were so many; `None` when they are too many to be known.
    fn since(&mut self, count: u64) -> Option<&[Rule]> {
        let new = usize::try_from(self.count.saturating_sub(count)).ok()?;
        let from = self.rules.len().checked_sub(new)?;
        self.rules.make_contiguous().get(from..)
    }
}

fn bytes(rule: &Rule) -> usize {
    match rule {
        Rule::All => 0,
        Rule::Uri(key) => key.uri().len(),
        Rule::Prefix(text) | Rule::Tag(text) => text.len(),
    }
}

impl Watches {
    /// Begins to watch.
    pub fn begin(self: &Arc<Self>) -> Watch {
        self.open.fetch_add(1, SeqCst);
        let since = self.list().count;
        Watch { watches: self.clone(), since }
    }

    /// Notes a purge for everyone. To be called before what is stored is looked at: then either the one who watches
    /// hears of it, or what that one stored is found.
    pub fn note(&self, rule: &Rule) {
        let mut list = self.list();
        if self.open.load(SeqCst) > 0 {
            list.add(rule);
        } else if !list.rules.is_empty() {
            // Nobody began before these.
            (list.rules, list.bytes) = (VecDeque::new(), 0);
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exchange under way.
#[derive(Debug)]
pub struct Watch {
    watches: Arc<Watches>,
    since: u64,
}

impl Watch {
    /// Has something stored, which is given the purges since this began; `None` when there were too many, so that it is
    /// not to be stored. No other comes until it is done.
    pub fn store<T>(&self, store: impl FnOnce(Option<&[Rule]>) -> T) -> T {
        let mut list = self.watches.list();
        store(list.since(self.since))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watches.open.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: usize) -> Rule {
        Rule::Tag(number.to_string().into_bytes())
    }

    #[test]
    fn a_watch_hears_of_purges_since_it_began() {
        let watches = Arc::<Watches>::default();
        watches.note(&Rule::All);
        let one = watches.begin();
        watches.note(&tag(1));
        let other = watches.begin();
        watches.note(&Rule::All);
        one.store(|rules| assert_eq!(rules, Some(&[tag(1), Rule::All][..])));
        other.store(|rules| assert_eq!(rules, Some(&[Rule::All][..])));
        drop((one, other));
        watches.note(&tag(2));
        assert!(watches.list().rules.is_empty());
        watches.begin().store(|rules| assert_eq!(rules, Some(&[][..])));
    }

    #[test]
    fn purges_are_kept_once_and_bounded_for_all() {
        let watches = Arc::<Watches>::default();
        let open: Vec<_> = (0..1000).map(|_| watches.begin()).collect();
        (0..MOST * 3).for_each(|number| watches.note(&tag(number)));
        assert_eq!(watches.list().rules.len(), MOST);
        open.iter().for_each(|watch| watch.store(|rules| assert_eq!(rules, None)));
        let late = watches.begin();
        (0..10).for_each(|_| watches.note(&Rule::Prefix(vec![b'x'; MOST_BYTES / 4])));
        let list = watches.list();
        assert!(list.bytes <= MOST_BYTES && list.rules.len() <= 4, "{} bytes", list.bytes);
        drop(list);
        late.store(|rules| assert_eq!(rules, None));
    }
}
