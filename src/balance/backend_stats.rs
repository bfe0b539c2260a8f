//! What one worker measured of each backend: averages of response time and bandwidth, counts.
//!
//! Every policy keeps them, since `admin` shows them and a reload may change the policy. One worker
//! writes (load and store, no read-modify-write), any thread may read; each number stands for itself,
//! so a reader that sees one of two stores is at most a sample behind. A [`BackendStats`] belongs to a worker and a
//! backend and outlives reloads: the registry keeps it, and every generation of the balancer writes there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::moment::Moment;

/// How an attempt on a backend went.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// From the pick to the response head, or to the failure.
    pub elapsed: Duration,
    /// Whether the backend failed (the health verdict); a failure must never look fast.
    pub failed: bool,
}

/// One worker's measurements, by backend index.
#[derive(Debug)]
pub struct Traffic {
    rows: Box<[Arc<BackendStats>]>,
}

/// What one worker measured of one backend.
#[derive(Debug)]
pub struct BackendStats {
    /// Peak EWMA of the seconds to the response head; [`NO_SAMPLE`] before the first.
    response: Average,
    /// Bytes per second.
    bandwidth: Average,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// A number as it was at a moment; it decays from there.
#[derive(Debug)]
struct Average {
    /// An `f64` by its bits.
    value: AtomicU64,
    at: AtomicU64,
}

impl Traffic {
    pub(super) fn new(backends: usize) -> Self {
        Self { rows: (0..backends).map(|_| Arc::default()).collect() }
    }

    pub(super) fn of(rows: Box<[Arc<BackendStats>]>) -> Self {
        Self { rows }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The peak EWMA of the time to the response head; `None` without a sample.
    pub fn average(&self, index: usize, now: Moment) -> Option<Duration> {
        self.response_seconds(index, now).map(Duration::from_secs_f64)
    }

    /// Bytes per second in both directions.
    pub fn bandwidth(&self, index: usize, now: Moment) -> f64 {
        self.rows.get(index).map_or(0.0, |row| row.bandwidth(now))
    }

    /// Attempts begun.
    pub fn requests(&self, index: usize) -> u64 {
        self.rows.get(index).map_or(0, |row| row.requests())
    }

    /// Attempts that failed.
    pub fn failures(&self, index: usize) -> u64 {
        self.rows.get(index).map_or(0, |row| row.failures())
    }

    /// The average decays while idle, so that a punished backend is tried again
    /// (Traefik #12306 starves it for ever).
    #[inline]
    pub(super) fn response_seconds(&self, index: usize, now: Moment) -> Option<f64> {
        self.rows.get(index)?.response_seconds(now)
    }

    #[inline]
    pub(super) fn count_start(&self, index: usize) {
        if let Some(row) = self.rows.get(index) {
            add(&row.requests, 1);
        }
    }

    #[inline]
    pub(super) fn add_bytes(&self, index: usize, bytes: u64, now: Moment) {
        let Some(average) = self.rows.get(index).map(|row| &row.bandwidth) else {
            return;
        };
        let gained = bytes as f64 / TAU_BANDWIDTH;
        // Within a millisecond nothing decays worth an exponential, and the stamp stays.
        if now.since(average.stamp()) < Duration::from_millis(1) {
            let value = f64::from_bits(average.value.load(Relaxed)) + gained;
            average.value.store(value.to_bits(), Relaxed);
        } else {
            average.set(average.decayed(now, TAU_BANDWIDTH) + gained, now);
        }
    }

    #[inline]
    pub(super) fn add_outcome(&self, index: usize, outcome: &Outcome, now: Moment) {
        let Some(row) = self.rows.get(index) else {
            return;
        };
        let average = self.response_seconds(index, now);
        let mut sample = outcome.elapsed.as_secs_f64();
        if outcome.failed {
            add(&row.failures, 1);
            sample = failure_sample(sample, average);
        }
        let next = match average {
            Some(average) if sample < average => {
                // `average` has decayed already: a·e^(−dt/τ) + s·(1−e^(−dt/τ)).
                let kept = decay(now.since(row.response.stamp()), TAU_RESPONSE);
                average + sample * (1.0 - kept)
            }
            // Peak: a slower sample counts at once.
            _ => sample,
        };
        row.response.set(next, now);
    }
}

impl Default for BackendStats {
    fn default() -> Self {
        Self {
            response: Average::new(NO_SAMPLE),
            bandwidth: Average::new(0.0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }
}

impl BackendStats {
    /// The peak EWMA of the time to the response head; `None` without a sample.
    pub fn average(&self, now: Moment) -> Option<Duration> {
        self.response_seconds(now).map(Duration::from_secs_f64)
    }

    /// Bytes per second in both directions.
    pub fn bandwidth(&self, now: Moment) -> f64 {
        self.bandwidth.decayed(now, TAU_BANDWIDTH)
    }

    /// Attempts begun.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Attempts that failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Begins where another process left off: the average as of `now`. To be called before a worker
    /// writes here.
    pub fn resume(&self, average: Duration, now: Moment) {
        self.response.set(average.as_secs_f64(), now);
    }

    #[inline]
    fn response_seconds(&self, now: Moment) -> Option<f64> {
        let seconds = self.response.decayed(now, TAU_RESPONSE);
        (seconds >= 0.0).then_some(seconds)
    }
}

impl Average {
    fn new(value: f64) -> Self {
        Self { value: AtomicU64::new(value.to_bits()), at: AtomicU64::new(0) }
    }

    #[inline]
    fn stamp(&self) -> Moment {
        Moment(self.at.load(Relaxed))
    }

    #[inline]
    fn decayed(&self, now: Moment, tau: f64) -> f64 {
        let value = f64::from_bits(self.value.load(Relaxed));
        value * decay(now.since(self.stamp()), tau)
    }

    #[inline]
    fn set(&self, value: f64, now: Moment) {
        self.value.store(value.to_bits(), Relaxed);
        self.at.store(now.0, Relaxed);
    }
}

/// What a failure counts as: it must never look fast. Failures in a row would multiply without end and
/// shut the backend out for ever, so the penalty itself is capped; a slower failure counts in full.
fn failure_sample(elapsed: f64, average: Option<f64>) -> f64 {
    let penalty = (5.0 * average.unwrap_or(0.0)).min(PENALTY_CAP);
    elapsed.max(penalty).max(0.1)
}

/// What is left after `elapsed`: e^(−t/τ).
#[inline]
fn decay(elapsed: Duration, tau: f64) -> f64 {
    let x = elapsed.as_micros() as f64 / (tau * 1e6);
    // A busy backend was heard of a moment ago: three terms of the series are exact to 2·10⁻⁷ there,
    // and much cheaper.
    if x < 0.01 { 1.0 - x + x * x / 2.0 } else { (-x).exp() }
}

#[inline]
fn add(counter: &AtomicU64, by: u64) {
    // One writer: no read-modify-write is needed.
    counter.store(counter.load(Relaxed) + by, Relaxed);
}

/// Seconds after which a response time counts for a third.
const TAU_RESPONSE: f64 = 10.0;

/// Seconds after which a byte counts for a third.
const TAU_BANDWIDTH: f64 = 5.0;

/// Most seconds that a failure counts as beyond the time it took.
const PENALTY_CAP: f64 = 10.0;

/// Before the first sample: stays negative (or turns to NaN) however it decays.
const NO_SAMPLE: f64 = f64::NEG_INFINITY;

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(milliseconds: u64, failed: bool) -> Outcome {
        Outcome { elapsed: Duration::from_millis(milliseconds), failed }
    }

    fn milliseconds(traffic: &Traffic, now: Moment) -> f64 {
        traffic.average(0, now).unwrap().as_secs_f64() * 1e3
    }

    #[test]
    fn there_is_no_average_before_the_first_sample_however_late() {
        let traffic = Traffic::new(1);
        assert_eq!(traffic.average(0, Moment(0)), None);
        assert_eq!(traffic.average(0, Moment(u64::MAX)), None);
        assert_eq!(traffic.average(7, Moment(0)), None);
    }

    #[test]
    fn a_slower_sample_counts_at_once_a_faster_one_gradually() {
        let traffic = Traffic::new(1);
        let mut now = Moment(1_000_000);
        traffic.add_outcome(0, &outcome(10, false), now);
        traffic.add_outcome(0, &outcome(200, false), now);
        assert!((milliseconds(&traffic, now) - 200.0).abs() < 0.01);
        now = now.plus(Duration::from_secs(10));
        traffic.add_outcome(0, &outcome(10, false), now);
        let expected = 200.0 * (-1.0_f64).exp() + 10.0 * (1.0 - (-1.0_f64).exp());
        assert!((milliseconds(&traffic, now) - expected).abs() < 0.01);
    }

    #[test]
    fn a_failure_neither_looks_fast_nor_excludes_for_ever() {
        let traffic = Traffic::new(1);
        let now = Moment(1_000_000);
        traffic.add_outcome(0, &outcome(0, true), now);
        assert!((milliseconds(&traffic, now) - 100.0).abs() < 0.01);
        traffic.add_outcome(0, &outcome(1, true), now);
        assert!((milliseconds(&traffic, now) - 500.0).abs() < 0.01);
        for _ in 0..100 {
            traffic.add_outcome(0, &outcome(1, true), now);
        }
        assert!(milliseconds(&traffic, now) <= 10_000.0);
        assert_eq!(traffic.failures(0), 102);
    }

    #[test]
    fn bandwidth_converges_to_the_byte_rate_and_fades() {
        let traffic = Traffic::new(1);
        let mut now = Moment(1_000_000);
        for _ in 0..60_000 {
            now = now.plus(Duration::from_millis(1));
            traffic.add_bytes(0, 1_000, now);
        }
        let rate = traffic.bandwidth(0, now);
        assert!((rate / 1_000_000.0 - 1.0).abs() < 0.01, "{rate}");
        assert!(traffic.bandwidth(0, now.plus(Duration::from_secs(60))) < 10.0);
    }
}
