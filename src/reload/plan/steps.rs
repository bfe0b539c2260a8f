//! What happens to listeners, routes, upstreams, backends and caches.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use crate::{
    config::listen::ListenerConf,
    route::conf::RouteConf,
    schema::Value,
    upstream::conf::{BackendConf, UpstreamConf},
};

/// What happens to one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What happens.
    pub what: Happening,
    /// To what.
    pub name: String,
    /// The keys that change; of a backend or listener with old and new value where there is room for it.
    pub keys: Vec<String>,
}

/// What happens to a listener, route, upstream, backend or cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It is new.
    Added,
    /// It goes; what is under way on it ends by itself.
    Removed,
    /// Keys of it change.
    Changed,
    /// Only its place among the others changes.
    Moved,
    /// Nothing.
    Kept,
}

/// What happens to each thing: the new ones in their order, then those that are gone.
pub(super) fn steps<'c, T, K: Hash + Eq + ToString + 'c + ?Sized>(
    old: &'c [T],
    new: &'c [T],
    name: impl Fn(&'c T) -> &'c K,
    keys: impl Fn(&T, &T) -> Vec<String>,
) -> Vec<Step> {
    let before: HashMap<&K, &T> = old.iter().map(|it| (name(it), it)).collect();
    let after: HashSet<&K> = new.iter().map(&name).collect();
    let step = |it: &'c T| {
        let (what, keys) = match before.get(name(it)) {
            None => (Happening::Added, Vec::new()),
            Some(old) => match keys(old, it) {
                keys if keys.is_empty() => (Happening::Kept, keys),
                keys => (Happening::Changed, keys),
            },
        };
        Step { what, name: name(it).to_string(), keys }
    };
    let gone = old.iter().map(&name).filter(|name| !after.contains(name));
    let gone = gone.map(|name| Step { what: Happening::Removed, name: name.to_string(), keys: Vec::new() });
    new.iter().map(step).chain(gone).collect()
}

pub(super) fn changes(mut steps: Vec<Step>) -> Vec<Step> {
    steps.retain(|step| step.what != Happening::Kept);
    steps
}

/// The keys that differ, without their values.
pub(super) fn all_keys<T: Value + PartialEq>(old: &T, new: &T) -> Vec<String> {
    let mut keys = Vec::new();
    old.changed(new, "", &mut keys);
    keys
}

pub(super) fn listener_keys(old: &ListenerConf, new: &ListenerConf) -> Vec<String> {
    let mut keys = all_keys(old, new);
    with_values(&mut keys, "address", &old.address, &new.address);
    keys
}

pub(super) fn upstream_keys(old: &UpstreamConf, new: &UpstreamConf) -> Vec<String> {
    let mut keys = all_keys(old, new);
    keys.retain(|key| key != "backend");
    with_values(&mut keys, "balance", &old.balance.name(), &new.balance.name());
    keys
}

fn backend_keys(old: &BackendConf, new: &BackendConf) -> Vec<String> {
    let mut keys = all_keys(old, new);
    with_values(&mut keys, "name", &old.name, &new.name);
    with_values(&mut keys, "weight", &old.weight, &new.weight);
    with_values(&mut keys, "max_connections", &old.max_connections, &new.max_connections);
    with_values(&mut keys, "backup", &old.backup, &new.backup);
    with_values(&mut keys, "state", &old.state.name(), &new.state.name());
    keys
}

/// Adds old and new value to `key`, where it is among those that changed.
fn with_values(keys: &mut [String], key: &str, old: &dyn std::fmt::Display, new: &dyn std::fmt::Display) {
    for changed in keys.iter_mut().filter(|changed| *changed == key) {
        *changed = format!("{key} {old} → {new}");
    }
}

pub(super) fn routes(old: &[RouteConf], new: &[RouteConf]) -> Vec<Step> {
    let mut steps = steps(old, new, |it| &it.name, all_keys);
    let before: HashMap<&str, usize> =
        old.iter().enumerate().map(|(index, it)| (it.name.as_str(), index)).collect();
    let stay: Vec<usize> = new.iter().filter_map(|it| before.get(it.name.as_str()).copied()).collect();
    let in_order: HashSet<usize> = longest_increasing(&stay).into_iter().collect();
    for step in steps.iter_mut().filter(|step| step.what == Happening::Kept) {
        if before.get(step.name.as_str()).is_some_and(|index| !in_order.contains(index)) {
            step.what = Happening::Moved;
        }
    }
    changes(steps)
}

/// The longest part of `items` (which are distinct) that is in order: what is not in it has moved.
pub(super) fn longest_increasing(items: &[usize]) -> Vec<usize> {
    // For each length, the smallest item that such a part can end with; and before each item, the one it follows.
    let mut ends: Vec<usize> = Vec::new();
    let mut follows: HashMap<usize, usize> = HashMap::new();
    for &item in items {
        let length = ends.partition_point(|end| *end < item);
        if let Some(before) = length.checked_sub(1).and_then(|shorter| ends.get(shorter)) {
            follows.insert(item, *before);
        }
        match ends.get_mut(length) {
            Some(end) => *end = item,
            None => ends.push(item),
        }
    }
    let mut longest: Vec<usize> =
        std::iter::successors(ends.last().copied(), |item| follows.get(item).copied()).collect();
    longest.reverse();
    longest
}

/// Backends of the upstreams that are in both.
pub(super) fn backends(old: &[UpstreamConf], new: &[UpstreamConf]) -> Vec<Step> {
    let before: HashMap<&str, &UpstreamConf> = old.iter().map(|it| (it.name.as_str(), it)).collect();
    let mut all = Vec::new();
    for upstream in new {
        let Some(old) = before.get(upstream.name.as_str()) else {
            continue;
        };
        // The address is a backend's identity; its name is for people.
        let name = |address: &str| {
            let both = upstream.backend.iter().chain(&old.backend);
            let found = both.into_iter().find(|it| it.address.to_string() == address);
            format!("{}/{}", upstream.name, found.map_or(address, |it| it.name.as_str()))
        };
        let mut steps = changes(steps(&old.backend, &upstream.backend, |it| &it.address, backend_keys));
        for step in &mut steps {
            step.name = name(&step.name);
        }
        all.extend(steps);
    }
    all
}
