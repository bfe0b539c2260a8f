//! The index under another limit, and in another order of eviction: it is held for a moment at a time.

use super::*;
use crate::cache::disk::{
    index::{Index, SHRINK_STEP},
    layout::{Name, block_of},
};

/// What each object costs.
const SIZE: u64 = 4096;

/// An index that has room for so many objects, and has them.
fn full(eviction: Eviction, count: u64) -> Index {
    let mut index = Index::new(eviction, count * SIZE, 1);
    let mut gone = Vec::new();
    for sequence in 1..=count {
        assert!(index.insert(name(sequence), &[], &mut gone).is_some());
    }
    assert!(gone.is_empty());
    index
}

fn name(sequence: u64) -> Name {
    let (key, block) = (u128::from(sequence), block_of(512));
    Name { key, sequence, length: 10, shift: 0, head: 60, block, mark: None, keyed: Keyed::Uri }
}

/// A write that evicted all of it at once would keep event loops waiting for as long as that takes.
#[test]
fn what_is_above_a_lower_limit_leaves_in_steps() {
    let mut index = full(Eviction::Lru, 20_000);
    index.set_limit(1_000 * SIZE);
    let mut gone = Vec::new();
    assert!(!index.reserve(SIZE, &mut gone), "there is room for it later");
    assert!(index.insert(name(30_000), &[], &mut gone).is_none());
    assert_eq!(gone.len(), 0);
    assert!(index.reserve(0, &mut gone), "a head that takes no more room can be written");
    let mut before = 0;
    while !index.shrink(SHRINK_STEP, &mut gone) {
        assert!(gone.len() - before <= 256);
        before = gone.len();
    }
    assert!(index.reserve(SIZE, &mut gone));
    assert_eq!((index.len(), gone.len()), (999, 19_001));
}

#[test]
fn objects_are_ordered_anew_in_steps() {
    for eviction in Eviction::ALL.iter().map(|(eviction, ..)| *eviction) {
        let mut index = full(eviction, 100);
        let mut gone = Vec::new();
        index.set_limit(200 * SIZE);
        // Others, before the first is through.
        assert!(!index.reorder(40));
        index.set_eviction(if eviction == Eviction::Fifo { Eviction::Lru } else { Eviction::Fifo });
        assert!(!index.reorder(40));
        index.set_limit(300 * SIZE);
        index.set_eviction(eviction);
        assert!(!index.reorder(40));
        // Of some that have their place in the new order, and some that do not.
        for key in [1, 99] {
            index.touch(index.find(key)[0].id);
            index.remove_key(key + 1, &mut gone);
            let older = index.find(key)[0].id;
            let newer = name(key as u64 + 1_000);
            assert!(index.insert(Name { key, ..newer }, &[older], &mut gone).is_some());
        }
        assert_eq!((index.len(), index.bytes(), gone.len()), (98, 98 * SIZE, 4));
        index.evict_bytes(50 * SIZE, &mut gone);
        assert_eq!((index.len(), index.bytes()), (48, 48 * SIZE));
        while !index.reorder(40) {}
        assert_eq!((index.len(), index.bytes()), (48, 48 * SIZE));
        (1..=300).for_each(|at| assert!(index.insert(name(2_000 + at), &[], &mut gone).is_some()));
        assert_eq!((index.len(), index.bytes()), (300, 300 * SIZE), "{eviction:?}");
    }
}

/// The one that came first, though it was asked for since, leaves by the order that a reload brought.
#[test]
fn objects_leave_in_the_order_that_is_set() {
    for (eviction, expected) in [(Eviction::Lru, 2), (Eviction::Fifo, 1)] {
        let mut index = full(Eviction::Lru, 10);
        index.touch(index.find(1)[0].id);
        index.set_eviction(eviction);
        while !index.reorder(3) {}
        let mut gone = Vec::new();
        assert!(index.insert(name(11), &[], &mut gone).is_some());
        assert_eq!(gone.iter().map(|(_, name)| name.key).collect::<Vec<_>>(), [expected], "{eviction:?}");
    }
}
