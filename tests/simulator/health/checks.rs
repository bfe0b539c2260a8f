//! Active checks of a backend: one at a time, and up or down after so many answers in a row.

use super::*;
use crate::health::{
    Change,
    state::{Checks, Thresholds},
};

const INTERVAL: Duration = Duration::from_secs(2);

/// What must be true of a backend's active checks.
pub(super) struct ExpectedChecks {
    checks: Checks,
    thresholds: Thresholds,
    pub(super) is_up: bool,
    /// Answers in a row against that.
    against: u32,
    is_fresh: bool,
    is_pending: bool,
}

impl ExpectedChecks {
    fn answer(&mut self, index: usize, backend: &Backend, passed: bool, now: Moment) -> Option<Change> {
        let result = if passed { Ok(()) } else { Err("refused") };
        let change = self.checks.on_result(index, backend, result, now);
        self.is_pending = false;
        let is_first_failure = std::mem::replace(&mut self.is_fresh, false) && !passed && !self.is_up;
        self.against = if passed == self.is_up { 0 } else { self.against + 1 };
        let needed = if passed { self.thresholds.rise } else { self.thresholds.fall };
        let is_turn = self.against >= needed;
        if is_turn {
            (self.is_up, self.against) = (passed, 0);
        }
        assert_eq!(change.is_some(), is_turn || is_first_failure, "a change by the checks");
        let condition = if passed { Condition::Up } else { Condition::Down };
        assert!(change.as_ref().is_none_or(|change| (change.index, change.condition) == (index, condition)));
        change
    }
}

impl Upstream {
    /// A check is sent, or its answer comes, or the backend begins or ends to be checked.
    pub(super) fn check(&mut self, world: &mut World) {
        let index = world.rng.usize(0..self.backends.len());
        let (backend, expected) = (&self.backends[index], &mut self.expected[index]);
        let Some(checks) = &mut expected.checks else {
            let thresholds = Thresholds { rise: world.rng.u32(1..4), fall: world.rng.u32(1..4) };
            let is_up = world.chance(80);
            world.record(|| format!("{index}: is checked, {thresholds:?}, taken for up: {is_up}"));
            let checks = Checks::new(thresholds, INTERVAL, is_up, backend, world.now, &mut world.rng);
            let first = checks.next().unwrap();
            assert!(first <= world.now.plus(INTERVAL) && first >= world.now);
            expected.checks = Some(ExpectedChecks {
                checks,
                thresholds,
                is_up,
                against: 0,
                is_fresh: true,
                is_pending: false,
            });
            return;
        };
        assert_eq!(checks.checks.next().is_none(), checks.is_pending);
        if checks.is_pending {
            let passed = !world.chance(expected.fails);
            let change = checks.answer(index, backend, passed, world.now);
            world.record(|| format!("{index}: a check passed: {passed}: {change:?}"));
            if change.is_some() && checks.is_up {
                expected.in_a_row = 0;
            }
        } else if checks.checks.is_due(world.now) {
            world.record(|| format!("{index}: a check is sent"));
            checks.is_pending = true;
            checks.checks.on_sent(world.now, &mut world.rng);
            assert!(!checks.checks.is_due(world.now.plus(LONGEST)), "one at a time");
        } else if world.chance(20) {
            world.record(|| format!("{index}: is not checked any more"));
            expected.checks.take().unwrap().checks.retire(backend, world.now);
        }
    }
}
