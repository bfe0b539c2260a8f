//! What is shared: a closed table, a row for each kind of entry.

use serde_json::{Map, Value};

use super::{context::Peers, ways};
use crate::{
    cluster::{fleet::Report, peers::message::State},
    moment::Moment,
    reload::handover_state,
};

/// A kind of entry.
struct Kind {
    /// Its name in messages.
    name: &'static str,
    /// What this node has to say of it; null = nothing.
    collect: fn(&Peers, Moment) -> Value,
    /// Takes over what another node says of it.
    merge: fn(&Peers, &State, &Value, Moment),
}

/// All of them.
const KINDS: &[Kind] = &[
    // Which backends are ejected: a standby has no requests to learn it by, and the primary does not learn it of one.
    Kind {
        name: "backends",
        collect: |peers, now| handover_state::ejections(&peers.shared.snapshot.load(), now).into(),
        merge: |peers, from, entry, now| {
            if from.is_primary || !peers.is_primary() {
                handover_state::learn_ejections(entry, &peers.shared.snapshot.load(), now);
            }
        },
    },
    // To which upstreams a node has a way, so that one that has none can send requests through it.
    Kind {
        name: "ways",
        collect: |peers, now| ways::collect(&peers.shared.snapshot.load(), now),
        merge: |peers, from, entry, _| {
            if let Some(heard) = peers.shared.registry.members.lock().heard.get_mut(&from.node) {
                heard.ways = ways::read(entry).into();
            }
        },
    },
    // Keys of TLS session tickets, so that clients go on with their sessions on the next primary.
    Kind {
        name: "ticket_keys",
        collect: |peers, now| handover_state::ticket_keys(&peers.tickets, now),
        merge: |peers, from, entry, now| {
            if is_taken_from(from, peers) && !handover_state::take_ticket_keys(entry, &peers.tickets, now) {
                tracing::warn!(node = %from.node, "its TLS ticket keys are not valid");
            }
        },
    },
    // The configuration that all share, and how requests go with it.
    Kind {
        name: "fleet",
        collect: |peers, _| {
            let told = peers.shared.registry.fleet.lock();
            let (write, is_in_force) = (told.read, told.in_force == told.read);
            let is_there = !told.source.is_empty();
            drop(told);
            if !is_there {
                return Value::Null;
            }
            let (requests, failed) = peers.shared.registry.answered();
            Report { write, is_in_force, requests, failed }.to_json()
        },
        merge: |peers, from, entry, _| {
            if let Some(report) = Report::from_json(entry) {
                let mut told = peers.shared.registry.fleet.lock();
                told.others.insert(from.node.clone(), report);
                let members = peers.shared.registry.members.lock();
                told.others.retain(|name, _| members.heard.contains_key(name));
            }
        },
    },
];

/// Whether of two nodes the other says what holds: the primary, and of two the one whose name is first.
fn is_taken_from(from: &State, peers: &Peers) -> bool {
    let own = peers.own_name();
    match (from.is_primary, peers.is_primary()) {
        (true, false) => true,
        (false, true) => false,
        (true, true) | (false, false) => from.node < own,
    }
}

/// Everything that this node has to say.
pub(super) fn collect(peers: &Peers, now: Moment) -> Value {
    let entries = KINDS.iter().map(|kind| (kind.name.to_owned(), (kind.collect)(peers, now)));
    Value::Object(entries.filter(|(_, entry)| !entry.is_null()).collect::<Map<_, _>>())
}

/// Takes over what another node says, as far as its kinds are known here.
pub(super) fn merge(peers: &Peers, from: &State, now: Moment) {
    for kind in KINDS {
        if let Some(entry) = from.entries.get(kind.name) {
            (kind.merge)(peers, from, entry, now);
        }
    }
}
