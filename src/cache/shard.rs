//! One shard of the store in memory: its objects by key, and their order of leaving. No lock, no clock.
//!
//! Invariants: the evictor knows exactly the objects that are here, by [`super::object::id`]; so what it counts is what they
//! hold, and that is never above the limit.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::{
    admission::Doorkeeper,
    conf::{Admission, Eviction},
    evict::{Evict, Victim},
    key::{Key, lower_half},
    stored_response::StoredResponse,
    uri_keys::UriKeys,
    vary::{self, Selector, Vary},
};

/// What a lookup gives.
#[derive(Clone, Debug)]
pub enum Found {
    /// The variant that answers the request.
    Stored(Arc<StoredResponse>),
    /// Nothing matches the request's fields, but something is stored; one of it is given, for its Vary.
    Vary(Arc<StoredResponse>),
    /// Nothing is stored.
    Nothing,
}

/// Why an object was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is larger than what a shard may hold.
    TooLarge,
    /// It was not asked for before (`second-request`).
    NotAdmitted,
    /// What is there is more recent: it was asked for later, and came earlier.
    Older,
}

/// What the store has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Objects.
    pub objects: u64,
    /// Bytes that they count for.
    pub bytes: u64,
    /// Objects that left because room was needed.
    pub evicted: u64,
    /// Objects that left because there were too many variants of their key.
    pub superfluous: u64,
    /// Objects that did not come in: too large.
    pub too_large: u64,
    /// Objects that did not come in: not asked for before.
    pub not_admitted: u64,
}

/// The objects of one key.
#[derive(Debug)]
pub(super) enum Variants {
    One(Arc<StoredResponse>),
    Many(Vec<Arc<StoredResponse>>),
}

impl Variants {
    pub(super) fn as_slice(&self) -> &[Arc<StoredResponse>] {
        match self {
            Self::One(object) => std::slice::from_ref(object),
            Self::Many(objects) => objects,
        }
    }

    fn push(&mut self, object: Arc<StoredResponse>) {
        match self {
            Self::One(first) => *self = Self::Many(vec![first.clone(), object]),
            Self::Many(objects) => objects.push(object),
        }
    }

    /// Takes one out; true when none is left.
    fn remove(&mut self, id: u64) -> (Option<Arc<StoredResponse>>, bool) {
        match self {
            Self::One(object) if object.id() == id => (Some(object.clone()), true),
            Self::One(_) => (None, false),
            Self::Many(objects) => {
                let at = objects.iter().position(|object| object.id() == id);
                let left = at.map(|at| objects.swap_remove(at));
                (left, objects.is_empty())
            }
        }
    }
}

/// One shard.
#[derive(Debug)]
pub(super) struct Shard {
    /// By the lower half of the key's hash. Another key with the same half takes the place.
    keys: HashMap<u64, Variants>,
    /// The half hash of the key of each object whose id is another.
    varying: HashMap<u64, u64>,
    uris: UriKeys,
    evictor: Box<dyn Evict>,
    door: Doorkeeper,
    stats: Stats,
}

impl Shard {
    pub(super) fn new(limit: u64, eviction: Eviction, admission: Admission, seed: u64) -> Self {
        Self {
            keys: HashMap::new(),
            varying: HashMap::new(),
            uris: UriKeys::default(),
            evictor: eviction.start(limit, seed),
            door: Doorkeeper::new(admission, limit),
            stats: Stats::default(),
        }
    }

    /// Begins anew, empty; gives what was there. What was counted stays.
    pub(super) fn restart(
        &mut self,
        limit: u64,
        eviction: Eviction,
        admission: Admission,
        seed: u64,
    ) -> Vec<Arc<StoredResponse>> {
        let new = Self { stats: self.stats, ..Self::new(limit, eviction, admission, seed) };
        let before = std::mem::replace(self, new);
        before.keys.values().flat_map(Variants::as_slice).cloned().collect()
    }

    /// Takes in what was in a shard before, where it has room.
    pub(super) fn readmit(&mut self, object: Arc<StoredResponse>, left: &mut Vec<Arc<StoredResponse>>) {
        let is_taken = self.by_id(half(&object.key)).first().is_some_and(|first| first.key != object.key);
        let mut victims = Vec::new();
        let fits = !is_taken && self.evictor.admit(object.id(), object.size(), &mut victims);
        self.let_go(&victims, left);
        if fits { self.enter(object) } else { left.push(object) }
    }

    /// What is stored for a request. The error has each Vary of which the selector is to learn first.
    pub(super) fn find(&mut self, key: &Key, selector: &Selector<'_>) -> Result<Found, Vec<Vary>> {
        let found = self.peek(key, selector);
        if let Ok(Found::Stored(object)) = &found {
            self.evictor.touch(object.id());
        }
        found
    }

    /// Finds as [`Self::find`], without a mark that it was asked for.
    pub(super) fn peek(&self, key: &Key, selector: &Selector<'_>) -> Result<Found, Vec<Vary>> {
        let Some(variants) = self.keys.get(&half(key)) else { return Ok(Found::Nothing) };
        let objects = variants.as_slice();
        let Some(first) = objects.first().filter(|first| first.key == *key) else {
            return Ok(Found::Nothing);
        };
        let chosen = match objects {
            [only] if only.entry.vary.is_nothing() => Some(only),
            _ => vary::choose(objects.iter().map(|object| object.as_variant()), selector)?
                .and_then(|at| objects.get(at)),
        };
        Ok(match chosen {
            Some(object) => Found::Stored(object.clone()),
            None => Found::Vary(first.clone()),
        })
    }

    pub(super) fn variants(&self, key: &Key) -> &[Arc<StoredResponse>] {
        let objects = self.by_id(half(key));
        if objects.first().is_some_and(|first| first.key == *key) { objects } else { &[] }
    }

    pub(super) fn put(
        &mut self,
        object: Arc<StoredResponse>,
        (most, is_elsewhere): (usize, bool),
        left: &mut Vec<Arc<StoredResponse>>,
    ) -> Result<(), Rejected> {
        self.admit(&object, is_elsewhere)?;
        self.insert(object, most, left)
    }

    /// Puts an object in the place of one that is there. Who may come in is not asked: it is there already.
    pub(super) fn replace(
        &mut self,
        before: &StoredResponse,
        object: Arc<StoredResponse>,
        most: usize,
        left: &mut Vec<Arc<StoredResponse>>,
    ) {
        if before.id() != object.id() {
            left.extend(self.remove(before));
        }
        // One that is not stored after all leaves nothing that is older.
        let _ = self.insert(object, most, left);
    }

    fn insert(
        &mut self,
        object: Arc<StoredResponse>,
        most: usize,
        left: &mut Vec<Arc<StoredResponse>>,
    ) -> Result<(), Rejected> {
        let id = object.id();
        // What was here is gone in any case: what came is newer. The evictor goes on with what it knows of it.
        left.extend(self.forget(id));
        if self.by_id(half(&object.key)).first().is_some_and(|first| first.key != object.key) {
            self.clear_key(half(&object.key), left);
        }
        self.make_way(&object.key, most, left);
        let mut victims = Vec::new();
        let fits = self.evictor.admit(id, object.size(), &mut victims);
        self.let_go(&victims, left);
        if !fits {
            self.evictor.remove(id);
            self.stats.too_large += 1;
            return Err(Rejected::TooLarge);
        }
        self.enter(object);
        Ok(())
    }

    /// Takes out what is in the place of an object that is stored elsewhere.
    pub(super) fn pass_by(
        &mut self,
        object: &StoredResponse,
        is_elsewhere: bool,
        left: &mut Vec<Arc<StoredResponse>>,
    ) -> Result<(), Rejected> {
        self.admit(object, is_elsewhere)?;
        left.extend(self.remove(object));
        Ok(())
    }

    /// Refuses an object that nobody asked for before, and one in whose place is a more recent one. What is stored here or
    /// elsewhere was asked for, however long ago that is. Asked before anything else changes: of what does not come in,
    /// nothing else need leave.
    fn admit(&mut self, object: &StoredResponse, is_elsewhere: bool) -> Result<(), Rejected> {
        let id = object.id();
        let is_resident = is_elsewhere || self.evictor.size(id).is_some();
        if !is_resident && !self.door.admits(id) {
            self.stats.not_admitted += 1;
            return Err(Rejected::NotAdmitted);
        }
        let mut others = self.variants(&object.key).iter().filter(|other| other.variant == object.variant);
        if others.any(|other| other.is_more_recent_than(object)) { Err(Rejected::Older) } else { Ok(()) }
    }

    /// Counts an object anew that holds more than before.
    pub(super) fn resize(&mut self, object: &StoredResponse, left: &mut Vec<Arc<StoredResponse>>) {
        let mut victims = Vec::new();
        if !self.evictor.admit(object.id(), object.size(), &mut victims) {
            left.extend(self.remove(object));
        }
        self.let_go(&victims, left);
    }

    fn enter(&mut self, object: Arc<StoredResponse>) {
        let key = half(&object.key);
        let id = object.id();
        if id != key {
            self.varying.insert(id, key);
        }
        if object.key.has_fields() {
            self.uris.add(lower_half(object.key.uri_hash()), key);
        }
        match self.keys.entry(key) {
            Entry::Occupied(mut entry) => entry.get_mut().push(object),
            Entry::Vacant(entry) => {
                entry.insert(Variants::One(object));
            }
        }
    }

    /// Takes variants of a key out until one more may come.
    fn make_way(&mut self, key: &Key, most: usize, left: &mut Vec<Arc<StoredResponse>>) {
        loop {
            let objects = self.by_id(half(key));
            let dates = objects.iter().map(|object| object.entry.date);
            let Some(oldest) = vary::superfluous(dates, most).and_then(|at| objects.get(at)).cloned() else {
                return;
            };
            self.stats.superfluous += 1;
            left.extend(self.remove(&oldest));
        }
    }

    pub(super) fn remove(&mut self, object: &StoredResponse) -> Option<Arc<StoredResponse>> {
        self.remove_id(object.id())
    }

    fn remove_id(&mut self, id: u64) -> Option<Arc<StoredResponse>> {
        self.evictor.remove(id);
        self.forget(id)
    }

    fn clear_key(&mut self, key: u64, left: &mut Vec<Arc<StoredResponse>>) {
        let ids: Vec<u64> = self.by_id(key).iter().map(|object| object.id()).collect();
        for id in ids {
            left.extend(self.remove_id(id));
        }
    }

    fn let_go(&mut self, victims: &[Victim], left: &mut Vec<Arc<StoredResponse>>) {
        for victim in victims {
            self.stats.evicted += 1;
            left.extend(self.forget(victim.key));
        }
    }

    /// Takes an object out of the index; the evictor has let it go already.
    fn forget(&mut self, id: u64) -> Option<Arc<StoredResponse>> {
        let key = self.varying.remove(&id).unwrap_or(id);
        let variants = self.keys.get_mut(&key)?;
        let (object, is_empty) = variants.remove(id);
        if is_empty {
            self.keys.remove(&key);
            if let Some(object) = object.as_ref().filter(|object| object.key.has_fields()) {
                self.uris.remove(lower_half(object.key.uri_hash()), key);
            }
        }
        object
    }

    pub(super) fn of_uri(&self, uri: &Key) -> Vec<Arc<StoredResponse>> {
        let objects = self.keys_of(uri).into_iter().flat_map(|key| self.by_id(key));
        objects.filter(|object| object.key.uri() == uri.uri()).cloned().collect()
    }

    /// The half hashes of the keys under which something may be stored of a URI.
    pub(super) fn keys_of(&self, uri: &Key) -> Vec<u64> {
        std::iter::once(half(uri)).chain(self.uris.of(lower_half(uri.uri_hash()))).collect()
    }

    /// Takes out what is stored of a URI under these keys.
    pub(super) fn remove_of(&mut self, uri: &Key, keys: &[u64]) -> Vec<Arc<StoredResponse>> {
        let objects = keys.iter().flat_map(|key| self.by_id(*key));
        let objects = objects.filter(|object| object.key.uri() == uri.uri());
        let ids: Vec<u64> = objects.map(|object| object.id()).collect();
        ids.into_iter().filter_map(|id| self.remove_id(id)).collect()
    }

    /// The half hashes of all keys.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.keys.keys().copied().collect()
    }

    pub(super) fn by_id(&self, key: u64) -> &[Arc<StoredResponse>] {
        self.keys.get(&key).map(Variants::as_slice).unwrap_or_default()
    }

    pub(super) fn clear(&mut self) -> HashMap<u64, Variants> {
        self.varying.clear();
        self.uris.clear();
        for key in self.ids() {
            let ids: Vec<u64> = self.by_id(key).iter().map(|object| object.id()).collect();
            ids.iter().for_each(|id| {
                self.evictor.remove(*id);
            });
        }
        std::mem::take(&mut self.keys)
    }

    pub(super) fn stats(&self) -> Stats {
        Stats { objects: self.evictor.len() as u64, bytes: self.evictor.bytes(), ..self.stats }
    }

    pub(super) fn limit(&self) -> u64 {
        self.evictor.limit()
    }
}

fn half(key: &Key) -> u64 {
    key.half_hash()
}
