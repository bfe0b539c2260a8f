//! One configuration for many nodes, taken over in steps: what decides when this node's turn is, pure, and what is told of
//! it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

use super::{peers::members::GONE, store::document::Mark};
use crate::moment::Moment;

/// What a node says of the configuration that all share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The write that it read last.
    pub write: Mark,
    /// Whether that is in force there; if not, it was refused.
    pub is_in_force: bool,
    /// Requests that it answered since its program began.
    pub requests: u64,
    /// Those of them that ended with 500 and above.
    pub failed: u64,
}

impl Report {
    /// As it is sent.
    pub fn to_json(self) -> Value {
        json!({
            "revision": self.write.revision,
            "text": self.write.text,
            "is_in_force": self.is_in_force,
            "requests": self.requests,
            "failed": self.failed,
        })
    }

    /// What was sent.
    pub fn from_json(value: &Value) -> Option<Self> {
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        Some(Self {
            // A version before tells of the number alone.
            write: Mark { revision: number("revision")?, text: number("text").unwrap_or(0) },
            is_in_force: value.get("is_in_force")?.as_bool()?,
            requests: number("requests")?,
            failed: number("failed")?,
        })
    }

    /// Whether it has read this.
    fn has_read(&self, write: Mark) -> bool {
        self.write == write || (self.write.text == 0 && self.write.revision == write.revision)
    }

    /// The share of requests that failed.
    fn share(requests: u64, failed: u64) -> f64 {
        if requests == 0 { 0.0 } else { failed as f64 / requests as f64 }
    }
}

/// Whether it is this node's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is.
    Now,
    /// Others come first.
    Later,
    /// It went wrong there: it never will be. Why, for people.
    Never(String),
}

/// The first nodes that have a new configuration, as the others see them.
#[derive(Debug, Default)]
pub struct Trial {
    /// Each of them; `None` of one that went, with which it begins anew.
    begun: BTreeMap<String, Option<Begun>>,
    /// Since when one of them is not there.
    gone: Option<Moment>,
}

/// One of the first nodes.
#[derive(Clone, Copy, Debug)]
struct Begun {
    /// Since when it has what is new.
    since: Option<Moment>,
    /// What it said last before it had it, or first when it had.
    before: Report,
    /// From where its requests are counted since, and those that failed.
    from: (u64, u64),
}

impl Begun {
    fn new(before: Report) -> Self {
        Self { since: None, before, from: (before.requests, before.failed) }
    }

    /// What it answered since, and how much of that failed.
    fn answered(&mut self, report: Report) -> (u64, u64) {
        let (requests, failed) = self.from;
        if report.requests < requests || report.failed < failed {
            // Another program counts from nothing.
            self.from = (0, 0);
        }
        (report.requests.saturating_sub(self.from.0), report.failed.saturating_sub(self.from.1))
    }
}

/// How long one that is not heard is waited for at least: a program that begins anew, or a network that loses messages, is
/// silent for longer than counts as gone. For so long a program that begins waits for all of them.
pub const SILENCE: Duration = Duration::from_secs(5 * GONE.as_secs());
/// Fewer failures than this say nothing.
const FEWEST: u64 = 5;
/// A share of failures that has not grown by so much has not grown.
const GROWTH: f64 = 0.01;

impl Trial {
    /// Looks whether it is the turn of `own`: of the nodes in the order of their names the first come first, and the others
    /// when those had it for `wait` and no more of their requests failed. `others` are the nodes that are there; a first
    /// one that is there no more is waited for as long, and for 20 seconds at least.
    pub fn look(
        &mut self,
        own: &str,
        others: &BTreeMap<String, Report>,
        (first, wait): (usize, Duration),
        write: Mark,
        now: Moment,
    ) -> Turn {
        let mut names: Vec<&str> = others.keys().map(String::as_str).chain([own]).collect();
        names.sort_unstable();
        let (mut turn, firsts) = (Turn::Now, names.into_iter().take(first.max(1)));
        let firsts: Vec<&str> = firsts.collect();
        // That it went is the strongest sign that something is wrong with what it tries.
        if let Some((gone, begun)) = self.begun.iter_mut().find(|(name, _)| !others.contains_key(*name)) {
            *begun = None;
            let since = *self.gone.get_or_insert(now);
            return match now.since(since) < wait.max(SILENCE) {
                true => Turn::Later,
                false => Turn::Never(format!("`{gone}`, which tries it first, is not heard any more")),
            };
        }
        self.gone = None;
        if firsts.contains(&own) {
            return Turn::Now;
        }
        for name in firsts {
            let Some(report) = others.get(name) else { continue };
            if !report.has_read(write) {
                self.begun.insert(name.to_owned(), Some(Begun::new(*report)));
                turn = Turn::Later;
                continue;
            }
            if !report.is_in_force {
                return Turn::Never(format!("`{name}` rejected it"));
            }
            let begun = self.begun.entry(name.to_owned()).or_default();
            let begun = begun.get_or_insert(Begun::new(*report));
            let since = *begun.since.get_or_insert(now);
            let (requests, failed) = begun.answered(*report);
            let was = Report::share(begun.before.requests, begun.before.failed);
            let is = Report::share(requests, failed);
            if failed >= FEWEST && is > was * 2.0 + GROWTH {
                let (was, is) = (was * 100.0, is * 100.0);
                return Turn::Never(format!(
                    "{is:.1} % of the requests of `{name}` fail with it, {was:.1} % before"
                ));
            }
            if now.since(since) < wait {
                turn = Turn::Later;
            }
        }
        turn
    }
}

/// What is told of the configuration that all share.
#[derive(Debug, Default)]
pub struct Fleet {
    inner: Mutex<Told>,
}

/// What is behind the lock.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Where it is; empty where this node has a file of its own.
    pub source: String,
    /// The write that is in force here.
    pub in_force: Mark,
    /// The write that was read last.
    pub read: Mark,
    /// Whether this node waits for its turn.
    pub is_waiting: bool,
    /// Why what was read last is not in force.
    pub problem: Option<String>,
    /// Why it cannot be read whether there is something newer.
    pub unreadable: Option<String>,
    /// What other nodes say.
    pub others: BTreeMap<String, Report>,
}

impl Told {
    /// Whether a copy of what was in the store before is in force.
    pub fn has_copy(&self) -> bool {
        !self.source.is_empty() && self.in_force.revision == 0
    }

    /// All that is wrong, for people.
    pub fn problems(&self) -> Option<String> {
        let all: Vec<&str> =
            [&self.problem, &self.unreadable].into_iter().flatten().map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

impl Fleet {
    /// What it holds; to be held for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Told> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(30);
    const WRITE: Mark = Mark { revision: 5, text: 1 };

    fn others(reports: &[(&str, u64, bool, u64, u64)]) -> BTreeMap<String, Report> {
        let of = |&(name, revision, is_in_force, requests, failed): &(&str, u64, bool, u64, u64)| {
            (name.to_owned(), Report { write: Mark { revision, text: 1 }, is_in_force, requests, failed })
        };
        reports.iter().map(of).collect()
    }

    fn at(seconds: u64) -> Moment {
        Moment(0).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn first_by_name_goes_at_once_the_others_later() {
        let (mut trial, limits) = (Trial::default(), (1, WAIT));
        assert_eq!(trial.look("a", &others(&[("b", 4, true, 0, 0)]), limits, WRITE, at(0)), Turn::Now);
        let before = others(&[("a", 4, true, 100, 0), ("c", 4, true, 0, 0)]);
        assert_eq!(trial.look("b", &before, limits, WRITE, at(0)), Turn::Later);
        let has = others(&[("a", 5, true, 100, 0), ("c", 4, true, 0, 0)]);
        assert_eq!(trial.look("b", &has, limits, WRITE, at(10)), Turn::Later);
        assert_eq!(trial.look("b", &has, limits, WRITE, at(39)), Turn::Later);
        assert_eq!(trial.look("b", &has, limits, WRITE, at(40)), Turn::Now);
        // The first was gone before: the next is the first.
        assert_eq!(
            Trial::default().look("b", &others(&[("c", 4, true, 0, 0)]), limits, WRITE, at(0)),
            Turn::Now
        );
    }

    #[test]
    fn it_stops_where_the_first_refuses_it_or_fails_more() {
        let limits = (1, WAIT);
        let refused = others(&[("a", 5, false, 100, 0)]);
        assert!(matches!(Trial::default().look("b", &refused, limits, WRITE, at(0)), Turn::Never(_)));
        let mut trial = Trial::default();
        assert_eq!(trial.look("b", &others(&[("a", 4, true, 1000, 10)]), limits, WRITE, at(0)), Turn::Later);
        // As many as before, and few more than none.
        assert_eq!(trial.look("b", &others(&[("a", 5, true, 2000, 20)]), limits, WRITE, at(10)), Turn::Later);
        let fails = others(&[("a", 5, true, 3000, 120)]);
        assert!(matches!(trial.look("b", &fails, limits, WRITE, at(20)), Turn::Never(_)));
        let mut trial = Trial::default();
        trial.look("b", &others(&[("a", 5, true, 10, 0)]), limits, WRITE, at(0));
        assert_eq!(trial.look("b", &others(&[("a", 5, true, 14, 4)]), limits, WRITE, at(30)), Turn::Now);
    }

    #[test]
    fn first_whose_program_begins_anew_is_counted_from_nothing() {
        let limits = (1, WAIT);
        let look = |trial: &mut Trial, report: (u64, u64, u64), seconds| {
            let (revision, requests, failed) = report;
            trial.look("b", &others(&[("a", revision, true, requests, failed)]), limits, WRITE, at(seconds))
        };
        let mut trial = Trial::default();
        assert_eq!(look(&mut trial, (4, 100_000, 10), 0), Turn::Later);
        assert!(matches!(look(&mut trial, (5, 500, 500), 30), Turn::Never(_)));
        // As few as before fail: also when it has answered more than the program before.
        let mut trial = Trial::default();
        assert_eq!(look(&mut trial, (4, 1000, 10), 0), Turn::Later);
        for (requests, failed, seconds) in [(500, 4, 1), (1100, 11, 20), (2000, 20, 30)] {
            assert_eq!(look(&mut trial, (5, requests, failed), seconds), Turn::Later);
        }
        assert_eq!(look(&mut trial, (5, 3000, 30), 31), Turn::Now);
    }

    #[test]
    fn it_stops_where_the_first_vanishes() {
        let (limits, left) = ((1, WAIT), others(&[("c", 4, true, 0, 0)]));
        for revision in [4, 5] {
            let mut trial = Trial::default();
            let before = others(&[("a", revision, true, 0, 0), ("c", 4, true, 0, 0)]);
            assert_eq!(trial.look("b", &before, limits, WRITE, at(0)), Turn::Later);
            assert_eq!(trial.look("b", &left, limits, WRITE, at(10)), Turn::Later);
            assert_eq!(trial.look("b", &left, limits, WRITE, at(39)), Turn::Later);
            let Turn::Never(why) = trial.look("b", &left, limits, WRITE, at(40)) else {
                panic!("it goes on")
            };
            assert!(why.contains("`a`"), "{why}");
            // It was away for a moment.
            let has = others(&[("a", 5, true, 0, 0), ("c", 4, true, 0, 0)]);
            assert_eq!(trial.look("b", &has, limits, WRITE, at(41)), Turn::Later);
            assert_eq!(trial.look("b", &has, limits, WRITE, at(71)), Turn::Now);
        }
    }

    #[test]
    fn first_that_is_silent_for_a_moment_is_waited_for() {
        for wait in [Duration::ZERO, Duration::from_secs(3)] {
            let (limits, mut trial, left) = ((1, wait), Trial::default(), others(&[]));
            assert_eq!(trial.look("b", &others(&[("a", 4, true, 0, 0)]), limits, WRITE, at(0)), Turn::Later);
            assert_eq!(trial.look("b", &left, limits, WRITE, at(10)), Turn::Later);
            assert_eq!(trial.look("b", &left, limits, WRITE, at(29)), Turn::Later);
            let has = others(&[("a", 5, true, 0, 0)]);
            trial.look("b", &has, limits, WRITE, at(29));
            assert_eq!(trial.look("b", &has, limits, WRITE, at(32)), Turn::Now);
            assert_eq!(trial.look("b", &left, limits, WRITE, at(40)), Turn::Later);
            assert!(matches!(trial.look("b", &left, limits, WRITE, at(60)), Turn::Never(_)));
        }
    }

    #[test]
    fn another_text_of_the_same_number_was_not_tried() {
        let (limits, has) = ((1, Duration::ZERO), |text| {
            let write = Mark { revision: 5, text };
            BTreeMap::from([("a".to_owned(), Report { write, is_in_force: true, requests: 0, failed: 0 })])
        });
        assert_eq!(Trial::default().look("b", &has(2), limits, WRITE, at(0)), Turn::Later);
        // A version before does not say what it is.
        for text in [0, 1] {
            assert_eq!(Trial::default().look("b", &has(text), limits, WRITE, at(0)), Turn::Now);
        }
    }

    #[test]
    fn report_that_is_sent_is_read() {
        let report =
            Report { write: Mark { revision: 7, text: u64::MAX }, is_in_force: true, requests: 9, failed: 2 };
        assert_eq!(Report::from_json(&report.to_json()), Some(report));
        assert_eq!(Report::from_json(&json!({"revision": 7})), None);
    }
}
