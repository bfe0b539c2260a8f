//! Lines of the program's log whose cause may come a thousand times a second: at most one a second is written, and
//! says how many it stands for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::moment::Moment;

/// When a line was last written, and how often its cause came since; a static beside what logs it.
#[derive(Debug, Default)]
pub struct Repeated {
    /// In seconds of [`Moment`], from 1; 0 is never.
    second: AtomicU64,
    unsaid: AtomicU64,
}

impl Repeated {
    /// Of a cause that did not come yet.
    pub const fn new() -> Self {
        Self { second: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    /// Counts the cause. Gives how often it came since the last line, this time included, when a line is due.
    pub fn count(&self, now: Moment) -> Option<u64> {
        let times = self.unsaid.fetch_add(1, Relaxed) + 1;
        let (second, last) = (now.0 / MICROS + 1, self.second.load(Relaxed));
        let is_due = second != last && self.second.compare_exchange(last, second, Relaxed, Relaxed).is_ok();
        // What is counted between the two is said by this line or by the next.
        is_due.then(|| self.unsaid.swap(0, Relaxed).max(times))
    }
}

const MICROS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_a_second_stands_for_all_since_the_last() {
        let repeated = Repeated::new();
        let at = |millis| Moment(0).plus(Duration::from_millis(millis));
        let counts = [0, 1, 999, 1000, 1001, 5000, 5001].map(|millis| repeated.count(at(millis)));
        assert_eq!(counts, [Some(1), None, None, Some(3), None, Some(2), None]);
    }
}
