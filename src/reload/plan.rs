//! What a reload would change, known before it happens.
//!
//! Pure: the running configuration, the new file, the overrides and what is known of the files beside it
//! go in; a [`Plan`] comes out. Next stop: [`Plan::to_text`] and [`Plan::to_json`].

mod show;

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    path::{Path, PathBuf},
};

pub use show::text;

use crate::{
    config::{Config, listen::ListenerConf},
    route::conf::RouteConf,
    runtime::overrides::{Line, Overrides},
    schema::Value,
    tls::facts::CertificateFacts,
    upstream::conf::{BackendConf, UpstreamConf},
};

/// A hash of each file's contents.
pub type Hashes = HashMap<PathBuf, u64>;

/// What a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct Given<'g> {
    /// What runs, overrides included.
    pub old: &'g Config,
    /// What the new file says, without overrides.
    pub new: &'g Config,
    /// The overrides that hold now.
    pub overrides: &'g Overrides,
    /// Hashes of the files that what runs was built from.
    pub old_files: &'g Hashes,
    /// Hashes of the same files, and of those that the new configuration names, as they are now.
    pub new_files: &'g Hashes,
    /// The first certificate in each chain of the new configuration's listeners, by file.
    pub certificates: &'g HashMap<PathBuf, CertificateFacts>,
    /// Keys that a reload does not change, such as `runtime.workers`; with the keys below them.
    pub next_start: &'g [&'g str],
    /// Seconds since 1970.
    pub now: i64,
}

/// What a reload would change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Listeners, also those that stay as they are.
    pub listeners: Vec<Step>,
    /// Routes.
    pub routes: Vec<Step>,
    /// Upstreams.
    pub upstreams: Vec<Step>,
    /// Backends of upstreams that stay, as `upstream/backend`.
    pub backends: Vec<Step>,
    /// Caches.
    pub caches: Vec<Step>,
    /// Keys outside of those, such as `log.level`.
    pub keys: Vec<String>,
    /// Keys that differ and take effect only at the next start or upgrade.
    pub next_start: Vec<String>,
    /// Other files, such as keys and authorities, whose contents are new.
    pub files: Vec<PathBuf>,
    /// The listeners' certificates.
    pub certificates: Vec<Certificate>,
    /// Overrides that would stay.
    pub kept_overrides: Vec<Line>,
    /// Overrides that would go, since the file changes the same key.
    pub dropped_overrides: Vec<Line>,
}

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

/// A certificate of a listener in the new configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The listener's name.
    pub listener: String,
    /// The file with the chain.
    pub chain: PathBuf,
    /// What it says; `None` when that is not known.
    pub facts: Option<CertificateFacts>,
    /// Whole days until it ends.
    pub days_left: Option<i64>,
    /// Whether the listener gets it with this reload: another file, or new contents.
    pub is_new: bool,
}

impl Certificate {
    /// What is wrong with its end, if anything.
    pub fn warning(&self) -> Option<String> {
        match self.days_left? {
            days if days < 0 => Some("it has ended".to_owned()),
            0 => Some("it ends within a day".to_owned()),
            1 => Some("it ends in 1 day".to_owned()),
            days if days < SOON => Some(format!("it ends in {days} days")),
            _ => None,
        }
    }
}

/// Days before the end of a certificate from which on people are warned.
const SOON: i64 = 14;

/// What a reload would change.
pub fn plan(given: &Given<'_>) -> Plan {
    let left = given.overrides.kept(given.new);
    let mut new = given.new.clone();
    left.apply(&mut new);
    let old = given.old;
    let (next_start, keys) = changed_keys(old, &new).into_iter().partition(|key| {
        given
            .next_start
            .iter()
            .any(|known| key.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    });
    let certificates = certificates(given, &new);
    let kept_overrides = left.lines();
    let mut dropped_overrides = given.overrides.lines();
    // A backend may have another name now: its address and the key are what counts.
    let same = |one: &Line, other: &Line| {
        (&one.upstream, &one.address, one.key) == (&other.upstream, &other.address, other.key)
    };
    dropped_overrides.retain(|line| !kept_overrides.iter().any(|kept| same(kept, line)));
    Plan {
        listeners: steps(&old.listener, &new.listener, |it| &it.name, listener_keys),
        routes: routes(&old.route, &new.route),
        upstreams: changes(steps(&old.upstream, &new.upstream, |it| &it.name, upstream_keys)),
        backends: backends(&old.upstream, &new.upstream),
        caches: changes(steps(&old.cache, &new.cache, |it| &it.name, all_keys)),
        keys,
        next_start,
        files: new_contents(given, &certificates),
        certificates,
        kept_overrides,
        dropped_overrides,
    }
}

impl Plan {
    /// Whether a reload would leave everything as it is.
    pub fn is_empty(&self) -> bool {
        let all = [&self.listeners, &self.routes, &self.upstreams, &self.backends, &self.caches];
        all.into_iter().flatten().all(|step| step.what == Happening::Kept)
            && self.keys.is_empty()
            && self.next_start.is_empty()
            && self.files.is_empty()
            && !self.certificates.iter().any(|it| it.is_new)
            && self.dropped_overrides.is_empty()
    }
}

/// Keys of the tables of which there is one.
fn changed_keys(old: &Config, new: &Config) -> Vec<String> {
    let mut changed = Vec::new();
    old.runtime.changed(&new.runtime, "runtime", &mut changed);
    old.log.changed(&new.log, "log", &mut changed);
    old.admin.changed(&new.admin, "admin", &mut changed);
    old.trace.changed(&new.trace, "trace", &mut changed);
    changed
}

/// What happens to each thing: the new ones in their order, then those that are gone.
fn steps<'c, T, K: Hash + Eq + ToString + 'c + ?Sized>(
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

fn changes(mut steps: Vec<Step>) -> Vec<Step> {
    steps.retain(|step| step.what != Happening::Kept);
    steps
}

/// The keys that differ, without their values.
fn all_keys<T: Value + PartialEq>(old: &T, new: &T) -> Vec<String> {
    let mut keys = Vec::new();
    old.changed(new, "", &mut keys);
    keys
}

fn listener_keys(old: &ListenerConf, new: &ListenerConf) -> Vec<String> {
    let mut keys = all_keys(old, new);
    with_values(&mut keys, "address", &old.address, &new.address);
    keys
}

fn upstream_keys(old: &UpstreamConf, new: &UpstreamConf) -> Vec<String> {
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

fn routes(old: &[RouteConf], new: &[RouteConf]) -> Vec<Step> {
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
fn longest_increasing(items: &[usize]) -> Vec<usize> {
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
fn backends(old: &[UpstreamConf], new: &[UpstreamConf]) -> Vec<Step> {
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

/// The certificates of a configuration's listeners, for the status page too; none is new.
pub fn served(config: &Config, facts: &HashMap<PathBuf, CertificateFacts>, now: i64) -> Vec<Certificate> {
    let certificate = |(listener, chain): (&str, &Path)| {
        let facts = facts.get(chain).cloned();
        Certificate {
            listener: listener.to_owned(),
            chain: chain.to_owned(),
            days_left: facts.as_ref().map(|facts| facts.days_left(now)),
            facts,
            is_new: false,
        }
    };
    config.listener.iter().flat_map(chains).map(certificate).collect()
}

fn certificates(given: &Given<'_>, new: &Config) -> Vec<Certificate> {
    let before: HashSet<(&str, &Path)> = given.old.listener.iter().flat_map(chains).collect();
    let mut all = served(new, given.certificates, given.now);
    for it in &mut all {
        it.is_new = !before.contains(&(it.listener.as_str(), it.chain.as_path())) || is_new(given, &it.chain);
    }
    all
}

fn chains(listener: &ListenerConf) -> impl Iterator<Item = (&str, &Path)> {
    listener.certificate.iter().map(|it| (listener.name.as_str(), it.chain.as_path()))
}

/// Files whose contents are new and that are no listener's chain.
fn new_contents(given: &Given<'_>, certificates: &[Certificate]) -> Vec<PathBuf> {
    let chains: HashSet<&Path> = certificates.iter().map(|it| it.chain.as_path()).collect();
    let files = given.new_files.keys().filter(|file| !chains.contains(file.as_path()) && is_new(given, file));
    let mut files: Vec<PathBuf> = files.cloned().collect();
    files.sort();
    files
}

/// Whether a file that was read before has other contents now.
fn is_new(given: &Given<'_>, file: &Path) -> bool {
    matches!((given.old_files.get(file), given.new_files.get(file)), (Some(old), Some(new)) if old != new)
}

#[cfg(test)]
mod tests;
