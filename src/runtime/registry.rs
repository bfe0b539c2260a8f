//! What outlives a snapshot, under names that a reload does not change.
//!
//! Built and looked up when a snapshot is made and when the admin endpoint reads, never per request.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    backend,
    balance::Traffic,
    config::listen::ListenerConf,
    telemetry::{
        metrics::{BackendSeries, NO_NAME, NameId, RouteSeries, WorkerSeries},
        recent_errors::RecentErrors,
    },
};

/// Upstream and address: what makes a backend the same one after a reload.
pub type BackendKey = (Arc<str>, Arc<str>);

/// The registry of this process.
#[derive(Debug)]
pub struct Registry {
    names: RwLock<Names>,
    backends: Mutex<HashMap<BackendKey, Arc<backend::Shared>>>,
    listeners: Mutex<HashMap<Arc<str>, Arc<ListenerShared>>>,
    workers: Vec<WorkerRegistry>,
}

#[derive(Debug, Default)]
struct Names {
    ids: HashMap<Arc<str>, NameId>,
    texts: Vec<Arc<str>>,
}

/// What all workers share of a listener.
#[derive(Debug, Default)]
pub struct ListenerShared {
    /// Open connections over all workers.
    pub open: AtomicI64,
    /// Connections accepted since the start.
    pub accepted: AtomicU64,
    /// Connections refused: over a limit, or by `allow` and `deny`.
    pub refused: AtomicU64,
    /// Open connections by address, where there is a limit on them.
    by_address: Mutex<HashMap<IpAddr, u32>>,
}

impl ListenerShared {
    /// Takes a place for a connection; false when there is none.
    pub fn enter(&self, address: Option<IpAddr>, conf: &ListenerConf) -> bool {
        if self.open.fetch_add(1, Relaxed) >= i64::from(conf.max_connections) && conf.max_connections > 0 {
            self.open.fetch_sub(1, Relaxed);
            return false;
        }
        if let Some(address) = address.filter(|_| conf.max_connections_per_address > 0) {
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_address.entry(address).or_default();
            if *count >= conf.max_connections_per_address {
                self.open.fetch_sub(1, Relaxed);
                return false;
            }
            *count += 1;
        }
        self.accepted.fetch_add(1, Relaxed);
        true
    }

    /// Gives a place back; `address` when it was counted by address.
    pub fn leave(&self, address: Option<IpAddr>) {
        self.open.fetch_sub(1, Relaxed);
        if let Some(address) = address {
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            if let Entry::Occupied(mut entry) = by_address.entry(address) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }
}

/// What one worker counts; it writes, everyone reads.
#[derive(Debug, Default)]
pub struct WorkerRegistry {
    /// Of itself.
    pub series: Arc<WorkerSeries>,
    /// By route name.
    pub routes: Mutex<HashMap<Arc<str>, Arc<RouteSeries>>>,
    /// By backend.
    pub backends: Mutex<HashMap<BackendKey, Arc<BackendSeries>>>,
    /// The balancer's measurements, by upstream; replaced with each generation.
    pub traffic: Mutex<HashMap<Arc<str>, Arc<Traffic>>>,
    /// The last exchanges that ended in an error.
    pub errors: RecentErrors,
}

impl Registry {
    /// A registry for so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            names: RwLock::default(),
            backends: Mutex::default(),
            listeners: Mutex::default(),
            workers: (0..workers).map(|_| WorkerRegistry::default()).collect(),
        }
    }

    /// The number of a name; the same for as long as the program runs.
    pub fn name(&self, text: &str) -> NameId {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = names.ids.get(text) {
            return *id;
        }
        let id = NameId::try_from(names.texts.len()).unwrap_or(NO_NAME);
        let text: Arc<str> = text.into();
        names.texts.push(text.clone());
        names.ids.insert(text, id);
        id
    }

    /// The name that a number stands for; empty for [`NO_NAME`].
    pub fn text(&self, id: NameId) -> Arc<str> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.texts.get(id as usize).cloned().unwrap_or_default()
    }

    /// What outlives reloads of a backend; and whether it is new.
    pub fn backend(&self, upstream: &str, address: &str) -> (Arc<backend::Shared>, bool) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::from(upstream), Arc::from(address));
        if let Some(shared) = backends.get(&key) {
            return (shared.clone(), false);
        }
        let shared = Arc::<backend::Shared>::default();
        backends.insert(key, shared.clone());
        (shared, true)
    }

    /// What all workers share of a listener.
    pub fn listener(&self, name: &str) -> Arc<ListenerShared> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.entry(name.into()).or_default().clone()
    }

    /// What each worker counts.
    pub fn workers(&self) -> &[WorkerRegistry] {
        &self.workers
    }
}

impl WorkerRegistry {
    /// This worker's series of a route.
    pub fn route(&self, name: &Arc<str>) -> Arc<RouteSeries> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.entry(name.clone()).or_default().clone()
    }

    /// This worker's series of a backend.
    pub fn backend(&self, upstream: &str, address: &str) -> Arc<BackendSeries> {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.entry((upstream.into(), address.into())).or_default().clone()
    }
}
