//! What leaves a cache since nobody asks for it: `inactive`. Off, it costs a hit one comparison.
//!
//! A hit notes in the object when it was; a turn every eighth of the time looks at all of them, tells the disk what was asked
//! for in memory, and removes what was not. What is found after its time and before that is not served any more.

use std::{
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    disk::Disk,
    memory::{Found, Memory},
    stored_response::StoredResponse,
};
use crate::moment::Moment;

/// Turns in the time after which something leaves.
const TURNS: u32 = 8;
/// The shortest time between two turns.
const LEAST: Duration = Duration::from_millis(250);
/// As many keys are told to the disk at once.
const STEP: usize = 256;

/// What a store knows of its turns.
#[derive(Debug, Default)]
pub struct Inactive {
    /// When the last turn was; held while one is under way.
    last: Mutex<Moment>,
    /// Since when hits are noted, as [`Moment`]; 0 while they are not. What was there then counts as asked for then.
    since: AtomicU64,
    /// Objects that left memory for it.
    pub from_memory: AtomicU64,
    /// Objects that left the disk for it.
    pub from_disk: AtomicU64,
}

impl Inactive {
    /// What was found, where it was asked for within `limit`; it is from here on.
    pub(super) fn asked(&self, found: Found, limit: Duration, memory: &Memory) -> Found {
        let Found::Stored(object) = found else { return found };
        let now = Moment::recent();
        if !self.is_over(&object, limit, now) {
            object.note_asked(now);
            return Found::Stored(object);
        }
        self.let_go(memory, &object);
        Found::Nothing
    }

    /// Whether hits are noted.
    pub fn is_on(&self) -> bool {
        self.since.load(Relaxed) > 0
    }

    /// Removes what nobody asked for within `limit`, if it is time for that; with a limit of 0 it ends to note hits. Waits
    /// for locks, and is not for an event loop.
    pub(super) fn turn(&self, limit: Duration, memory: &Memory, disk: Option<&Disk>, now: Moment) {
        let mut last = match self.last.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            // Another is under way.
            Err(TryLockError::WouldBlock) => return,
        };
        let is_on = !limit.is_zero();
        if let Some(disk) = disk {
            disk.set_watches_idle(is_on);
        }
        if !is_on || !self.is_on() {
            self.since.store(if is_on { now.0 } else { 0 }, Relaxed);
            *last = now;
            return;
        }
        if now.since(*last) < (limit / TURNS).max(LEAST) {
            return;
        }
        let before = std::mem::replace(&mut *last, now);
        let mut asked = Vec::new();
        memory.visit(|object| {
            if self.is_over(object, limit, now) {
                self.let_go(memory, object);
            } else if let Some(disk) = disk
                && object.last_asked() >= before
            {
                asked.push(object.key.hash());
                if asked.len() == STEP {
                    disk.note_asked(&asked);
                    asked.clear();
                }
            }
        });
        if let Some(disk) = disk {
            disk.note_asked(&asked);
            self.from_disk.fetch_add(disk.next_turn(), Relaxed);
        }
    }

    fn is_over(&self, object: &StoredResponse, limit: Duration, now: Moment) -> bool {
        let since = self.since.load(Relaxed);
        since > 0 && now.since(object.last_asked().max(Moment(since))) > limit
    }

    fn let_go(&self, memory: &Memory, object: &Arc<StoredResponse>) {
        if memory.remove(object) {
            self.from_memory.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::advance;

    use super::*;
    use crate::{
        cache::{
            conf::CacheConf,
            date::Date,
            freshness::Times,
            key::{Key, KeySettings},
            policy::Policy,
            store::{Cache, Store},
            stored_head::StoredHead,
            stored_response::Body,
        },
        fields::Fields,
        h1::{RequestHead, ResponseHead},
        schema::Size,
    };

    /// A cache with this time, over what another one of its name has stored.
    fn cache(inactive: u64, store: Option<Arc<Store>>) -> Cache {
        cache_of(Duration::from_secs(inactive), store)
    }

    fn cache_of(inactive: Duration, store: Option<Arc<Store>>) -> Cache {
        let (memory, max_object) = (Size(1 << 20), Size(1 << 16));
        let conf = CacheConf { inactive, memory, max_object, ..CacheConf::collapsing("c") };
        let new = || Arc::new(Store::new(Some(Cache::shape(&conf)), 1, Arc::default()));
        Cache::new(&conf, store.unwrap_or_else(new))
    }

    fn key(target: &str) -> Key {
        Key::of("http", "a", None, target, &Fields::default(), &KeySettings::default())
    }

    fn put(cache: &Cache, target: &str) {
        let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
        head.fields.push("cache-control", b"max-age=86400");
        let times = Times { requested: Date(1_795_000_000), received: Date(1_795_000_000) };
        let entry = StoredHead::of(&RequestHead::default(), &head, &Policy::default(), times).unwrap();
        let body = Body::of([Bytes::from_static(b"body")]);
        let object = StoredResponse::new(key(target), &Fields::default(), entry, body).unwrap();
        assert!(cache.put(Arc::new(object)).is_ok());
    }

    fn has(cache: &Cache, target: &str) -> bool {
        Moment::now();
        matches!(cache.find(&key(target), &Fields::default()), Found::Stored(_))
    }

    fn objects(cache: &Cache) -> u64 {
        cache.store.memory.as_ref().unwrap().stats().objects
    }

    async fn seconds(cache: &Cache, count: u64) {
        for _ in 0..count {
            advance(Duration::from_secs(1)).await;
            cache.remove_inactive(Moment::now());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_leaves_and_the_rest_stays() {
        let cache = cache(80, None);
        cache.remove_inactive(Moment::now());
        put(&cache, "/asked");
        put(&cache, "/looked-at");
        seconds(&cache, 79).await;
        assert!(has(&cache, "/asked"));
        assert!(matches!(cache.peek(&key("/looked-at"), &Fields::default()), Found::Stored(_)));
        assert_eq!(objects(&cache), 2);
        seconds(&cache, 11).await;
        assert_eq!((objects(&cache), has(&cache, "/asked"), has(&cache, "/looked-at")), (1, true, false));
        assert_eq!(cache.store.inactive.from_memory.load(Relaxed), 1);
        // Between two turns it is not served any more either.
        advance(Duration::from_secs(81)).await;
        assert!(!has(&cache, "/asked"));
        assert_eq!(objects(&cache), 0);
    }

    /// Less than a second is what it says, and not none at all.
    #[tokio::test(start_paused = true)]
    async fn it_is_kept_to_the_millisecond() {
        let cache = cache_of(Duration::from_millis(300), None);
        assert!(cache.watches_inactive());
        cache.remove_inactive(Moment::now());
        put(&cache, "/a");
        advance(Duration::from_millis(299)).await;
        assert!(has(&cache, "/a"));
        advance(Duration::from_millis(301)).await;
        assert!(!has(&cache, "/a"));
        assert_eq!(objects(&cache), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn without_it_nothing_leaves_and_a_reload_begins_anew() {
        let before = cache(0, None);
        put(&before, "/a");
        seconds(&before, 100).await;
        assert!(!before.watches_inactive() && has(&before, "/a"));
        // What was asked for before nobody noted counts as asked for when it begins.
        let after = cache(10, Some(before.store.clone()));
        assert!(has(&after, "/a"), "not before the first turn");
        after.remove_inactive(Moment::now());
        seconds(&after, 9).await;
        assert_eq!(objects(&after), 1);
        let off = cache(0, Some(before.store.clone()));
        assert!(off.watches_inactive());
        off.remove_inactive(Moment::now());
        assert!(!off.watches_inactive());
        seconds(&off, 100).await;
        assert!(has(&off, "/a"));
        after.remove_inactive(Moment::now());
        seconds(&after, 13).await;
        assert_eq!(objects(&after), 0);
    }
}
