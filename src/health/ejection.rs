//! Passive ejection: a backend whose own traffic fails is left alone for a while.
//!
//! Called by [`super::passive`] when its counts cross a threshold; that is rare, so a lock per upstream
//! keeps the cap exact. An ejection ends by itself, by the time in `ejected_until`; [`Ejector::report_ended`]
//! only reports it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{Change, Condition};
use crate::{
    backend::{Backend, Ejections},
    moment::Moment,
};

/// When and how long backends are ejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ejection {
    /// Failures in a row that eject; 0 is off.
    pub consecutive_failures: u32,
    /// Percent of the requests in `window` that eject; 0 is off.
    pub failure_percent: u32,
    /// Fewest requests in `window` for `failure_percent` to count.
    pub minimum_requests: u32,
    /// The time that `failure_percent` looks back on.
    pub window: Duration,
    /// How long the first ejection lasts; the nth lasts n times as long, at most 300 s.
    pub base_ejection: Duration,
    /// Most of an upstream's backends that may be ejected at a time; one always may.
    pub max_ejected_percent: u32,
}

/// Ejects the backends of one upstream.
#[derive(Debug)]
pub struct Ejector {
    ejection: Ejection,
    /// Held while it is decided who is ejected. Two generations of an upstream have two, so during a
    /// reload one backend too many might be ejected; it comes back like any other.
    gate: Mutex<()>,
}

impl Ejector {
    /// Ejects by these rules.
    pub fn new(ejection: Ejection) -> Self {
        Self { ejection, gate: Mutex::new(()) }
    }

    /// The rules.
    pub fn rules(&self) -> &Ejection {
        &self.ejection
    }

    /// Ejects a backend, unless it is already or too many others are.
    pub fn eject(
        &self,
        index: usize,
        backends: &[Arc<Backend>],
        why: impl FnOnce() -> String,
        now: Moment,
    ) -> Option<Change> {
        let backend = backends.get(index)?;
        // Asked without the gate first: when an upstream fails altogether, each failure comes here.
        if !self.may_eject(backend, backends, now) {
            return None;
        }
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.may_eject(backend, backends, now) {
            return None;
        }
        let mut history = history(backend);
        history.count = self.count_in_force(&history, now).saturating_add(1);
        history.length = self.length(history.count);
        history.over_at = now.plus(history.length);
        history.is_open = true;
        let shared = &backend.shared;
        // Before `ejected_until`: the ramp of slow start begins where the ejection ends.
        shared.up_since.fetch_max(history.over_at.0, Relaxed);
        shared.ejected_until.store(history.over_at.0, Relaxed);
        shared.failures_in_a_row.store(0, Relaxed);
        shared.health_counts.ejected.fetch_add(1, Relaxed);
        let reason: Arc<str> = format!("{}; ejected for {:?}", why(), history.length).into();
        shared.set_why(Arc::clone(&reason));
        Some(Change { index, condition: Condition::Ejected, reason })
    }

    /// Ejects a backend until then because another node has, unless too many others are ejected here: what nodes have found
    /// out adds up to no more than one of them may eject. One that is ejected stays so until the later end, of which nothing
    /// is said before it comes.
    pub fn learn(
        &self,
        index: usize,
        backends: &[Arc<Backend>],
        until: Moment,
        now: Moment,
    ) -> Option<Change> {
        let backend = backends.get(index)?;
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let was_ejected = is_ejected(backend, now);
        if !was_ejected && !self.may_eject(backend, backends, now) {
            return None;
        }
        let mut history = history(backend);
        let shared = &backend.shared;
        let before = Moment(shared.ejected_until.load(Relaxed));
        if until <= before.max(now) {
            return None;
        }
        history.length = match was_ejected {
            true => whole_seconds(history.length.saturating_add(until.since(before))),
            false => whole_seconds(until.since(now)),
        };
        if !was_ejected {
            // What is forgiven already stays so: from here on, calm is counted from the end of this one.
            history.count = self.count_in_force(&history, now);
        }
        history.over_at = until;
        history.is_open = true;
        // In this order: the ramp of slow start begins where the ejection ends.
        shared.up_since.fetch_max(until.0, Relaxed);
        shared.ejected_until.fetch_max(until.0, Relaxed);
        if was_ejected {
            return None;
        }
        let reason: Arc<str> = format!("another node has ejected it, for {:?}", history.length).into();
        shared.set_why(Arc::clone(&reason));
        Some(Change { index, condition: Condition::Ejected, reason })
    }

    /// Notes the ejections whose time is over, and gives them, each once; to be called about every second.
    pub fn report_ended(&self, backends: &[Arc<Backend>], now: Moment) -> Vec<Change> {
        let mut changes = Vec::new();
        for (index, backend) in backends.iter().enumerate() {
            let mut history = history(backend);
            // By the end that holds, which another node or another generation may have moved.
            if !history.is_open || is_ejected(backend, now) {
                continue;
            }
            history.is_open = false;
            // Checks that failed meanwhile have their own reason and their own end.
            if backend.is_probed_up() {
                let reason: Arc<str> = format!("ejection of {:?} is over", history.length).into();
                backend.shared.set_why(Arc::clone(&reason));
                changes.push(Change { index, condition: Condition::Up, reason });
            }
        }
        changes
    }

    fn may_eject(&self, backend: &Backend, backends: &[Arc<Backend>], now: Moment) -> bool {
        let ejected = backends.iter().filter(|it| is_ejected(it, now)).count();
        !is_ejected(backend, now) && ejected < self.most(backends.len())
    }

    /// Most backends of `all` that may be ejected at a time.
    fn most(&self, all: usize) -> usize {
        (all * self.ejection.max_ejected_percent as usize / 100).max(1)
    }

    /// The count of ejections that still speaks against a backend: one is forgiven for each base time
    /// without another since.
    fn count_in_force(&self, history: &Ejections, now: Moment) -> u32 {
        let base = self.ejection.base_ejection.as_micros().max(1);
        let calm = now.since(history.over_at).as_micros();
        let forgiven = u32::try_from(calm / base).unwrap_or(u32::MAX);
        history.count.saturating_sub(forgiven)
    }

    fn length(&self, count: u32) -> Duration {
        let base = self.ejection.base_ejection;
        // A base beyond the cap was asked for, so it holds.
        base.saturating_mul(count).min(LONGEST.max(base))
    }
}

/// What another node tells of comes again and again, each time a moment more or less.
fn whole_seconds(length: Duration) -> Duration {
    match length.saturating_add(Duration::from_millis(500)).as_secs() {
        0 => length,
        seconds => Duration::from_secs(seconds),
    }
}

fn is_ejected(backend: &Backend, now: Moment) -> bool {
    backend.shared.ejected_until.load(Relaxed) > now.0
}

fn history(backend: &Backend) -> MutexGuard<'_, Ejections> {
    let history = backend.shared.ejections.lock();
    history.unwrap_or_else(PoisonError::into_inner)
}

/// However often a backend was ejected, it is tried again after this long.
const LONGEST: Duration = Duration::from_secs(300);
