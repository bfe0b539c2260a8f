//! What is not delivered yet, in memory: the newest of each URI for GETs, the oldest of each URI for delivery.
//!
//! Pure: `now` and chance are given. Behind one mutex in [`super::Journal`].
//!
//! Invariants: of each URI at most one write is under way, and it is the oldest; every oldest write that is not
//! under way is in `due`, and nothing else is.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::entry::{Entry, Id};
use crate::{moment::Moment, rng::Rng};

/// Writes that are durable and not delivered.
#[derive(Debug, Default)]
pub(super) struct Index {
    held: BTreeMap<Id, Held>,
    by_uri: HashMap<Box<[u8]>, VecDeque<Id>>,
    due: BTreeSet<(Moment, Id)>,
    /// The cost of what is held, and of what is on its way into the journal.
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct Held {
    entry: Arc<Entry>,
    attempts: u32,
    turn: Turn,
}

/// Whether it may be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// An older one of its URI goes first.
    Waiting,
    /// From this moment on.
    Due(Moment),
    /// Now.
    UnderWay,
}

/// What is to be delivered next.
#[derive(Debug)]
pub(super) enum Due {
    /// This, after so many attempts that failed.
    Now(Arc<Entry>, u32),
    /// Something at this moment, or nothing.
    Later(Option<Moment>),
}

impl Index {
    /// Makes room for a write, if there is any.
    pub(super) fn reserve(&mut self, cost: u64, limit: u64) -> bool {
        let fits = self.bytes.saturating_add(cost) <= limit;
        if fits {
            self.bytes += cost;
        }
        fits
    }

    /// Gives room back.
    pub(super) fn release(&mut self, cost: u64) {
        self.bytes = self.bytes.saturating_sub(cost);
    }

    /// Adds a write for which there is room. One that is there already stays as it is.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        let id = entry.id;
        let uri = &entry.write.uri;
        if self.held.contains_key(&id) {
            return;
        }
        let queue = match self.by_uri.get_mut(uri) {
            Some(queue) => queue,
            None => self.by_uri.entry(uri.clone()).or_default(),
        };
        let at = queue.partition_point(|other| *other < id);
        let first = queue.front().copied();
        queue.insert(at, id);
        self.held.insert(id, Held { entry, attempts: 0, turn: Turn::Waiting });
        if at == 0 {
            // Only while segments are read: a write that was moved to a later one is met behind its successors.
            if let Some(first) = first {
                self.turn(first, Turn::Waiting);
            }
            self.turn(id, Turn::Due(Moment::default()));
        }
    }

    fn turn(&mut self, id: Id, turn: Turn) {
        let Some(held) = self.held.get_mut(&id) else { return };
        if let Turn::Due(at) = held.turn {
            self.due.remove(&(at, id));
        }
        if let Turn::Due(at) = turn {
            self.due.insert((at, id));
        }
        held.turn = turn;
    }

    /// The newest write of a URI.
    pub(super) fn latest(&self, uri: &[u8]) -> Option<Arc<Entry>> {
        let id = self.by_uri.get(uri)?.back()?;
        Some(self.held.get(id)?.entry.clone())
    }

    /// What may be delivered; it is under way then.
    pub(super) fn next(&mut self, now: Moment) -> Due {
        let Some(&(at, id)) = self.due.first() else { return Due::Later(None) };
        if at > now {
            return Due::Later(Some(at));
        }
        self.turn(id, Turn::UnderWay);
        match self.held.get(&id) {
            Some(held) => Due::Now(held.entry.clone(), held.attempts),
            None => Due::Later(None),
        }
    }

    /// Whether something may be delivered.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.due.first().is_some_and(|&(at, _)| at <= now)
    }

    /// An attempt failed: another one after a while.
    pub(super) fn failed(&mut self, id: Id, now: Moment, chance: &mut Rng) {
        let Some(held) = self.held.get_mut(&id) else { return };
        if held.turn != Turn::UnderWay {
            return;
        }
        held.attempts = held.attempts.saturating_add(1);
        let at = now.plus(backoff(held.attempts, chance));
        self.turn(id, Turn::Due(at));
    }

    /// A write is done with: its URI's next one has its turn.
    pub(super) fn complete(&mut self, id: Id) -> Option<Arc<Entry>> {
        self.turn(id, Turn::Waiting);
        let entry = self.held.remove(&id)?.entry;
        self.release(entry.write.cost());
        let uri = &entry.write.uri;
        let queue = self.by_uri.get_mut(uri)?;
        let was_first = queue.front() == Some(&id);
        if was_first {
            queue.pop_front();
        } else {
            queue.retain(|other| *other != id);
        }
        match queue.front().copied() {
            Some(next) if was_first => self.turn(next, Turn::Due(Moment::default())),
            Some(_) => {}
            None => {
                self.by_uri.remove(uri);
            }
        }
        Some(entry)
    }

    /// While segments are read: a write of this URI is completed, and so are those before it, since delivery is in
    /// order. Gives how many there were.
    pub(super) fn complete_up_to(&mut self, uri: &[u8], id: Id) -> usize {
        let completed: Vec<Id> = match self.by_uri.get(uri) {
            // It is in order: a start would look at all of it for each record.
            Some(queue) => queue.iter().copied().take_while(|other| *other <= id).collect(),
            None => Vec::new(),
        };
        completed.iter().filter_map(|id| self.complete(*id)).count()
    }

    /// Every write, oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.held.values().map(|held| &held.entry)
    }

    /// How many writes there are.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}

/// 1 s, 2 s, 4 s … 60 s by the number of attempts that failed, shortened by up to a quarter: writes that failed
/// together shall not come back together.
fn backoff(attempts: u32, chance: &mut Rng) -> Duration {
    let whole = LONGEST.min(Duration::from_secs(1_u64.checked_shl(attempts.saturating_sub(1)).unwrap_or(60)));
    whole.mul_f64(1.0 - chance.fraction() / 4.0)
}

const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writeback::journal::Write;

    fn entry(id: u64, uri: &[u8]) -> Arc<Entry> {
        Arc::new(Entry { id: Id(id), write: Write { uri: uri.into(), ..Write::default() } })
    }

    fn next(index: &mut Index, now: Moment) -> Option<u64> {
        match index.next(now) {
            Due::Now(entry, _) => Some(entry.id.0),
            Due::Later(_) => None,
        }
    }

    #[test]
    fn of_each_uri_only_the_oldest_is_under_way() {
        let mut index = Index::default();
        for (id, uri) in [(1, b"/a"), (2, b"/a"), (3, b"/b")] {
            index.insert(entry(id, uri));
        }
        let now = Moment(1);
        assert_eq!(next(&mut index, now), Some(1));
        assert_eq!(next(&mut index, now), Some(3));
        assert_eq!(next(&mut index, now), None);
        assert_eq!(index.latest(b"/a").map(|entry| entry.id), Some(Id(2)));
        index.complete(Id(1));
        assert_eq!(next(&mut index, now), Some(2));
        index.complete(Id(2));
        assert!(index.latest(b"/a").is_none());
        assert!(index.latest(b"/b").is_some());
    }

    #[test]
    fn a_failed_one_holds_back_its_uri_and_no_other() {
        let mut index = Index::default();
        for (id, uri) in [(1, b"/a"), (2, b"/a"), (3, b"/b")] {
            index.insert(entry(id, uri));
        }
        let now = Moment(1);
        assert_eq!(next(&mut index, now), Some(1));
        index.failed(Id(1), now, &mut Rng::new(1));
        assert_eq!(next(&mut index, now), Some(3));
        let Due::Later(Some(at)) = index.next(now) else { panic!("nothing is waited for") };
        assert!(at.since(now) >= Duration::from_millis(750) && at.since(now) <= Duration::from_secs(1));
        assert!(!index.is_due(now) && index.is_due(at));
        assert!(matches!(index.next(at), Due::Now(entry, 1) if entry.id == Id(1)));
    }

    #[test]
    fn the_backoff_doubles_up_to_a_minute() {
        let mut chance = Rng::new(3);
        for (attempts, seconds) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (64, 60), (u32::MAX, 60)] {
            let whole = Duration::from_secs(seconds);
            for _ in 0..100 {
                let delay = backoff(attempts, &mut chance);
                assert!(delay <= whole && delay >= whole.mul_f64(0.75), "{attempts}: {delay:?}");
            }
        }
    }

    /// The queue of the URI is in order: to look at all of it for each takes time by the square.
    #[test]
    fn many_writes_of_one_uri_are_read_in_seconds() {
        const COUNT: u64 = 200_000;
        let mut index = Index::default();
        (1..=COUNT).for_each(|id| index.insert(entry(id, b"/a")));
        let began = std::time::Instant::now();
        assert!((1..=COUNT).all(|id| index.complete_up_to(b"/a", Id(id)) == 1));
        assert_eq!(index.len(), 0);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[test]
    fn one_that_is_read_late_takes_its_place() {
        let mut index = Index::default();
        for id in [5, 3, 4, 3] {
            index.insert(entry(id, b"/a"));
        }
        assert_eq!(index.len(), 3);
        assert_eq!(index.complete_up_to(b"/a", Id(3)), 1);
        assert_eq!(next(&mut index, Moment(1)), Some(4));
        assert_eq!(next(&mut index, Moment(1)), None);
        assert_eq!(index.complete_up_to(b"/a", Id(9)), 2);
        assert_eq!((index.len(), index.due.len(), index.by_uri.len()), (0, 0, 0));
    }
}
