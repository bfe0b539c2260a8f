//! `pointsman cluster`, `step-down` and `resume`: the role of a node, and to have another be primary.

use serde_json::Value;

use super::{
    Status,
    admin::{Question, Running},
};

/// Shows the role.
pub(super) fn show(running: &Running) -> Status {
    running.print_answer(&Question::get("/api/v1/cluster"), text)
}

/// Has another node be primary.
pub(super) fn step_down(running: &Running) -> Status {
    running.print_answer(&Question::post("/api/v1/cluster/step-down"), text)
}

/// Stands for election as configured again.
pub(super) fn resume(running: &Running) -> Status {
    running.print_answer(&Question::post("/api/v1/cluster/resume"), text)
}

/// What a node tells of itself, in lines.
fn text(answer: &Value) -> String {
    let words = |value: &Value, key: &str| match value.get(key) {
        Some(Value::String(text)) => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let each = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    if answer.get("enabled") != Some(&Value::Bool(true)) {
        return "there is no cluster: this node has no peer\n".into();
    }
    let mut out = format!("{}, by {}\n", words(answer, "node"), words(answer, "election"));
    if answer.get("stepped_down") == Some(&Value::Bool(true)) {
        out.push_str("stepped down: `pointsman resume` undoes that\n");
    }
    if !words(answer, "unfit").is_empty() {
        out.push_str(&format!("gives up its role: {}\n", words(answer, "unfit")));
    }
    for group in each("groups") {
        out.push_str(&format!(
            "{}: {} since {}",
            words(&group, "name"),
            words(&group, "role"),
            words(&group, "since")
        ));
        let primary = words(&group, "primary");
        if !primary.is_empty() {
            out.push_str(&format!(", primary is {primary}"));
        }
        let last = group.get("changes").and_then(Value::as_array).and_then(|changes| changes.last());
        if let Some(reason) = last.map(|last| words(last, "reason")).filter(|reason| !reason.is_empty()) {
            out.push_str(&format!(" ({reason})"));
        }
        out.push('\n');
        let problem = words(&group, "problem");
        if !problem.is_empty() {
            out.push_str(&format!("  problem: {problem}\n"));
        }
    }
    for node in each("nodes") {
        let (here, same) = (node.get("is_there"), node.get("has_this_configuration"));
        let is_here = if here == Some(&Value::Bool(true)) { "heard" } else { "gone" };
        let is_same = if same == Some(&Value::Bool(true)) { "the same" } else { "another" };
        let (name, role) = (words(&node, "node"), words(&node, "role"));
        out.push_str(&format!("node {name}: {is_here}, {role}, {is_same} configuration\n"));
    }
    for member in each("members") {
        let problem = words(&member, "problem");
        if !problem.is_empty() {
            out.push_str(&format!("{} does not hear this node: {problem}\n", words(&member, "address")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn role_peers_and_problems_are_told_in_lines() {
        let answer = json!({
            "enabled": true, "node": "lb1", "election": "vrrp", "stepped_down": true, "unfit": null,
            "groups": [{
                "name": "eth0/51/ipv4", "role": "standby", "since": "2026-11-29T08:00:00.000Z", "primary": "10.0.0.2",
                "problem": "no\u{1b}such", "changes": [{"reason": "stepped down via the admin API"}],
            }],
            "nodes": [{"node": "lb2", "is_there": true, "role": "primary", "has_this_configuration": false}],
            "members": [{"address": "10.0.0.3:7946", "problem": "connection refused"}],
        });
        assert_eq!(
            text(&answer),
            "lb1, by vrrp\nstepped down: `pointsman resume` undoes that\n\
             eth0/51/ipv4: standby since 2026-11-29T08:00:00.000Z, primary is 10.0.0.2 (stepped down via the admin API)\n\
             \u{20} problem: no?such\nnode lb2: heard, primary, another configuration\n\
             10.0.0.3:7946 does not hear this node: connection refused\n"
        );
        assert!(text(&json!({"enabled": false})).starts_with("there is no cluster"));
    }
}
