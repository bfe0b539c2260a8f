//! What a reload would change, known before it happens.
//!
//! Pure: the running configuration, the new file, the overrides and what is known of the files beside it
//! go in; a [`Plan`] comes out. Next stop: [`Plan::to_text`] and [`Plan::to_json`].

mod show;
mod steps;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use steps::{all_keys, backends, changes, listener_keys, routes, upstream_keys};

pub use show::text;
pub use steps::{Happening, Step};

use crate::{
    config::{Config, listen::ListenerConf},
    route::conf::MatcherConf,
    runtime::overrides::{Line, Overrides},
    schema::Value,
    tls::facts::{self, CertificateFacts},
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
        facts::warning(self.days_left?)
    }
}

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
        listeners: steps::steps(&old.listener, &new.listener, |it| &it.name, listener_keys),
        routes: routes(&old.route, &new.route),
        upstreams: changes(steps::steps(&old.upstream, &new.upstream, |it| &it.name, upstream_keys)),
        backends: backends(&old.upstream, &new.upstream),
        caches: changes(steps::steps(&old.cache, &new.cache, |it| &it.name, all_keys)),
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

/// Keys of the tables of which there is one, and matchers by name.
fn changed_keys(old: &Config, new: &Config) -> Vec<String> {
    let mut changed = Vec::new();
    old.runtime.changed(&new.runtime, "runtime", &mut changed);
    old.log.changed(&new.log, "log", &mut changed);
    old.admin.changed(&new.admin, "admin", &mut changed);
    old.trace.changed(&new.trace, "trace", &mut changed);
    let differs = |one: &&MatcherConf, others: &[MatcherConf]| !others.contains(one);
    let gone_or_other = old.matcher.iter().filter(|it| differs(it, &new.matcher));
    let come_or_other = new.matcher.iter().filter(|it| differs(it, &old.matcher));
    let mut matchers: Vec<String> =
        gone_or_other.chain(come_or_other).map(|matcher| format!("matcher.{}", matcher.name)).collect();
    matchers.sort();
    matchers.dedup();
    changed.extend(matchers);
    changed
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

/// The chains of a listener, each once: one that is listed may be in its folder too.
fn chains(listener: &ListenerConf) -> impl Iterator<Item = (&str, &Path)> {
    let mut seen = HashSet::new();
    let chains = listener.certificate.iter().map(|it| it.chain.as_path());
    chains.filter(move |chain| seen.insert(*chain)).map(|chain| (listener.name.as_str(), chain))
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
