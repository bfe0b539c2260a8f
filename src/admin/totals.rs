//! What was counted since the start, summed over workers.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};

use super::spec::{array, count, object};
use crate::{
    runtime::registry::{Registry, WorkerRegistry},
    telemetry::{
        clock,
        metrics::{BOUNDS, Counter, HistogramSum, WorkerSeries},
    },
};

/// The fields of [`Totals::to_json`].
pub(super) fn schema() -> Value {
    let number = || json!({"type": "number", "minimum": 0});
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
    let latency = object(json!({
        "bounds_seconds": array(number()), "counts": array(count()), "sum_seconds": number(),
    }));
    json!({
        "at": count(),
        "uptime_seconds": count(),
        "requests": count(),
        "classes": object(classes.iter().map(|class| ((*class).to_owned(), count())).collect::<Value>()),
        "latency": latency,
        "bytes_in": count(),
        "bytes_out": count(),
        "connections": count(),
        "retries": count(),
    })
}

/// What was counted in all, at one moment.
#[derive(Debug)]
pub(super) struct Totals {
    /// Unix time in milliseconds.
    at: u64,
    /// Seconds since the start.
    uptime: u64,
    total: Total,
    bytes_in: u64,
    bytes_out: u64,
    connections: i64,
    retries: u64,
}

impl Totals {
    /// Of this moment, by what each route has.
    pub(super) fn sum(registry: &Registry, by_route: &HashMap<Arc<str>, Total>, uptime: u64) -> Self {
        let mut total = Total::default();
        by_route.values().for_each(|route| total.add(route));
        let sum = |count: fn(&WorkerSeries) -> &Counter| -> u64 {
            let of = |worker: &WorkerRegistry| count(&worker.series).get();
            registry.workers().iter().map(of).sum()
        };
        Self {
            at: clock::unix_millis(),
            uptime,
            total,
            bytes_in: sum(|it| &it.bytes_in),
            bytes_out: sum(|it| &it.bytes_out),
            connections: registry.open_connections().max(0),
            retries: sum(|it| &it.retries),
        }
    }

    /// Of this moment.
    pub(super) fn of(registry: &Registry, uptime: u64) -> Self {
        Self::sum(registry, &by_route(registry), uptime)
    }

    pub(super) fn to_json(&self) -> Value {
        let bounds: Vec<f64> = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).collect();
        json!({
            "at": self.at,
            "uptime_seconds": self.uptime,
            "requests": self.total.requests(),
            "classes": self.total.classes(),
            "latency": {
                "bounds_seconds": bounds,
                "counts": self.total.latency.buckets,
                "sum_seconds": self.total.latency.micros as f64 / 1e6,
            },
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "connections": self.connections,
            "retries": self.retries,
        })
    }
}

/// What was counted of a route, or of all.
#[derive(Debug, Default)]
pub(super) struct Total {
    /// Requests by the first digit of their status; 0 for those that got none.
    pub(super) by_class: [u64; 6],
    pub(super) latency: HistogramSum,
}

impl Total {
    fn add(&mut self, other: &Self) {
        let counts = self.by_class.iter_mut().chain(&mut self.latency.buckets);
        let others = other.by_class.iter().chain(&other.latency.buckets);
        counts.zip(others).for_each(|(sum, count)| *sum += count);
        self.latency.micros += other.latency.micros;
    }

    pub(super) fn requests(&self) -> u64 {
        self.by_class.iter().sum()
    }

    fn classes(&self) -> Value {
        let [none, one, two, three, four, five] = self.by_class;
        json!({"1xx": one, "2xx": two, "3xx": three, "4xx": four, "5xx": five, "none": none})
    }
}

/// Every route that was ever counted, over all workers; the empty name is that of no route.
pub(super) fn by_route(registry: &Registry) -> HashMap<Arc<str>, Total> {
    let mut totals: HashMap<Arc<str>, Total> = HashMap::new();
    for worker in registry.workers() {
        let routes = worker.routes.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, series) in &*routes {
            let total = totals.entry(name.clone()).or_default();
            for (key, count) in series.requests() {
                // RFC 9110 §15: what is above 599 is one that clients treat as a 5xx.
                if let Some(class) = total.by_class.get_mut(usize::from(key.status / 100).min(5)) {
                    *class += count;
                }
            }
            series.durations().for_each(|(_, histogram)| histogram.add_to(&mut total.latency));
        }
    }
    totals
}

/// The totals that were taken, oldest first; at most [`KEPT`].
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<Totals>>);

impl History {
    pub(super) fn push(&self, sample: Totals) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    pub(super) fn to_json(&self) -> Value {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().map(Totals::to_json).collect()
    }
}

/// Samples that are kept: ten minutes, and the one that they begin with.
const KEPT: usize = 121;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        admin::tests::{CONFIG, shared},
        telemetry::metrics::{NO_NAME, RequestKey},
    };

    #[test]
    fn ten_minutes_are_kept_and_no_more() {
        let (shared, history) = (shared(CONFIG), History::default());
        assert_eq!(history.to_json(), json!([]));
        for uptime in 0..300 {
            history.push(Totals::of(&shared.registry, uptime));
        }
        let kept = history.to_json();
        let of = |place: usize| kept[place]["uptime_seconds"].as_u64().unwrap();
        assert_eq!((kept.as_array().unwrap().len(), of(0), of(KEPT - 1)), (KEPT, 179, 299));
        assert!(kept[0].get("routes").is_none() && kept[0].get("errors").is_none());
    }

    #[test]
    fn no_status_is_left_out() {
        let shared = shared(CONFIG);
        let snapshot = shared.snapshot.load();
        for status in [0, 103, 200, 304, 404, 503, 600, 999] {
            let key = RequestKey { listener: NO_NAME, upstream: NO_NAME, status };
            snapshot.routes[0].series[0].record(key, Duration::from_millis(1));
        }
        let total = &by_route(&shared.registry)["all"];
        assert_eq!((total.by_class, total.requests()), ([1, 1, 1, 1, 1, 3], 8));
    }
}
