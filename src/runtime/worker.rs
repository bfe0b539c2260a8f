//! A worker: one thread, one event loop, and everything that its exchanges touch without a lock.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{
    drain::{Drain, Stage},
    failure,
    registry::Registry,
    snapshot::Snapshot,
};
use crate::{
    config::log::AccessFormat,
    exchange::{Exchange, Names},
    moment::Moment,
    telemetry::{
        access_log::WorkerLog,
        metrics::{NO_NAME, NameId, RequestKey, RouteSeries, WorkerSeries},
    },
    upstream::Group,
};

/// What all workers and the control thread share.
#[derive(Debug)]
pub struct Shared {
    /// The current snapshot.
    pub snapshot: ArcSwap<Snapshot>,
    /// What outlives it.
    pub registry: Registry,
    /// How far stopping has come.
    pub drain: Drain,
}

/// A worker's own state. Everything in it belongs to its thread.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// What it shares.
    pub shared: Arc<Shared>,
    /// Its counters.
    pub series: Arc<WorkerSeries>,
    current: RefCell<Rc<WorkerSnapshot>>,
    log: Option<WorkerLog>,
    #[expect(clippy::vec_box, reason = "exchanges are handed out boxed, and moved by pointer only")]
    spare: RefCell<Vec<Box<Exchange>>>,
    id_prefix: u64,
    id_next: Cell<u64>,
    is_draining: Cell<bool>,
}

/// A snapshot as one worker sees it: every name is an index, and the worker's own state hangs on it.
#[derive(Debug)]
pub struct WorkerSnapshot {
    /// The snapshot.
    pub shared: Arc<Snapshot>,
    /// The upstreams, by index.
    pub groups: Vec<Rc<Group>>,
    routes: Vec<Arc<RouteSeries>>,
    no_route: Arc<RouteSeries>,
    upstream_names: Vec<NameId>,
}

/// Exchanges kept for reuse.
const MOST_SPARE: usize = 1024;

impl Worker {
    /// The state of worker `index`; to be made on its own thread.
    pub fn new(index: usize, shared: Arc<Shared>, log: Option<WorkerLog>) -> Rc<Self> {
        let registry = shared.registry.workers().get(index);
        let series = registry.map_or_else(Arc::default, |registry| registry.series.clone());
        let current = WorkerSnapshot::build(shared.snapshot.load_full(), &shared, index);
        Rc::new(Self {
            index,
            series,
            current: RefCell::new(Rc::new(current)),
            log,
            spare: RefCell::default(),
            id_prefix: fastrand::u64(..),
            id_next: Cell::new(0),
            is_draining: Cell::new(false),
            shared,
        })
    }

    /// The current snapshot. A new generation is taken over at the first call after its publish.
    pub fn snapshot(&self) -> Rc<WorkerSnapshot> {
        let mut current = self.current.borrow_mut();
        let published = self.shared.snapshot.load();
        if !Arc::ptr_eq(&published, &current.shared) {
            let next = WorkerSnapshot::build(published.clone(), &self.shared, self.index);
            *current = Rc::new(next);
        }
        current.clone()
    }

    /// Whether connections should end with their present exchange.
    pub fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Says that stopping has come to [`Stage::Draining`].
    pub fn begin_draining(&self) {
        debug_assert!(self.shared.drain.stage() >= Stage::Draining);
        self.is_draining.set(true);
    }

    /// An exchange to fill.
    pub fn take_exchange(&self) -> Box<Exchange> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Writes a new request id: unique in this fleet as far as 64 random bits per worker make it.
    pub fn write_id(&self, id: &mut String) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let next = self.id_next.get();
        self.id_next.set(next + 1);
        for number in [self.id_prefix, next] {
            for shift in (0..16).rev() {
                let digit = (number >> (shift * 4)) as usize & 15;
                id.push(char::from(HEX.get(digit).copied().unwrap_or(b'0')));
            }
        }
    }

    /// The end of an exchange: its log line, its counts, its memory back.
    pub fn finish(&self, mut exchange: Box<Exchange>, snapshot: &WorkerSnapshot, listener: usize) {
        let took = Moment::now().since(exchange.started);
        let Snapshot { listeners, routes, upstreams, config, .. } = &*snapshot.shared;
        let listener = listeners.get(listener);
        let key = RequestKey {
            listener: listener.map_or(NO_NAME, |listener| listener.name),
            upstream: exchange
                .upstream
                .and_then(|index| snapshot.upstream_names.get(index))
                .copied()
                .unwrap_or(NO_NAME),
            status: exchange.response.status,
        };
        let series = exchange.route.and_then(|index| snapshot.routes.get(index));
        series.unwrap_or(&snapshot.no_route).record(key, took);
        self.series.bytes_in.add(exchange.bytes_in);
        self.series.bytes_out.add(exchange.bytes_out);
        if let Some((kind, detail)) = &exchange.error {
            failure::note(self, &exchange, &snapshot.shared, listener, (*kind, detail));
        }
        if let Some(log) = &self.log {
            let upstream = exchange.upstream.and_then(|index| upstreams.get(index));
            let backend =
                upstream.zip(exchange.backend).and_then(|(upstream, index)| upstream.backends.get(index));
            let names = Names {
                listener: listener.map_or("", |listener| &listener.conf.name),
                route: exchange.route.and_then(|index| routes.get(index)).map(|route| &*route.name),
                upstream: upstream.map(|upstream| &*upstream.conf.name),
                backend: backend.map(|backend| &*backend.name),
            };
            let dropped = log.line(|out| match config.log.access_format {
                AccessFormat::Json => exchange.write_json(&names, took, out),
                AccessFormat::Common => exchange.write_common(false, out),
                AccessFormat::Combined => exchange.write_common(true, out),
            });
            self.series.log_dropped.add(dropped);
        }
        let mut spare = self.spare.borrow_mut();
        if spare.len() < MOST_SPARE {
            exchange.peer = Rc::default();
            spare.push(exchange);
        }
    }

    /// What is done now and then: idle connections closed, log handed over.
    pub async fn housekeeping(self: Rc<Self>) {
        let mut turn = 0_u32;
        loop {
            tokio::time::sleep(Duration::from_millis(250)).await;
            if let Some(log) = &self.log {
                self.series.log_dropped.add(log.flush());
            }
            turn = turn.wrapping_add(1);
            if turn.is_multiple_of(4) {
                let now = Moment::now();
                let snapshot = self.current.borrow().clone();
                snapshot.groups.iter().for_each(|group| group.sweep(now));
            }
        }
    }

    /// Hands the rest of the log over, at the end.
    pub fn flush_log(&self) {
        if let Some(log) = &self.log {
            self.series.log_dropped.add(log.flush());
        }
    }
}

impl WorkerSnapshot {
    fn build(snapshot: Arc<Snapshot>, shared: &Shared, index: usize) -> Self {
        let registry = &shared.registry;
        let own = registry.workers().get(index);
        let workers = registry.workers().len();
        let groups = snapshot.upstreams.iter().map(|upstream| {
            let series = upstream
                .backends
                .iter()
                .map(|backend| {
                    let address = backend.address.to_string();
                    own.map_or_else(Arc::default, |own| own.backend(&upstream.conf.name, &address))
                })
                .collect();
            let counters = own.map_or_else(Arc::default, |own| own.series.clone());
            let group = Group::new(upstream.clone(), series, counters, (index, workers));
            if let Some(own) = own {
                let traffic = group.with_balancer(|balancer| balancer.traffic().clone());
                let mut all = own.traffic.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                all.insert(upstream.conf.name.as_str().into(), traffic);
            }
            Rc::new(group)
        });
        let route = |name: &Arc<str>| own.map_or_else(Arc::default, |own| own.route(name));
        let upstream_names =
            snapshot.upstreams.iter().map(|upstream| registry.name(&upstream.conf.name)).collect();
        Self {
            groups: groups.collect(),
            routes: snapshot.routes.iter().map(|it| route(&it.name)).collect(),
            no_route: route(&"".into()),
            upstream_names,
            shared: snapshot,
        }
    }
}
