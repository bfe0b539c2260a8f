//! `GET /api/v1/status`: what runs, since when, and from which configuration.

use std::sync::atomic::Ordering::Relaxed;

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Admin, Params,
    certificates::certificates,
    reply::{self, Reply},
    spec::{ResponseSpec, Spec, array, count, object, reference, text},
};
use crate::{
    moment::Moment,
    reload::plan::Certificate,
    runtime::{Listener, drain::Stage, overrides::Line},
    schema::Problem,
};

/// What it gives.
pub(super) const ABOUT: Spec = Spec { gives: &[ResponseSpec::json("the status", schema)], ..Spec::PLAIN };

fn schema() -> Value {
    let listener = object(json!({
        "name": text(),
        "address": text(),
        "protocol": text(),
        "connections": count(),
        "accepted": count(),
        "refused": count(),
    }));
    let last = object(json!({
        "ok": {"type": "boolean"},
        "at": {"type": "string", "format": "date-time"},
        "cause": {"enum": ["start", "file", "signal", "reload", "admin", "override"]},
        "took_ms": count(),
        "problems": array(reference("Problem")),
        "notes": array(text()),
    }));
    object(json!({
        "version": text(),
        "pid": count(),
        "uptime_seconds": count(),
        "generation": {"type": "integer", "minimum": 1},
        "config_file": text(),
        "config_hash": text(),
        "workers": count(),
        "listeners": array(listener),
        "draining": {"type": "boolean"},
        "role": {"enum": ["primary", "standby"]},
        "overrides": array(reference("Override")),
        "certificates": array(reference("Certificate")),
        "reloads": object(json!({"succeeded": count(), "failed": count()})),
        "last_reload": last,
    }))
}

pub(super) fn get(admin: &Admin, _: &Params) -> Reply {
    let snapshot = admin.shared.snapshot.load();
    let listeners: Vec<Value> = snapshot.listeners.iter().map(|it| listener(admin, it)).collect();
    let (last, in_force) = (admin.reloader.last(), admin.reloader.in_force());
    let problems: Vec<Value> = last.problems.iter().map(Problem::to_json).collect();
    let overrides: Vec<Value> = in_force.overrides.lines().iter().map(Line::to_json).collect();
    let (succeeded, failed) = admin.reloader.counts();
    let status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": Moment::now().since(admin.started).as_secs(),
        "generation": snapshot.generation,
        "config_file": in_force.path.display().to_string(),
        "config_hash": format!("{:016x}", in_force.hash),
        "workers": admin.shared.registry.workers().len(),
        "listeners": listeners,
        "draining": admin.shared.drain.stage() > Stage::Running,
        "role": admin.shared.registry.cluster.status().role().name(),
        "overrides": overrides,
        "certificates": certificates(admin, &snapshot).iter().map(Certificate::to_json).collect::<Vec<_>>(),
        "reloads": {"succeeded": succeeded, "failed": failed},
        "last_reload": {
            "ok": last.ok,
            "at": last.at,
            "cause": last.cause.name(),
            "took_ms": u64::try_from(last.took.as_millis()).unwrap_or(u64::MAX),
            "problems": problems,
            "notes": last.notes,
        },
    });
    reply::json(StatusCode::OK, &status)
}

fn listener(admin: &Admin, listener: &Listener) -> Value {
    let in_force = admin.reloader.in_force();
    let bound = in_force.addresses.get(&listener.slot);
    let address = bound.map_or_else(|| listener.conf.address.to_string(), String::clone);
    json!({
        "name": listener.conf.name,
        "address": address,
        "protocol": listener.conf.protocol.name(),
        "connections": listener.shared.open.load(Relaxed).max(0),
        "accepted": listener.shared.accepted.load(Relaxed),
        "refused": listener.shared.refused.load(Relaxed),
    })
}
