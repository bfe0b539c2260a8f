//! `GET /api/v1/status`: what runs, since when, and from which configuration.

use std::sync::atomic::Ordering::Relaxed;

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Admin, Question,
    reply::{self, Reply},
};
use crate::{
    moment::Moment,
    runtime::{Listener, drain::Stage, overrides::Line},
    settings::Problem,
};

pub(super) fn get(admin: &Admin, _: &Question) -> Reply {
    let snapshot = admin.shared.snapshot.load();
    let listeners: Vec<Value> = snapshot.listeners.iter().map(|it| listener(admin, it)).collect();
    let (last, in_force) = (admin.reloader.last(), admin.reloader.in_force());
    let problems: Vec<Value> = last.problems.iter().map(Problem::to_json).collect();
    let overrides: Vec<Value> = in_force.overrides.lines().iter().map(Line::to_json).collect();
    let status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": Moment::now().since(admin.started).as_secs(),
        "generation": snapshot.generation,
        "config_hash": format!("{:016x}", in_force.hash),
        "workers": admin.shared.registry.workers().len(),
        "listeners": listeners,
        "draining": admin.shared.drain.stage() > Stage::Running,
        "role": "primary",
        "overrides": overrides,
        "last_reload": {
            "ok": last.ok,
            "at": last.at,
            "cause": last.cause.name(),
            "took_ms": last.took.as_millis() as u64,
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
