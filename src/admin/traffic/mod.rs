//! `GET /api/v1/traffic`: totals since the start, summed over workers, and the last errors.
//!
//! Whoever asks twice has rates by difference; nothing is averaged here. The totals hold every route that is
//! counted; they go back only when a route is gone with its last generation. The answer is bounded whatever is configured: the
//! [`MOST_ROUTES`] busiest routes, and the errors that the workers keep.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
};

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Admin, Params,
    reply::{self, Reply},
    spec::{ResponseSpec, Spec, array, count, object, text},
};
use crate::{
    moment::Moment,
    runtime::{
        Snapshot,
        registry::{Registry, WorkerRegistry},
    },
    telemetry::{
        clock,
        metrics::{BOUNDS, Counter, HistogramSum, WorkerSeries},
        recent_errors::Record,
    },
};

/// Routes that are listed one by one.
const MOST_ROUTES: usize = 100;

/// What it gives.
pub(super) const ABOUT: Spec = Spec { gives: &[ResponseSpec::json("the totals", schema)], ..Spec::PLAIN };

fn schema() -> Value {
    let number = || json!({"type": "number", "minimum": 0});
    let name = || json!({"type": ["string", "null"]});
    let counts = || array(count());
    let route = object(json!({
        "name": text(),
        "requests": count(),
        "errors": count(),
        "latency": object(json!({"counts": counts(), "sum_seconds": number()})),
    }));
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
    let error = object(json!({
        "at": count(), "listener": text(), "route": name(), "upstream": name(), "backend": name(),
        "method": text(), "path": text(), "status": count(), "kind": text(), "detail": text(),
        "request_id": text(),
    }));
    let latency = object(json!({
        "bounds_seconds": array(number()), "counts": counts(), "sum_seconds": number(),
    }));
    object(json!({
        "at": count(),
        "uptime_seconds": count(),
        "requests": count(),
        "classes": object(classes.iter().map(|class| ((*class).to_owned(), count())).collect::<Value>()),
        "latency": latency,
        "bytes_in": count(),
        "bytes_out": count(),
        "connections": count(),
        "retries": count(),
        "routes": array(route),
        "routes_left_out": count(),
        "errors": array(error),
    }))
}

pub(super) fn get(admin: &Admin, _: &Params) -> Reply {
    let uptime = Moment::now().since(admin.started).as_secs();
    let traffic = traffic(&admin.shared.snapshot.load(), &admin.shared.registry, uptime);
    reply::json(StatusCode::OK, &traffic)
}

fn traffic(snapshot: &Snapshot, registry: &Registry, uptime: u64) -> Value {
    let by_route = by_route(registry);
    let mut total = Total::default();
    by_route.values().for_each(|route| total.add(route));
    let sum = |count: fn(&WorkerSeries) -> &Counter| -> u64 {
        let of = |worker: &WorkerRegistry| count(&worker.series).get();
        registry.workers().iter().map(of).sum()
    };
    let open = snapshot.listeners.iter().map(|it| it.shared.open.load(Relaxed).max(0)).sum::<i64>();
    let (routes, left_out) = busiest(snapshot, &by_route);
    let bounds: Vec<f64> = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).collect();
    json!({
        "at": clock::unix_millis(),
        "uptime_seconds": uptime,
        "requests": total.requests(),
        "classes": total.classes(),
        "latency": {
            "bounds_seconds": bounds,
            "counts": total.latency.buckets,
            "sum_seconds": total.latency.micros as f64 / 1e6,
        },
        "bytes_in": sum(|it| &it.bytes_in),
        "bytes_out": sum(|it| &it.bytes_out),
        "connections": open,
        "retries": sum(|it| &it.retries),
        "routes": routes,
        "routes_left_out": left_out,
        "errors": errors(registry),
    })
}

/// What was counted of a route, or of all.
#[derive(Debug, Default)]
struct Total {
    /// Requests by the first digit of their status; 0 for those that got none.
    by_class: [u64; 6],
    latency: HistogramSum,
}

impl Total {
    fn add(&mut self, other: &Self) {
        let counts = self.by_class.iter_mut().chain(&mut self.latency.buckets);
        let others = other.by_class.iter().chain(&other.latency.buckets);
        counts.zip(others).for_each(|(sum, count)| *sum += count);
        self.latency.micros += other.latency.micros;
    }

    fn requests(&self) -> u64 {
        self.by_class.iter().sum()
    }

    fn classes(&self) -> Value {
        let [none, one, two, three, four, five] = self.by_class;
        json!({"1xx": one, "2xx": two, "3xx": three, "4xx": four, "5xx": five, "none": none})
    }
}

/// Every route that was ever counted, over all workers; the empty name is that of no route.
fn by_route(registry: &Registry) -> HashMap<Arc<str>, Total> {
    let mut totals: HashMap<Arc<str>, Total> = HashMap::new();
    for worker in registry.workers() {
        let routes = worker.routes.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, series) in &*routes {
            let total = totals.entry(name.clone()).or_default();
            for (key, count) in series.requests() {
                if let Some(class) = total.by_class.get_mut(usize::from(key.status / 100)) {
                    *class += count;
                }
            }
            series.durations().for_each(|(_, histogram)| histogram.add_to(&mut total.latency));
        }
    }
    totals
}

/// The routes with most requests, and how many there are beside them.
fn busiest(snapshot: &Snapshot, by_route: &HashMap<Arc<str>, Total>) -> (Vec<Value>, usize) {
    let configured = snapshot.routes.iter().map(|route| &*route.name);
    let unrouted = by_route.get("").filter(|total| total.requests() > 0).map(|_| "");
    let mut routes: Vec<(&str, Option<&Total>, u64)> = configured
        .chain(unrouted)
        .map(|name| (name, by_route.get(name)))
        .map(|(name, total)| (name, total, total.map_or(0, Total::requests)))
        .collect();
    // Stable: what has the same count stays in the order of the file.
    routes.sort_by_key(|(_, _, requests)| std::cmp::Reverse(*requests));
    let left_out = routes.len().saturating_sub(MOST_ROUTES);
    let none = Total::default();
    let listed = routes.into_iter().take(MOST_ROUTES).map(|(name, total, requests)| {
        let total = total.unwrap_or(&none);
        let [.., errors] = total.by_class;
        json!({
            "name": name,
            "requests": requests,
            "errors": errors,
            "latency": {
                "counts": total.latency.buckets,
                "sum_seconds": total.latency.micros as f64 / 1e6,
            },
        })
    });
    (listed.collect(), left_out)
}

/// The errors that the workers keep, newest first.
fn errors(registry: &Registry) -> Vec<Value> {
    let mut records: Vec<Record> = registry.workers().iter().flat_map(|it| it.errors.read()).collect();
    records.sort_by_key(|record| std::cmp::Reverse(record.at));
    let name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let error = |record: &Record| {
        json!({
            "at": record.at,
            "listener": record.listener,
            "route": name(&record.route),
            "upstream": name(&record.upstream),
            "backend": name(&record.backend),
            "method": record.method,
            "path": record.path,
            "status": record.status,
            "kind": record.kind,
            "detail": record.detail,
            "request_id": record.id,
        })
    };
    records.iter().map(error).collect()
}

#[cfg(test)]
mod tests;
