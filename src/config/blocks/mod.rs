//! What tables share: `[defaults.listener]`, `[defaults.route]`, `[defaults.upstream]`, and `[[policy]]`.
//!
//! They are laid under the tables in the tree, before it is read: each value keeps its place, so that a problem is
//! blamed on the line that says it, and nothing behind [`crate::config`] knows of blocks. What a table says itself goes
//! before its policies, a later one of those before an earlier one, and all of them before the defaults.

mod meaning;

use std::collections::HashSet;

use super::{
    listen::ListenerConf,
    shared::{SharedTable, can_be_off, of_policies},
};
use crate::{
    route::conf::RouteConf,
    schema::{Data, Entry, Node, Row, Section},
    upstream::conf::UpstreamConf,
};

/// Tables that say one thing with all their keys: one that is written takes the place of a shared one.
const WHOLE: [&str; 3] = ["rewrite", "certificate", "server_name"];

/// Tables whose keys are names of header fields, in which upper and lower case are the same.
const OF_HEADERS: [&str; 5] = ["headers", "set", "set_if_missing", "add", "replace"];

/// Lays what is shared under the listeners, routes and upstreams of a file.
pub(super) fn lay_under(root: &mut Node) {
    let defaults = root.get("defaults").cloned();
    let policies = root.items_of("policy").to_vec();
    if defaults.is_none() && policies.is_empty() {
        // What is taken away where nothing is shared is taken away too.
        for_each(root, ListenerConf::TABLE, take_away::<ListenerConf>);
        for_each(root, RouteConf::TABLE, take_away::<RouteConf>);
        for_each(root, UpstreamConf::TABLE, take_away::<UpstreamConf>);
        return;
    }
    let of = |kind: &str| defaults.as_ref().and_then(|it| it.get(kind)).map_or(&[][..], Node::entries);
    let of_listeners = of(ListenerConf::TABLE);
    for_each(root, ListenerConf::TABLE, |table| {
        let own = keys(table);
        lay::<ListenerConf>(table, of_listeners, ListenerConf::OWN);
        take_away::<ListenerConf>(table);
        prune(table, &own, meaning::of_listener);
    });
    let protocols = meaning::protocols(root);
    let of_routes = of(RouteConf::TABLE);
    for_each(root, RouteConf::TABLE, |table| {
        let own = keys(table);
        for name in policies_of(table, of_routes).iter().rev() {
            let policy = policies.iter().find(|it| it.get("name").and_then(Node::text) == Some(name));
            lay::<RouteConf>(table, policy.map_or(&[][..], Node::entries), &of_policies());
        }
        lay::<RouteConf>(table, of_routes, RouteConf::OWN);
        take_away::<RouteConf>(table);
        prune(table, &own, |key, table| meaning::of_route(key, table, &protocols));
    });
    let reached = meaning::reached(root, &protocols);
    let of_upstreams = of(UpstreamConf::TABLE);
    for_each(root, UpstreamConf::TABLE, |table| {
        let own = keys(table);
        lay::<UpstreamConf>(table, of_upstreams, UpstreamConf::OWN);
        take_away::<UpstreamConf>(table);
        prune(table, &own, |key, table| meaning::of_upstream(key, table, &reached));
    });
}

/// The policies that a route names, or the defaults where it names none itself.
fn policies_of(route: &Node, defaults: &[Entry]) -> Vec<String> {
    let shared = || defaults.iter().find(|entry| entry.key == "policies").map(|entry| &entry.node);
    let named = route.get("policies").or_else(shared).map_or(&[][..], Node::items);
    named.iter().filter_map(|it| it.text().map(str::to_owned)).collect()
}

fn for_each(root: &mut Node, kind: &str, mut change: impl FnMut(&mut Node)) {
    if let Some(Data::Array(tables)) = root.get_mut(kind).map(|node| &mut node.data) {
        tables.iter_mut().for_each(&mut change);
    }
}

fn keys(table: &Node) -> HashSet<String> {
    table.entries().iter().map(|entry| entry.key.clone()).collect()
}

/// Lays the keys of a block under a table, but for those that a block cannot have.
fn lay<T: Section>(table: &mut Node, block: &[Entry], not: &[&str]) {
    let rows = T::rows();
    let is_shared = |key: &str| rows.iter().any(|row| row.key.name == key) && !not.contains(&key);
    if let Data::Table(entries) = &mut table.data {
        under(entries, &mut block.iter().filter(|entry| is_shared(&entry.key)), Some(&rows), false);
    }
}

/// Adds what `entries` do not say; tables are laid under tables. A table that has no `rows` is one of names, and what it
/// says of each is one value.
fn under(
    entries: &mut Vec<Entry>,
    block: &mut dyn Iterator<Item = &Entry>,
    rows: Option<&[Row]>,
    is_of_headers: bool,
) {
    // What is added is no table's own, and is not asked.
    let own = entries.len();
    for entry in block {
        let is_same =
            |own: &Entry| own.key == entry.key || (is_of_headers && own.key.eq_ignore_ascii_case(&entry.key));
        let Some(own) = entries.iter_mut().take(own).find(|own| is_same(own)) else {
            entries.push(entry.clone());
            continue;
        };
        let Some(row) = rows.and_then(|rows| rows.iter().find(|row| row.key.name == entry.key)) else {
            continue;
        };
        let rows = row.nested.as_ref().map(|nested| nested.rows.as_slice());
        if WHOLE.contains(&row.key.name) || is_another(&own.node, &entry.node, rows.unwrap_or_default()) {
            continue;
        }
        if let (Data::Table(own), Data::Table(shared)) = (&mut own.node.data, &entry.node.data) {
            under(own, &mut shared.iter(), rows, OF_HEADERS.contains(&row.key.name));
        }
    }
}

/// Whether a table says that it is of another kind than a shared one, so that the keys of that mean nothing in it. One
/// that does not say its kind has the shared one.
fn is_another(own: &Node, shared: &Node, rows: &[Row]) -> bool {
    let Some(row) = rows.iter().find(|row| row.key.name == "kind") else { return false };
    // Its default is written as TOML.
    let default = row.key.default.unwrap_or_default().trim_matches('"');
    let kind = |node: &Node| node.get("kind").and_then(Node::text).map(str::to_owned);
    kind(own).is_some_and(|own| own != kind(shared).as_deref().unwrap_or(default))
}

/// Takes out every key that is `false` and cannot be: it says that nothing shared holds here.
fn take_away<T: SharedTable>(table: &mut Node) {
    let Data::Table(entries) = &mut table.data else { return };
    if entries.iter().any(|entry| matches!(entry.node.data, Data::Boolean(false))) {
        let rows = T::rows();
        entries.retain(|entry| {
            let can_be_absent = rows
                .iter()
                .any(|row| row.key.name == entry.key && can_be_off(row) && !T::OWN.contains(&row.key.name));
            !(matches!(entry.node.data, Data::Boolean(false)) && can_be_absent)
        });
    }
}

/// Takes out what is not a table's own and has no meaning there.
fn prune(table: &mut Node, own: &HashSet<String>, means: impl Fn(&str, &Node) -> bool) {
    let inherited = table.entries().iter().map(|entry| entry.key.clone());
    let gone: HashSet<String> = inherited.filter(|key| !own.contains(key) && !means(key, table)).collect();
    if let Data::Table(entries) = &mut table.data {
        entries.retain(|entry| !gone.contains(&entry.key));
    }
}

#[cfg(test)]
mod tests;
