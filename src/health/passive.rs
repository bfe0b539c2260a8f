//! What real traffic says of each backend, and the thresholds that eject it.
//!
//! Previous stop: an attempt of `upstream::forward` or `l4::tcp` ended; next stop: [`Ejector`]. Each
//! worker counts in windows of its own (load and store, no read-modify-write), so a success costs two
//! loads and a store. Only a failure adds up what the workers counted.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    Change,
    ejection::{Ejection, Ejector},
};
use crate::{backend::Backend, moment::Moment};

/// What an attempt says of its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered.
    Success,
    /// It failed.
    Failure(FailureKind),
    /// Nothing: the client left, say.
    Neutral,
}

impl Verdict {
    /// What a response's status says: 502, 503 and 504 are failures of the backend; any other answer,
    /// be it a 500, is the application's own and shows that it is there.
    pub fn of_status(status: u16) -> Self {
        match status {
            502..=504 => Self::Failure(FailureKind::Status(status)),
            _ => Self::Success,
        }
    }
}

/// How a backend failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It could not be connected to.
    Connect,
    /// The connection broke.
    Reset,
    /// It took too long.
    Timeout,
    /// What it sent was no HTTP.
    Malformed,
    /// It answered with this status.
    Status(u16),
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("cannot connect"),
            Self::Reset => f.write_str("connection broke"),
            Self::Timeout => f.write_str("timed out"),
            Self::Malformed => f.write_str("malformed response"),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

/// A success that the head of a response said: what is taken back where the body behind it breaks off.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    at: Moment,
    /// The failures in a row that it ended.
    ended: u32,
}

/// The outcomes of one upstream's backends, over all workers.
#[derive(Debug)]
pub struct Passive {
    backends: Arc<[Arc<Backend>]>,
    ejector: Ejector,
    /// By worker, each in an allocation of its own.
    windows: Box<[Box<[Window]>]>,
    /// By backend: buckets up to this one were already judged.
    judged: Box<[AtomicU64]>,
}

impl Passive {
    /// Counts for `backends` on `workers` workers, with nothing counted yet.
    pub fn new(ejection: Ejection, backends: &[Arc<Backend>], workers: usize) -> Self {
        let window = || backends.iter().map(|_| Window::default()).collect();
        Self {
            backends: backends.into(),
            ejector: Ejector::new(ejection),
            windows: (0..workers).map(|_| window()).collect(),
            judged: backends.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts an outcome. Only `worker` itself may say its own index: its counts have one writer.
    #[inline]
    pub fn record(&self, worker: usize, index: usize, verdict: Verdict, now: Moment) -> Option<Change> {
        match verdict {
            Verdict::Neutral => None,
            Verdict::Success => {
                self.say(worker, index, now);
                None
            }
            Verdict::Failure(kind) => {
                let backend = self.backends.get(index)?;
                self.windows.get(worker)?.get(index)?.count(self.bucket(now), true);
                self.judge(index, backend, (kind, 0), now)
            }
        }
    }

    /// Counts a success as the head of a response says it; [`Passive::take_back`] is for a body that breaks off. It counts
    /// at once all the same: a body may last for hours, and a stream of events ends with its client.
    #[inline]
    pub fn say(&self, worker: usize, index: usize, now: Moment) -> Option<Said> {
        let backend = self.backends.get(index)?;
        self.windows.get(worker)?.get(index)?.count(self.bucket(now), false);
        let in_a_row = &backend.shared.failures_in_a_row;
        // Each failure is ended by one success only.
        let ended = if in_a_row.load(Relaxed) == 0 { 0 } else { Self::end_row(backend, now) };
        Some(Said { at: now, ended })
    }

    /// Ends a row of failures; how many they were.
    #[cold]
    fn end_row(backend: &Backend, now: Moment) -> u32 {
        backend.shared.row_ended_at.fetch_max(now.0, Relaxed);
        backend.shared.failures_in_a_row.swap(0, Relaxed)
    }

    /// Notes that a response came with all of its body: what failed before is in no row with what fails later. It is noted
    /// beside the failures, which outlive a generation, and only where a row has ended since it was noted last: the first
    /// response behind that end says as much as all that come later, and nothing is written for those.
    #[inline]
    pub fn came_whole(&self, index: usize, now: Moment) {
        let Some(backend) = self.backends.get(index) else { return };
        let shared = &backend.shared;
        if shared.came_whole_at.load(Relaxed) <= shared.row_ended_at.load(Relaxed) {
            shared.came_whole_at.fetch_max(now.0, Relaxed);
        }
    }

    /// Counts a failure in the place of a success that was said: the body broke off. What failed in a row before that is in
    /// a row with it, where it is not longer ago than the window, nor judged, and no other response came whole since.
    #[cold]
    pub fn take_back(
        &self,
        worker: usize,
        index: usize,
        (said, kind): (Said, FailureKind),
        now: Moment,
    ) -> Option<Change> {
        let backend = self.backends.get(index)?;
        let window = self.windows.get(worker)?.get(index)?;
        let then = self.bucket(said.at);
        window.take_back(then);
        window.count(self.bucket(now), true);
        let judged = self.judged.get(index).map_or(0, |it| it.load(Relaxed));
        let is_over = backend.shared.came_whole_at.load(Relaxed) > said.at.0;
        let is_recent = !is_over && now.since(said.at) <= self.ejector.rules().window && then >= judged;
        self.judge(index, backend, (kind, if is_recent { said.ended } else { 0 }), now)
    }

    /// Takes in that another node has ejected a backend until then.
    pub fn learn_ejection(&self, index: usize, until: Moment, now: Moment) -> Option<Change> {
        self.ejector.learn(index, &self.backends, until, now)
    }

    /// The backends, which are those of one generation.
    pub fn backends(&self) -> &Arc<[Arc<Backend>]> {
        &self.backends
    }

    /// Notes the ejections whose time is over, and gives them, each once; to be called about every second.
    pub fn report_ended(&self, now: Moment) -> Vec<Change> {
        self.ejector.report_ended(&self.backends, now)
    }

    /// Takes the counts of the generation before; `map` gives for each new index the old one. To be
    /// called before workers record here.
    pub fn carry_over(&self, old: &Self, map: &[Option<usize>]) {
        // Buckets of another length cannot be counted in this one's.
        if self.ejector.rules().window != old.ejector.rules().window {
            return;
        }
        for (index, from) in map.iter().enumerate() {
            let Some(from) = *from else { continue };
            if let (Some(new), Some(old)) = (self.judged.get(index), old.judged.get(from)) {
                new.store(old.load(Relaxed), Relaxed);
            }
            for (new, old) in self.windows.iter().zip(&old.windows) {
                if let (Some(new), Some(old)) = (new.get(index), old.get(from)) {
                    new.copy(old);
                }
            }
        }
    }

    /// Ejects a backend where a failure is one too many; `before` it were so many in a row that are not counted as that now.
    #[cold]
    fn judge(
        &self,
        index: usize,
        backend: &Backend,
        (kind, before): (FailureKind, u32),
        now: Moment,
    ) -> Option<Change> {
        let rules = self.ejector.rules();
        let shared = &backend.shared;
        // What was under way when it was ejected says nothing new.
        if shared.ejected_until.load(Relaxed) > now.0 {
            return None;
        }
        let more = before.saturating_add(1);
        let in_a_row = shared.failures_in_a_row.fetch_add(more, Relaxed).saturating_add(more);
        let change = if rules.consecutive_failures > 0 && in_a_row >= rules.consecutive_failures {
            // Counted from anew even if the cap forbids the ejection, so that the lock of the ejector
            // is not taken for each failure of an upstream that fails altogether.
            shared.failures_in_a_row.store(0, Relaxed);
            let why = || match in_a_row {
                1 => format!("1 failure: {kind}"),
                _ => format!("{in_a_row} failures in a row: {kind}"),
            };
            self.ejector.eject(index, &self.backends, why, now)
        } else {
            let (failures, total) = self.counts(index, now);
            let percent = failures * 100 / total.max(1);
            let is_over = rules.failure_percent > 0
                && total >= u64::from(rules.minimum_requests)
                && percent >= u64::from(rules.failure_percent);
            let window = rules.window;
            let why = || format!("{percent}% of {total} requests in {window:?} failed, last: {kind}");
            is_over.then(|| self.ejector.eject(index, &self.backends, why, now)).flatten()
        };
        if change.is_some()
            && let Some(judged) = self.judged.get(index)
        {
            // It shall not be ejected twice for the same failures.
            judged.store(self.bucket(now) + 1, Relaxed);
        }
        change
    }

    /// Failures and requests of a backend in the window, over all workers.
    fn counts(&self, index: usize, now: Moment) -> (u64, u64) {
        let newest = self.bucket(now);
        let judged = self.judged.get(index).map_or(0, |it| it.load(Relaxed));
        let oldest = (newest + 1).saturating_sub(BUCKETS as u64).max(judged);
        self.windows
            .iter()
            .filter_map(|worker| worker.get(index))
            .flat_map(|window| window.between(oldest, newest))
            .fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    }

    #[inline]
    fn bucket(&self, now: Moment) -> u64 {
        let window = u64::try_from(self.ejector.rules().window.as_micros()).unwrap_or(u64::MAX);
        now.0 / (window / BUCKETS as u64).max(1)
    }
}

/// Parts of a window; it slides by one of them at a time.
const BUCKETS: usize = 10;

/// One worker's counts for one backend, in a ring of buckets.
#[derive(Debug, Default)]
struct Window {
    buckets: [Bucket; BUCKETS],
}

/// Number of the bucket, failures and requests in one word, so that a reader on another thread sees all
/// three of one moment.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

/// Where in the ring a bucket of this number has its place.
fn place(number: u64) -> usize {
    usize::try_from(number % BUCKETS as u64).unwrap_or_default()
}

impl Window {
    #[inline]
    fn count(&self, number: u64, is_failure: bool) {
        let Some(bucket) = self.buckets.get(place(number)) else {
            return;
        };
        let word = bucket.0.load(Relaxed);
        let stamp = (number & STAMP) << (2 * COUNT_BITS);
        let (mut failures, mut total) = match word & !COUNTS == stamp {
            true => (word >> COUNT_BITS & MOST, word & MOST),
            false => (0, 0),
        };
        // At the end of the scale, half of both keeps the ratio.
        if total == MOST {
            failures /= 2;
            total /= 2;
        }
        failures += u64::from(is_failure);
        total += 1;
        let word = stamp | failures << COUNT_BITS | total;
        bucket.0.store(word, Relaxed);
    }

    /// Takes back a success that was counted in the bucket of this number, where that is still there.
    fn take_back(&self, number: u64) {
        let Some(bucket) = self.buckets.get(place(number)) else {
            return;
        };
        let word = bucket.0.load(Relaxed);
        let (failures, total) = (word >> COUNT_BITS & MOST, word & MOST);
        if word >> (2 * COUNT_BITS) == number & STAMP && total > failures {
            bucket.0.store(word - 1, Relaxed);
        }
    }

    /// Failures and requests of each bucket whose number is in the range.
    fn between(&self, oldest: u64, newest: u64) -> impl Iterator<Item = (u64, u64)> {
        (oldest..=newest).filter_map(|number| {
            let bucket = self.buckets.get(place(number))?;
            let word = bucket.0.load(Relaxed);
            let is_current = word >> (2 * COUNT_BITS) == number & STAMP;
            is_current.then_some((word >> COUNT_BITS & MOST, word & MOST))
        })
    }

    fn copy(&self, from: &Self) {
        for (bucket, from) in self.buckets.iter().zip(&from.buckets) {
            bucket.0.store(from.0.load(Relaxed), Relaxed);
        }
    }
}

const COUNT_BITS: u32 = 20;
const MOST: u64 = (1 << COUNT_BITS) - 1;
const COUNTS: u64 = (1 << (2 * COUNT_BITS)) - 1;

/// Bits of a bucket's number that are kept: it comes round after half a year of one-second buckets.
const STAMP: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

#[cfg(test)]
mod tests;
