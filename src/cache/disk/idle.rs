//! Objects that nobody asked for in a long time. Asks no disk: what leaves is deleted by the threads of the store.

use super::store::Disk;

/// As many objects are looked at under one lock.
const STEP: usize = 1024;

impl Disk {
    /// Says whether it is to be noted what is asked for. What is there when it begins counts as asked for then.
    pub fn set_watches_idle(&self, is_on: bool) {
        self.shared.lock_index().set_watches_idle(is_on);
    }

    /// What is under these keys was asked for elsewhere; in the order of eviction it stays where it is.
    pub fn note_asked(&self, keys: &[u128]) {
        let mut index = self.shared.lock_index();
        keys.iter().for_each(|key| index.note_asked(*key));
    }

    /// Goes on to the next turn, and removes what was asked for in none of the last nine; gives how many those were.
    pub fn next_turn(&self) -> u64 {
        self.shared.lock_index().next_turn();
        let (mut count, mut from) = (0, Some(0));
        while let Some(slot) = from {
            let mut gone = Vec::new();
            from = self.shared.lock_index().remove_idle(slot, STEP, &mut gone);
            count += gone.len() as u64;
            self.shared.unlink(gone);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        index::Index,
        layout::{Keyed, Name, block_of},
    };
    use crate::cache::conf::Eviction;

    fn name(key: u128) -> Name {
        let (sequence, keyed) = (u64::try_from(key).unwrap(), Keyed::Unknown);
        Name { key, sequence, length: 10, shift: 0, head: 4096, block: block_of(65536), mark: None, keyed }
    }

    fn turn(index: &mut Index) -> usize {
        let mut gone = Vec::new();
        index.next_turn();
        assert_eq!(index.remove_idle(0, 1024, &mut gone), None);
        gone.len()
    }

    #[test]
    fn objects_leave_when_nobody_asked_for_nine_turns() {
        let mut index = Index::new(Eviction::Lru, 1 << 20, 0);
        let old = index.insert(name(1), &[], &mut Vec::new()).unwrap();
        assert_eq!((0..20).map(|_| turn(&mut index)).sum::<usize>(), 0, "nobody watches");
        index.set_watches_idle(true);
        let asked = index.insert(name(2), &[], &mut Vec::new()).unwrap();
        index.insert(name(3), &[], &mut Vec::new()).unwrap();
        for _ in 0..9 {
            assert_eq!(turn(&mut index), 0);
        }
        index.touch(asked);
        index.note_asked(3);
        assert_eq!(index.find(1).len(), 1);
        assert_eq!(turn(&mut index), 1);
        assert!(index.name(old).is_none() && index.name(asked).is_some() && index.find(3).len() == 1);
        // One that comes in its slot is new.
        index.insert(name(4), &[], &mut Vec::new()).unwrap();
        index.next_turn();
        assert_eq!(index.find(4).len(), 1);
        for _ in 0..8 {
            index.next_turn();
        }
        assert!(index.find(3).is_empty(), "not found any more, though not yet removed");
        index.set_watches_idle(false);
        assert_eq!(index.find(3).len(), 1);
    }

    #[test]
    fn a_removed_key_takes_what_is_idle_too() {
        let mut index = Index::new(Eviction::Lru, 1 << 20, 0);
        index.set_watches_idle(true);
        index.insert(name(1), &[], &mut Vec::new()).unwrap();
        (0..10).for_each(|_| index.next_turn());
        assert!(index.find(1).is_empty());
        let mut gone = Vec::new();
        index.remove_key(1, &mut gone);
        assert_eq!((gone.len(), index.len()), (1, 0), "it would be found again after a restart");
    }

    #[test]
    fn a_cleared_index_still_watches() {
        let mut index = Index::new(Eviction::Lru, 1 << 20, 0);
        index.set_watches_idle(true);
        index.clear();
        index.insert(name(1), &[], &mut Vec::new()).unwrap();
        assert_eq!((0..10).map(|_| turn(&mut index)).sum::<usize>(), 1);
    }
}
