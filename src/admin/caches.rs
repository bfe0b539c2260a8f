//! `GET /api/v1/caches`: what each cache holds, and how it answered. Routes that only collapse requests are caches that
//! hold nothing.
//!
//! [`views`] is also what the metrics of caches are made from.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    Admin, Params,
    reply::{self, Reply},
    spec::{ResponseSpec, Spec, array, count, object, reference, text},
};
use crate::{
    cache::{
        conf::{Admission, Eviction, OF_ROUTE},
        fill, memory, purge,
        store::Cache,
    },
    runtime::Snapshot,
    schema::Value as _,
    telemetry::cache_result::CacheResult,
};

/// Of the list.
pub(super) const LIST: Spec = Spec {
    gives: &[ResponseSpec::json("every cache", || object(json!({"caches": array(reference("Cache"))})))],
    ..Spec::PLAIN
};

/// The schema of a cache.
pub(super) fn schema() -> Value {
    let counts = |names: &[&str]| {
        object(names.iter().map(|name| ((*name).to_owned(), count())).collect::<Map<_, _>>().into())
    };
    let or_null = |schema: Value| json!({"anyOf": [schema, {"type": "null"}]});
    object(json!({
        "name": text(),
        "kind": {"enum": ["cache", "route"], "description": "`route` is a route that only collapses requests"},
        "hit_ratio": {
            "type": ["number", "null"], "minimum": 0, "maximum": 1,
            "description": "hit and stale as a fraction of all requests except bypass",
        },
        "requests": counts(&CacheResult::ALL.iter().map(|served| served.name()).collect::<Vec<_>>()),
        "collapse": object(json!({
            "enabled": {"type": "boolean"}, "timeout_ms": count(), "credentials": {"type": "boolean"},
        })),
        "fills": counts(&["in_flight", "readers", "bytes", "begun", "released", "taken_over"]),
        "stored": or_null(object(json!({
            "bytes": count(), "bytes_limit": count(), "objects": count(), "object_bytes_limit": count(),
            "variants_limit": count(), "eviction": Eviction::schema(), "admission": Admission::schema(),
            "evictions": counts(&["room", "variants", "inactive"]), "rejections": counts(&["size", "admission"]),
            "purges": counts(&purge::Kind::ALL.map(purge::Kind::name)), "purged_objects": count(),
            "disk": or_null(counts(&[
                "bytes", "bytes_limit", "objects", "promoted", "written", "given_up", "evicted", "damaged",
                "io_errors",
            ])),
        }))),
    }))
}

pub(super) fn list(admin: &Admin, _: &Params) -> Reply {
    let all: Vec<Value> = views(&admin.shared.snapshot.load()).iter().map(View::to_json).collect();
    reply::json(StatusCode::OK, &json!({"caches": all}))
}

/// What is reported of one cache.
pub(super) struct View {
    /// The cache.
    pub(super) cache: Arc<Cache>,
    /// What it holds in memory.
    pub(super) memory: memory::Stats,
    /// Its fetches.
    pub(super) fills: fill::Stats,
}

/// The caches, and behind them the routes that collapse requests without one.
pub(super) fn views(snapshot: &Snapshot) -> Vec<View> {
    let of_routes = snapshot.routes.iter().filter_map(|route| route.cache.as_ref());
    let collapsing = of_routes.filter(|cache| !cache.is_storing);
    let view = |cache: &Arc<Cache>| View {
        memory: cache.store.memory.as_ref().map(memory::Memory::stats).unwrap_or_default(),
        fills: cache.fill_stats(),
        cache: cache.clone(),
    };
    snapshot.caches.iter().chain(collapsing).map(view).collect()
}

impl View {
    /// Its name in metrics: `route:NAME` for a route, since a cache may have the same name, but none that begins so.
    pub(super) fn label(&self) -> Cow<'_, str> {
        let name = self.cache.conf.name.as_str();
        if self.cache.is_storing { name.into() } else { format!("{OF_ROUTE}{name}").into() }
    }

    /// How many requests were served so.
    pub(super) fn served(&self, served: CacheResult) -> u64 {
        self.cache.store.counts.iter().map(|counts| counts.get(served)).sum()
    }

    /// The share of requests that were answered by what was stored, of those that it could have answered; `None`
    /// before there is one.
    fn hit_ratio(&self) -> Option<f64> {
        let sum = |of: fn(CacheResult) -> bool| {
            CacheResult::ALL
                .iter()
                .filter(|served| of(**served))
                .map(|served| self.served(*served))
                .sum::<u64>()
        };
        let asked = sum(|served| served != CacheResult::Bypass);
        let hits = sum(|served| matches!(served, CacheResult::Hit | CacheResult::Stale));
        (self.cache.is_storing && asked > 0).then(|| hits as f64 / asked as f64)
    }

    fn to_json(&self) -> Value {
        let conf = &self.cache.conf;
        let requests: Map<String, Value> = CacheResult::ALL
            .iter()
            .map(|served| (served.name().to_owned(), self.served(*served).into()))
            .collect();
        let fill::Stats { begun, under_way, readers, released, taken_over, held } = self.fills;
        json!({
            "name": conf.name,
            "kind": if self.cache.is_storing { "cache" } else { "route" },
            "hit_ratio": self.hit_ratio(),
            "requests": requests,
            "collapse": {
                "enabled": conf.collapse.enabled,
                "timeout_ms": u64::try_from(conf.collapse.timeout.as_millis()).unwrap_or(u64::MAX),
                "credentials": conf.collapse.credentials,
            },
            "fills": {
                "in_flight": under_way, "readers": readers, "bytes": held,
                "begun": begun, "released": released, "taken_over": taken_over,
            },
            "stored": self.cache.is_storing.then(|| self.stored()),
        })
    }

    fn stored(&self) -> Value {
        let conf = &self.cache.conf;
        let purges = &self.cache.store.purges;
        let by_kind: Map<String, Value> =
            purge::Kind::ALL.iter().map(|kind| (kind.name().to_owned(), purges.get(*kind).into())).collect();
        let memory::Stats { objects, bytes, evicted, superfluous, too_large, not_admitted } = self.memory;
        json!({
            "bytes": bytes, "bytes_limit": conf.memory.0, "objects": objects,
            "object_bytes_limit": conf.max_object.0, "variants_limit": conf.max_variants,
            "eviction": conf.eviction.name(), "admission": conf.admission.name(),
            "evictions": {
                "room": evicted, "variants": superfluous,
                "inactive": self.cache.store.inactive.from_memory.load(Relaxed),
            },
            "rejections": {"size": too_large, "admission": not_admitted},
            "purges": by_kind, "purged_objects": purges.objects(),
            "disk": self.disk(),
        })
    }

    /// The disk tier; `None` while there is none.
    fn disk(&self) -> Option<Value> {
        let stats = self.cache.store.disk.stats()?;
        Some(json!({
            "bytes": stats.bytes, "bytes_limit": stats.limit, "objects": stats.objects,
            "promoted": self.cache.store.promoted.load(Relaxed), "written": stats.writes,
            "given_up": stats.given_up, "evicted": stats.evicted, "damaged": stats.damaged,
            "io_errors": stats.io_errors,
        }))
    }
}
