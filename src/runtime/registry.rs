//! What outlives a snapshot, under names that a reload does not change.
//!
//! Built and looked up when a snapshot is made and when the admin endpoint reads, never per request.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use super::{by_name::ByName, cache_key::CacheKey, changes::Changes, mirror::MirrorCounts};
use crate::{
    backend,
    cache::{
        memory::Shape,
        store::{Cache, Store},
    },
    cluster,
    config::listen::{ListenAddress, ListenerConf, Protocol},
    telemetry::{
        metrics::{NO_NAME, NameId, RouteSeries, WorkerSeries},
        recent_errors::RecentErrors,
        repeated::Repeated,
    },
    upstream::{BackendCounters, queue::Queue, sessions::Sessions},
    writeback::{handed::HandedJournal, journals::Journals},
};

/// Upstream and address: what makes a backend the same one after a reload.
pub type BackendKey = (Arc<str>, Arc<str>);

/// What makes a listener the same one after a reload: name, one of its addresses, protocol.
pub type SlotKey = (Arc<str>, Arc<str>, &'static str);

/// The number of a listener: the same in every generation that has it, and never another's.
pub type ListenerId = usize;

/// The registry of this process.
#[derive(Debug)]
pub struct Registry {
    names: RwLock<Names>,
    backends: Mutex<HashMap<BackendKey, Arc<backend::Shared>>>,
    slots: Mutex<HashMap<SlotKey, (ListenerId, Arc<ListenerShared>)>>,
    caches: Mutex<HashMap<CacheKey, Arc<Store>>>,
    /// Who waits for backends, by upstream.
    pub queues: ByName<Queue>,
    /// Sessions of datagrams, by upstream.
    pub sessions: ByName<Sessions>,
    /// How many requests are under way, by route.
    pub admissions: ByName<AtomicU32>,
    /// What was copied to other upstreams, by route.
    pub mirrors: ByName<MirrorCounts>,
    /// The journals of caches.
    pub journals: Arc<Journals>,
    workers: Vec<WorkerRegistry>,
    /// Requests of routes that are forgotten, and those of them that failed.
    forgotten: Mutex<(u64, u64)>,
    /// The way to the node that has virtual addresses, and what it tells.
    pub cluster: cluster::node::handle::Handle,
    /// What peers say, on its way to the control side.
    pub peers: cluster::peers::inbox::Inbox,
    /// What is known of them.
    pub members: Arc<cluster::peers::members::Members>,
    /// What is told of the configuration that all share.
    pub fleet: cluster::fleet::Fleet,
    /// What they have still to hear of.
    pub commands: Arc<cluster::peers::commands::Commands>,
    /// Which program makes the changes that are asked for.
    pub changes: Changes,
    /// The way of spans to their exporter.
    pub traces: crate::telemetry::trace::Traces,
}

#[derive(Debug, Default)]
struct Names {
    ids: HashMap<Arc<str>, NameId>,
    texts: Vec<Arc<str>>,
}

/// What is in use by some generation.
#[derive(Debug, Default)]
pub struct Live {
    /// Addresses in memory of what outlives reloads of each backend.
    pub backends: HashSet<usize>,
    /// Names of routes.
    pub routes: HashSet<Arc<str>>,
    /// Addresses in memory of what caches hold.
    pub caches: HashSet<usize>,
}

/// What all workers share of a listener.
#[derive(Debug, Default)]
pub struct ListenerShared {
    /// Open connections, or sessions of datagrams, over all workers.
    pub open: AtomicI64,
    /// Connections accepted, or sessions begun, since the start.
    pub accepted: AtomicU64,
    /// Connections refused: over a limit, or by `allow` and `deny`.
    pub refused: AtomicU64,
    /// Lines of the log about connections beyond `max_connections`, which name the listener.
    pub full: Repeated,
    /// Connections that were ended with a 400, since plain HTTP came where TLS begins.
    pub plain_http: AtomicU64,
    /// Handshakes of TLS that succeeded.
    pub handshakes: AtomicU64,
    /// Handshakes that failed: an alert, an end, or what is no TLS.
    pub handshakes_failed: AtomicU64,
    /// Handshakes that took longer than they may.
    pub handshakes_late: AtomicU64,
    /// Open connections by the client's address, where there is a limit on them; of trusted proxies, requests.
    by_address: Mutex<HashMap<IpAddr, u32>>,
}

impl ListenerShared {
    /// Takes a place for a connection, or a session of datagrams; false when there is none.
    pub fn enter(&self, conf: &ListenerConf) -> bool {
        // Sessions of datagrams are bounded by their upstream.
        let has_limit = conf.max_connections > 0 && conf.protocol != Protocol::Udp;
        if self.open.fetch_add(1, Relaxed) >= i64::from(conf.max_connections) && has_limit {
            self.open.fetch_sub(1, Relaxed);
            return false;
        }
        self.accepted.fetch_add(1, Relaxed);
        true
    }

    /// Gives back the place of a connection.
    pub fn leave(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// Takes one of the places of a client's address; false when there is none.
    pub(super) fn enter_address(&self, address: IpAddr, most: u32) -> bool {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        if *count >= most {
            return false;
        }
        *count += 1;
        true
    }

    /// Gives back one of the places of a client's address.
    pub(super) fn leave_address(&self, address: IpAddr) {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = by_address.entry(address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// By what a listener is found.
fn slot_keys(conf: &ListenerConf) -> impl Iterator<Item = SlotKey> {
    let of = move |address: &ListenAddress| -> SlotKey {
        (conf.name.as_str().into(), address.to_string().into(), conf.protocol.name())
    };
    conf.address.iter().map(of)
}

/// What one worker counts; it writes, everyone reads.
#[derive(Debug, Default)]
pub struct WorkerRegistry {
    /// Of itself.
    pub series: Arc<WorkerSeries>,
    /// By route name.
    pub routes: Mutex<HashMap<Arc<str>, Arc<RouteSeries>>>,
    /// By backend.
    pub backends: Mutex<HashMap<BackendKey, BackendCounters>>,
    /// The last exchanges that ended in an error.
    pub errors: RecentErrors,
    /// Fetches of caches that are under way.
    pub fetches: Arc<AtomicUsize>,
}

impl Registry {
    /// A registry for so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            names: RwLock::default(),
            backends: Mutex::default(),
            slots: Mutex::default(),
            caches: Mutex::default(),
            queues: ByName::default(),
            sessions: ByName::default(),
            admissions: ByName::default(),
            mirrors: ByName::default(),
            journals: Arc::default(),
            workers: (0..workers).map(|_| WorkerRegistry::default()).collect(),
            forgotten: Mutex::default(),
            cluster: cluster::node::handle::Handle::default(),
            peers: cluster::peers::inbox::Inbox::default(),
            members: Arc::default(),
            fleet: cluster::fleet::Fleet::default(),
            commands: Arc::default(),
            changes: Changes::default(),
            traces: crate::telemetry::trace::Traces::default(),
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

    /// The number of a listener that the generation before does not have, and what all workers share of it. Of one that
    /// was there earlier, with one of these addresses, it is the old one.
    pub fn listener(&self, conf: &ListenerConf) -> (ListenerId, Arc<ListenerShared>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slot_keys(conf).find_map(|key| slots.get(&key).cloned());
        known.unwrap_or_else(|| {
            let next = slots.values().map(|(slot, _)| slot + 1).max().unwrap_or(0);
            let new = (next, Arc::default());
            slots.extend(slot_keys(conf).map(|key| (key, new.clone())));
            new
        })
    }

    /// Notes the addresses of a listener that is in force, so that it is found by each of them when it comes back. Not
    /// before: a generation that is built may never be in force. The first at an address stays, so that none is lost
    /// that still has connections.
    pub fn note_listener(&self, conf: &ListenerConf, own: (ListenerId, &Arc<ListenerShared>)) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for key in slot_keys(conf) {
            slots.entry(key).or_insert_with(|| (own.0, own.1.clone()));
        }
    }

    /// Open connections and sessions of all listeners, also of those that are gone and still have some.
    pub fn open_connections(&self) -> i64 {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // One with several addresses is there under each.
        let listeners: HashMap<_, _> = slots.values().map(|(slot, shared)| (slot, shared)).collect();
        listeners.values().map(|shared| shared.open.load(Relaxed)).sum()
    }

    /// Fetches of caches that are under way, of all workers.
    pub fn fetches(&self) -> usize {
        self.workers.iter().map(|worker| worker.fetches.load(Relaxed)).sum()
    }

    /// What a cache holds.
    pub fn cache(&self, key: CacheKey, shape: Option<Shape>) -> Arc<Store> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let store = || Arc::new(Store::new(shape, self.workers.len(), self.journals.clone()));
        caches.entry(key).or_insert_with(store).clone()
    }

    /// These caches are in force: where one is the same as before under another name, whoever comes under the older name begins
    /// anew.
    pub fn note_caches(&self, all: &[Arc<Cache>]) {
        let names: HashMap<*const Store, CacheKey> = all
            .iter()
            .map(|cache| (Arc::as_ptr(&cache.store), CacheKey::Named(cache.conf.name.as_str().into())))
            .collect();
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        caches.retain(|key, store| names.get(&Arc::as_ptr(store)).is_none_or(|name| name == key));
        for cache in all {
            caches.insert(CacheKey::Named(cache.conf.name.as_str().into()), cache.store.clone());
        }
    }

    /// Forgets the backends, routes and caches that no generation has any more: what comes back under their names
    /// begins anew. `live` gives those of every generation that someone still holds.
    pub fn keep_only(&self, live: &Live) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        // What is under way without its generation, such as a fetch of a cache, has a place there that counts.
        let is_busy = |shared: &backend::Shared| shared.in_flight.0.load(Relaxed) > 0;
        backends.retain(|_, it| live.backends.contains(&(Arc::as_ptr(it) as usize)) || is_busy(it));
        self.caches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, store| live.caches.contains(&(Arc::as_ptr(store) as usize)));
        let kept: HashSet<BackendKey> = backends.keys().cloned().collect();
        drop(backends);
        self.queues.forget_dropped();
        self.sessions.forget_dropped();
        self.admissions.forget_dropped();
        self.mirrors.forget_dropped();
        let mut forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in &self.workers {
            worker
                .backends
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|key, _| kept.contains(key));
            let mut routes = worker.routes.lock().unwrap_or_else(PoisonError::into_inner);
            routes.retain(|name, series| {
                let is_kept = name.is_empty() || live.routes.contains(name);
                if !is_kept {
                    *forgotten = with_answered(*forgotten, series);
                }
                is_kept
            });
        }
    }

    /// Requests that were answered since the start, and those of them with 500 and above: of all routes that there ever
    /// were, so that neither ever falls.
    pub fn answered(&self) -> (u64, u64) {
        // Held to the end, so that a route that is forgotten meanwhile counts once.
        let forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        self.workers.iter().fold(*forgotten, |sums, worker| {
            let routes = worker.routes.lock().unwrap_or_else(PoisonError::into_inner);
            routes.values().fold(sums, |sums, series| with_answered(sums, series))
        })
    }

    /// The journals that the next program may have to deliver from, whatever its configuration asks for.
    pub fn journals_to_hand_over(&self) -> Vec<HandedJournal> {
        let caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let named = caches.iter().filter_map(|(key, store)| Some((key.name()?, &store.back)));
        self.journals.to_hand_over(&named.collect::<Vec<_>>())
    }

    /// Has caches let go of their folders: another program is to have them. Those too that only an older generation has.
    pub fn close_caches(&self) {
        self.journals.note_left();
        self.stores().iter().for_each(|store| store.close());
        self.journals.close();
    }

    /// Waits until what caches keep on disk is there. For the end of the program, after that of the workers.
    pub fn finish(&self) {
        self.stores().iter().for_each(|store| store.finish());
        self.journals.finish();
    }

    fn stores(&self) -> Vec<Arc<Store>> {
        self.caches.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What each worker counts.
    pub fn workers(&self) -> &[WorkerRegistry] {
        &self.workers
    }
}

/// The sums with what a route answered, and what of it failed.
fn with_answered(sums: (u64, u64), series: &RouteSeries) -> (u64, u64) {
    series.requests().fold(sums, |(requests, failed), (key, count)| {
        (requests + count, failed + if key.status >= 500 { count } else { 0 })
    })
}

impl WorkerRegistry {
    /// This worker's series of a route.
    pub fn route(&self, name: &Arc<str>) -> Arc<RouteSeries> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.entry(name.clone()).or_default().clone()
    }

    /// What this worker counts and measures of a backend.
    pub fn backend(&self, upstream: &str, address: &str) -> BackendCounters {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.entry((upstream.into(), address.into())).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::metrics::RequestKey;

    #[test]
    fn requests_of_routes_that_are_gone_still_count() {
        let registry = Registry::new(2);
        let record = |worker: usize, route: &str, status| {
            let key = RequestKey { listener: 1, upstream: NO_NAME, status };
            registry.workers()[worker].route(&route.into()).record(key, Duration::from_millis(1));
        };
        for (worker, route, status) in
            [(0, "busy", 200), (1, "busy", 503), (0, "kept", 599), (1, "", 404), (0, "kept", 0)]
        {
            record(worker, route, status);
        }
        assert_eq!(registry.answered(), (5, 2));
        let live = Live { routes: HashSet::from(["kept".into()]), ..Live::default() };
        registry.keep_only(&live);
        assert_eq!(registry.answered(), (5, 2));
        // One that comes back under the name begins anew, and adds to them.
        record(0, "busy", 500);
        assert_eq!(registry.answered(), (6, 3));
    }
}
