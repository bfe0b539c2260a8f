//! Collapsed forwarding: one fetch, many who wait for it, on any worker.
//!
//! Who asks for something that is not stored either takes the lead, and gets a [`Source`] to bring the answer by, or
//! waits as a [`Reader`] of the one that is under way. When the head comes, all readers stream from the same bytes as
//! they come; when it may not be shared, all are released at once. Nobody polls: readers are woken by event, once per
//! worker and batch (`hub`).
//!
//! Invariants: a fill is in the table as long as somebody may join it, or it may be stored; the order of locks is
//! table, fill, store; a fill that began before a purge is not stored after it (the purge leaves its rule with the
//! fill, under the lock under which the fill looks at its rules and is stored), and nobody who asks after the purge
//! joins it.

mod hub;
mod reader;
mod recent;
mod source;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

pub use hub::drive;
pub use reader::{FillOutcome, ReadError, Reader};
use recent::Recent;
pub use source::Source;
use state::{Phase, State};

use super::{
    key::Key,
    purge::Rule,
    stored_head::StoredHead,
    vary::{Selector, Vary},
};
use crate::{
    error::Kind,
    fields::Fields,
    sync::{Mutex, MutexGuard},
    telemetry::clock,
};

/// The head of an answer that is shared.
#[derive(Debug)]
pub struct Answer {
    /// Status, fields, freshness, Vary.
    pub entry: StoredHead,
    /// The variant that it is.
    pub variant: Key,
    /// The body's length, where the head says it.
    pub length: Option<u64>,
    /// Whether those may join who ask now that it has come.
    pub is_open: bool,
}

impl Answer {
    /// Whether it is what this request would be answered with, were it stored.
    pub fn matches(&self, request: &Fields) -> bool {
        self.entry.vary.key(request).is_some_and(|key| key == self.variant)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of error.
    pub kind: Kind,
    /// For people.
    pub text: String,
}

/// What the origin had to do with a stored object that answers a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It said that the object still holds.
    Validated,
    /// It failed, and the object may be served although it is stale.
    Failed,
    /// It was not asked: the object was found on disk.
    Unasked,
}

/// One fetch.
#[derive(Debug)]
pub struct Fill {
    id: u64,
    /// When it began, in milliseconds of the wall clock.
    begun: u64,
    key: Key,
    /// The variant that is expected, where something is stored that varies.
    expected: Option<Key>,
    /// Whether nobody may join it.
    is_alone: bool,
    fills: Arc<Fills>,
    state: Mutex<State>,
}

/// When something was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// How many purges there had been.
    purges: u64,
    /// In milliseconds of the wall clock.
    pub at: u64,
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
    held: AtomicU64,
    bounds: Mutex<Bounds>,
    recent: Recent,
    counts: Counts,
}

/// What fills count. Once per fetch or waiter, never per hit.
#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    under_way: AtomicU64,
    waiters: AtomicU64,
    released: AtomicU64,
    taken_over: AtomicU64,
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
/// How often a fetch is asked for before all who wait get the error.
const MOST_TRIES: u32 = 2;
/// How far whoever brings a body that outgrew the bounds may be ahead of the fastest reader.
const RUN_AHEAD: u64 = 256 * 1024;

/// Numbers of fills are never given twice, over all caches: workers know waiters by them.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What somebody wants who may join a fill.
pub struct Want<'a> {
    /// What is asked for.
    pub key: &'a Key,
    /// The fields of the request.
    pub request: &'a Fields,
    /// The variant that it would be, where something is stored that varies.
    pub expected: Option<Key>,
    /// Whether an answer whose head has come already will do.
    pub accepts: &'a dyn Fn(&Answer) -> bool,
}

/// What becomes of somebody who wants to join.
#[derive(Debug)]
pub enum Joined {
    /// It leads a new fetch.
    Lead(Source, Reader),
    /// It waits for one that is under way.
    Wait(Reader),
    /// Neither: `alone` said so.
    Alone,
}

impl Fills {
    /// No fills yet.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            held: AtomicU64::new(0),
            bounds: Mutex::new(bounds),
            recent: Recent::default(),
            counts: Counts::default(),
        })
    }

    /// Other bounds, for what comes from now on.
    pub fn set_bounds(&self, bounds: Bounds) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
    }

    /// The bounds.
    pub fn bounds(&self) -> Bounds {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins a fill that is under way, or begins one. `alone` is asked, under the lock that keeps others from
    /// beginning one, before a new one is begun: true when something has been stored meanwhile, or when this one may
    /// not lead.
    pub fn join(self: &Arc<Self>, want: &Want<'_>, alone: impl FnOnce() -> bool) -> Joined {
        let mut selector = Selector::new(want.request);
        let mut table = loop {
            let table = self.table(want.key);
            let fills = table.get(&want.key.hash()).map(Vec::as_slice).unwrap_or_default();
            let mut unknown = Vec::new();
            for fill in fills.iter().rev() {
                match fill.join(want, &selector) {
                    Ok(Some(reader)) => return Joined::Wait(reader),
                    Ok(None) => {}
                    Err(vary) => unknown.push(vary),
                }
            }
            if unknown.is_empty() {
                break table;
            }
            // What the request has of its fields is found out once, and not under the locks.
            drop(table);
            selector.learn(unknown);
        };
        if alone() {
            return Joined::Alone;
        }
        let fill = self.fill(want.key.clone(), want.expected.clone(), None);
        table.entry(want.key.hash()).or_default().push(fill.clone());
        drop(table);
        let reader = Reader::new(fill.clone());
        Joined::Lead(Source::new(fill), reader)
    }

    /// Begins a fill that nobody joins, of what was asked for at `asked` ([`Fills::mark`]).
    pub fn begin_alone(self: &Arc<Self>, key: &Key, asked: Mark) -> (Source, Reader) {
        let Mark { purges, at } = asked;
        let fill = self.fill(key.clone(), None, Some(at));
        self.table(key).entry(key.hash()).or_default().push(fill.clone());
        // Behind the entry in the table: what comes from now on finds the fill there.
        fill.state().rules.extend(self.purges_since(key, purges));
        let reader = Reader::new(fill.clone());
        (Source::new(fill), reader)
    }

    /// `asked` is when it was asked for, of one that nobody joins.
    fn fill(self: &Arc<Self>, key: Key, expected: Option<Key>, asked: Option<u64>) -> Arc<Fill> {
        self.counts.begun.fetch_add(1, Relaxed);
        self.counts.under_way.fetch_add(1, Relaxed);
        let id = NEXT.fetch_add(1, Relaxed);
        let (is_alone, begun) = (asked.is_some(), asked.unwrap_or_else(clock::unix_millis));
        let state = Mutex::new(State::new());
        Arc::new(Fill { id, begun, key, expected, is_alone, fills: self.clone(), state })
    }

    /// Has what is under way not stored where a rule is about it, and joined by nobody any more. To be called before
    /// what is stored is looked at.
    pub fn purge(&self, rule: &Rule) {
        self.recent.add(rule);
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
        Mark { purges: self.recent.count(), at: clock::unix_millis() }
    }

    /// The purges that may be about a key, since there had been so many.
    fn purges_since(&self, key: &Key, purges: u64) -> Vec<Rule> {
        self.recent.since(purges).into_iter().filter(|rule| rule.may_match(key)).collect()
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
    fn account(&self, before: u64, after: u64) -> u64 {
        // In this order, it is never below nothing.
        let held = self.held.fetch_add(after, Relaxed) + after;
        self.held.fetch_sub(before, Relaxed);
        held.saturating_sub(before)
    }

    fn table(&self, key: &Key) -> MutexGuard<'_, HashMap<u128, Vec<Arc<Fill>>>> {
        // The last digit of a hash is as good as any.
        let [first, ..] = &self.shards;
        let shard = self.shards.get((key.hash() >> 32) as usize % SHARDS).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fill {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader, if this one may join. The error is the Vary of which the selector is to learn first.
    fn join(self: &Arc<Self>, want: &Want<'_>, selector: &Selector<'_>) -> Result<Option<Reader>, Vary> {
        if self.is_alone || self.key != *want.key {
            return Ok(None);
        }
        let mut state = self.state();
        // What was purged is not for those who ask after the purge.
        if !state.rules.is_empty() {
            return Ok(None);
        }
        let is_joinable = match &state.phase {
            Phase::Asking | Phase::Orphaned => self.expected.is_none() || self.expected == want.expected,
            Phase::Coming(answer) => {
                answer.is_open
                    && !state.tape.is_paced
                    && state.tape.end_is_whole != Some(false)
                    && selector
                        .matches(&answer.entry.vary, &answer.variant)
                        .ok_or_else(|| answer.entry.vary.clone())?
                    && (want.accepts)(answer)
            }
            Phase::Stored(..) | Phase::Released | Phase::Failed(_) => false,
        };
        if !is_joinable {
            return Ok(None);
        }
        // Under the same lock, so that it is not given up for lack of readers meanwhile.
        let index = state.readers.insert(0);
        drop(state);
        Ok(Some(Reader::counted(self.clone(), index)))
    }

    /// Nobody joins it any more.
    fn close(self: &Arc<Self>) {
        let mut table = self.fills.table(&self.key);
        if let Some(fills) = table.get_mut(&self.key.hash()) {
            fills.retain(|other| !Arc::ptr_eq(other, self));
            if fills.is_empty() {
                table.remove(&self.key.hash());
            }
        }
    }
}

fn gone() -> Failure {
    Failure { kind: Kind::ClientGone, text: "nobody waits any more".to_owned() }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let held = self.state().tape.pieces.held();
        self.fills.account(held, 0);
        self.fills.counts.under_way.fetch_sub(1, Relaxed);
    }
}
