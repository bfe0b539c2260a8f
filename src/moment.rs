//! A point in time as the pure cores see it: microseconds since the program began.
//!
//! The edge reads the clock ([`Moment::now`]); everything below is given a `now`, so that a test can
//! drive it. A plain integer fits an atomic, which `std::time::Instant` does not.

use std::{cell::Cell, sync::OnceLock, time::Duration};

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
        static EPOCH: OnceLock<u64> = OnceLock::new();
        let now = clock();
        let elapsed = now.saturating_sub(*EPOCH.get_or_init(|| now));
        // A day is added so that "a while ago" never needs a negative number, also where it was given by the
        // program before this one.
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

/// Microseconds of the monotonic clock. A request reads it several times, and the difference of two of the standard
/// library's instants costs more than the reading. (Under valgrind that needs the feature `use-libc-auxv` of the crate.)
#[cfg(not(test))]
#[expect(clippy::cast_sign_loss, reason = "the monotonic clock counts up from the machine's start")]
fn clock() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// The clock of the test's runtime, which may be paused.
#[cfg(test)]
fn clock() -> u64 {
    use tokio::time::Instant;

    static FIRST: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    let elapsed = now.saturating_duration_since(*FIRST.get_or_init(|| now));
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}
