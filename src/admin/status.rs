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
    runtime::{Listener, drain::Stage},
};

pub(super) fn get(admin: &Admin, _: &Question) -> Reply {
    let snapshot = admin.shared.snapshot.load();
    let listeners: Vec<Value> = snapshot.listeners.iter().map(|it| listener(admin, it)).collect();
    let status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": Moment::now().since(admin.started).as_secs(),
        "generation": snapshot.generation,
        "config_hash": format!("{:016x}", admin.config_hash),
        "workers": admin.shared.registry.workers().len(),
        "listeners": listeners,
        "draining": admin.shared.drain.stage() > Stage::Running,
        "role": "primary",
        "last_reload": {"ok": true, "at": admin.last_reload.at, "problems": []},
    });
    reply::json(StatusCode::OK, &status)
}

fn listener(admin: &Admin, listener: &Listener) -> Value {
    let name = &listener.conf.name;
    let bound = admin.addresses.iter().find(|(listener, _)| listener == name);
    let address = bound.map_or_else(|| listener.conf.address.to_string(), |(_, address)| address.clone());
    json!({
        "name": name,
        "address": address,
        "protocol": listener.conf.protocol.name(),
        "connections": listener.shared.open.load(Relaxed).max(0),
        "accepted": listener.shared.accepted.load(Relaxed),
        "refused": listener.shared.refused.load(Relaxed),
    })
}
