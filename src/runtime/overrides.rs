//! What an administrator changed without writing it to the file.
//!
//! Plain data, kept by the registry: [`Overrides::with`] makes the next value or refuses,
//! [`Overrides::apply`] lays it over what the file says, and [`Overrides::kept`] is what a new file
//! leaves of it. Each override remembers what the file said when it was made (the base): it stays until
//! the file changes that same key.
//!
//! Invariant: with the overrides applied, an upstream keeps what the configuration's own check demands:
//! a backend, one with a weight, one that is not a backup.

mod change;
mod json;
mod of_names;
mod refusal;

use super::addresses::Addresses;
use crate::{
    backend::Address,
    config::Config,
    schema::suggest,
    upstream::conf::{BackendConf, BackendState, UpstreamConf, written_alike},
};

pub use self::{
    change::Change,
    json::Line,
    refusal::{Reason, Refusal},
};

/// Everything that was changed, in the order in which it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    list: Vec<Override>,
}

/// What was changed of one backend; upstream and address are its identity.
#[derive(Clone, Debug, PartialEq)]
struct Override {
    upstream: String,
    address: String,
    /// Its name, for people.
    name: String,
    /// Where it is an address of a name: the name's address, as it is configured.
    of: Option<String>,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    /// Keys of a backend of the file.
    Set { weight: Option<Overridden<u32>>, state: Option<Overridden<BackendState>> },
    /// A backend that is not in the file.
    Added(BackendConf),
    /// A backend of the file, as it was there.
    Removed(BackendConf),
}

/// A value that stands in for the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Overridden<T> {
    base: T,
    value: T,
}

impl<T: PartialEq + Copy> Overridden<T> {
    /// `None` where the file says the same.
    fn new(base: T, value: T) -> Option<Self> {
        (base != value).then_some(Self { base, value })
    }

    /// `None` where the file no longer says what it said.
    fn kept(overridden: Option<Self>, file: T) -> Option<Self> {
        overridden.filter(|it| it.base == file)
    }
}

impl Overrides {
    /// Whether the file alone decides.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// These overrides with `change` made as well. `config` is what the file says, and `addresses` where names lead.
    pub fn with(&self, change: &Change, config: &Config, addresses: &Addresses) -> Result<Self, Refusal> {
        let name = change.upstream();
        let file = config.upstream.iter().find(|it| it.name == name).ok_or_else(|| {
            let message = format!("there is no upstream `{name}`");
            let hint = suggest::did_you_mean(name, config.upstream.iter().map(|it| it.name.as_str()));
            Refusal::new(Reason::NotFound, "no_such_upstream", message, &hint)
        })?;
        let mut listed = file.clone();
        self.apply_to(&mut listed);
        let mut before = file.clone();
        self.apply_whole(&mut before, addresses);
        // What is asked of a name holds for all of its addresses.
        let found = |called: &str| match position(&listed.backend, called) {
            Some(index) => listed.backend.get(index).ok_or_else(|| not_found(&before, called)),
            None => found(&before, called),
        };
        let mut next = self.clone();
        match change {
            Change::Weight { backend, weight, .. } => {
                check_weight(*weight)?;
                next.set((file, &listed), found(backend)?, Some(*weight), None);
            }
            Change::State { backend, state, .. } => {
                next.set((file, &listed), found(backend)?, None, Some(*state))
            }
            Change::Add { backend, .. } => {
                check_weight(backend.weight)?;
                next.add(&before, backend)?;
            }
            Change::Remove { backend, .. } => next.remove(file, found(backend)?)?,
        }
        let mut after = file.clone();
        next.apply_whole(&mut after, addresses);
        match unusable(&after) {
            Some(why) if unusable(&before).is_none() => {
                let hint =
                    "make another backend usable first, or take this one out with `drain` or `disable`";
                Err(Refusal::conflict("last_backend", format!("{why} of `{name}`"), hint))
            }
            _ => Ok(next),
        }
    }

    /// Lays the overrides over what the file says, names as they are written there.
    pub fn apply(&self, config: &mut Config) {
        if self.list.is_empty() {
            return;
        }
        for upstream in &mut config.upstream {
            self.apply_to(upstream);
        }
    }

    /// Makes what a generation is built from of what the file says: with the overrides, and with a backend for each
    /// address of a name.
    pub fn apply_with(&self, config: &mut Config, addresses: &Addresses) {
        for upstream in &mut config.upstream {
            self.apply_whole(upstream, addresses);
        }
    }

    /// What is left of the overrides with a new file: those whose key says what it said when they were made.
    pub fn kept(&self, config: &Config) -> Self {
        let mut left = Self::default();
        for it in &self.list {
            let Some(file) = config.upstream.iter().find(|upstream| upstream.name == it.upstream) else {
                continue;
            };
            if let Some(kept) = left.keep(it, file) {
                left.list.push(kept);
            }
        }
        // What was fine with the file of then may leave nothing of today's.
        for upstream in &config.upstream {
            left.make_usable(upstream);
        }
        left
    }

    /// What of `it` holds with `file`; `self` has those made before it.
    fn keep(&self, it: &Override, file: &UpstreamConf) -> Option<Override> {
        if let Some(of) = &it.of {
            return self.keep_of_name(it, of, file);
        }
        let in_file = at(&file.backend, &it.address);
        match &it.what {
            What::Set { weight, state } => {
                let backend = in_file?;
                let what = kept_set((*weight, *state), backend)?;
                Some(Override { what, name: backend.name.clone(), ..it.clone() })
            }
            What::Removed(base) => in_file.filter(|backend| *backend == base).map(|_| it.clone()),
            What::Added(conf) => {
                let mut before = file.clone();
                self.apply_to(&mut before);
                taken(&before, conf).is_none().then(|| it.clone())
            }
        }
    }

    /// Drops the youngest overrides of `file` until they leave something to use.
    fn make_usable(&mut self, file: &UpstreamConf) {
        while let Some(youngest) = self.list.iter().rposition(|it| it.upstream == file.name) {
            let mut after = file.clone();
            self.apply_to(&mut after);
            if unusable(&after).is_none() {
                return;
            }
            self.list.remove(youngest);
        }
    }

    fn apply_to(&self, upstream: &mut UpstreamConf) {
        for it in self.list.iter().filter(|it| it.upstream == upstream.name && it.of.is_none()) {
            let position =
                upstream.backend.iter().position(|backend| backend.address.to_string() == it.address);
            match (&it.what, position) {
                (What::Set { weight, state }, Some(index)) => {
                    if let Some(backend) = upstream.backend.get_mut(index) {
                        backend.weight = weight.map_or(backend.weight, |weight| weight.value);
                        backend.state = state.map_or(backend.state, |state| state.value);
                    }
                }
                (What::Removed(_), Some(index)) => drop(upstream.backend.remove(index)),
                (What::Added(conf), None) => upstream.backend.push(conf.clone()),
                // [`Overrides::kept`] rules these out; the file then wins.
                (What::Added(_), Some(_)) | (What::Set { .. } | What::Removed(_), None) => {}
            }
        }
    }

    /// Sets keys of `backend`, as it is with the overrides so far.
    fn set(
        &mut self,
        (file, listed): (&UpstreamConf, &UpstreamConf),
        backend: &BackendConf,
        new_weight: Option<u32>,
        new_state: Option<BackendState>,
    ) {
        let address = backend.address.to_string();
        if matches!(backend.address, Address::OfName { .. }) {
            return self.set_of_name((file, listed), backend, new_weight, new_state);
        }
        let mut of_backend =
            self.list.iter_mut().filter(|it| it.upstream == file.name && it.address == address);
        // The youngest: a backend may have been removed and another added at its address.
        if let Some(Override { what: What::Added(conf), .. }) = of_backend.next_back() {
            conf.weight = new_weight.unwrap_or(conf.weight);
            conf.state = new_state.unwrap_or(conf.state);
            return;
        }
        let Some(base) = at(&file.backend, &address) else {
            return;
        };
        let weight = Overridden::new(base.weight, new_weight.unwrap_or(backend.weight));
        let state = Overridden::new(base.state, new_state.unwrap_or(backend.state));
        let is_something = weight.is_some() || state.is_some();
        self.put(&file.name, backend, is_something.then_some(What::Set { weight, state }));
    }

    /// Has this and nothing else said of a backend.
    fn put(&mut self, upstream: &str, backend: &BackendConf, what: Option<What>) {
        let address = backend.address.to_string();
        let position = self.list.iter().position(|it| it.upstream == upstream && it.address == address);
        match (position, what) {
            (Some(index), None) => drop(self.list.remove(index)),
            (Some(index), Some(what)) => {
                if let Some(it) = self.list.get_mut(index) {
                    it.what = what;
                }
            }
            (None, Some(what)) => self.push(upstream, backend, what),
            (None, None) => {}
        }
    }

    fn add(&mut self, before: &UpstreamConf, conf: &BackendConf) -> Result<(), Refusal> {
        if let Some(message) = taken(before, conf) {
            let hint = "change that one, or remove it first";
            return Err(Refusal::conflict("backend_exists", message, hint));
        }
        let is_back = |it: &Override| it.upstream == before.name && it.what == What::Removed(conf.clone());
        match self.list.iter().position(is_back) {
            Some(index) => drop(self.list.remove(index)),
            None => self.push(&before.name, conf, What::Added(conf.clone())),
        }
        Ok(())
    }

    fn remove(&mut self, file: &UpstreamConf, backend: &BackendConf) -> Result<(), Refusal> {
        let address = backend.address.to_string();
        if matches!(backend.address, Address::OfName { .. }) {
            let message = format!("`{}` is an address of `{}`", backend.name, backend.address.configured());
            let hint = "disable it, or remove the address from DNS";
            return Err(Refusal::conflict("address_of_name", message, hint));
        }
        let is_it = |it: &Override| it.upstream == file.name && it.address == address;
        let youngest = self.list.iter().rposition(is_it);
        let is_added =
            |index: &usize| self.list.get(*index).is_some_and(|it| matches!(it.what, What::Added(_)));
        if let Some(index) = youngest.filter(is_added) {
            self.list.remove(index);
            return Ok(());
        }
        self.list.retain(|it| !is_it(it));
        if let Some(base) = at(&file.backend, &address) {
            self.push(&file.name, base, What::Removed(base.clone()));
        }
        Ok(())
    }

    fn push(&mut self, upstream: &str, backend: &BackendConf, what: What) {
        self.list.push(Override {
            upstream: upstream.to_owned(),
            address: backend.address.to_string(),
            name: backend.name.clone(),
            of: matches!(backend.address, Address::OfName { .. }).then(|| backend.address.configured()),
            what,
        });
    }
}

/// Which backend is called `called`: by its name, else by its address, however that is written.
pub fn position(backends: &[BackendConf], called: &str) -> Option<usize> {
    let by_name = backends.iter().position(|backend| backend.name == called);
    by_name.or_else(|| {
        let called = written_alike(called);
        backends.iter().position(|backend| backend.address.to_string() == called)
    })
}

fn found<'c>(upstream: &'c UpstreamConf, called: &str) -> Result<&'c BackendConf, Refusal> {
    let index = position(&upstream.backend, called);
    index.and_then(|index| upstream.backend.get(index)).ok_or_else(|| not_found(upstream, called))
}

fn not_found(upstream: &UpstreamConf, called: &str) -> Refusal {
    let message = format!("there is no backend `{called}` in `{}`", upstream.name);
    let hint = suggest::did_you_mean(called, upstream.backend.iter().map(|it| it.name.as_str()));
    Refusal::new(Reason::NotFound, "no_such_backend", message, &hint)
}

/// What is left of keys that were set, where the file says this now.
fn kept_set(
    (weight, state): (Option<Overridden<u32>>, Option<Overridden<BackendState>>),
    base: &BackendConf,
) -> Option<What> {
    let weight = Overridden::kept(weight, base.weight);
    let state = Overridden::kept(state, base.state);
    (weight.is_some() || state.is_some()).then_some(What::Set { weight, state })
}

fn at<'c>(backends: &'c [BackendConf], address: &str) -> Option<&'c BackendConf> {
    backends.iter().find(|backend| backend.address.to_string() == address)
}

/// Why `conf` cannot be one more backend: its name or address is one's already.
fn taken(upstream: &UpstreamConf, conf: &BackendConf) -> Option<String> {
    let name = &upstream.name;
    if at(&upstream.backend, &conf.address.to_string()).is_some() {
        return Some(format!("there is already a backend at {} in `{name}`", conf.address));
    }
    let is_known = upstream.backend.iter().any(|backend| backend.name == conf.name);
    is_known.then(|| format!("there is already a backend `{}` in `{name}`", conf.name))
}

/// What the configuration's own check would say of these backends.
fn unusable(upstream: &UpstreamConf) -> Option<&'static str> {
    let backends = &upstream.backend;
    if backends.is_empty() {
        Some("this is the last backend")
    } else if backends.iter().all(|backend| backend.weight == 0) {
        Some("this is the last backend with a weight")
    } else if backends.iter().all(|backend| backend.backup) {
        Some("this is the last backend that is not a backup")
    } else {
        None
    }
}

fn check_weight(weight: u32) -> Result<(), Refusal> {
    let most = BackendConf::GREATEST_WEIGHT;
    if weight <= most {
        return Ok(());
    }
    let message = format!("`weight` must be from 0 to {most}, not {weight}");
    let hint = "weights are relative: 1 and 2 mean the same as 100 and 200";
    Err(Refusal::new(Reason::Invalid, "bad_weight", message, hint))
}

#[cfg(test)]
mod tests;
