//! What was purged and written to of late: what is found, or comes to disk, is compared with it.
//!
//! Who looks through the files for a purge or a write does not see what is on its way to disk then. That is compared when
//! it comes to its place ([`Past::judge`](Judge::judge)), and what is found before it has been looked at is compared too.
//! Both are remembered for longer than that takes; what takes longer still is not kept.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::written::{REMEMBERED, Written, is_before};
use crate::{
    cache::{
        date::Date,
        disk::{Finished, Judge, Visit},
        disk_head::DiskHead,
        key::Key,
        purge::Rule,
    },
    telemetry::clock,
};

/// What was purged and written to of late.
#[derive(Debug, Default)]
pub(super) struct Past {
    purges: Mutex<Purges>,
    /// URIs that were written to.
    pub(super) written: Written,
}

/// Purges that the files are being looked through for, or were a while ago.
#[derive(Debug, Default)]
pub(super) struct Purges {
    /// With their numbers, from 1.
    known: Vec<(u64, Arc<Purge>)>,
    /// How many there were, and the number of the last one that was forgotten.
    noted: u64,
    forgotten: u64,
}

/// A purge; times are milliseconds of the wall clock.
#[derive(Debug)]
pub(super) struct Purge {
    rule: Rule,
    is_soft: bool,
    /// The name of the field that has the tags of a response.
    tags: String,
    /// What began later is not meant.
    at: u64,
    /// How many were meant, so far.
    count: AtomicU64,
    /// When all files had been looked through; 0 while they have not.
    done: AtomicU64,
    looking: Mutex<Looking>,
}

/// Who looks for what a purge is about: one at a time, so that nothing is counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Looking {
    #[default]
    Nobody,
    /// Who asked for it, among the files of its URI alone.
    Alone,
    /// Who looks through the files for all purges.
    Together,
}

/// So many purges wait for a folder; more are made one of everything.
const MOST_HELD: usize = 1024;

impl Past {
    pub(super) fn purges(&self) -> MutexGuard<'_, Purges> {
        self.purges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present, for an object that is whole.
    pub(super) fn finished(&self) -> Finished {
        Finished { purges: self.purges().noted, writes: self.written.count() }
    }

    /// Whether there was a purge or a write of late, or the files are still to be looked through for one.
    pub(super) fn is_recent(&self, now: u64) -> bool {
        self.purges().is_recent(now) || self.written.is_recent(now)
    }

    /// A record as what came since it was asked for leaves it; nothing where that takes it.
    pub(super) fn unpurged(&self, mut record: DiskHead) -> Option<DiskHead> {
        let now = clock::unix_millis();
        if self.written.is_older(record.key.uri_hash(), record.begun, now) {
            return None;
        }
        for (_, purge) in &self.purges().known {
            if purge.is_about(&record, now) && !purge.leaves(&mut record) {
                return None;
            }
        }
        Some(record)
    }
}

impl Judge for Past {
    fn judge(&self, meta: &[u8], finished: Finished) -> Visit {
        let Some(purges) = self.purges().since(finished.purges) else { return Visit::Remove };
        if purges.is_empty() && self.written.count() == finished.writes {
            return Visit::Keep;
        }
        let Some(mut record) = DiskHead::decode(meta) else { return Visit::Remove };
        if self.written.came_since(record.key.uri_hash(), finished.writes) {
            return Visit::Remove;
        }
        let mut is_changed = false;
        for purge in purges.iter().filter(|purge| purge.matches(&record)).collect::<Vec<_>>() {
            if !purge.leaves(&mut record) {
                return Visit::Remove;
            }
            is_changed = true;
        }
        if is_changed { Visit::Update(record.encode()) } else { Visit::Keep }
    }
}

impl Purges {
    /// Adds one that comes now, and forgets those that need not be known any more.
    pub(super) fn add(&mut self, purge: Arc<Purge>) {
        let is_needed = |old: &Purge| !old.is_done() || old.done.load(Relaxed) + REMEMBERED > purge.at;
        let last = self.known.iter().filter(|(_, old)| !is_needed(old)).map(|(number, _)| *number).max();
        self.forgotten = self.forgotten.max(last.unwrap_or_default());
        self.known.retain(|(_, old)| is_needed(old));
        self.noted += 1;
        self.known.push((self.noted, purge));
    }

    /// Adds one for which there are no files yet. What is found of one of everything is found of those before it, and where
    /// very many wait, all is made one of everything. Gives what was added.
    pub(super) fn hold(&mut self, purge: Arc<Purge>) -> Arc<Purge> {
        let under_way = self.under_way();
        let is_full = under_way.len() >= MOST_HELD;
        let purge = match is_full && !purge.is_of_everything() {
            true => Arc::new(Purge::new(Rule::All, false, "", purge.at)),
            false => purge,
        };
        if purge.is_of_everything() {
            under_way.iter().for_each(|before| before.end(purge.at));
        }
        self.add(purge.clone());
        purge
    }

    /// Whether one of them is of everything, and its files are still to go.
    pub(super) fn are_of_everything(&self) -> bool {
        self.under_way().iter().any(|purge| purge.is_of_everything())
    }

    fn is_recent(&self, now: u64) -> bool {
        let is_late = |purge: &Purge| !purge.is_done() || purge.at.saturating_add(REMEMBERED) > now;
        self.known.iter().any(|(_, purge)| is_late(purge))
    }

    /// Those for which the files are still to be looked through.
    pub(super) fn under_way(&self) -> Vec<Arc<Purge>> {
        self.known.iter().map(|(_, purge)| purge).filter(|purge| !purge.is_done()).cloned().collect()
    }

    /// Those since there were so many; nothing where one of them was forgotten.
    fn since(&self, count: u64) -> Option<Vec<Arc<Purge>>> {
        let new = self.known.iter().filter(|(number, _)| *number > count);
        (self.forgotten <= count).then(|| new.map(|(_, purge)| purge.clone()).collect())
    }

    /// Whether one of them is about a record.
    pub(super) fn are_about(&self, record: &DiskHead) -> bool {
        let now = clock::unix_millis();
        self.known.iter().any(|(_, purge)| purge.is_about(record, now))
    }
}

impl Purge {
    /// One that comes at `at`.
    pub(super) fn new(rule: Rule, is_soft: bool, tags: &str, at: u64) -> Self {
        let (count, done) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { rule, is_soft, tags: tags.to_owned(), at, count, done, looking: Mutex::default() }
    }

    /// Whether it leaves nothing.
    fn is_of_everything(&self) -> bool {
        self.rule == Rule::All && !self.is_soft
    }

    fn looking(&self) -> MutexGuard<'_, Looking> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller may look for it alone, until [`Self::end_alone`].
    pub(super) fn begin_alone(&self) -> bool {
        let mut looking = self.looking();
        let may_begin = *looking == Looking::Nobody && !self.is_done();
        if may_begin {
            *looking = Looking::Alone;
        }
        may_begin
    }

    /// Others may look for it.
    pub(super) fn end_alone(&self) {
        *self.looking() = Looking::Nobody;
    }

    /// Whether the caller, who looks through the files for all, is to look for it too.
    pub(super) fn begin_together(&self) -> bool {
        let mut looking = self.looking();
        let is_free = *looking != Looking::Alone;
        if is_free {
            *looking = Looking::Together;
        }
        is_free
    }

    /// The URI that it is about, if it is about one: most files need not be looked at then.
    pub(super) fn uri(&self) -> Option<&Key> {
        match &self.rule {
            Rule::Uri(uri) => Some(uri),
            Rule::All | Rule::Prefix(_) | Rule::Tag(_) => None,
        }
    }

    fn is_about(&self, record: &DiskHead, now: u64) -> bool {
        is_before(record.begun, self.at, now) && self.matches(record)
    }

    fn matches(&self, record: &DiskHead) -> bool {
        self.rule.matches(&record.key, &record.entry.head.fields, &self.tags)
    }

    /// Whether it leaves one that it is about, which is stale then.
    fn leaves(&self, record: &mut DiskHead) -> bool {
        record.entry.freshness.expire(Date(self.at / 1000));
        self.is_soft
    }

    /// Whether all files have been looked through.
    pub(super) fn is_done(&self) -> bool {
        self.done.load(Relaxed) > 0
    }

    /// They have.
    pub(super) fn end(&self, now: u64) {
        self.done.store(now, Relaxed);
    }

    /// How many were meant.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }
}

/// What becomes of an object under these purges.
pub(super) fn look(meta: &[u8], purges: &[Arc<Purge>]) -> Visit {
    // What cannot be read is of no use to anyone.
    let Some(mut record) = DiskHead::decode(meta) else { return Visit::Remove };
    let now = clock::unix_millis();
    let mut is_changed = false;
    for purge in purges.iter().filter(|purge| purge.is_about(&record, now)).collect::<Vec<_>>() {
        purge.count.fetch_add(1, Relaxed);
        if !purge.leaves(&mut record) {
            return Visit::Remove;
        }
        is_changed = true;
    }
    if is_changed { Visit::Update(record.encode()) } else { Visit::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge(past: &Past, at: u64) -> Arc<Purge> {
        let purge = Arc::new(Purge::new(Rule::Tag(b"other".to_vec()), false, "tags", at));
        past.purges().add(purge.clone());
        purge
    }

    /// Else what asks for purges while another program has the folder would take memory without end.
    #[test]
    fn very_many_that_wait_are_made_one() {
        let purges = |past: &Past| past.purges().under_way().len();
        let new = |rule, at| Arc::new(Purge::new(rule, false, "tags", at));
        let past = Past::default();
        let last = 1 + MOST_HELD as u64;
        (1..last).for_each(|at| drop(past.purges().hold(new(Rule::Tag(b"other".to_vec()), at))));
        assert!(purges(&past) == MOST_HELD && !past.purges().are_of_everything());
        past.purges().hold(new(Rule::Tag(b"other".to_vec()), last));
        assert!(purges(&past) == 1 && past.purges().are_of_everything());
        assert_eq!(past.purges().under_way()[0].at, last);
        past.purges().hold(new(Rule::All, last + 1));
        assert_eq!(purges(&past), 1);
    }

    #[test]
    fn a_purge_is_looked_for_by_one_at_a_time() {
        let purge = Purge::new(Rule::All, false, "", 1);
        assert!(purge.begin_alone() && !purge.begin_alone() && !purge.begin_together());
        purge.end_alone();
        assert!(purge.begin_together() && !purge.begin_alone());
        assert!(purge.begin_together(), "who has their turn now is alone with it");
    }

    #[test]
    fn what_waited_longer_than_purges_are_remembered_goes() {
        let past = Past::default();
        let unread = |finished| past.judge(b"", finished);
        let before = past.finished();
        purge(&past, 1).end(100);
        purge(&past, 99 + REMEMBERED);
        assert_eq!(past.purges().since(before.purges).map(|purges| purges.len()), Some(2), "both are known");
        let between = past.finished();
        assert_eq!(unread(between), Visit::Keep, "none came since, and nothing need be read");
        purge(&past, 100 + REMEMBERED);
        assert!(past.purges().since(before.purges).is_none(), "the first is forgotten");
        assert_eq!(
            past.purges().since(between.purges).map(|purges| purges.len()),
            Some(1),
            "the third is known"
        );
        assert_eq!(unread(before), Visit::Remove);
        assert_eq!(unread(past.finished()), Visit::Keep, "however long ago the last one was");
    }
}
