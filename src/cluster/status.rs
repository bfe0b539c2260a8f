//! What a node tells of itself and its peers: read by the admin endpoint, written by the cluster's thread.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::SystemTime,
};

use super::role::{Change, Role};

/// How many changes of a role are kept.
const CHANGES: usize = 16;

/// What all of it is in; one for the life of the program.
#[derive(Debug, Default)]
pub struct Status {
    is_on: AtomicBool,
    inner: Mutex<Inner>,
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
    pub addresses: Vec<String>,
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
    pub fn new(name: Arc<str>, addresses: Vec<String>) -> Self {
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

    /// A copy of what it holds, for whoever takes time over it: the cluster's thread, which runs before all others, would wait
    /// for a reader that does not run.
    pub fn read(&self) -> Inner {
        self.lock().clone()
    }

    /// What it holds; to be held for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The role of this node: primary where it has any addresses.
    pub fn role(&self) -> Role {
        let is_primary = |group: &GroupStatus| group.role == Role::Primary;
        match !self.is_on() || self.lock().groups.iter().any(is_primary) {
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
