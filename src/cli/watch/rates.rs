//! From totals to rates: what happened between two looks at a running Pointsman.
//!
//! Pure. The totals go back when a route is gone with its last generation, and begin anew in another
//! process: from then on rates are made anew, too, and nothing is shown over such a step.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use crate::cli::answers::{list, number, text};

/// Statuses by their first digit, and what got none.
pub(super) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// One look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) pid: u64,
    pub(super) generation: u64,
    /// Milliseconds since 1970, by the clock of the program that answers.
    pub(super) at: u64,
    requests: u64,
    classes: [u64; 6],
    /// Upper ends of the histogram's buckets, in seconds; the last bucket has none.
    bounds: Vec<f64>,
    counts: Vec<u64>,
    bytes_in: u64,
    bytes_out: u64,
    pub(super) connections: u64,
    /// Requests of each backend, by upstream and address.
    backends: HashMap<(String, String), u64>,
}

impl Sample {
    /// Reads the answers of status, traffic and upstreams.
    pub(super) fn read(status: &Value, traffic: &Value, upstreams: &Value) -> Self {
        let nothing = Value::Null;
        let classes = traffic.get("classes").unwrap_or(&nothing);
        let latency = traffic.get("latency").unwrap_or(&nothing);
        let of = |upstream: &Value| {
            let name = text(upstream, "name").to_owned();
            let backends = list(upstream, "backends").iter();
            backends
                .map(|it| ((name.clone(), text(it, "address").to_owned()), number(it, "requests")))
                .collect::<Vec<_>>()
        };
        Self {
            pid: number(status, "pid"),
            generation: number(status, "generation"),
            at: number(traffic, "at"),
            requests: number(traffic, "requests"),
            classes: CLASSES.map(|class| number(classes, class)),
            bounds: list(latency, "bounds_seconds").iter().filter_map(Value::as_f64).collect(),
            counts: list(latency, "counts").iter().filter_map(Value::as_u64).collect(),
            bytes_in: number(traffic, "bytes_in"),
            bytes_out: number(traffic, "bytes_out"),
            connections: number(traffic, "connections"),
            backends: list(upstreams, "upstreams").iter().flat_map(of).collect(),
        }
    }

    /// Whether `self` goes on where `before` was.
    fn follows(&self, before: &Self) -> bool {
        let grows = |before: &[u64], now: &[u64]| before.iter().zip(now).all(|(before, now)| before <= now);
        self.pid == before.pid
            && self.at > before.at
            && self.requests >= before.requests
            && grows(&before.classes, &self.classes)
            && before.bounds == self.bounds
            && grows(&before.counts, &self.counts)
    }
}

/// The looks of the last seconds.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
}

/// How far back percentiles and shares go, in milliseconds.
pub(super) const WINDOW: u64 = 10_000;

impl History {
    /// Takes another look.
    pub(super) fn add(&mut self, sample: Sample) {
        if self.samples.back().is_some_and(|last| !sample.follows(last)) {
            self.samples.clear();
        }
        let from = sample.at.saturating_sub(WINDOW);
        // Two stay, also when there is much time between them.
        while self.samples.len() > 1 && self.samples.front().is_some_and(|first| first.at < from) {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// What happened; `None` before there are two looks to compare.
    pub(super) fn rates(&self) -> Option<Rates> {
        let mut latest = self.samples.iter().rev();
        let (now, before, first) = (latest.next()?, latest.next()?, self.samples.front()?);
        let seconds = now.at.saturating_sub(before.at) as f64 / 1e3;
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        let mut classes = [0.0; 6];
        for (class, (before, now)) in classes.iter_mut().zip(before.classes.iter().zip(&now.classes)) {
            *class = rate(*before, *now);
        }
        let counts: Vec<u64> =
            now.counts.iter().zip(&first.counts).map(|(now, first)| now.saturating_sub(*first)).collect();
        Some(Rates {
            requests: rate(before.requests, now.requests),
            classes,
            bytes_in: rate(before.bytes_in, now.bytes_in),
            bytes_out: rate(before.bytes_out, now.bytes_out),
            percentiles: [0.5, 0.9, 0.99].map(|part| percentile(&now.bounds, &counts, part)),
            seconds: (now.at - first.at) as f64 / 1e3,
            shares: shares(first, now),
        })
    }
}

/// What happened between two looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Per second, as are those below.
    pub(super) requests: f64,
    pub(super) classes: [f64; 6],
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    /// p50, p90 and p99 of the window.
    pub(super) percentiles: [Latency; 3],
    /// How long the window is.
    pub(super) seconds: f64,
    /// Each backend's part of its upstream's requests in the window, from 0 to 1.
    pub(super) shares: HashMap<(String, String), f64>,
}

impl Rates {
    /// Answers of 5xx per second.
    pub(super) fn errors(&self) -> f64 {
        let [_, _, _, _, errors, _] = self.classes;
        errors
    }
}

/// A latency that a histogram gives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Latency {
    /// Nothing was measured.
    #[default]
    Unknown,
    /// About so many milliseconds.
    About(f64),
    /// More than the histogram shows, in milliseconds.
    Above(f64),
}

/// What so large a part of the requests stayed below; within a bucket they are taken as evenly spread.
fn percentile(bounds: &[f64], counts: &[u64], part: f64) -> Latency {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return Latency::Unknown;
    }
    let (wanted, mut seen, mut lower) = (part * all as f64, 0.0, 0.0);
    for (count, upper) in counts.iter().zip(bounds) {
        let count = *count as f64;
        if count > 0.0 && seen + count >= wanted {
            let inside = ((wanted - seen) / count).clamp(0.0, 1.0);
            return Latency::About((lower + (upper - lower) * inside) * 1e3);
        }
        (seen, lower) = (seen + count, *upper);
    }
    Latency::Above(lower * 1e3)
}

/// A backend whose count went back (it was removed and added again) begins anew.
fn shares(first: &Sample, now: &Sample) -> HashMap<(String, String), f64> {
    let asked = |key: &(String, String), count: u64| match first.backends.get(key) {
        Some(before) if *before <= count => count - before,
        Some(_) | None => 0,
    };
    let mut sums: HashMap<&str, u64> = HashMap::new();
    for (key, count) in &now.backends {
        *sums.entry(&key.0).or_default() += asked(key, *count);
    }
    let share = |(key, count): (&(String, String), &u64)| {
        let sum = sums.get(key.0.as_str()).copied().filter(|sum| *sum > 0)?;
        Some((key.clone(), asked(key, *count) as f64 / sum as f64))
    };
    now.backends.iter().filter_map(share).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample(at: u64, requests: u64, counts: [u64; 3]) -> Sample {
        let status = json!({"pid": 7, "generation": 1});
        let traffic = json!({
            "at": at, "requests": requests, "connections": 3, "bytes_in": requests * 10, "bytes_out": requests * 100,
            "classes": {"1xx": 0, "2xx": requests - requests / 10, "3xx": 0, "4xx": 0, "5xx": requests / 10, "none": 0},
            "latency": {"bounds_seconds": [0.001, 0.01], "counts": counts},
        });
        let backends = [("a:1", requests / 4), ("b:1", requests - requests / 4)];
        let backends = backends.map(|(address, count)| json!({"address": address, "requests": count}));
        let upstreams = json!({"upstreams": [{"name": "u", "backends": backends}]});
        Sample::read(&status, &traffic, &upstreams)
    }

    fn history(samples: Vec<Sample>) -> Option<Rates> {
        let mut history = History::default();
        samples.into_iter().for_each(|sample| history.add(sample));
        history.rates()
    }

    #[test]
    fn rates_are_differences_over_time() {
        let rates =
            history(vec![sample(1_000, 100, [90, 10, 0]), sample(3_000, 300, [180, 100, 20])]).unwrap();
        assert_eq!((rates.requests, rates.errors(), rates.seconds), (100.0, 10.0, 2.0));
        assert_eq!(rates.classes, [0.0, 90.0, 0.0, 0.0, 10.0, 0.0]);
        assert_eq!((rates.bytes_in, rates.bytes_out), (1000.0, 10_000.0));
        let share = |address: &str| rates.shares[&("u".to_owned(), address.to_owned())];
        assert_eq!((share("a:1"), share("b:1")), (0.25, 0.75));
        let [p50, p90, p99] = rates.percentiles;
        // 90 below 1 ms, 90 more below 10 ms, 20 above.
        for (given, expected) in [(p50, 2.0), (p90, 10.0)] {
            assert!(matches!(given, Latency::About(value) if (value - expected).abs() < 1e-9), "{given:?}");
        }
        assert_eq!(p99, Latency::Above(10.0));
    }

    #[test]
    fn one_look_has_no_rate_and_idleness_no_latency() {
        assert_eq!(history(vec![]), None);
        assert_eq!(history(vec![sample(1_000, 100, [90, 10, 0])]), None);
        let rates = history(vec![sample(1_000, 100, [90, 10, 0]), sample(2_000, 100, [90, 10, 0])]).unwrap();
        assert_eq!((rates.requests, rates.percentiles), (0.0, [Latency::Unknown; 3]));
        assert!(rates.shares.is_empty());
    }

    #[test]
    fn totals_that_go_back_or_another_process_begin_anew() {
        let first = || sample(1_000, 100, [90, 10, 0]);
        let back = sample(2_000, 50, [50, 0, 0]);
        assert_eq!(history(vec![first(), back.clone()]), None);
        let one_bucket = sample(2_000, 110, [89, 21, 0]);
        assert_eq!(history(vec![first(), one_bucket]), None);
        let other = Sample { pid: 8, ..sample(2_000, 200, [180, 20, 0]) };
        assert_eq!(history(vec![first(), other]), None);
        assert_eq!(history(vec![first(), sample(1_000, 100, [90, 10, 0])]), None, "no time between");
        let rates = history(vec![first(), back, sample(3_000, 60, [60, 0, 0])]).unwrap();
        assert_eq!((rates.requests, rates.seconds), (10.0, 1.0));
    }

    #[test]
    fn only_the_last_seconds_count_for_percentiles() {
        // A slow second, then fast ones until it is out of the window.
        let slow = vec![sample(0, 0, [0, 0, 0]), sample(1_000, 100, [0, 0, 100])];
        let fast = (2..=13).map(|second| sample(second * 1_000, second * 100, [(second - 1) * 100, 0, 100]));
        let rates = history(slow.into_iter().chain(fast).collect()).unwrap();
        assert_eq!(rates.percentiles.map(|it| it == Latency::Above(10.0)), [false; 3]);
        assert_eq!((rates.requests, rates.seconds), (100.0, 10.0));
    }
}
