//! Purges and writes that come while an exchange is under way whose outcome is to be stored.
//!
//! Fetches that others may join are told by [`crate::cache::fill`]; this is for what nobody joins: a request that fetches for
//! itself, and a write whose body is to be stored.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::cache::purge::Rule;

/// Who is to be told of purges.
#[derive(Debug)]
pub struct Watches {
    shards: [Mutex<HashMap<u64, Vec<Rule>>>; SHARDS],
    next: AtomicU64,
}

const SHARDS: usize = 16;

impl Default for Watches {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), next: AtomicU64::new(0) }
    }
}

impl Watches {
    /// Begins to watch.
    pub fn begin(self: &Arc<Self>) -> Watch {
        let id = self.next.fetch_add(1, Relaxed);
        self.shard(id).insert(id, Vec::new());
        Watch { watches: self.clone(), id }
    }

    /// Tells everyone of a purge. To be called before what is stored is looked at: then either the one who watches
    /// hears of it, or what that one stored is found.
    pub fn tell(&self, rule: &Rule) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values_mut().for_each(|rules| rules.push(rule.clone()));
        }
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, HashMap<u64, Vec<Rule>>> {
        let [first, ..] = &self.shards;
        let shard =
            usize::try_from(id % SHARDS as u64).ok().and_then(|at| self.shards.get(at)).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exchange under way.
#[derive(Debug)]
pub struct Watch {
    watches: Arc<Watches>,
    id: u64,
}

impl Watch {
    /// Has something stored, which is told of the purges since this began. No other comes until it is done.
    pub fn store<T>(&self, store: impl FnOnce(&[Rule]) -> T) -> T {
        let shard = self.watches.shard(self.id);
        store(shard.get(&self.id).map(Vec::as_slice).unwrap_or_default())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let rules = self.watches.shard(self.id).remove(&self.id);
        drop(rules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_watches_is_told_of_what_came_since_and_nobody_else_is() {
        let watches = Arc::<Watches>::default();
        watches.tell(&Rule::All);
        let one = watches.begin();
        watches.tell(&Rule::Tag("a".into()));
        let other = watches.begin();
        watches.tell(&Rule::All);
        assert_eq!((one.store(<[Rule]>::len), other.store(<[Rule]>::len)), (2, 1));
        drop((one, other));
        assert!(watches.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
