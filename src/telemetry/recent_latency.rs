//! How long things took lately: differences of a histogram's sums, taken at a steady pace.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::metrics::{BOUNDS, HistogramSum};

/// How often a sum is taken.
pub const EVERY: Duration = Duration::from_secs(10);

/// Sums that are kept: a minute, and the one before it.
const KEPT: usize = 7;

/// The last sums of a histogram, the newest last.
#[derive(Debug, Default)]
pub struct RecentLatency(Mutex<VecDeque<HistogramSum>>);

/// What took how long in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// How many there were.
    pub count: u64,
    /// Their mean in milliseconds.
    pub mean_ms: f64,
    /// Half of them took no longer than this, in milliseconds, as exactly as the histogram's bounds tell.
    pub p50_ms: f64,
    /// Of a hundred, one took longer.
    pub p99_ms: f64,
}

impl RecentLatency {
    /// Takes the sum as it is now; to be called each [`EVERY`].
    pub fn take(&self, sum: HistogramSum) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Counters that went back are of another worker set: what was before says nothing of them.
        if sums.back().is_some_and(|last| last.micros > sum.micros) {
            sums.clear();
        }
        sums.push_back(sum);
        while sums.len() > KEPT {
            sums.pop_front();
        }
    }

    /// What ended in the last so many steps of [`EVERY`], or in as many as there are; `None` where nothing did.
    pub fn window(&self, steps: usize) -> Option<Window> {
        let sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = sums.back()?;
        let before = sums.get(sums.len().saturating_sub(steps + 1)).filter(|_| sums.len() > 1)?;
        let counts = newest.buckets.iter().zip(before.buckets).map(|(now, then)| now.saturating_sub(then));
        let counts: Vec<u64> = counts.collect();
        let count: u64 = counts.iter().sum();
        if count == 0 {
            return None;
        }
        let micros = newest.micros.saturating_sub(before.micros);
        let mean_ms = micros as f64 / count as f64 / 1000.0;
        Some(Window {
            count,
            mean_ms,
            p50_ms: quantile(&counts, count, 0.5),
            p99_ms: quantile(&counts, count, 0.99),
        })
    }
}

/// The value below which this share lies, in milliseconds: evenly spread within a bucket. Above all bounds it is the last
/// of them.
fn quantile(counts: &[u64], count: u64, share: f64) -> f64 {
    let wanted = share * count as f64;
    let (mut passed, mut from) = (0.0, 0.0);
    for (bucket, to) in counts.iter().zip(BOUNDS) {
        let (in_bucket, to) = (*bucket as f64, to as f64);
        if passed + in_bucket >= wanted && in_bucket > 0.0 {
            return (from + (to - from) * (wanted - passed) / in_bucket) / 1000.0;
        }
        passed += in_bucket;
        from = to;
    }
    from / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Histogram;

    /// The sum of a histogram with these, in milliseconds.
    fn sum(histogram: &Histogram, all: &[u64]) -> HistogramSum {
        all.iter().for_each(|millis| histogram.record(Duration::from_millis(*millis)));
        let mut sum = HistogramSum::default();
        histogram.add_to(&mut sum);
        sum
    }

    #[test]
    fn a_window_has_what_ended_in_it_and_nothing_before() {
        let (recent, histogram) = (RecentLatency::default(), Histogram::default());
        recent.take(sum(&histogram, &[9000; 50]));
        assert_eq!(recent.window(1), None, "nothing to take it from");
        recent.take(sum(&histogram, &[20; 100]));
        let window = recent.window(1).unwrap();
        assert_eq!((window.count, window.mean_ms), (100, 20.0));
        assert!(
            (10.0..=25.0).contains(&window.p50_ms) && (10.0..=25.0).contains(&window.p99_ms),
            "{window:?}"
        );
        recent.take(sum(&histogram, &[]));
        assert_eq!(recent.window(1), None, "an idle one has no average");
        assert_eq!(recent.window(6).map(|window| window.count), Some(100));
    }

    #[test]
    fn a_minute_is_kept_and_what_is_slow_shows() {
        let (recent, histogram) = (RecentLatency::default(), Histogram::default());
        for _ in 0..20 {
            recent.take(sum(&histogram, &[4, 4, 4, 4, 4, 4, 4, 4, 4, 400]));
        }
        let window = recent.window(6).unwrap();
        assert_eq!(window.count, 60);
        assert!(
            window.p50_ms <= 5.0 && window.p99_ms > 250.0 && (window.mean_ms - 43.6).abs() < 0.01,
            "{window:?}"
        );
        recent.take(HistogramSum::default());
        assert_eq!(recent.window(6), None, "another process, or other workers");
    }
}
