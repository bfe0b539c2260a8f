//! A point in time as the pure cores see it: microseconds since the program began.
//!
//! The edge reads the clock ([`Moment::now`]); everything below is given a `now`, so that a test can
//! drive it. A plain integer fits an atomic, which `std::time::Instant` does not.

use std::{sync::OnceLock, time::Duration};

/// Microseconds since a day before the first call of [`Moment::now`] in this process, on the monotonic
/// clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

const DAY: u64 = 86_400_000_000;

impl Moment {
    /// The present, by the monotonic clock.
    pub fn now() -> Self {
        static EPOCH: OnceLock<u64> = OnceLock::new();
        let now = clock();
        let elapsed = now.saturating_sub(*EPOCH.get_or_init(|| now));
        // A day is added so that "a while ago" never needs a negative number, also where it was given by the
        // program before this one.
        Self(elapsed + DAY)
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This moment moved into the past by `by`; stops at the beginning of time.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }

    /// This moment moved into the future by `by`; saturates at the end of time.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Microseconds of the monotonic clock. Asked for directly: a request asks ten times, and `Instant` takes seconds and
/// nanoseconds apart at each subtraction.
#[cfg(not(test))]
fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    part(now.tv_sec) * 1_000_000 + part(now.tv_nsec) / 1000
}

/// The clock of the test's runtime, which may be paused.
#[cfg(test)]
fn clock() -> u64 {
    static BEGIN: OnceLock<std::time::Instant> = OnceLock::new();
    let now = tokio::time::Instant::now().into_std();
    now.saturating_duration_since(*BEGIN.get_or_init(|| now)).as_micros() as u64
}
