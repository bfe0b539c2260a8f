//! Upstreams: picking a backend, connections to it, attempts and retries.
//!
//! Previous stop: `http::handle`, which has a route. Next stop: `http::body`, which brings the response
//! to the client. An [`Upstream`] belongs to a snapshot and is shared by all workers; a [`Group`] is an
//! upstream as one worker sees it, with balancer state, pools and counters of its own.

pub mod affinity;
mod attempt;
pub mod conf;
pub mod discover;
pub mod forward;
pub mod pool;
pub mod queue;
pub mod retry;
pub mod upload;
pub mod verdict;

use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};

use self::{conf::UpstreamConf, pool::Pool, queue::Queue, retry::Budget};
use crate::{
    backend::Backend,
    balance::{Balancer, Pick},
    error::{Kind, ProxyError, Result},
    health::{
        Change, Condition,
        passive::{Passive, Verdict},
    },
    moment::Moment,
    net::{
        Wire,
        dial::{self, Target},
    },
    telemetry::metrics::{BackendSeries, WorkerSeries},
};

/// An upstream of a snapshot.
#[derive(Debug)]
pub struct Upstream {
    /// Its configuration.
    pub conf: UpstreamConf,
    /// Its backends; everywhere else a backend is its index here.
    pub backends: Vec<Arc<Backend>>,
    /// TLS to the backends, when there is any.
    pub tls: Option<ClientTls>,
    /// What real traffic says of the backends.
    pub passive: Passive,
    /// Who waits for a backend.
    pub queue: Arc<Queue>,
    /// Tables of the balancing policy, made once for all workers.
    pub balancer: Balancer,
}

impl Upstream {
    /// Logs that a backend's state changed, and why.
    pub fn log_change(&self, change: &Change) {
        let backend = self.backends.get(change.index).map_or("?", |backend| &backend.name);
        let upstream = &self.conf.name;
        match change.condition {
            Condition::Up => tracing::info!(%upstream, backend, "backend is up: {}", change.reason),
            Condition::Down => tracing::warn!(%upstream, backend, "backend is down: {}", change.reason),
            Condition::Ejected => tracing::warn!(%upstream, backend, "backend is ejected: {}", change.reason),
        }
    }
}

/// How TLS to backends is done.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Roots, versions, client certificate.
    pub config: Arc<ClientConfig>,
    /// The name to ask for and to verify; the backend's host, or the request's, when there is none.
    pub server_name: Option<ServerName<'static>>,
}

/// An upstream as one worker sees it.
#[derive(Debug)]
pub struct Group {
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// Counters by backend.
    pub series: Vec<Arc<BackendSeries>>,
    /// The worker's own counters.
    pub worker: Arc<WorkerSeries>,
    balancer: RefCell<Balancer>,
    pools: Vec<Pool>,
    rng: RefCell<fastrand::Rng>,
    budget: Budget,
    index: usize,
}

impl Group {
    /// What `worker` keeps of an upstream.
    pub fn new(
        upstream: Arc<Upstream>,
        series: Vec<Arc<BackendSeries>>,
        counters: Arc<WorkerSeries>,
        (worker, workers): (usize, usize),
    ) -> Self {
        let conf = &upstream.conf;
        // Each worker has its share of what the upstream may do.
        let per_second = f64::from(conf.retry.budget_min_per_second) / workers as f64;
        let budget = Budget::new(conf.retry.budget_percent, per_second);
        let pool = || Pool::new(conf.max_idle as usize, conf.idle_timeout);
        let pools = upstream.backends.iter().map(|_| pool()).collect();
        let balancer = RefCell::new(upstream.balancer.for_worker(worker));
        let rng = RefCell::new(fastrand::Rng::new());
        Self { upstream, series, worker: counters, balancer, pools, rng, budget, index: worker }
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

    /// Takes a retry from the budget.
    pub fn may_retry(&self, now: Moment) -> bool {
        let is_left = self.budget.try_retry(now);
        let count = if is_left { &self.worker.retries } else { &self.worker.retries_refused };
        count.add(1);
        is_left
    }

    /// Tells passive health how an attempt went; a change is logged.
    pub fn record_health(&self, index: usize, verdict: Verdict, now: Moment) {
        if let Some(change) = self.upstream.passive.record(self.index, index, verdict, now) {
            self.upstream.log_change(&change);
        }
    }

    /// The balancer's measurements and state.
    pub fn with_balancer<T>(&self, use_it: impl FnOnce(&mut Balancer) -> T) -> T {
        use_it(&mut self.balancer.borrow_mut())
    }

    /// Closes idle connections that are too old or were closed at the other end.
    pub fn sweep(&self, now: Moment) {
        self.pools.iter().for_each(|pool| pool.sweep(now));
    }

    fn pool(&self, index: usize) -> Option<&Pool> {
        self.pools.get(index)
    }
}

/// A place at a backend: counted in `in_flight` until it is dropped.
#[derive(Debug)]
pub struct Permit {
    group: Rc<Group>,
    index: usize,
}

impl Permit {
    fn take(group: &Rc<Group>, index: usize) -> Option<Self> {
        let backend = group.upstream.backends.get(index)?;
        let before = backend.shared.in_flight.0.fetch_add(1, Relaxed);
        let permit = Self { group: group.clone(), index };
        // Dropping the permit takes the count back.
        (backend.max_connections == 0 || before < backend.max_connections).then_some(permit)
    }

    /// Index of the backend in its upstream.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The upstream as this worker sees it.
    pub fn group(&self) -> &Rc<Group> {
        &self.group
    }

    /// The backend.
    pub fn backend(&self) -> Option<&Arc<Backend>> {
        self.group.upstream.backends.get(self.index)
    }

    /// An idle connection to the backend.
    pub fn reuse(&self, now: Moment) -> Option<Wire> {
        let wire = self.group.pool(self.index)?.take(now)?;
        self.group.worker.pool_reused.add(1);
        Some(wire)
    }

    /// Keeps a connection for the next exchange.
    pub fn keep(&self, wire: Wire, now: Moment) {
        if let Some(pool) = self.group.pool(self.index) {
            pool.put(wire, now);
        }
    }

    /// Counts bytes that came from or went to the backend.
    pub fn count_bytes(&self, bytes: u64) {
        if let Some(series) = self.group.series.get(self.index) {
            series.bytes.add(bytes);
        }
        self.group.with_balancer(|balancer| balancer.on_bytes(self.index, bytes, Moment::now()));
    }

    /// A new connection. `host` is the request's, for TLS where no other name is given.
    pub async fn dial(&self, host: &str) -> Result<Wire> {
        let backend = self.backend().ok_or(Kind::NoBackend)?;
        self.group.worker.pool_dialled.add(1);
        let plain = match &backend.address {
            crate::backend::Address::Unix(path) => dial::plain(&Target::Unix(path.clone())).await?,
            _ => {
                let addresses = addresses(backend).await;
                if addresses.is_empty() {
                    return Err(Kind::Unresolved.into());
                }
                let start = self.group.rng.borrow_mut().usize(0..addresses.len());
                let mut last = ProxyError::new(Kind::Unresolved);
                let mut connected = None;
                for address in addresses.iter().cycle().skip(start).take(addresses.len()) {
                    match dial::plain(&Target::Tcp(*address)).await {
                        Ok(plain) => {
                            connected = Some(plain);
                            break;
                        }
                        Err(error) => last = error,
                    }
                }
                connected.ok_or(last)?
            }
        };
        let stream = match &self.group.upstream.tls {
            None => crate::net::Stream::Plain(plain),
            Some(tls) => {
                let name = tls.name_for(backend, host)?;
                dial::tls(plain, tls.config.clone(), name).await?
            }
        };
        Ok(Wire::new(stream, crate::net::Block::default()))
    }
}

/// The addresses of a backend. Right after the start its name may still be looked up for the first time;
/// that is waited for, and the caller bounds the time.
async fn addresses(backend: &Backend) -> Arc<Vec<SocketAddr>> {
    loop {
        let is_looked_up = backend.shared.is_looked_up.load(Relaxed);
        let addresses = backend.shared.resolved.load_full();
        if !addresses.is_empty() || is_looked_up {
            return addresses;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(backend) = self.group.upstream.backends.get(self.index) {
            backend.shared.in_flight.0.fetch_sub(1, Relaxed);
            if backend.max_connections > 0 {
                self.group.upstream.queue.call_next();
            }
        }
    }
}

impl ClientTls {
    /// The name to ask this backend for: configured, else the backend's host, else the request's.
    pub fn name_for(&self, backend: &Backend, host: &str) -> Result<ServerName<'static>> {
        if let Some(name) = &self.server_name {
            return Ok(name.clone());
        }
        let name = match &backend.address {
            crate::backend::Address::Host { host, .. } => host,
            crate::backend::Address::Unix(_) | crate::backend::Address::Srv(_) => host,
        };
        ServerName::try_from(name.to_owned()).map_err(|error| ProxyError::because(Kind::UpstreamTls, error))
    }
}
