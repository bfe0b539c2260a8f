//! The last purges, for fetches that were not in the table when these came.
//!
//! A request that fetches for itself is in no table until its head is here. It notes how many purges there had been
//! when it began, and asks for those since when it is about to be stored.

use std::{collections::VecDeque, sync::PoisonError};

use crate::{
    cache::purge::Rule,
    moment::Moment,
    sync::{Mutex, MutexGuard},
};

/// The last purges.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// How many there were, ever.
    count: u64,
    /// The newest of them, oldest first, and when each came. By the monotonic clock: were the wall clock set, what came before
    /// would seem to have come after, or the other way round.
    rules: VecDeque<(Moment, Rule)>,
}

/// How many are kept. A fetch that more of them outran is not stored, whatever they were about.
const MOST: usize = 256;

impl Recent {
    /// Notes one, that comes now.
    pub(super) fn add(&self, rule: &Rule, now: Moment) {
        let mut kept = self.kept();
        kept.count += 1;
        if kept.rules.len() == MOST {
            kept.rules.pop_front();
        }
        kept.rules.push_back((now, rule.clone()));
    }

    /// How many there were, ever.
    pub(super) fn count(&self) -> u64 {
        self.kept().count
    }

    /// Those since there were so many.
    pub(super) fn since(&self, count: u64) -> Vec<Rule> {
        let kept = self.kept();
        let new = usize::try_from(kept.count.saturating_sub(count)).unwrap_or(usize::MAX);
        match kept.rules.len().checked_sub(new) {
            Some(old) => kept.rules.iter().skip(old).map(|(_, rule)| rule.clone()).collect(),
            None => vec![Rule::All],
        }
    }

    /// Those that came then or later.
    pub(super) fn since_time(&self, then: Moment) -> Vec<Rule> {
        let kept = self.kept();
        let is_forgotten = kept.rules.len() == MOST && kept.rules.front().is_some_and(|(at, _)| *at >= then);
        match is_forgotten {
            true => vec![Rule::All],
            false => kept.rules.iter().filter(|(at, _)| *at >= then).map(|(_, rule)| rule.clone()).collect(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: usize) -> Rule {
        Rule::Tag(number.to_string().into_bytes())
    }

    #[test]
    fn recent_purges_are_listed_and_too_many_are_everything() {
        let recent = Recent::default();
        assert_eq!((recent.count(), recent.since(0)), (0, vec![]));
        recent.add(&tag(0), Moment(10));
        recent.add(&tag(1), Moment(20));
        let since_time = |then| recent.since_time(Moment(then));
        assert_eq!((since_time(20), since_time(21)), (vec![tag(1)], vec![]));
        assert_eq!(recent.since(0), [tag(0), tag(1)]);
        assert_eq!(recent.since(1), [tag(1)]);
        assert_eq!(recent.since(2), []);
        (2..MOST + 2).for_each(|number| recent.add(&tag(number), Moment(30)));
        assert_eq!((since_time(30), since_time(31)), (vec![Rule::All], vec![]));
        assert_eq!(recent.since(1), [Rule::All]);
        assert_eq!(recent.since(2).len(), MOST);
        assert_eq!(recent.since(MOST as u64), [tag(MOST), tag(MOST + 1)]);
    }
}
