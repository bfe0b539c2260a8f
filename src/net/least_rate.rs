//! A least rate for whoever is waited for, so that what is held for it is not held by trickling.

use std::time::Duration;

use crate::moment::Moment;

/// What is waited for in any case before the rate counts.
const GRACE: Duration = Duration::from_secs(10);

/// Watches that a client brings or takes so many bytes per second of the time that it is waited for, on average.
#[derive(Clone, Copy, Debug)]
pub struct LeastRate {
    /// Bytes per second; 0 = any.
    per_second: u64,
    waited: Duration,
    since: Option<Moment>,
}

impl LeastRate {
    /// A rate in bytes per second; 0 watches nothing.
    pub fn new(per_second: u64) -> Self {
        Self { per_second, waited: Duration::ZERO, since: None }
    }

    /// A wait begins, after so many bytes in all: when it has lasted too long. `None` where any rate will do.
    pub fn begin(&mut self, bytes: u64, now: Moment) -> Option<Moment> {
        self.end(now);
        let earned = Duration::from_millis(bytes.saturating_mul(1000).checked_div(self.per_second)?);
        self.since = Some(now);
        Some(now.plus(GRACE.saturating_add(earned).saturating_sub(self.waited)))
    }

    /// The wait is over.
    pub fn end(&mut self, now: Moment) {
        if let Some(since) = self.since.take() {
            self.waited = self.waited.saturating_add(now.since(since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_buy_time_beyond_the_grace() {
        let second = |seconds: u64| Moment(0).plus(Duration::from_secs(seconds));
        let mut rate = LeastRate::new(100);
        assert_eq!(rate.begin(0, second(0)), Some(second(10)));
        assert_eq!(rate.begin(500, second(4)), Some(second(15)), "4 s are waited, and 5 s are earned");
        rate.end(second(6));
        assert_eq!(rate.begin(500, second(100)), Some(second(109)), "what others take is not counted");
        assert_eq!(LeastRate::new(0).begin(0, second(0)), None);
    }
}
