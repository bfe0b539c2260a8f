//! `GET /api/v1/traffic`: totals since the start, summed over workers, and the last errors.
//!
//! Whoever asks twice has rates by difference; nothing is averaged here. The totals hold every route that is
//! counted; they go back only when a route is gone with its last generation. The answer is bounded whatever is configured: the
//! `MOST_ROUTES` busiest routes, and the errors that the workers keep.

pub mod history;

use std::{collections::HashMap, sync::Arc};

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Admin, Params,
    reply::{self, Reply},
    spec::{ResponseSpec, Spec, array, count, object, text},
    totals::{self, Total, Totals, by_route},
};
use crate::{
    moment::Moment,
    runtime::{Snapshot, registry::Registry},
    telemetry::recent_errors::Record,
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
    let error = object(json!({
        "at": count(), "listener": text(), "route": name(), "upstream": name(), "backend": name(),
        "method": text(), "path": text(), "status": count(), "kind": text(), "detail": text(),
        "request_id": text(),
    }));
    let mut fields = totals::schema();
    if let Some(all) = fields.as_object_mut() {
        all.insert("routes".to_owned(), array(route));
        all.insert("routes_left_out".to_owned(), count());
        all.insert("errors".to_owned(), array(error));
    }
    object(fields)
}

pub(super) fn get(admin: &Admin, _: &Params) -> Reply {
    let uptime = Moment::now().since(admin.started).as_secs();
    let traffic = traffic(&admin.shared.snapshot.load(), &admin.shared.registry, uptime);
    reply::json(StatusCode::OK, &traffic)
}

fn traffic(snapshot: &Snapshot, registry: &Registry, uptime: u64) -> Value {
    let by_route = by_route(registry);
    let (routes, left_out) = busiest(snapshot, &by_route);
    let mut traffic = Totals::sum(registry, &by_route, uptime).to_json();
    if let Some(all) = traffic.as_object_mut() {
        all.insert("routes".to_owned(), routes.into());
        all.insert("routes_left_out".to_owned(), left_out.into());
        all.insert("errors".to_owned(), errors(registry).into());
    }
    traffic
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
