//! An upstream as one worker sees it: its balancer's state, its idle connections, its counters.
//!
//! A [`WorkerUpstream`] belongs to one generation of its upstream. The next one takes over what the worker had:
//! whose turn it is, the connections to backends that remain, the retry budget. Averages and counts need
//! no taking over: they are in rows that the registry keeps.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    Upstream,
    announce::Opening,
    http2_pool::Http2Pool,
    pool::Pool,
    pools::{Pools, pools},
    retry::Budget,
};
use crate::{
    backend::{Address, Backend},
    balance::{Balancer, Pick},
    error::{Kind, Result},
    exchange::Way,
    health::{
        Change,
        passive::{FailureKind, Said, Verdict},
    },
    moment::Moment,
    net::{
        Http1Stream, Stream,
        dial::{self, Target},
        happy_eyeballs,
    },
    telemetry::metrics::{BackendSeries, Outcome, WorkerSeries},
};

/// An upstream as one worker sees it.
#[derive(Debug)]
pub struct WorkerUpstream {
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// Counters by backend.
    pub series: Vec<Arc<BackendSeries>>,
    /// The worker's own counters.
    pub worker: Arc<WorkerSeries>,
    balancer: RefCell<Balancer>,
    pools: Vec<Rc<Pools>>,
    rng: RefCell<fastrand::Rng>,
    budget: Rc<Budget>,
    index: usize,
}

/// Which worker of how many.
#[derive(Clone, Copy, Debug)]
pub struct WorkerIndex {
    /// Its index.
    pub worker: usize,
    /// How many there are.
    pub workers: usize,
}

impl WorkerUpstream {
    /// What a worker keeps of an upstream; `rng` decides what its policies leave to chance, and `before` is what it kept
    /// of the generation before.
    pub fn new(
        upstream: Arc<Upstream>,
        counters: Arc<WorkerSeries>,
        place: WorkerIndex,
        rng: fastrand::Rng,
        before: Option<&Self>,
    ) -> Self {
        let conf = &upstream.conf;
        let own = upstream.own.get(place.worker).map_or(&[][..], |own| own);
        let series = own.iter().map(|own| own.series.clone()).collect();
        let rows = own.iter().map(|own| own.row.clone()).collect();
        let mut balancer = upstream.balancer.with_rows(place.worker, rows);
        let map = before.map(|before| upstream.map_from(&before.upstream)).unwrap_or_default();
        if let Some(before) = before {
            balancer.carry_over(&before.balancer.borrow(), &map);
        }
        // Each worker has its share of what the upstream may do.
        let per_second = f64::from(conf.retry.budget_min_per_second) / place.workers.max(1) as f64;
        let budget = before.map_or_else(|| Rc::new(Budget::new(0, 0.0)), |before| before.budget.clone());
        budget.set(conf.retry.budget_percent, per_second);
        let kept = before.map(|before| (&*before.upstream, &*before.pools));
        Self {
            pools: pools(&upstream, kept, &map),
            balancer: RefCell::new(balancer),
            rng: RefCell::new(rng),
            index: place.worker,
            worker: counters,
            upstream,
            series,
            budget,
        }
    }

    /// Picks a backend and counts the exchange there; `None` when no backend may take it now.
    pub fn pick(self: &Rc<Self>, key: u64, tried: &[usize], now: Moment) -> Option<Permit> {
        let backends = &self.upstream.backends;
        let mut balancer = self.balancer.borrow_mut();
        let mut rng = self.rng.borrow_mut();
        // Between the pick and the count another worker may have taken the last place.
        for _ in 0..=backends.len() {
            let pick = Pick { key, tried, now, rng: &mut rng };
            let index = balancer.pick(backends, pick)?;
            if let Some(permit) = Permit::take(self, index) {
                balancer.on_start(index, now);
                return Some(permit);
            }
        }
        None
    }

    /// Takes the backend that a sticky cookie names, if it may take the exchange.
    pub fn pick_index(self: &Rc<Self>, index: usize, now: Moment) -> Option<Permit> {
        self.upstream.backends.get(index).filter(|backend| backend.is_available(now))?;
        let permit = Permit::take(self, index)?;
        self.balancer.borrow_mut().on_start(index, now);
        Some(permit)
    }

    /// Takes a backend whose connection is there already, as long as administration lets it have exchanges.
    pub fn pick_bound(self: &Rc<Self>, index: usize, now: Moment) -> Option<Permit> {
        self.upstream.backends.get(index).filter(|backend| backend.is_enabled())?;
        let permit = Permit::take(self, index)?;
        self.balancer.borrow_mut().on_start(index, now);
        Some(permit)
    }

    /// Takes a backend that knows this client already, whatever health and administration say of it.
    pub fn pick_kept(self: &Rc<Self>, index: usize, now: Moment) -> Option<Permit> {
        let permit = Permit::take(self, index)?;
        self.balancer.borrow_mut().on_start(index, now);
        Some(permit)
    }

    /// With every backend down and `when_all_down = "use-all"`: one as the policy says, whatever its
    /// health.
    pub fn pick_despite_health(self: &Rc<Self>, key: u64, tried: &[usize], now: Moment) -> Option<Permit> {
        let mut rng = self.rng.borrow_mut();
        let mut balancer = self.balancer.borrow_mut();
        let pick = Pick { key, tried, now, rng: &mut rng };
        let index = balancer.pick_despite_health(&self.upstream.backends, pick)?;
        let permit = Permit::take(self, index)?;
        balancer.on_start(index, now);
        Some(permit)
    }

    /// Counts a request, of which the retry budget is a share.
    pub fn on_request(&self, now: Moment) {
        self.budget.on_request(now);
    }

    /// Whether a retry is left in the budget, for one who takes it once there is a backend to try.
    pub fn has_retry(&self, now: Moment) -> bool {
        let is_left = self.budget.has_retry(now);
        if !is_left {
            self.worker.retries_refused.add(1);
        }
        is_left
    }

    /// Takes a retry from the budget.
    pub fn may_retry(&self, now: Moment) -> bool {
        let is_left = self.budget.try_retry(now);
        let count = if is_left { &self.worker.retries } else { &self.worker.retries_refused };
        count.add(1);
        is_left
    }

    /// Tells passive health how an attempt went; a change is logged.
    pub fn record_health(&self, index: usize, verdict: Verdict, now: Moment) {
        self.note(self.upstream.passive.record(self.index, index, verdict, now));
    }

    /// Tells passive health of a success whose body is to come.
    pub(super) fn say_success(&self, index: usize, now: Moment) -> Option<Said> {
        self.upstream.passive.say(self.index, index, now)
    }

    /// Tells passive health that a response came with all of its body.
    pub(super) fn came_whole(&self, index: usize, now: Moment) {
        self.upstream.passive.came_whole(index, now);
    }

    /// Tells passive health that this success was none, since its body broke off.
    pub(super) fn take_back(&self, index: usize, failure: (Said, FailureKind), now: Moment) {
        self.note(self.upstream.passive.take_back(self.index, index, failure, now));
    }

    fn note(&self, change: Option<Change>) {
        if let Some(change) = change {
            self.upstream.log_change(&change);
            // There may be nothing to wait for any more.
            self.upstream.queue.call_if_free(Moment::recent());
        }
    }

    /// The balancer's measurements and state.
    pub fn with_balancer<T>(&self, use_it: impl FnOnce(&mut Balancer) -> T) -> T {
        use_it(&mut self.balancer.borrow_mut())
    }

    /// Closes idle connections that are too old or were closed at the other end.
    pub fn sweep(&self, now: Moment) {
        self.pools.iter().for_each(|pools| {
            pools.http1.sweep(now);
            pools.http2.sweep();
        });
    }

    /// Closes what is idle, and keeps nothing any more: the upstream is gone.
    pub fn close(&self) {
        self.pools.iter().for_each(|pool| pool.close());
    }

    /// A new connection to a backend, over which the opening is said first.
    pub(super) async fn dial(&self, index: usize, opening: &Opening) -> Result<Stream> {
        let first = &*opening.header;
        let backend = self.upstream.backends.get(index).ok_or(Kind::NoBackend)?;
        self.worker.pool_dialled.add(1);
        let mut plain = match &backend.address {
            Address::Unix(path) => dial::plain(&Target::Unix(path.clone()), first).await?,
            _ => {
                let addresses = backend.addresses().await;
                if addresses.is_empty() {
                    let is_ours = backend.shared.has_no_socket.load(Relaxed);
                    return Err(if is_ours { Kind::NoSocket } else { Kind::Unresolved }.into());
                }
                let (chance, now) = (self.rng.borrow_mut().usize(..), Moment::now());
                let ordered = backend.shared.in_order(&addresses, chance, now);
                let within = self.upstream.conf.connect_timeout;
                let outcome = happy_eyeballs::connect(&ordered, within, first).await;
                backend.shared.put_behind(&outcome.behind, Moment::now());
                outcome.connected?
            }
        };
        match &self.upstream.tls {
            None => {
                dial::ask_for_tls(&mut plain, opening.starttls).await?;
                Ok(Stream::Plain(plain))
            }
            Some(tls) => {
                let name = tls.name_for(backend)?;
                let config = tls.http2.as_ref().filter(|_| opening.offers_http2).unwrap_or(&tls.config);
                dial::ask_for_tls(&mut plain, self.upstream.conf.starttls).await?;
                dial::tls(plain, config.clone(), name).await
            }
        }
    }

    /// Notes that a backend agreed on HTTP/1.1 over this connection, which the next exchange uses.
    pub(super) fn set_http1(&self, index: usize, stream: Http1Stream) {
        if let Some(pools) = self.pools.get(index) {
            pools.http2.set_http1();
            pools.http1.put(stream, Moment::recent());
        }
    }

    /// How connections to a backend are opened.
    pub(super) fn way_to(&self, index: usize) -> Option<&Way> {
        self.pools.get(index).map(|pools| &pools.way)
    }

    fn pool(&self, index: usize) -> Option<&Pool> {
        self.pools.get(index).map(|pools| &pools.http1)
    }
}

/// A place at a backend: counted in `in_flight` until it is dropped.
#[derive(Debug)]
pub struct Permit {
    worker_upstream: Rc<WorkerUpstream>,
    /// So small that the outcome finds its room beside it.
    index: u32,
    /// What the attempt comes to so far, and is counted as once it is over.
    outcome: Cell<Option<Outcome>>,
}

impl Permit {
    fn take(worker_upstream: &Rc<WorkerUpstream>, index: usize) -> Option<Self> {
        let backend = worker_upstream.upstream.backends.get(index)?;
        let index = u32::try_from(index).ok()?;
        let before = backend.shared.in_flight.0.fetch_add(1, Relaxed);
        let permit = Self { worker_upstream: worker_upstream.clone(), index, outcome: Cell::new(None) };
        // Dropping the permit takes the count back.
        backend.takes(before).then_some(permit)
    }

    /// Index of the backend in its upstream.
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// The upstream as this worker sees it.
    pub fn worker_upstream(&self) -> &Rc<WorkerUpstream> {
        &self.worker_upstream
    }

    /// The backend.
    pub fn backend(&self) -> Option<&Arc<Backend>> {
        self.worker_upstream.upstream.backends.get(self.index())
    }

    /// An idle connection to the backend, that was used no longer ago than `most_idle`.
    pub fn reuse(&self, now: Moment, most_idle: Duration) -> Option<Http1Stream> {
        let stream = self.worker_upstream.pool(self.index())?.take(now, most_idle)?;
        self.worker_upstream.worker.pool_reused.add(1);
        Some(stream)
    }

    /// Keeps a connection for the next exchange.
    pub fn keep(&self, stream: Http1Stream, now: Moment) {
        if let Some(pool) = self.worker_upstream.pool(self.index()) {
            pool.put(stream, now);
        }
    }

    /// Connections to the backend that exchanges share.
    pub(super) fn http2(&self) -> Option<&Http2Pool> {
        self.worker_upstream.pools.get(self.index()).map(|pools| &pools.http2)
    }

    /// Has the attempt counted as this once it is over, unless it comes to something else.
    pub(super) fn set_outcome(&self, outcome: Outcome) {
        self.outcome.set(Some(outcome));
    }

    /// Counts what the attempt has come to.
    pub(super) fn count_outcome(&self) {
        if let Some(outcome) = self.outcome.take()
            && let Some(series) = self.worker_upstream.series.get(self.index())
        {
            series.record(outcome);
        }
    }

    /// Counts a stream that was opened to the backend.
    pub(super) fn count_stream(&self) {
        if let Some(series) = self.worker_upstream.series.get(self.index()) {
            series.http2_streams.add(1);
        }
    }

    /// Counts bytes that came from or went to the backend.
    pub fn count_bytes(&self, bytes: u64) {
        if let Some(series) = self.worker_upstream.series.get(self.index()) {
            series.bytes.add(bytes);
        }
        self.worker_upstream
            .with_balancer(|balancer| balancer.on_bytes(self.index(), bytes, Moment::recent()));
    }

    /// A new connection, over which the opening is said first.
    pub async fn dial(&self, opening: &Opening) -> Result<Stream> {
        self.worker_upstream.dial(self.index(), opening).await
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.count_outcome();
        if let Some(backend) = self.worker_upstream.upstream.backends.get(self.index()) {
            backend.shared.in_flight.0.fetch_sub(1, Relaxed);
            if backend.is_limited() {
                let upstream = &self.worker_upstream.upstream;
                upstream.queue.call_next(upstream.passive.backends());
            }
        }
    }
}
