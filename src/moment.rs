//! A point in time as the pure cores see it: microseconds since the program began.
//!
//! The edge reads the clock ([`Moment::now`]); everything below is given a `now`, so that a test can
//! drive it. A plain integer fits an atomic, which `std::time::Instant` does not.

use std::{
    cell::Cell,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Microseconds since a day before the first call of [`Moment::now`] in this process, on the monotonic
/// clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

thread_local! {
    static RECENT: Cell<u64> = const { Cell::new(0) };
}

const DAY: u64 = 86_400_000_000;

impl Moment {
    /// The present, by the monotonic clock.
    pub fn now() -> Self {
        static EPOCH: OnceLock<Instant> = OnceLock::new();
        let now = clock();
        let elapsed = now.saturating_duration_since(*EPOCH.get_or_init(|| now));
        // A day is added so that "a while ago" never needs a negative number, also where it was given by the
        // program before this one.
        #[expect(clippy::cast_possible_truncation, reason = "64 bits are enough for 500,000 years")]
        let elapsed = elapsed.as_micros() as u64;
        let now = elapsed + DAY;
        RECENT.set(now);
        Self(now)
    }

    /// What [`Moment::now`] gave last on this thread: on a worker as old as what it does now, or as long as it had
    /// nothing to do before. For what is measured in seconds.
    pub fn recent() -> Self {
        match RECENT.get() {
            0 => Self::now(),
            recent => Self(recent),
        }
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

#[cfg(not(test))]
fn clock() -> Instant {
    Instant::now()
}

/// The clock of the test's runtime, which may be paused.
#[cfg(test)]
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}
