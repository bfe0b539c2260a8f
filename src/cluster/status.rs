//! What a node tells of itself and its peers: written by the cluster's thread, read by all others.
//!
//! Whoever reads takes no lock: that thread runs before all others, and would wait for one that is not run.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;

use super::{
    address::virtual_address::VirtualAddress,
    role::{Change, Role},
};

/// How many changes of a role are kept.
const CHANGES: usize = 16;

/// What all of it is in; one for the life of the program.
#[derive(Debug, Default)]
pub struct Status {
    is_on: AtomicBool,
    inner: Mutex<Inner>,
    /// As it was written last.
    published: ArcSwap<Inner>,
    /// What is counted beside the cluster's thread, which has no part in this lock.
    counted: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

/// What is being written; others see it when this is dropped.
#[derive(Debug)]
pub struct Writing<'s> {
    inner: MutexGuard<'s, Inner>,
    published: &'s ArcSwap<Inner>,
}

impl Deref for Writing<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.published.store(Arc::new(self.inner.clone()));
    }
}

/// What is behind the lock.
#[derive(Clone, Debug, Default)]
pub struct Inner {
    /// What this node is called.
    pub node: String,
    /// The engine's name.
    pub election: &'static str,
    /// The roles of this node, one for addresses that move together.
    pub groups: Vec<GroupStatus>,
    /// An operator wants another node to be primary.
    pub is_stepped_down: bool,
    /// Why this node does not want to be primary.
    pub unfit: Option<String>,
    /// What the engine counts, by a name and a reason, such as `advertisements_refused` and `checksum`.
    pub counts: BTreeMap<(&'static str, &'static str), u64>,
}

/// The role that this node has for addresses that move together.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Its name: `eth0/51/ipv4` for a virtual router, `etcd` for a store.
    pub name: Arc<str>,
    /// The role.
    pub role: Role,
    /// Since when.
    pub since: SystemTime,
    /// The number of the last election that this node won.
    pub fence: u64,
    /// Its addresses.
    pub addresses: Vec<VirtualAddress>,
    /// The node that is primary, where it is another and is known.
    pub primary: Option<String>,
    /// Peers that were heard of, and what was heard.
    pub peers: BTreeMap<String, PeerStatus>,
    /// The last changes, newest last.
    pub changes: VecDeque<(SystemTime, Change)>,
    /// How often the role has changed.
    pub transitions: u64,
    /// What the next program's engine needs to go on as this one's.
    pub state: serde_json::Value,
    /// What is wrong with the election or the addresses: no carrier, an address that cannot be added.
    pub problem: Option<String>,
    /// Why `on_change` failed.
    pub on_change_problem: Option<String>,
    /// Whether the next program has to run `on_change` for it: this one could not any more.
    pub is_untold: bool,
}

/// What was heard of a peer.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Its priority.
    pub priority: u8,
    /// When it was heard last.
    pub seen: SystemTime,
}

impl GroupStatus {
    /// A standby's.
    pub fn new(name: Arc<str>, addresses: Vec<VirtualAddress>) -> Self {
        Self {
            name,
            role: Role::Standby,
            since: SystemTime::now(),
            fence: 0,
            addresses,
            primary: None,
            peers: BTreeMap::new(),
            changes: VecDeque::new(),
            transitions: 0,
            state: serde_json::Value::Null,
            problem: None,
            on_change_problem: None,
            is_untold: false,
        }
    }

    /// Takes down a change of the role.
    pub fn changed(&mut self, change: &Change) {
        let now = SystemTime::now();
        if self.role != change.role {
            (self.role, self.since) = (change.role, now);
        }
        self.fence = change.fence;
        self.transitions += 1;
        self.changes.push_back((now, change.clone()));
        if self.changes.len() > CHANGES {
            self.changes.pop_front();
        }
    }
}

impl Status {
    /// Whether there is a cluster; without one this node is primary of what it has.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Says whether there is a cluster.
    pub fn set_on(&self, is_on: bool) {
        self.is_on.store(is_on, Relaxed);
    }

    /// What was written last.
    pub fn read(&self) -> Arc<Inner> {
        self.published.load_full()
    }

    /// What it holds, to be written. For the cluster's thread, and for who runs `on_change`.
    pub fn lock(&self) -> Writing<'_> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Writing { inner, published: &self.published }
    }

    /// Counts one more of what happens beside the cluster's thread.
    pub fn count(&self, name: &'static str, reason: &'static str) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.entry((name, reason)).or_default() += 1;
    }

    /// All that is counted, by a name and a reason.
    pub fn counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut counts = self.read().counts.clone();
        counted.into_iter().for_each(|(key, count)| *counts.entry(key).or_default() += count);
        counts
    }

    /// The role of this node: primary where it has any addresses.
    pub fn role(&self) -> Role {
        let is_primary = |group: &GroupStatus| group.role == Role::Primary;
        match !self.is_on() || self.published.load().groups.iter().any(is_primary) {
            true => Role::Primary,
            false => Role::Standby,
        }
    }
}

impl Inner {
    /// The group of this name.
    pub fn group(&mut self, name: &str) -> Option<&mut GroupStatus> {
        self.groups.iter_mut().find(|group| &*group.name == name)
    }

    /// Counts one more.
    pub fn count(&mut self, name: &'static str, reason: &'static str) {
        *self.counts.entry((name, reason)).or_default() += 1;
    }
}
