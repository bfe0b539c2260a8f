//! The role of this node, and what its engine counts.

use std::collections::BTreeMap;

use super::text::{Kind, Labels, Text};
use crate::cluster::{role::Role, status::Status};

/// Writes them; nothing without a cluster, where this node is primary of what it has.
pub(super) fn cluster(status: &Status, text: &mut Text) {
    if !status.is_on() {
        return;
    }
    let (groups, counts) = {
        let inner = status.lock();
        (inner.groups.clone(), inner.counts.clone())
    };
    let labels = |name: &str| Labels::of(&[("group", name)]);
    text.family("cluster_role", Kind::Gauge, "1 where this node is primary, 0 where it is standby.");
    for group in &groups {
        text.sample(&labels(&group.name), u8::from(group.role == Role::Primary));
    }
    text.family(
        "cluster_transitions_total",
        Kind::Counter,
        "Changes of the role, elections that were contested included.",
    );
    for group in &groups {
        text.sample(&labels(&group.name), group.transitions);
    }
    text.family(
        "cluster_problem",
        Kind::Gauge,
        "1 where something is wrong, such as an address that cannot be added.",
    );
    for group in &groups {
        text.sample(&labels(&group.name), u8::from(group.problem.is_some()));
    }
    text.family("cluster_events_total", Kind::Counter, "What the cluster counts, by what happened and why.");
    let counts: BTreeMap<_, _> = counts.into_iter().collect();
    for ((event, reason), count) in &counts {
        text.sample(&Labels::of(&[("event", event), ("reason", reason)]), count);
    }
}
