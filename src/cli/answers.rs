//! What the admin endpoint's answers say, for the page of `status` and for its live view.

use serde_json::Value;

use super::table::{Cell, bytes};

/// What is at a key, as text; empty where there is none.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What is at a key, as a number; 0 where there is none.
pub(super) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// What is at a key, as an array; empty where there is none.
pub(super) fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether what is at a key is true.
pub(super) fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or_default()
}

/// The weight, with a star where an administrator changed it.
pub(super) fn weight(backend: &Value) -> Cell {
    let is_changed = backend.get("override").and_then(|it| it.get("weight")).is_some();
    let star = if is_changed { "*" } else { "" };
    Cell::number(format!("{}{star}", number(backend, "weight")))
}

/// A cache's hit ratio, once it was asked.
pub(super) fn hit_ratio(cache: &Value) -> Option<String> {
    let ratio = cache.get("hit_ratio").and_then(Value::as_f64)?;
    Some(format!("{:.1} %", ratio * 100.0))
}

/// How much of a cache's room is taken; `None` where it stores nothing.
pub(super) fn room(cache: &Value) -> Option<String> {
    let stored = cache.get("stored").filter(|stored| stored.is_object())?;
    let of = |key| bytes(number(stored, key) as f64);
    Some(format!("{} of {}", of("bytes"), of("bytes_limit")))
}

/// What the tests of several files show.
#[cfg(test)]
pub(super) fn example() -> (Value, Value) {
    use serde_json::json;

    let status = json!({
        "version": "0.1.0", "pid": 4711, "uptime_seconds": 7500, "generation": 3, "config_hash": "00ab",
        "workers": 2, "draining": false, "role": "primary",
        "listeners": [{"name": "web", "address": "127.0.0.1:8080", "protocol": "http",
            "connections": 3, "accepted": 1200, "refused": 0}],
        "overrides": [{"upstream": "app", "backend": "a", "address": "10.0.0.1:80", "key": "weight",
            "base": 1, "value": 3}],
        "certificates": [
            {"listener": "tls", "chain": "a.pem", "names": ["a.test", "b.test"], "warning": "it expires in 3 days"},
            {"listener": "tls", "chain": "b.pem", "names": ["c.test"], "warning": null}],
        "reloads": {"succeeded": 2, "failed": 1},
        "last_reload": {"ok": false, "at": "2026-01-02T03:04:05Z", "cause": "file", "took_ms": 12, "notes": [],
            "problems": [{"file": "p.toml", "line": 6, "column": 12, "message": "there is no upstream `ap`",
                "hint": "did you mean `app`?", "source": "upstream = \"ap\"", "width": 4}]},
    });
    let backend = |name: &str, state: &str, why: &str| {
        json!({"name": name, "address": "10.0.0.1:80", "weight": 3, "state": state, "why": why,
            "in_flight": 2, "requests": 90, "failures": 1, "ewma_ms": 1.25,
            "latency": {"last_10s": null, "last_60s": {"count": 9, "mean_ms": 1.25, "p50_ms": 1.0, "p99_ms": 2.0}}, "bytes_per_second": 2048,
            "override": null})
    };
    let mut first = backend("a", "up", "");
    first["override"] = json!({"weight": {"base": 1, "value": 3}});
    let second = backend("b", "down", "connection refused");
    let upstreams =
        json!({"upstreams": [{"name": "app", "balance": "round-robin", "backends": [first, second]}]});
    (status, upstreams)
}

/// An answer of `/api/v1/caches`, for tests.
#[cfg(test)]
pub(super) fn example_of_caches() -> Value {
    serde_json::json!({"caches": [
        {"name": "pages", "kind": "cache", "hit_ratio": 0.9312, "requests": {"hit": 90, "collapsed": 7},
            "fills": {"in_flight": 2},
            "stored": {"bytes": 3 << 20, "bytes_limit": 256 << 20, "objects": 12}},
        {"name": "live", "kind": "route", "hit_ratio": null, "requests": {"collapsed": 3},
            "fills": {"in_flight": 1}, "stored": null},
    ]})
}
