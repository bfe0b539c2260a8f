//! Sessions of datagrams: who they are by, since when they are silent, and which of them waits for its first answer.
//! Pure: it is given `now`, and says what is due.
//!
//! Datagrams have no connection. One client address and port at one listening socket is a session, for as long as
//! datagrams come and go. Sessions of one group (an upstream) with the same time to live are in one list by their last
//! datagram, so that both the next one that is due and the one that is silent for longest are at its head: nothing here
//! costs more than the number of lists, which is the number of different settings.

use std::{collections::HashMap, hash::Hash, time::Duration};

use slab::Slab;

use crate::moment::Moment;

/// The number of a session in its table; of one that has ended it may be given to another.
pub type Id = u32;

/// How long a session may last, as its upstream said when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Sessions that make room for each other: the number of their upstream's name.
    pub group: u32,
    /// Silence that ends it.
    pub idle: Duration,
    /// How long its first answer may take.
    pub answer: Duration,
}

/// What has come for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its first answer did not come in time since then. Said once for each [`Table::ask`].
    Unanswered(Id, Moment),
    /// It was silent for as long as it may be: it is to be removed.
    Idle(Id),
}

/// Sessions by key `K`.
#[derive(Debug)]
pub struct Table<K, T> {
    ids: HashMap<K, Id>,
    entries: Slab<Entry<K, T>>,
    silent: Vec<List>,
    asking: Vec<List>,
}

#[derive(Debug)]
struct Entry<K, T> {
    key: K,
    value: T,
    terms: Terms,
    last: Moment,
    asked: Moment,
    silent: Link,
    asking: Link,
}

/// No session, and no list.
const NONE: u32 = u32::MAX;

/// A session's place in a list.
#[derive(Clone, Copy, Debug)]
struct Link {
    before: Id,
    after: Id,
    list: u32,
}

const UNLINKED: Link = Link { before: NONE, after: NONE, list: NONE };

/// Sessions of a group with the same period, by when it began for each.
#[derive(Debug)]
struct List {
    group: u32,
    period: Duration,
    first: Id,
    last: Id,
}

/// Which of the two lists that a session may be in.
#[derive(Clone, Copy, Debug)]
enum Which {
    Silent,
    Asking,
}

impl<K: Copy + Eq + Hash, T> Default for Table<K, T> {
    fn default() -> Self {
        Self { ids: HashMap::new(), entries: Slab::new(), silent: Vec::new(), asking: Vec::new() }
    }
}

impl<K: Copy + Eq + Hash, T> Table<K, T> {
    /// Bytes that a session takes in the table, with its share of the index at the load it has at worst.
    pub const BYTES_PER_SESSION: usize = size_of::<Entry<K, T>>() + 2 * (size_of::<(K, Id)>() + 1);

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The session of a key.
    #[inline]
    pub fn find(&self, key: &K) -> Option<Id> {
        self.ids.get(key).copied()
    }

    /// A session, and its key.
    pub fn get(&self, id: Id) -> Option<(&K, &T)> {
        self.entries.get(id as usize).map(|entry| (&entry.key, &entry.value))
    }

    /// A session that is about to change.
    #[inline]
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.entries.get_mut(id as usize).map(|entry| &mut entry.value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &K, &T)> {
        self.iter_from(0)
    }

    /// Those from this number on, in order: whoever goes through them by and by does not pass the rest each time.
    pub fn iter_from(&self, first: Id) -> impl Iterator<Item = (Id, &K, &T)> {
        let ids = first..u32::try_from(self.entries.capacity()).unwrap_or(NONE);
        ids.filter_map(move |id| self.get(id).map(|(key, value)| (id, key, value)))
    }

    /// Begins a session, whose key has none. It gives the session back where there are as many as can be numbered.
    ///
    /// # Errors
    ///
    /// There is no number left.
    pub fn insert(&mut self, key: K, terms: Terms, now: Moment, value: T) -> Result<Id, T> {
        let Some(id) = u32::try_from(self.entries.vacant_key()).ok().filter(|id| *id != NONE) else {
            return Err(value);
        };
        debug_assert!(!self.ids.contains_key(&key), "a key has one session");
        let (silent, asking) = (UNLINKED, UNLINKED);
        self.entries.insert(Entry { key, value, terms, last: now, asked: now, silent, asking });
        self.ids.insert(key, id);
        self.link(id, Which::Silent, terms.idle);
        Ok(id)
    }

    /// Gives a session another key, which no other has.
    pub fn rename(&mut self, id: Id, key: K) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        debug_assert!(!self.ids.contains_key(&key), "a key has one session");
        self.ids.remove(&entry.key);
        entry.key = key;
        self.ids.insert(key, id);
    }

    /// A datagram went through, in whichever direction: the silence begins anew.
    #[inline]
    pub fn touch(&mut self, id: Id, now: Moment) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        entry.last = now;
        let idle = entry.terms.idle;
        if entry.silent.after == NONE && entry.silent.list != NONE {
            // It is the last already, as a busy one mostly is.
            return;
        }
        self.unlink(id, Which::Silent);
        self.link(id, Which::Silent, idle);
    }

    /// A datagram went to a backend that has not answered this session yet: its time begins, where it did not already.
    pub fn ask(&mut self, id: Id, now: Moment) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        if entry.asking.list == NONE {
            entry.asked = now;
            let answer = entry.terms.answer;
            self.link(id, Which::Asking, answer);
        }
    }

    /// Nobody waits for a first answer any more. Gives since when one did.
    pub fn answered(&mut self, id: Id) -> Option<Moment> {
        let entry = self.entries.get(id as usize)?;
        let asked = (entry.asking.list != NONE).then_some(entry.asked);
        self.unlink(id, Which::Asking);
        asked
    }

    /// Ends a session.
    pub fn remove(&mut self, id: Id) -> Option<(K, T)> {
        if !self.entries.contains(id as usize) {
            return None;
        }
        self.unlink(id, Which::Silent);
        self.unlink(id, Which::Asking);
        let entry = self.entries.remove(id as usize);
        self.ids.remove(&entry.key);
        Some((entry.key, entry.value))
    }

    /// The session of a group that is silent for longest, and its last datagram.
    pub fn oldest(&self, group: u32) -> Option<(Id, Moment)> {
        let heads = self.silent.iter().filter(|list| list.group == group);
        let heads = heads.filter_map(|list| Some((list.first, self.entries.get(list.first as usize)?.last)));
        heads.min_by_key(|(_, last)| *last)
    }

    /// Gives a session no more than so much silence, from now on.
    pub fn hasten(&mut self, id: Id, idle: Duration, now: Moment) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        entry.terms.idle = entry.terms.idle.min(idle);
        entry.last = now;
        let idle = entry.terms.idle;
        self.unlink(id, Which::Silent);
        self.link(id, Which::Silent, idle);
    }

    /// The next thing that has come. What is unanswered is said before what ends at the same moment.
    pub fn due(&mut self, now: Moment) -> Option<Due> {
        if let Some((_, id)) = self.heads(Which::Asking).filter(|(at, _)| *at <= now).min() {
            self.unlink(id, Which::Asking);
            let asked = self.entries.get(id as usize).map_or(now, |entry| entry.asked);
            return Some(Due::Unanswered(id, asked));
        }
        self.heads(Which::Silent).filter(|(at, _)| *at <= now).min().map(|(_, id)| Due::Idle(id))
    }

    /// When the next thing comes.
    pub fn next(&self) -> Option<Moment> {
        self.heads(Which::Asking).chain(self.heads(Which::Silent)).map(|(at, _)| at).min()
    }

    /// Of each list the first session, and when its time is over.
    fn heads(&self, which: Which) -> impl Iterator<Item = (Moment, Id)> {
        let lists = match which {
            Which::Silent => &self.silent,
            Which::Asking => &self.asking,
        };
        lists.iter().filter_map(move |list| {
            let entry = self.entries.get(list.first as usize)?;
            let since = match which {
                Which::Silent => entry.last,
                Which::Asking => entry.asked,
            };
            Some((since.plus(list.period), list.first))
        })
    }

    fn link_of(&mut self, id: Id, which: Which) -> Option<&mut Link> {
        let entry = self.entries.get_mut(id as usize)?;
        Some(match which {
            Which::Silent => &mut entry.silent,
            Which::Asking => &mut entry.asking,
        })
    }

    fn lists(&mut self, which: Which) -> &mut Vec<List> {
        match which {
            Which::Silent => &mut self.silent,
            Which::Asking => &mut self.asking,
        }
    }

    /// Puts a session at the end of the list of its group and of this period.
    fn link(&mut self, id: Id, which: Which, period: Duration) {
        let Some(group) = self.entries.get(id as usize).map(|entry| entry.terms.group) else { return };
        let lists = self.lists(which);
        let own = lists.iter().position(|list| list.group == group && list.period == period);
        let index = own.or_else(|| lists.iter().position(|list| list.first == NONE)).unwrap_or_else(|| {
            lists.push(List { group, period, first: NONE, last: NONE });
            lists.len() - 1
        });
        let Some(list) = lists.get_mut(index) else { return };
        (list.group, list.period) = (group, period);
        let before = std::mem::replace(&mut list.last, id);
        if before == NONE {
            list.first = id;
        } else if let Some(link) = self.link_of(before, which) {
            link.after = id;
        }
        let list = u32::try_from(index).unwrap_or(NONE);
        if let Some(link) = self.link_of(id, which) {
            *link = Link { before, after: NONE, list };
        }
    }

    /// Takes a session out of its list, where it is in one.
    fn unlink(&mut self, id: Id, which: Which) {
        let Some(link) = self.link_of(id, which) else { return };
        let Link { before, after, list } = std::mem::replace(link, UNLINKED);
        if list == NONE {
            return;
        }
        if let Some(link) = self.link_of(before, which) {
            link.after = after;
        } else if let Some(list) = self.lists(which).get_mut(list as usize) {
            list.first = after;
        }
        if let Some(link) = self.link_of(after, which) {
            link.before = before;
        } else if let Some(list) = self.lists(which).get_mut(list as usize) {
            list.last = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);
    const TERMS: Terms = Terms { group: 1, idle: IDLE, answer: Duration::from_secs(3) };
    const BEGIN: Moment = Moment(1_000_000);

    fn at(seconds: u64) -> Moment {
        BEGIN.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn the_most_silent_goes_first_and_datagrams_keep_others() {
        let mut table = Table::default();
        let ids: Vec<Id> = (0..3).map(|key| table.insert(key, TERMS, at(key), key).unwrap()).collect();
        table.touch(ids[0], at(4));
        assert_eq!(table.oldest(1), Some((ids[1], at(1))));
        assert_eq!(table.oldest(2), None);
        assert_eq!((table.next(), table.due(at(10))), (Some(at(11)), None));
        for (id, when) in [(ids[1], 11), (ids[2], 12), (ids[0], 14)] {
            assert_eq!(table.due(at(when)), Some(Due::Idle(id)));
            assert_eq!(table.due(at(when)), Some(Due::Idle(id)), "until it is removed");
            assert!(table.remove(id).is_some());
        }
        assert_eq!((table.len(), table.next(), table.remove(ids[0])), (0, None, None));
    }

    #[test]
    fn an_answer_is_missed_once_and_before_the_end() {
        let mut table = Table::default();
        let id = table.insert('a', Terms { answer: IDLE, ..TERMS }, at(0), ()).unwrap();
        table.ask(id, at(0));
        table.ask(id, at(2));
        assert_eq!(table.due(at(10)), Some(Due::Unanswered(id, at(0))));
        assert_eq!(table.due(at(10)), Some(Due::Idle(id)));
        // Asked again, of another backend.
        table.ask(id, at(10));
        table.touch(id, at(10));
        assert_eq!((table.answered(id), table.answered(id)), (Some(at(10)), None));
        assert_eq!(table.due(at(20)), Some(Due::Idle(id)));
    }

    #[test]
    fn a_session_goes_on_under_another_key() {
        let mut table = Table::default();
        let id = table.insert('a', TERMS, at(0), 1).unwrap();
        table.rename(id, 'b');
        let next = table.insert('a', TERMS, at(0), 2).unwrap();
        assert_eq!((table.find(&'a'), table.find(&'b')), (Some(next), Some(id)));
        assert_eq!((table.remove(id), table.find(&'b')), (Some(('b', 1)), None));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_session_that_is_hastened_ends_soon() {
        let mut table = Table::default();
        let (one, two) =
            (table.insert(1, TERMS, at(0), ()).unwrap(), table.insert(2, TERMS, at(0), ()).unwrap());
        table.hasten(two, Duration::from_secs(1), at(2));
        assert_eq!(table.due(at(3)), Some(Due::Idle(two)));
        table.hasten(one, Duration::from_secs(60), at(4));
        assert_eq!(table.next(), Some(at(3)), "the other");
        table.remove(two);
        assert_eq!(table.next(), Some(at(14)), "it is never given more");
    }

    #[test]
    fn sessions_are_found_from_a_number_on() {
        let mut table = Table::default();
        let ids: Vec<Id> = "abcd".chars().map(|key| table.insert(key, TERMS, at(0), ()).unwrap()).collect();
        table.remove(ids[2]);
        let keys = |first| table.iter_from(first).map(|(_, key, ())| *key).collect::<String>();
        assert_eq!([keys(0), keys(ids[1]), keys(ids[2]), keys(ids[3] + 1)], ["abd", "bd", "d", ""]);
        assert_eq!(keys(NONE), "");
    }

    #[test]
    fn settings_that_are_gone_leave_no_list() {
        let mut table = Table::default();
        for seconds in 1..1000 {
            let terms = Terms { idle: Duration::from_secs(seconds), ..TERMS };
            let id = table.insert(seconds, terms, at(0), ()).unwrap();
            table.ask(id, at(0));
            table.remove(id);
        }
        assert_eq!((table.silent.len(), table.asking.len()), (1, 1));
    }
}
