//! What a client may make us do that brings it nothing: each such frame costs a part of a budget, which fills with time
//! and with what is served. So floods end their connection, and whoever asks for something is never near the bound.

use crate::moment::Moment;

/// So many at once, and per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The full budget.
    pub most: u32,
    /// What comes back each second.
    pub per_second: u32,
}

/// What a client may do on a connection that brings it nothing; what is served adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Frames that ask for nothing.
    pub nuisance: Rate,
    /// Requests that end unanswered because of the client.
    pub resets: Rate,
}

/// A budget that is spent by nuisance and earned by time and use.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u32,
    most: u32,
    per_second: u32,
    since: Moment,
}

impl Budget {
    /// A full budget.
    pub fn new(Rate { most, per_second }: Rate, now: Moment) -> Self {
        Self { left: most, most, per_second, since: now }
    }

    /// Spends one; false when nothing is left.
    #[must_use]
    pub fn spend(&mut self, now: Moment) -> bool {
        if self.left == 0 {
            let earned = now.since(self.since).as_millis().saturating_mul(u128::from(self.per_second)) / 1000;
            if earned > 0 {
                self.earn(u32::try_from(earned).unwrap_or(u32::MAX));
                self.since = now;
            }
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }

    /// Earns some back.
    pub fn earn(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_budget_fills_with_time_and_use() {
        let at = |millis| Moment(0).plus(Duration::from_millis(millis));
        let mut budget = Budget::new(Rate { most: 3, per_second: 10 }, at(0));
        assert!((0..3).all(|_| budget.spend(at(0))));
        assert!(!budget.spend(at(50)), "not a tenth of a second yet");
        assert!(budget.spend(at(200)));
        assert!(budget.spend(at(200)));
        assert!(!budget.spend(at(200)));
        budget.earn(100);
        assert!((0..3).all(|_| budget.spend(at(200))));
        assert!(!budget.spend(at(200)));
    }
}
