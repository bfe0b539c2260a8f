//! A worker: one thread, one event loop, and everything that its exchanges touch without a lock.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    ops::Deref,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Cache};

use super::{
    access_line::{access_line, extra},
    connections::Connections,
    drain::{Drain, Stage},
    failure,
    flows::Flows,
    registry::{ListenerId, Registry},
    request_ids::RequestIds,
    snapshot::{Listener, Snapshot},
    traces,
    tunnels::Tunnels,
    worker_snapshot::WorkerSnapshot,
    worker_upstreams::WorkerUpstreams,
};
use crate::{
    account,
    config::log::{AccessFormat, AccessLog},
    exchange::{Exchange, Facts, Peer, Subject},
    moment::Moment,
    telemetry::{
        access_line::AccessLine,
        access_log::WorkerLog,
        metrics::{NO_NAME, RequestKey, TunnelKey, WorkerSeries},
    },
    upstream::worker_upstream::WorkerIndex,
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
    /// Connections of QUIC, by their ids.
    pub flows: Arc<Flows>,
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
    /// At the other end of exchanges that are spare: one for all, which costs nothing.
    nobody: Rc<Peer>,
    /// Its open connections.
    pub connections: Rc<Connections>,
    /// Its open tunnels that are told when they are to end.
    pub tunnels: Rc<Tunnels>,
    current: RefCell<Current>,
    /// For each listener that is gone and still has connections: the last generation that had it.
    retired: RefCell<HashMap<ListenerId, Rc<WorkerSnapshot>>>,
    upstreams: Rc<WorkerUpstreams>,
    log: WorkerLog,
    #[expect(clippy::vec_box, reason = "exchanges are handed out boxed, and moved by pointer only")]
    spare: RefCell<Vec<Box<Exchange>>>,
    /// The ids that it gives.
    pub ids: RequestIds,
    is_draining: Cell<bool>,
    /// Whether connections end with the response that they carry: the program stops, or another node takes over.
    is_ending: Cell<bool>,
    /// Fetches of caches that are under way here; the control side waits for them too.
    fetches: Arc<AtomicUsize>,
    traces: crate::telemetry::trace::WorkerTraces,
}

/// The newest generation that the worker knows, and what it makes of it.
#[derive(Debug)]
struct Current {
    /// Asked for each request, and then costs a look at one pointer.
    published: Cache<Published, Arc<Snapshot>>,
    view: Rc<WorkerSnapshot>,
}

/// Where generations are published.
#[derive(Debug)]
struct Published(Arc<Shared>);

impl Deref for Published {
    type Target = ArcSwap<Snapshot>;

    fn deref(&self) -> &ArcSwap<Snapshot> {
        &self.0.snapshot
    }
}

/// A fetch under way.
#[derive(Debug)]
pub struct Fetching(Rc<Worker>);

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.fetches.fetch_sub(1, Relaxed);
    }
}

/// Exchanges kept for reuse.
const MOST_SPARE: usize = 1024;
/// Bytes of memory beyond which one is not kept: what is kept is in no account, and is kept for ever.
const LARGEST_SPARE: usize = 8192;

impl Worker {
    /// The state of worker `index`; to be made on its own thread.
    pub fn new(index: usize, shared: Arc<Shared>, log: WorkerLog) -> Rc<Self> {
        let workers = shared.registry.workers();
        let series = workers.get(index).map_or_else(Arc::default, |registry| registry.series.clone());
        let fetches = workers.get(index).map_or_else(Arc::default, |registry| registry.fetches.clone());
        let place = WorkerIndex { worker: index, workers: workers.len() };
        let upstreams = Rc::new(WorkerUpstreams::new(series.clone(), place));
        let current = WorkerSnapshot::new(shared.snapshot.load_full(), upstreams.clone());
        Rc::new(Self {
            index,
            series,
            nobody: Rc::default(),
            connections: Rc::default(),
            tunnels: Rc::default(),
            current: RefCell::new(Current {
                published: Cache::new(Published(shared.clone())),
                view: Rc::new(current),
            }),
            retired: RefCell::default(),
            upstreams,
            log,
            spare: RefCell::default(),
            ids: RequestIds::new(),
            is_draining: Cell::new(false),
            is_ending: Cell::new(false),
            fetches,
            traces: shared.registry.traces.for_worker(),
            shared,
        })
    }

    /// The current snapshot. A new generation is taken over at the first call after its publish.
    #[inline]
    pub fn snapshot(&self) -> Rc<WorkerSnapshot> {
        let Current { published, view } = &mut *self.current.borrow_mut();
        let published = published.load();
        if !Arc::ptr_eq(published, &view.shared) {
            self.advance(view, published.clone());
        }
        view.clone()
    }

    #[cold]
    fn advance(&self, current: &mut Rc<WorkerSnapshot>, published: Arc<Snapshot>) {
        let next = Rc::new(WorkerSnapshot::new(published, self.upstreams.clone()));
        let before = std::mem::replace(current, next);
        let mut retired = self.retired.borrow_mut();
        retired.retain(|slot, _| current.shared.listener(*slot).is_none());
        for listener in &before.shared.listeners {
            if current.shared.listener(listener.slot).is_none() {
                retired.insert(listener.slot, before.clone());
            }
        }
    }

    /// The snapshot for a connection that came over this listener: the current one, or the last one that
    /// had the listener.
    #[inline]
    pub fn snapshot_for(&self, slot: ListenerId) -> Rc<WorkerSnapshot> {
        let current = self.snapshot();
        if current.shared.listener(slot).is_some() {
            return current;
        }
        self.retired.borrow().get(&slot).cloned().unwrap_or(current)
    }

    /// A generation as this worker sees it, be it an old one.
    pub fn snapshot_of(&self, shared: &Arc<Snapshot>) -> Rc<WorkerSnapshot> {
        let current = self.snapshot();
        if Arc::ptr_eq(&current.shared, shared) {
            return current;
        }
        Rc::new(WorkerSnapshot::new(shared.clone(), self.upstreams.clone()))
    }

    /// Whether the program stops.
    pub fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Whether connections of this listener should end with their present exchange: the program stops, another
    /// node takes over, or the listener is gone.
    #[inline]
    pub fn is_closing(&self, slot: ListenerId) -> bool {
        self.is_ending.get() || self.current.borrow().view.shared.listener(slot).is_none()
    }

    /// Whether another node is about to take over, and this one does not stop.
    pub fn is_yielding(&self) -> bool {
        self.is_ending.get() && !self.is_draining.get()
    }

    /// Says that stopping has come to [`Stage::Draining`].
    pub fn begin_draining(&self) {
        debug_assert!(self.shared.drain.stage() >= Stage::Draining);
        self.is_draining.set(true);
        self.is_ending.set(true);
    }

    /// Says whether another node is about to take over.
    pub fn set_yielding(&self, is_yielding: bool) {
        self.is_ending.set(is_yielding || self.is_draining.get());
    }

    /// Says that a fetch of a cache is under way here, until what it gives is dropped. Others may read from it, on any
    /// worker, so that this one does not end before it.
    pub fn begin_fetch(self: &Rc<Self>) -> Fetching {
        self.fetches.fetch_add(1, Relaxed);
        Fetching(self.clone())
    }

    /// Whether a fetch of a cache is under way here.
    pub fn is_fetching(&self) -> bool {
        self.fetches.load(Relaxed) > 0
    }

    /// An exchange to fill.
    pub fn take_exchange(&self) -> Box<Exchange> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes an exchange back whose line in the log is written, or that has none: a part of another, or this program's own.
    pub fn give_back(&self, mut exchange: Box<Exchange>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < MOST_SPARE && exchange.memory() <= LARGEST_SPARE {
            exchange.facts.peer = self.nobody.clone();
            exchange.readings = None;
            spare.push(exchange);
        }
    }

    /// Writes a new request id: unique in this fleet as far as 64 random bits per worker make it.
    pub fn write_id(&self, id: &mut String) {
        self.ids.write(self.ids.take(), id);
    }

    /// The end of an HTTP exchange: its log line, its counts, its memory back.
    pub fn finish(&self, mut exchange: Box<Exchange>, snapshot: &WorkerSnapshot, slot: ListenerId) {
        if exchange.facts.peer.is_own() {
            return self.give_back(exchange);
        }
        let took = Moment::now().since(exchange.facts.started);
        let shared = &snapshot.shared;
        let listener = shared.listener(slot);
        self.record(&exchange.facts, Subject::Http(&exchange), took, (shared, listener));
        if let Some(result) = exchange.cache {
            let route = exchange.facts.route.and_then(|index| shared.routes.get(index));
            let cache = route.and_then(|it| it.cache.as_ref());
            if let Some(counts) = cache.and_then(|cache| cache.store.counts.get(self.index)) {
                counts.add(result);
            }
        }
        let code = exchange.facts.grpc_status.and_then(|code| self.series.grpc.get(code as usize));
        if let Some(count) = code {
            count.add(1);
        }
        if let Some(recording) = exchange.facts.recording.take() {
            let name = listener.map_or("", |listener| &listener.conf.name);
            let write = |out: &mut Vec<u8>| traces::write(&exchange, *recording, shared, name, out);
            self.series.spans_dropped.add(self.traces.add(write));
        }
        self.give_back(exchange);
    }

    /// Counts and logs an exchange that ended, of whatever protocol.
    pub fn record(
        &self,
        facts: &Facts,
        subject: Subject<'_>,
        took: Duration,
        (snapshot, listener): (&Snapshot, Option<&Listener>),
    ) {
        let Snapshot { routes, upstreams, config, no_route, .. } = snapshot;
        let upstream = facts.upstream.and_then(|index| upstreams.get(index));
        let listener_name = listener.map_or(NO_NAME, |listener| listener.name);
        let upstream = upstream.map_or(NO_NAME, |upstream| upstream.name);
        let series = facts.route.and_then(|index| routes.get(index)).map_or(no_route, |it| &it.series);
        if let Some(series) = series.get(self.index) {
            match subject {
                Subject::Http(http) => {
                    let status = http.response.status;
                    series.record(RequestKey { listener: listener_name, upstream, status }, took);
                }
                Subject::Tunnel(_) => {
                    let result = facts.error.as_ref().map_or("ok", |(kind, _)| kind.label());
                    series.record_tunnel(TunnelKey { listener: listener_name, upstream, result }, took);
                }
            }
        }
        if let Some((kind, _)) = &facts.error {
            self.series.errors.count(kind.label());
        }
        if facts.error.is_some()
            && let Some(own) = self.shared.registry.workers().get(self.index)
        {
            failure::note(&own.errors, facts, subject, snapshot, listener);
        }
        self.series.bytes_in.add(facts.bytes_in);
        self.series.bytes_out.add(facts.bytes_out);
        // What peers say every second is worth a line where it was not understood.
        let is_chatter = listener.is_some_and(|listener| listener.hears_peers) && facts.error.is_none();
        if config.log.access != AccessLog::Off && !is_chatter {
            let extra = extra(facts, subject, (snapshot, listener));
            let line = access_line(facts, subject, took, (snapshot, listener));
            let line = AccessLine { extra: &extra, ..line };
            let dropped = self.log.line(|out| match config.log.access_format {
                AccessFormat::Json => line.write_json(out),
                AccessFormat::Common => line.write_common(false, out),
                AccessFormat::Combined => line.write_common(true, out),
            });
            self.series.log_dropped.add(dropped);
        }
    }

    /// What is done now and then: idle connections closed, log handed over.
    pub async fn housekeeping(self: Rc<Self>) {
        let mut turn = 0_u32;
        loop {
            tokio::time::sleep(Duration::from_millis(250)).await;
            self.hand_over();
            account::publish();
            // A worker without requests goes on too.
            let snapshot = self.snapshot();
            turn = turn.wrapping_add(1);
            if turn.is_multiple_of(4) {
                self.upstreams.sweep(&snapshot.shared, Moment::now());
                let mut retired = self.retired.borrow_mut();
                retired.retain(|slot, last| {
                    last.shared.listener(*slot).is_some_and(|it| it.shared.open.load(Relaxed) > 0)
                });
            }
        }
    }

    /// Hands over what it has of the log and of traces, and counts what is not taken.
    fn hand_over(&self) {
        self.series.log_dropped.add(self.log.flush());
        self.series.spans_dropped.add(self.traces.flush());
    }
}

impl Drop for Worker {
    /// What ends with its worker, such as a request that is cut off, has a line and spans that nobody else hands over any
    /// more.
    fn drop(&mut self) {
        self.hand_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::tests::{CONFIG, shared},
        telemetry::access_log::{AccessLog, Sink},
    };

    #[test]
    fn the_last_lines_of_a_worker_are_written_or_counted() {
        let path = std::env::temp_dir().join(format!("pointsman-last-lines-{}", std::process::id()));
        let shared = shared(CONFIG);
        let log = AccessLog::start(Sink::File(path.clone())).unwrap();
        let [worker, late] = [0, 1].map(|index| Worker::new(index, shared.clone(), log.for_worker()));
        for worker in [&worker, &late] {
            assert_eq!(worker.log.line(|out| out.extend_from_slice(b"cut off\n")), 0);
            assert_eq!(worker.traces.add(|_| 2), 0);
        }
        let mut spans = worker.shared.registry.traces.receiver().unwrap();
        drop(worker);
        assert_eq!(spans.try_recv().unwrap().count, 2);
        drop(spans);
        log.finish();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "cut off\n");
        let series = late.series.clone();
        drop(late);
        std::fs::remove_file(&path).unwrap();
        assert_eq!((series.log_dropped.get(), series.spans_dropped.get()), (1, 2));
    }

    #[test]
    fn an_exchange_is_used_again_unless_it_is_large() {
        let log = AccessLog::start(Sink::Off).unwrap();
        let worker = Worker::new(0, shared(CONFIG), log.for_worker());
        let with_field = |length: usize| {
            let mut exchange = worker.take_exchange();
            exchange.reset(&Rc::default(), Moment::default());
            exchange.request.clear();
            exchange.request.fields.push("cookie", &vec![b'a'; length]);
            exchange
        };
        worker.give_back(with_field(1000));
        let memory = worker.spare.borrow()[0].request.fields.memory();
        assert!((1000..LARGEST_SPARE).contains(&memory), "{memory}");
        worker.give_back(with_field(60 << 10));
        assert!(worker.spare.borrow().is_empty(), "it was the one of before, which is large now");
        assert_eq!(worker.take_exchange().memory(), 0);
        for make in [
            |it: &mut Exchange| it.response.fields.push("set-cookie", &[b'a'; 60 << 10]),
            |it: &mut Exchange| it.request.target = "/a".repeat(30 << 10),
            |it: &mut Exchange| it.host = "a".repeat(60 << 10),
        ] {
            let mut exchange = with_field(10);
            make(&mut exchange);
            worker.give_back(exchange);
            assert!(worker.take_exchange().memory() < LARGEST_SPARE);
        }
    }
}
