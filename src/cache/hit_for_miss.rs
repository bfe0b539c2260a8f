//! Keys whose responses turned out not to be shared. For a while nobody waits for such a one again: requests go on
//! at once, each for itself.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::key::Key;
use crate::moment::Moment;

/// How long a key is remembered.
pub const LONG: Duration = Duration::from_secs(30);
/// How long it is remembered when the response was an error, which may be over soon.
pub const SHORT: Duration = Duration::from_secs(1);

/// Most keys remembered; the oldest goes first.
const MOST: usize = 16 * 1024;

/// Keys that are remembered, each until a moment of its own.
#[derive(Debug, Default)]
pub struct HitForMiss {
    marks: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    until: HashMap<u128, Moment>,
    /// In the order they came.
    order: VecDeque<u128>,
}

impl HitForMiss {
    /// Remembers a key until `until`.
    pub fn set(&self, key: &Key, until: Moment) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.until.insert(key.hash(), until).is_some() {
            return;
        }
        marks.order.push_back(key.hash());
        if marks.order.len() > MOST
            && let Some(oldest) = marks.order.pop_front()
        {
            marks.until.remove(&oldest);
        }
    }

    /// Whether a key is remembered now.
    pub fn has(&self, key: &Key, now: Moment) -> bool {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.until.get(&key.hash()).is_some_and(|until| now < *until)
    }

    /// Forgets a key: its response turned out to be one that is shared.
    pub fn clear(&self, key: &Key) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = marks.until.get_mut(&key.hash()) {
            *until = Moment(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cache::key::KeySettings, fields::Fields};

    #[test]
    fn keys_are_remembered_for_their_time_and_oldest_make_room() {
        let key = |number: usize| {
            Key::of("http", "a", None, &format!("/{number}"), &Fields::default(), &KeySettings::default())
        };
        let marks = HitForMiss::default();
        let (now, later) = (Moment(1_000_000), Moment(2_000_000));
        marks.set(&key(0), later);
        assert!(marks.has(&key(0), now) && !marks.has(&key(0), later) && !marks.has(&key(1), now));
        marks.clear(&key(0));
        assert!(!marks.has(&key(0), now));
        marks.set(&key(0), later);
        assert!(marks.has(&key(0), now));
        (1..=MOST).for_each(|number| marks.set(&key(number), later));
        assert!(!marks.has(&key(0), now) && marks.has(&key(1), now) && marks.has(&key(MOST), now));
    }
}
