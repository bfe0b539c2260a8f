//! `GET /api/v1/cluster`, `POST /api/v1/cluster/step-down` and `/resume`: the role of this node, and to have another
//! be primary.

use std::{net::SocketAddr, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Admin, Params,
    reply::{self, Reply},
    spec::{ResponseSpec, Spec, array, count, object, text},
};
use crate::{
    cluster::{
        peers::members::{Heard, Told},
        role::Role,
        status::{GroupStatus, PeerStatus},
    },
    listen::yielding,
    moment::Moment,
    telemetry::clock,
};

/// Of `GET`.
pub(super) const GET: Spec = Spec { gives: &[ResponseSpec::json("the role", schema)], ..Spec::PLAIN };

/// Of what changes it; the answer is how it was when that was asked for.
pub(super) const CHANGE: Spec = Spec { is_change: true, errors: &[409], ..GET };

fn schema() -> Value {
    let time = || json!({"type": "string", "format": "date-time"});
    let role = || json!({"enum": ["primary", "standby"]});
    let or_null = || json!({"type": ["string", "null"]});
    let change = object(json!({"at": time(), "role": role(), "fence": count(), "reason": text()}));
    let peer = object(json!({"name": text(), "priority": count(), "seen": time()}));
    let group = object(json!({
        "name": text(),
        "role": role(),
        "since": time(),
        "fence": count(),
        "addresses": array(text()),
        "primary": or_null(),
        "peers": array(peer),
        "transitions": count(),
        "problem": or_null(),
        "on_change_problem": or_null(),
        "changes": array(change),
    }));
    let counted = object(json!({"event": text(), "reason": text(), "count": count()}));
    object(json!({
        "enabled": {"type": "boolean"},
        "node": text(),
        "election": text(),
        "role": role(),
        "stepped_down": {"type": "boolean"},
        "unfit": or_null(),
        "groups": array(group),
        "counts": array(counted),
        "nodes": array(node_schema()),
        "fleet": object(json!({
            "source": text(),
            "in_force": count(),
            "read": count(),
            "waiting": {"type": "boolean"},
            "problem": or_null(),
        })),
        "members": array(object(json!({
            "address": text(),
            "node": or_null(),
            "problem": or_null(),
            "changes_waiting": count(),
        }))),
    }))
}

fn node_schema() -> Value {
    object(json!({
        "node": text(),
        "role": {"enum": ["primary", "standby"]},
        "version": text(),
        "generation": count(),
        "config_hash": text(),
        "has_this_configuration": {"type": "boolean"},
        "seen": {"type": "string", "format": "date-time"},
        "is_there": {"type": "boolean"},
    }))
}

pub(super) fn get(admin: &Admin, _: &Params) -> Reply {
    reply::json(StatusCode::OK, &state(admin))
}

fn state(admin: &Admin) -> Value {
    let status = admin.shared.registry.cluster.status();
    let role = status.role().name();
    let is_on = status.is_on();
    let (nodes, members) = peers(admin);
    let fleet = admin.shared.registry.fleet.lock().clone();
    let inner = status.read();
    let counts = status.counts();
    let counts = counts
        .iter()
        .map(|((event, reason), count)| json!({"event": event, "reason": reason, "count": count}));
    json!({
        "enabled": is_on,
        "node": inner.node,
        "election": inner.election,
        "role": role,
        "stepped_down": inner.is_stepped_down,
        "unfit": inner.unfit,
        "groups": inner.groups.iter().map(group).collect::<Vec<_>>(),
        "counts": counts.collect::<Vec<_>>(),
        "nodes": nodes,
        "fleet": {
            "source": fleet.source,
            "in_force": fleet.in_force.revision,
            "read": fleet.read.revision,
            "waiting": fleet.is_waiting,
            "problem": fleet.problems(),
        },
        "members": members,
    })
}

/// What was heard of other nodes, and how telling them went.
fn peers(admin: &Admin) -> (Vec<Value>, Vec<Value>) {
    let (own, now) = (admin.config_hash(), Moment::now());
    let members = admin.shared.registry.members.lock();
    let node = |heard: &Heard| {
        json!({
            "node": heard.state.node,
            "role": if heard.state.is_primary { "primary" } else { "standby" },
            "version": heard.state.program,
            "generation": heard.state.generation,
            "config_hash": heard.state.config_hash,
            "has_this_configuration": heard.state.config_hash == own,
            "seen": clock::iso(heard.at),
            "is_there": heard.is_there(now),
        })
    };
    let member = |(address, told): (&SocketAddr, &Told)| {
        json!({
            "address": address.to_string(),
            "node": told.node,
            "problem": told.problem,
            "changes_waiting": told.waiting,
        })
    };
    (members.heard.values().map(node).collect(), members.told.iter().map(member).collect())
}

fn group(group: &GroupStatus) -> Value {
    let peer = |(name, peer): (&String, &PeerStatus)| json!({"name": name, "priority": peer.priority, "seen": clock::iso(peer.seen)});
    let changes = group.changes.iter().map(|(at, change)| {
        json!({
            "at": clock::iso(*at),
            "role": change.role.name(),
            "fence": change.fence,
            "reason": change.reason,
        })
    });
    json!({
        "name": &*group.name,
        "role": group.role.name(),
        "since": clock::iso(group.since),
        "fence": group.fence,
        "addresses": group.addresses.iter().map(|it| it.address.addr().to_string()).collect::<Vec<_>>(),
        "primary": group.primary,
        "peers": group.peers.iter().map(peer).collect::<Vec<_>>(),
        "transitions": group.transitions,
        "problem": group.problem,
        "on_change_problem": group.on_change_problem,
        "changes": changes.collect::<Vec<_>>(),
    })
}

pub(super) fn step_down(admin: &Admin, _: &Params) -> Reply {
    change(admin, "step-down", |admin| {
        let (shared, mailboxes) = (admin.shared.clone(), admin.mailboxes.clone());
        let cluster = &shared.registry.cluster;
        if cluster.status().role() != Role::Primary {
            return cluster.step_down();
        }
        let asked = cluster.asked();
        tokio::task::spawn_local(async move {
            yielding::prepare(&mailboxes).await;
            let cluster = &shared.registry.cluster;
            // Taken back meanwhile, it is not done.
            if cluster.asked() == asked {
                cluster.step_down();
                // The kernel takes its time where another program holds its lock.
                let gone = async {
                    while cluster.status().role() == Role::Primary {
                        tokio::time::sleep(LOOK).await;
                    }
                };
                let _ = tokio::time::timeout(MOST, gone).await;
                tokio::time::sleep(LEFT).await;
            }
            yielding::end(&mailboxes);
        });
    })
}

pub(super) fn resume(admin: &Admin, _: &Params) -> Reply {
    change(admin, "resume", |admin| admin.shared.registry.cluster.resume())
}

/// How long new connections are held back after the role was given up.
const LEFT: Duration = Duration::from_millis(100);
/// How long they are at most where it is not.
const MOST: Duration = Duration::from_secs(5);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(5);

fn change(admin: &Admin, what: &'static str, change: impl FnOnce(&Admin)) -> Reply {
    if !admin.shared.registry.cluster.status().is_on() {
        let message = "there is no cluster: this node has no peer";
        return reply::error(
            StatusCode::CONFLICT,
            "no_cluster",
            message,
            "add `[cluster]` to the configuration",
        );
    }
    tracing::info!(what, "cluster: requested via the admin API");
    change(admin);
    reply::json(StatusCode::OK, &state(admin))
}
