//! URIs that were written to of late: what is older of them is not found, and is taken from disk.
//!
//! What was fetched before a write may be on its way to disk still when that comes, and be there after it. So a write is
//! remembered for longer than that takes, and where there are too many to remember, what is under way is given up.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// For how long a write is remembered, in milliseconds: no write to disk takes longer.
pub(super) const REMEMBERED: u64 = 30_000;
/// So many writes are remembered at most, and so many URIs wait for the files to be looked through.
const MOST: usize = 64 * 1024;

/// URIs that were written to of late, by the hash of the URI; times are milliseconds of the wall clock.
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// When each was written to last.
    at: HashMap<u128, Write>,
    /// The same in the order of time.
    order: VecDeque<(u128, Write)>,
    /// How many there were, and the number of the last one that was forgotten.
    noted: u64,
    forgotten: u64,
    /// The last write that was forgotten before its time.
    floor: u64,
    /// Those whose files are still to be found, since their keys have more than the URI.
    waiting: HashMap<u128, u64>,
    /// Those for which all files are looked through now.
    swept: HashMap<u128, u64>,
    is_sweeping: bool,
}

/// A write: when it came, and its number, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Write {
    at: u64,
    number: u64,
}

/// What is to be done for a write whose files are to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sweep {
    /// Somebody looks through the files already, and will again.
    UnderWay,
    /// The caller is to have them looked through.
    Needed,
    /// There are so many that everything has to go.
    TooMany,
}

impl Written {
    /// Notes a write. Takes constant time, on average.
    pub(super) fn note(&self, uri: u128, now: u64) {
        let mut kept = self.kept();
        kept.noted += 1;
        let write = Write { at: now, number: kept.noted };
        kept.at.insert(uri, write);
        kept.order.push_back((uri, write));
        while let Some(&(oldest, write)) = kept.order.front() {
            let is_early = write.at.saturating_add(REMEMBERED) > now;
            if is_early && kept.order.len() <= MOST {
                break;
            }
            kept.order.pop_front();
            if kept.at.get(&oldest) == Some(&write) {
                kept.at.remove(&oldest);
                kept.forgotten = write.number;
                if is_early {
                    kept.floor = kept.floor.max(write.at);
                }
            }
        }
    }

    /// Notes that the files of a URI are to be found.
    pub(super) fn sweep(&self, uri: u128, now: u64) -> Sweep {
        let mut kept = self.kept();
        if !kept.wait(uri, now) {
            return Sweep::TooMany;
        }
        if std::mem::replace(&mut kept.is_sweeping, true) { Sweep::UnderWay } else { Sweep::Needed }
    }

    /// Notes the same while there are no files yet; false where there are so many that everything has to go.
    pub(super) fn hold(&self, uri: u128, now: u64) -> bool {
        self.kept().wait(uri, now)
    }

    /// The URIs whose files are to be found, and that nobody looks for now.
    pub(super) fn waiting(&self) -> Vec<u128> {
        self.kept().waiting.keys().copied().collect()
    }

    /// Whether the caller is to have the files looked through for what waits.
    pub(super) fn sweep_for_waiting(&self) -> bool {
        let mut kept = self.kept();
        !kept.waiting.is_empty() && !std::mem::replace(&mut kept.is_sweeping, true)
    }

    /// Whether there was a write of late, or its files are still to be found.
    pub(super) fn is_recent(&self, now: u64) -> bool {
        let kept = self.kept();
        let is_late = |(_, write): &(u128, Write)| write.at.saturating_add(REMEMBERED) > now;
        kept.is_sweeping || !kept.waiting.is_empty() || kept.order.back().is_some_and(is_late)
    }

    /// Begins to look through all files, for what waits; false when nothing does, and then nobody looks any more.
    pub(super) fn begin_sweep(&self) -> bool {
        let mut kept = self.kept();
        kept.swept = std::mem::take(&mut kept.waiting);
        kept.is_sweeping = !kept.swept.is_empty();
        kept.is_sweeping
    }

    /// Whether an object whose fetch began at `begun` is older than a write of its URI.
    pub(super) fn is_older(&self, uri: u128, begun: u64, now: u64) -> bool {
        let kept = self.kept();
        let is_before = |at: Option<u64>| at.is_some_and(|at| is_before(begun, at, now));
        is_before(kept.at.get(&uri).map(|write| write.at))
            || is_before(kept.waiting.get(&uri).copied())
            || is_before(kept.swept.get(&uri).copied())
    }

    /// How many writes there were.
    pub(super) fn count(&self) -> u64 {
        self.kept().noted
    }

    /// Whether a URI was written to since there were so many, or may have been, where one of those was forgotten.
    pub(super) fn came_since(&self, uri: u128, count: u64) -> bool {
        let kept = self.kept();
        kept.forgotten > count || kept.at.get(&uri).is_some_and(|write| write.number > count)
    }

    /// Whether an object that is on its way to disk may be kept there.
    pub(super) fn may_keep(&self, uri: u128, begun: u64, now: u64) -> bool {
        let floor = self.kept().floor;
        (floor == 0 || !is_before(begun, floor, now)) && !self.is_older(uri, begun, now)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a fetch that began then is older than what came at `at`. One that begins later than now was before the clock was
/// set back, and so before everything that came since.
pub(super) fn is_before(begun: u64, at: u64, now: u64) -> bool {
    begun <= at || begun > now
}

impl Kept {
    /// Has a URI wait for the files to be looked through. False where too many do: then none does any more.
    fn wait(&mut self, uri: u128, now: u64) -> bool {
        if self.waiting.len() >= MOST && !self.waiting.contains_key(&uri) {
            self.waiting.clear();
            return false;
        }
        self.waiting.insert(uri, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_remembered_for_its_time() {
        let written = Written::default();
        written.note(1, 100);
        let is_older = |uri, begun| written.is_older(uri, begun, 200_000);
        assert!(is_older(1, 100) && !is_older(1, 101) && !is_older(2, 100));
        written.note(2, 100 + REMEMBERED);
        assert!(!is_older(1, 100), "whatever was under way then is there by now");
        assert!(written.may_keep(1, 1, 200_000));
        assert!(written.came_since(3, 0), "what was finished before may be older");
        assert!(!written.came_since(3, 1) && written.came_since(2, 1) && !written.came_since(2, 2));
        written.note(2, 101 + REMEMBERED);
        assert!(is_older(2, 101 + REMEMBERED));
    }

    /// The wall clock was an hour ahead when it was fetched, say.
    #[test]
    fn what_began_later_than_now_is_older() {
        let written = Written::default();
        assert!(!written.is_older(1, 5_000, 1_000) && written.may_keep(1, 5_000, 1_000), "than nothing");
        written.note(1, 1_000);
        assert!(written.is_older(1, 5_000, 1_001) && !written.is_older(2, 5_000, 1_001));
        assert!(!written.is_older(1, 1_002, 1_002), "it came after the write");
        (0..MOST as u128 + 5).for_each(|uri| written.note(uri + 10, 1_100));
        assert!(!written.may_keep(u128::MAX, 5_000, 1_200) && written.may_keep(u128::MAX, 1_150, 1_200));
    }

    #[test]
    fn too_many_writes_give_up_what_is_under_way() {
        let written = Written::default();
        (0..MOST as u128 + 5).for_each(|uri| written.note(uri, if uri < 5 { 1000 } else { 2000 }));
        let kept = written.kept();
        assert!(kept.at.len() == MOST && kept.order.len() == MOST);
        drop(kept);
        assert!(!written.is_older(0, 1, 3000), "what is there stays");
        assert!(!written.may_keep(u128::MAX, 1000, 3000), "what is under way since then is not kept");
        assert!(written.may_keep(u128::MAX, 1001, 3000));
    }

    #[test]
    fn one_looks_through_the_files_for_all() {
        let written = Written::default();
        assert_eq!(written.sweep(1, 10), Sweep::Needed);
        assert_eq!(written.sweep(2, 20), Sweep::UnderWay);
        assert!(written.begin_sweep());
        let is_older = |uri, begun| written.is_older(uri, begun, 100);
        assert!(is_older(1, 10) && is_older(2, 20) && !is_older(2, 21));
        assert_eq!(written.sweep(3, 30), Sweep::UnderWay, "for the next time");
        assert!(is_older(3, 30));
        assert!(written.begin_sweep());
        assert!(!is_older(1, 10) && is_older(3, 30));
        assert!(!written.begin_sweep());
        assert_eq!(written.sweep(4, 40), Sweep::Needed);
        (1..MOST as u128).for_each(|uri| assert_ne!(written.sweep(uri + 10, 50), Sweep::Needed));
        assert_eq!(written.sweep(u128::MAX, 50), Sweep::TooMany);
    }

    #[test]
    fn what_waits_for_a_folder_is_looked_for_by_one() {
        let written = Written::default();
        assert!(!written.is_recent(10) && !written.sweep_for_waiting());
        assert!(written.hold(1, 10) && written.is_older(1, 10, 100));
        assert_eq!(written.waiting(), [1]);
        assert!(written.is_recent(10 + REMEMBERED), "it is still to be looked for");
        assert!(written.sweep_for_waiting() && !written.sweep_for_waiting());
        assert_eq!(written.sweep(2, 20), Sweep::UnderWay);
        assert!(written.begin_sweep() && !written.begin_sweep());
        assert!(!written.is_recent(10));
        written.note(3, 10);
        assert!(written.is_recent(9 + REMEMBERED) && !written.is_recent(10 + REMEMBERED));
        (0..MOST as u128).for_each(|uri| assert!(written.hold(uri, 50)));
        assert!(!written.hold(u128::MAX, 50) && written.waiting().is_empty());
    }
}
