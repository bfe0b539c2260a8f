//! The role of this node, and what its engine counts.

use super::text::{Kind, Labels, Text};
use crate::{
    admin::Admin,
    cluster::{peers::members::Heard, role::Role},
    moment::Moment,
};

/// Writes them; nothing without a cluster, where this node is primary of what it has.
pub(super) fn cluster(admin: &Admin, text: &mut Text) {
    let status = admin.shared.registry.cluster.status();
    if !status.is_on() {
        return;
    }
    nodes(admin, text);
    let (inner, counts) = (status.read(), status.counts());
    let groups = &inner.groups;
    let labels = |name: &str| Labels::of(&[("group", name)]);
    text.family("cluster_role", Kind::Gauge, "1 where this node is primary, 0 where it is standby.");
    for group in groups {
        text.sample(&labels(&group.name), u8::from(group.role == Role::Primary));
    }
    text.family(
        "cluster_transitions_total",
        Kind::Counter,
        "Changes of the role, elections that were contested included.",
    );
    for group in groups {
        text.sample(&labels(&group.name), group.transitions);
    }
    text.family(
        "cluster_problem",
        Kind::Gauge,
        "1 where something is wrong, such as an address that cannot be added.",
    );
    for group in groups {
        text.sample(
            &labels(&group.name),
            u8::from(group.problem.is_some() || group.on_change_problem.is_some()),
        );
    }
    text.family("cluster_events_total", Kind::Counter, "What the cluster counts, by what happened and why.");
    for ((event, reason), count) in &counts {
        text.sample(&Labels::of(&[("event", event), ("reason", reason)]), count);
    }
}

/// What is known of other nodes.
fn nodes(admin: &Admin, text: &mut Text) {
    let (own, now) = (admin.config_hash(), Moment::now());
    let heard: Vec<(String, bool, bool)> = {
        let members = admin.shared.registry.members.lock();
        let of =
            |heard: &Heard| (heard.state.node.clone(), heard.is_there(now), heard.state.config_hash == own);
        members.heard.values().map(of).collect()
    };
    text.family("cluster_node_up", Kind::Gauge, "1 while another node is heard of.");
    for (node, is_there, _) in &heard {
        text.sample(&Labels::of(&[("node", node)]), u8::from(*is_there));
    }
    let help = "1 where another node has the configuration that this one has.";
    text.family("cluster_node_has_this_configuration", Kind::Gauge, help);
    for (node, _, is_same) in &heard {
        text.sample(&Labels::of(&[("node", node)]), u8::from(*is_same));
    }
    text.family(
        "cluster_changes_lost_total",
        Kind::Counter,
        "Changes via the admin API that did not reach every node.",
    );
    text.sample(&Labels::default(), admin.shared.registry.commands.lost());
}
