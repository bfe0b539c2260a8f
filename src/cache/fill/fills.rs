//! One fetch that others may wait for, and all of a cache's that are under way.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{recent::Recent, state::State};
use crate::{
    account::{self, Owner},
    cache::{key::Key, origin_id::OriginId, purge::Rule},
    moment::Moment,
    sync::{Mutex, MutexGuard},
    telemetry::clock,
};

/// One fetch.
#[derive(Debug)]
pub struct Fill {
    pub(super) id: u64,
    /// When it began, in milliseconds of the wall clock.
    pub(super) begun: u64,
    /// The same by the clock that is never set back.
    pub(super) since: Moment,
    pub(super) key: Key,
    /// Who is asked.
    pub(super) origin: OriginId,
    /// The variant that is expected, where something is stored that varies.
    pub(super) expected: Option<Key>,
    /// Whether nobody may join it.
    pub(super) is_alone: bool,
    pub(super) fills: Arc<Fills>,
    pub(super) state: Mutex<State>,
}

/// When something was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// How many purges there had been.
    pub(super) purges: u64,
    /// In milliseconds of the wall clock.
    pub at: u64,
    /// By the clock that is never set back.
    pub since: Moment,
}

/// How a cache's fills are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most bytes of a body that is kept for those who read slower, and stored.
    pub max_object: u64,
    /// Most bytes of all bodies that are on their way; what comes above it is not stored.
    pub held: u64,
}

/// The fills of a cache that are under way.
#[derive(Debug)]
pub struct Fills {
    shards: [Mutex<HashMap<u128, Vec<Arc<Fill>>>>; SHARDS],
    pub(super) held: AtomicU64,
    bounds: Mutex<Bounds>,
    recent: Recent,
    pub(super) counts: Counts,
}

/// What fills count. Once per fetch or waiter, never per hit.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) begun: AtomicU64,
    pub(super) under_way: AtomicU64,
    pub(super) waiters: AtomicU64,
    pub(super) released: AtomicU64,
    pub(super) taken_over: AtomicU64,
}

/// What fills have done and do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Fetches begun.
    pub begun: u64,
    /// Fetches under way.
    pub under_way: u64,
    /// Requests that read from one or wait for it, now.
    pub readers: u64,
    /// Answers that could not be shared.
    pub released: u64,
    /// Fetches that one who waited took over.
    pub taken_over: u64,
    /// Bytes of bodies on their way, with what the pieces cost in which they are kept.
    pub held: u64,
}

const SHARDS: usize = 16;

/// Numbers of fills are never given twice, over all caches: workers know waiters by them.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Fills {
    /// The fills of a cache: none yet.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            held: AtomicU64::new(0),
            bounds: Mutex::new(bounds),
            recent: Recent::default(),
            counts: Counts::default(),
        })
    }

    /// Sets other bounds, for what comes from now on.
    pub fn set_bounds(&self, bounds: Bounds) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
    }

    /// The bounds.
    pub fn bounds(&self) -> Bounds {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has what is under way not stored where a rule is about it, and joined by nobody any more. To be called before
    /// what is stored is looked at.
    pub fn purge(&self, rule: &Rule) {
        self.recent.add(rule, Moment::now());
        for shard in &self.shards {
            let table = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for fill in table.values().flatten().filter(|fill| rule.may_match(&fill.key)) {
                let mut state = fill.state();
                // A long body may outlast many purges of the same.
                if !state.rules.contains(rule) {
                    state.rules.push(rule.clone());
                }
            }
        }
    }

    /// The present, for a request that asks without a fill: what is purged from here on is about its answer.
    pub fn mark(&self) -> Mark {
        Mark { purges: self.recent.count(), at: clock::unix_millis(), since: Moment::now() }
    }

    /// The purges that may be about a key, since there had been so many.
    pub(super) fn purges_since(&self, key: &Key, purges: u64) -> Vec<Rule> {
        self.recent.since(purges).into_iter().filter(|rule| rule.may_match(key)).collect()
    }

    /// The purges that may be about a key, since this mark.
    pub fn purges_since_mark(&self, key: &Key, asked: Mark) -> Vec<Rule> {
        self.purges_since(key, asked.purges)
    }

    /// The purges that may be about a key, and came then or later.
    pub fn purges_since_time(&self, key: &Key, then: Moment) -> Vec<Rule> {
        self.recent.since_time(then).into_iter().filter(|rule| rule.may_match(key)).collect()
    }

    /// What they have done and do.
    pub fn stats(&self) -> Stats {
        Stats {
            begun: self.counts.begun.load(Relaxed),
            under_way: self.counts.under_way.load(Relaxed),
            readers: self.counts.waiters.load(Relaxed),
            released: self.counts.released.load(Relaxed),
            taken_over: self.counts.taken_over.load(Relaxed),
            held: self.held.load(Relaxed),
        }
    }

    /// Counts that a fill holds so many bytes, in the place of as many as before; gives how many all hold.
    pub(super) fn account(&self, before: u64, after: u64) -> u64 {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        account::take(Owner::Fills, bytes(after.saturating_sub(before)));
        account::give(Owner::Fills, bytes(before.saturating_sub(after)));
        // In this order, it is never below nothing.
        let held = self.held.fetch_add(after, Relaxed) + after;
        self.held.fetch_sub(before, Relaxed);
        held.saturating_sub(before)
    }

    pub(super) fn table(&self, key: &Key) -> MutexGuard<'_, HashMap<u128, Vec<Arc<Fill>>>> {
        // The last digit of a hash is as good as any.
        let [first, ..] = &self.shards;
        let shard = self.shards.get((key.hash() >> 32) as usize % SHARDS).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `asked` is when it was asked for, of one that nobody joins.
    pub(super) fn begin(
        self: &Arc<Self>,
        (key, origin): (Key, OriginId),
        expected: Option<Key>,
        asked: Option<Mark>,
    ) -> Arc<Fill> {
        self.counts.begun.fetch_add(1, Relaxed);
        self.counts.under_way.fetch_add(1, Relaxed);
        let id = NEXT.fetch_add(1, Relaxed);
        let now = || Mark { purges: 0, at: clock::unix_millis(), since: Moment::now() };
        let (is_alone, Mark { at: begun, since, .. }) = (asked.is_some(), asked.unwrap_or_else(now));
        let state = Mutex::new(State::new());
        Arc::new(Fill { id, begun, since, key, origin, expected, is_alone, fills: self.clone(), state })
    }
}

impl Fill {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody joins it any more.
    pub(super) fn close(self: &Arc<Self>) {
        let mut table = self.fills.table(&self.key);
        if let Some(fills) = table.get_mut(&self.key.hash()) {
            fills.retain(|other| !Arc::ptr_eq(other, self));
            if fills.is_empty() {
                table.remove(&self.key.hash());
            }
        }
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let held = self.state().tape.pieces.held();
        self.fills.account(held, 0);
        self.fills.counts.under_way.fetch_sub(1, Relaxed);
    }
}
