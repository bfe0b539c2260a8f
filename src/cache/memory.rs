//! The store in memory: objects by key, in shards of a lock each. Never above its limit in bytes, heads and index
//! counted; who leaves when room is needed is the evictor's choice (`evict`), who may come in at all the doorkeeper's
//! (`admission`).
//!
//! Previous stop: `fill`, which brings whole responses; next stop: whoever serves them. A lock is held for one lookup
//! or one change; what leaves is freed after it.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;

pub use super::shard::{Found, Rejected, Stats};
use super::{
    conf::{Admission, Eviction},
    key::Key,
    shard::Shard,
    stored_response::StoredResponse,
    vary::{Selector, Vary},
};
use crate::{fields::Fields, filter::coding::Coding};

/// How a store is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Most bytes of all objects together.
    pub limit: u64,
    /// Most bytes of one body; it decides how many shards there can be.
    pub max_object: u64,
    /// Which object leaves.
    pub eviction: Eviction,
    /// Which object may come in.
    pub admission: Admission,
}

/// The objects of a cache in memory.
#[derive(Debug)]
pub struct Memory {
    /// As many as there can be; those that are not in use are empty.
    shards: Box<[Mutex<Shard>]>,
    /// How many are in use: a power of two. It changes while all of them are locked.
    count: AtomicUsize,
    /// Held while objects go from shard to shard, and by who looks at all of them, and would miss some.
    moving: Mutex<()>,
}

/// Most shards.
const MOST_SHARDS: usize = 64;
/// A shard has room for at least this many of the largest objects.
const LARGEST_PER_SHARD: u64 = 4;
/// Keys looked at under one lock when everything is looked at.
const STEP: usize = 256;

impl Memory {
    /// An empty store.
    pub fn new(shape: Shape) -> Self {
        let count = shape.shards();
        let shard = |at| {
            let Shape { limit, eviction, admission, .. } = shape.of_shard(at);
            Mutex::new(Shard::new(limit, eviction, admission, fastrand::u64(..)))
        };
        let shards = (0..MOST_SHARDS).map(shard).collect();
        Self { shards, count: AtomicUsize::new(count), moving: Mutex::default() }
    }

    /// Gives it another limit, policy of eviction or of admission; what has no room any more leaves. Where that makes
    /// another number of shards, for a while nothing is found and nothing comes: a fraction of a second for a million
    /// objects.
    pub fn reshape(&self, shape: Shape) {
        let _moving = lock(&self.moving);
        let restart = |at: usize, shard: &mut Shard| {
            let Shape { limit, eviction, admission, .. } = shape.of_shard(at);
            shard.restart(limit, eviction, admission, fastrand::u64(..))
        };
        let count = shape.shards();
        if count == self.count.load(Relaxed) {
            for (at, shard) in self.shards.iter().enumerate() {
                let (mut shard, mut left) = (lock(shard), Vec::new());
                let objects = restart(at, &mut shard);
                objects.into_iter().for_each(|object| shard.readmit(object, &mut left));
                drop(shard);
                drop(left);
            }
            return;
        }
        let mut shards: Vec<_> = self.shards.iter().map(lock).collect();
        let restarted = shards.iter_mut().enumerate().map(|(at, shard)| restart(at, shard));
        let objects: Vec<_> = restarted.collect();
        let mut left = Vec::new();
        for object in objects.into_iter().flatten() {
            if let Some(shard) = shards.get_mut(place(object.key.uri_hash(), count)) {
                shard.readmit(object, &mut left);
            }
        }
        self.count.store(count, Relaxed);
        drop(shards);
        drop(left);
    }

    /// What is stored for a request; who is found was asked for.
    pub fn find(&self, key: &Key, request: &Fields) -> Found {
        self.select(key, request, Shard::find)
    }

    /// Finds as [`Self::find`], for those who only look: nothing counts as asked for.
    pub fn peek(&self, key: &Key, request: &Fields) -> Found {
        self.select(key, request, |shard, key, selector| shard.peek(key, selector))
    }

    /// Looks as often as there is a Vary that was not there before. What the request has of its fields is found out
    /// between two looks, not under the lock.
    fn select(
        &self,
        key: &Key,
        request: &Fields,
        look: impl Fn(&mut Shard, &Key, &Selector<'_>) -> Result<Found, Vec<Vary>>,
    ) -> Found {
        let mut selector = Selector::new(request);
        loop {
            let looked =
                self.shard(key).map_or(Ok(Found::Nothing), |mut shard| look(&mut shard, key, &selector));
            match looked {
                Ok(found) => return found,
                Err(unknown) => selector.learn(unknown),
            }
        }
    }

    /// Every variant of a key.
    pub fn variants(&self, key: &Key) -> Vec<Arc<StoredResponse>> {
        self.shard(key).map(|shard| shard.variants(key).to_vec()).unwrap_or_default()
    }

    /// Stores an object in the place of the one of the same key and variant; with more than `most` variants the
    /// oldest leaves.
    #[cfg(test)]
    pub fn put(&self, object: Arc<StoredResponse>, most: usize) -> Result<(), Rejected> {
        self.put_known(object, most, false)
    }

    /// The same of an object that may be stored elsewhere already: it comes in whoever asked for it here.
    pub fn put_known(
        &self,
        object: Arc<StoredResponse>,
        most: usize,
        is_elsewhere: bool,
    ) -> Result<(), Rejected> {
        let Some(mut shard) = self.shard(&object.key) else { return Err(Rejected::TooLarge) };
        let mut left = Vec::new();
        let result = shard.put(object, (most, is_elsewhere), &mut left);
        drop(shard);
        drop(left);
        result
    }

    /// Takes out what is in the place of an object whose body is not to be had here. The error says why it is not to be
    /// stored elsewhere either; `is_elsewhere` whether it may be there already.
    pub fn pass_by(&self, object: &StoredResponse, is_elsewhere: bool) -> Result<(), Rejected> {
        let Some(mut shard) = self.shard(&object.key) else { return Ok(()) };
        let mut left = Vec::new();
        let result = shard.pass_by(object, is_elsewhere, &mut left);
        drop(shard);
        drop(left);
        result
    }

    /// Stores an object in the place of `before`, if that is still there. False when it is not: who took its
    /// place, or its place away, knows better.
    pub fn replace(&self, before: &Arc<StoredResponse>, object: Arc<StoredResponse>, most: usize) -> bool {
        let Some(mut shard) = self.shard(&object.key) else { return false };
        let mut left = Vec::new();
        let is_there = shard.variants(&before.key).iter().any(|other| Arc::ptr_eq(other, before));
        if is_there {
            shard.replace(before, object, most, &mut left);
        }
        drop(shard);
        drop(left);
        is_there
    }

    /// Keeps the body of an object in another encoding beside it, if the object is still there and there is room for
    /// both; others may have to leave for it.
    pub fn keep_encoded(&self, object: &Arc<StoredResponse>, coding: Coding, body: Bytes) {
        let Some(mut shard) = self.shard(&object.key) else { return };
        let mut left = Vec::new();
        let is_there = shard.variants(&object.key).iter().any(|other| Arc::ptr_eq(other, object));
        if is_there && object.size().saturating_add(body.len() as u64) < shard.limit() {
            object.body.encodings.keep(coding, body);
            shard.resize(object, &mut left);
        }
        drop(shard);
        drop(left);
    }

    /// Takes out this very object.
    pub fn remove(&self, object: &Arc<StoredResponse>) -> bool {
        let Some(mut shard) = self.shard(&object.key) else { return false };
        let is_there = shard.variants(&object.key).iter().any(|other| Arc::ptr_eq(other, object));
        let left = is_there.then(|| shard.remove(object));
        drop(shard);
        drop(left);
        is_there
    }

    /// Everything that is stored for a URI, under whatever fields of the key.
    pub fn of_uri(&self, uri: &Key) -> Vec<Arc<StoredResponse>> {
        self.shard(uri).map(|shard| shard.of_uri(uri)).unwrap_or_default()
    }

    /// Takes out everything that is stored for a URI, a few under each lock; gives how many there were. What comes meanwhile
    /// stays.
    pub fn remove_uri(&self, uri: &Key) -> u64 {
        let keys = self.shard(uri).map(|shard| shard.keys_of(uri)).unwrap_or_default();
        let remove = |keys: &[u64]| {
            let left = self.shard(uri).map(|mut shard| shard.remove_of(uri, keys)).unwrap_or_default();
            left.len() as u64
        };
        keys.chunks(STEP).map(remove).sum()
    }

    /// Looks at every object, a few under each lock; what comes or goes meanwhile may be seen or not.
    pub fn visit(&self, mut visit: impl FnMut(&Arc<StoredResponse>)) {
        let _moving = lock(&self.moving);
        for shard in &self.shards {
            let ids = lock(shard).ids();
            for ids in ids.chunks(STEP) {
                let objects: Vec<Arc<StoredResponse>> = {
                    let shard = lock(shard);
                    ids.iter().flat_map(|id| shard.by_id(*id)).cloned().collect()
                };
                objects.iter().for_each(&mut visit);
            }
        }
    }

    /// Takes everything out; gives how many there were.
    pub fn clear(&self) -> u64 {
        let _moving = lock(&self.moving);
        let mut count = 0;
        for shard in &self.shards {
            let left = lock(shard).clear();
            count += left.values().map(|variants| variants.as_slice().len() as u64).sum::<u64>();
        }
        count
    }

    /// What it has done and holds.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for shard in &self.shards {
            let one = lock(shard).stats();
            sum.objects += one.objects;
            sum.bytes += one.bytes;
            sum.evicted += one.evicted;
            sum.superfluous += one.superfluous;
            sum.too_large += one.too_large;
            sum.not_admitted += one.not_admitted;
        }
        sum
    }

    /// Most bytes that a single object may count for.
    pub fn largest(&self) -> u64 {
        self.shards.first().map_or(0, |shard| lock(shard).limit())
    }

    /// All keys of a URI are in one shard.
    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, Shard>> {
        let hash = key.uri_hash();
        loop {
            let count = self.count.load(Relaxed);
            let shard = lock(self.shards.get(place(hash, count))?);
            // It is another where objects were moved while this waited, and no other once one of them is locked.
            if self.count.load(Relaxed) == count {
                return Some(shard);
            }
        }
    }
}

impl Shape {
    /// How many shards there are.
    fn shards(&self) -> usize {
        let most = self.limit / self.max_object.saturating_mul(LARGEST_PER_SHARD).max(1);
        let most = usize::try_from(most).unwrap_or(MOST_SHARDS);
        // Rounded down to a power of two.
        1 << most.clamp(1, MOST_SHARDS).ilog2()
    }

    /// The part of one of them.
    fn of_shard(self, at: usize) -> Self {
        let count = self.shards();
        match at < count {
            true => Self { limit: self.limit / count as u64, ..self },
            // One that is not in use costs next to nothing.
            false => Self { limit: 0, eviction: Eviction::Fifo, admission: Admission::Always, ..self },
        }
    }
}

/// The shard of a URI by its hash, of so many.
fn place(hash: u128, count: usize) -> usize {
    // Their number is a power of two, of at most 64.
    const LOW: u128 = 0xff;
    (hash >> 64 & LOW) as usize & (count - 1)
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
