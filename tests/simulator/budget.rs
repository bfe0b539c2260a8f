//! The retry budget: never more than its share, and never less than is left of it.

use std::time::Duration;

use super::seeds::{World, run};
use crate::{moment::Moment, upstream::retry::Budget};

const ONCE_FAILED: &[u64] = &[];

const WINDOW: f64 = 10.0;

/// The budget ages in steps of a hundredth of its window, so that a count may be that much too large or too small.
const STEP: f64 = 1.0101;

/// What the budget is for, exactly: every request and retry with its age.
struct Exact {
    share: f64,
    minimum: f64,
    requests: f64,
    retries: f64,
    /// What may have come together of a share of less than one.
    spare: f64,
    at: Moment,
}

impl Exact {
    fn age(&mut self, now: Moment) {
        let kept = (-now.since(self.at).as_secs_f64() / WINDOW).exp();
        self.spare = (self.spare + self.share * self.requests * (1.0 - kept)).min(1.0);
        self.requests *= kept;
        self.retries *= kept;
        self.at = now;
    }

    /// Whether a retry more is over the budget even if everything counts as much as it may.
    fn is_over(&self) -> bool {
        self.retries / STEP + 1.0 > STEP * self.share * self.requests + self.minimum + 1e-6
    }

    /// Whether one is allowed that is over it, since fractions add up; it is taken from them.
    fn take_spare(&mut self) -> bool {
        let is_there = self.spare * STEP + 0.02 >= 1.0;
        self.spare = (self.spare - 1.0).max(0.0);
        is_there
    }

    /// Whether a retry more fits even if everything counts as little as it may.
    fn is_within(&self) -> bool {
        STEP * self.retries + 1.0 <= self.share * self.requests / STEP + self.minimum - 1e-6
    }
}

fn simulate(world: &mut World) {
    let limits = |world: &mut World| (world.one_of(&[0, 10, 20, 100]), world.one_of(&[0.0, 0.5, 1.0, 10.0]));
    let (percent, per_second) = limits(world);
    let budget = Budget::new(percent, per_second);
    let mut exact = Exact {
        share: f64::from(percent) / 100.0,
        minimum: per_second * WINDOW,
        requests: 0.0,
        retries: 0.0,
        spare: 0.0,
        at: world.now,
    };
    for _ in 0..world.rng.usize(20..120) {
        exact.age(world.now);
        match world.rng.u8(0..10) {
            0..4 => {
                world.record(|| "a request");
                budget.on_request(world.now);
                exact.requests += 1.0;
            }
            4..8 => {
                let is_granted = budget.try_retry(world.now);
                world.record(|| format!("a retry, granted: {is_granted}"));
                assert!(!is_granted || !exact.is_over() || exact.take_spare(), "a retry beyond the budget");
                assert!(is_granted || !exact.is_within(), "a retry refused within the budget");
                exact.retries += f64::from(u8::from(is_granted));
            }
            8 => world.wait(Duration::from_secs(40)),
            _ => {
                let (percent, per_second) = limits(world);
                world.record(|| format!("{percent} % and {per_second} a second"));
                budget.set(percent, per_second);
                (exact.share, exact.minimum) = (f64::from(percent) / 100.0, per_second * WINDOW);
                // It counts by these what has faded since it was asked last.
                exact.spare = 1.0;
            }
        }
    }
}

#[test]
fn budget() {
    run("budget", ONCE_FAILED, simulate);
}
