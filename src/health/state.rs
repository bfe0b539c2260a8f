//! Active checks of one backend: when the next one is due, and what the answers make of it.
//!
//! Previous stop: `health::active`, which sends the checks and owns one [`Checks`] per backend on the
//! control thread. A check is never sent while another is pending.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{Change, Condition};
use crate::{
    backend::{Backend, Probed},
    moment::Moment,
};

/// How many answers in a row change a backend's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Passes that bring it up.
    pub rise: u32,
    /// Failures that take it down.
    pub fall: u32,
}

/// The active checks of one backend.
#[derive(Debug)]
pub struct Checks {
    thresholds: Thresholds,
    interval: Duration,
    is_up: bool,
    /// Answers in a row that speak against the present state.
    streak: u32,
    /// Whether no check has answered yet.
    is_fresh: bool,
    is_pending: bool,
    next: Moment,
}

impl Checks {
    /// Checks of a backend that has none yet. `initial_up` says what it is taken for until enough of
    /// them answered; the first is due at a random point of the first interval, so that a fleet is not
    /// checked all at once.
    pub fn new(
        thresholds: Thresholds,
        interval: Duration,
        initial_up: bool,
        backend: &Backend,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let probed = match initial_up {
            true => Probed::Up,
            false => Probed::Down,
        };
        backend.shared.probed.store(probed as u8, Relaxed);
        if !initial_up && !backend.shared.is_known.load(Relaxed) {
            backend.shared.set_why("waiting for its first checks".into());
        }
        Self {
            thresholds,
            interval,
            is_up: initial_up,
            streak: 0,
            is_fresh: true,
            is_pending: false,
            // A backend that waits to be let in is checked at once.
            next: match initial_up {
                true => now.plus(interval.mul_f64(rng.f64())),
                false => now,
            },
        }
    }

    /// The settings of a new generation; state, streak and a pending check stay.
    pub fn set(&mut self, thresholds: Thresholds, interval: Duration, now: Moment) {
        self.thresholds = thresholds;
        self.interval = interval;
        self.next = self.next.min(now.plus(interval));
    }

    /// The backend is no longer checked, so what checks said of it no longer counts.
    pub fn retire(self, backend: &Backend, now: Moment) {
        if !self.is_up {
            backend.shared.up_since.fetch_max(now.0, Relaxed);
        }
        backend.shared.probed.store(Probed::Up as u8, Relaxed);
        backend.shared.set_why("not checked".into());
    }

    /// Whether a check is to be sent now.
    pub fn is_due(&self, now: Moment) -> bool {
        !self.is_pending && self.next <= now
    }

    /// When the next check is due; `None` while one is pending.
    pub fn next(&self) -> Option<Moment> {
        (!self.is_pending).then_some(self.next)
    }

    /// A check is sent. Its answer must come to [`Checks::on_result`], a timeout being one.
    pub fn on_sent(&mut self, now: Moment, rng: &mut fastrand::Rng) {
        debug_assert!(!self.is_pending, "a check is sent while another is pending");
        self.is_pending = true;
        // Within a tenth around the interval, counted from the sending, so that slow answers do not
        // stretch it and many proxies do not fall into step.
        self.next = now.plus(self.interval.mul_f64(0.9 + 0.2 * rng.f64()));
    }

    /// The pending check was not made after all, and says nothing; the next one is due when it was.
    pub fn on_not_made(&mut self) {
        self.is_pending = false;
    }

    /// The pending check was given up, since the backend is checked in another way from here on: at once.
    pub fn on_given_up(&mut self, now: Moment) {
        self.on_not_made();
        self.next = self.next.min(now);
    }

    /// The pending check passed, or failed for the reason given.
    pub fn on_result(
        &mut self,
        index: usize,
        backend: &Backend,
        result: Result<(), &str>,
        now: Moment,
    ) -> Option<Change> {
        self.is_pending = false;
        let was_fresh = std::mem::replace(&mut self.is_fresh, false);
        if result.is_ok() == self.is_up {
            self.streak = 0;
            if was_fresh && self.is_up {
                backend.shared.set_why("passed its first check".into());
            }
            if let Err(why) = result
                && was_fresh
            {
                // `initial = "down"`: people must see why it does not come up.
                let reason: Arc<str> = format!("its first check failed: {why}").into();
                backend.shared.set_why(Arc::clone(&reason));
                return Some(Change { index, condition: Condition::Down, reason });
            }
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        let (needed, condition) = match result {
            Ok(()) => (self.thresholds.rise, Condition::Up),
            Err(_) => (self.thresholds.fall, Condition::Down),
        };
        if self.streak < needed {
            return None;
        }
        let reason: Arc<str> = match result {
            Ok(()) => format!("passed {}", checks_in_a_row(self.streak)),
            Err(why) => format!("{} failed: {why}", checks_in_a_row(self.streak)),
        }
        .into();
        self.streak = 0;
        self.is_up = result.is_ok();
        if self.is_up {
            // Before `probed`, so that no worker sees it up with its old full weight. An ejection that
            // lasts longer keeps its own, later, end.
            backend.shared.up_since.fetch_max(now.0, Relaxed);
            backend.shared.failures_in_a_row.store(0, Relaxed);
        }
        let probed = match self.is_up {
            true => Probed::Up,
            false => Probed::Down,
        };
        backend.shared.probed.store(probed as u8, Relaxed);
        backend.shared.set_why(Arc::clone(&reason));
        Some(Change { index, condition, reason })
    }
}

fn checks_in_a_row(count: u32) -> String {
    match count {
        1 => "1 check".into(),
        _ => format!("{count} checks in a row"),
    }
}

#[cfg(test)]
mod tests;
