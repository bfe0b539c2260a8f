//! The queue of an upstream, with the real permits of its workers: exchanges that find every backend full wait, and
//! are called, leave, retry and end while backends come and go.
//!
//! An exchange is a real [`Acquire`](crate::upstream::acquire::Acquire) with a given time and seed, left between its
//! steps, where other workers may come.

mod exchange;

use std::{
    cell::Cell,
    future::pending,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use self::exchange::{Exchange, Step};
pub(super) use self::exchange::{Pick, pick};
use super::{
    fleet,
    seeds::{World, run},
};
use crate::{
    backend::{Backend, Probed},
    balance::{self, Balancer, Policy},
    error::{Kind, Result},
    health::{ejection::Ejection, passive::Passive},
    moment::Moment,
    sync::with_pauses,
    upstream::{
        BackendCounters, Upstream, WorkerUpstream,
        conf::{UpstreamConf, WhenAllDown},
        queue::Queue,
        worker_upstream::WorkerIndex,
    },
};

/// With a backend that is up again and calls nobody.
const ONCE_FAILED: &[u64] = &[9];

struct Stage {
    upstream: Arc<Upstream>,
    workers: Vec<Rc<WorkerUpstream>>,
    exchanges: Vec<Exchange>,
    most: usize,
    number: usize,
    /// A backend is down, so that backups may be used: those who wait hear of it by the clock.
    is_to_settle: bool,
    now: Rc<Cell<Moment>>,
}

const NO_EJECTION: Ejection = Ejection {
    consecutive_failures: 0,
    failure_percent: 0,
    minimum_requests: 1,
    window: Duration::from_secs(10),
    base_ejection: Duration::from_secs(30),
    max_ejected_percent: 50,
};

impl Stage {
    fn new(conf: &UpstreamConf, world: &mut World) -> Self {
        let most = world.rng.usize(0..6);
        let queue = Arc::new(Queue::new(most));
        queue.set_when_all_down(conf.when_all_down);
        let backends: Vec<_> = (0..world.rng.usize(1..4)).map(fleet::backend).map(Arc::new).collect();
        let mut stage = Self {
            upstream: upstream(conf, queue, backends, WORKERS),
            workers: Vec::new(),
            exchanges: Vec::new(),
            most,
            number: 0,
            is_to_settle: false,
            now: Rc::new(Cell::new(world.now)),
        };
        stage.publish(conf, world);
        stage
    }

    /// Another generation: other limits for the same backends, sometimes one more, and sometimes a queue of another size. Who
    /// has come stays with his own.
    fn publish(&mut self, conf: &UpstreamConf, world: &mut World) {
        if world.chance(40) {
            self.most = world.rng.usize(0..6);
            self.upstream.queue.set_most(self.most);
        }
        let limited = |world: &mut World, backend: &Arc<Backend>| {
            Arc::new(Backend {
                max_connections: world.one_of(&[0, 1, 1, 2]),
                backup: world.chance(20),
                ..fleet::again(backend)
            })
        };
        let mut backends: Vec<_> = self.upstream.backends.iter().map(|it| limited(world, it)).collect();
        if backends.len() < 4 && world.chance(40) {
            backends.push(limited(world, &Arc::new(fleet::backend(backends.len()))));
        }
        let limits: Vec<_> = backends.iter().map(|it| (it.max_connections, it.backup)).collect();
        world.record(|| format!("a generation: at most {} wait, limits and backups {limits:?}", self.most));
        self.upstream = upstream(conf, self.upstream.queue.clone(), backends, WORKERS);
        // As a reload does.
        self.upstream.backends.iter().for_each(|backend| backend.set_limit());
        self.upstream.queue.call_if_free(world.now);
        self.workers = (0..WORKERS)
            .map(|worker| {
                let place = WorkerIndex { worker, workers: WORKERS };
                let before = self.workers.get(worker).map(|it| &**it);
                let rng = world.rng.fork();
                Rc::new(WorkerUpstream::new(self.upstream.clone(), Arc::default(), place, rng, before))
            })
            .collect();
    }

    /// Has an exchange ask for a place; whether it goes on.
    fn begin(&mut self, exchange: &mut Exchange, world: &mut World) -> bool {
        let sticky = world.chance(20).then(|| world.rng.usize(0..4));
        exchange.step =
            Step::Asks(pick(exchange.worker.clone(), exchange.tried.clone(), sticky, self.now.clone()), None);
        let do_own_wait = self.does_wait(exchange);
        let is_other_to_be_called = self
            .exchanges
            .iter()
            .any(|other| !self.free(other, &[], world.now).is_empty() && self.does_wait(other));
        let Err(error) = self.go_on(exchange, world) else {
            // Where nobody may wait, there is no other way to a place than at once.
            let may_overtake = !do_own_wait && (!is_other_to_be_called || self.most == 0);
            assert!(may_overtake || !exchange.holds(), "it overtakes those who wait");
            return true;
        };
        let queue = &self.upstream.queue;
        let free = self.free(exchange, &exchange.tried, world.now);
        assert!(free.is_empty() || do_own_wait, "there was a place at {free:?}");
        match error.kind() {
            Kind::QueueFull => assert!(queue.len() >= self.most, "the queue was not full"),
            Kind::NoBackend => {}
            other => panic!("nothing else can fail: {other:?}"),
        }
        false
    }

    /// The backends that an exchange may have now.
    fn free(&self, exchange: &Exchange, tried: &[usize], now: Moment) -> Vec<usize> {
        let backends = &exchange.worker.upstream.backends;
        let despite_health = self.upstream.queue.uses_all() && balance::are_all_down(backends, now);
        fleet::allowed(backends, tried, now, despite_health)
    }

    /// Whether there is nothing that an exchange could wait for.
    fn is_hopeless(&self, exchange: &Exchange, now: Moment) -> bool {
        let backends = &exchange.worker.upstream.backends;
        let is_used = |backend: &Arc<Backend>| fleet::stands(backend, now, self.upstream.queue.uses_all());
        !backends.iter().any(is_used)
    }

    /// Whether somebody stands in the queue for the backends that this one knows.
    fn does_wait(&self, exchange: &Exchange) -> bool {
        self.upstream.queue.has_waiters_of(exchange.worker.upstream.passive.backends())
    }

    /// Does the next step of an exchange; the error is how it ends.
    fn go_on(&self, exchange: &mut Exchange, world: &mut World) -> Result<()> {
        let (number, result) = (exchange.number, exchange.go_on());
        world.record(|| match &result {
            Ok(()) => format!("exchange {number}: {}", exchange.name()),
            Err(error) => format!("exchange {number} is refused: {error}"),
        });
        result
    }

    fn arrive(&mut self, world: &mut World) {
        self.number += 1;
        let worker = self.workers[world.rng.usize(0..WORKERS)].clone();
        let step = Step::Asks(Box::pin(pending()), None);
        let mut exchange =
            Exchange { number: self.number, worker, tried: Vec::new(), woken: Arc::default(), step };
        if self.begin(&mut exchange, world) {
            self.exchanges.push(exchange);
        }
    }

    /// Lets time pass, which calls nobody.
    fn wait(&mut self, world: &mut World) {
        world.wait(Duration::from_secs(2));
        self.now.set(world.now);
    }

    /// One of those that `which` is about.
    fn choose(&self, world: &mut World, which: impl Fn(&Exchange) -> bool) -> Option<usize> {
        let all: Vec<usize> = (0..self.exchanges.len()).filter(|at| which(&self.exchanges[*at])).collect();
        (!all.is_empty()).then(|| world.one_of(&all))
    }

    /// Has something done with one of those that `which` is about.
    fn with(
        &mut self,
        world: &mut World,
        which: impl Fn(&Exchange) -> bool,
        act: impl FnOnce(&mut Self, usize, &mut World),
    ) {
        if let Some(at) = self.choose(world, which) {
            act(self, at, world);
        }
    }

    fn step_one(&mut self, at: usize, world: &mut World) {
        let mut exchange = self.exchanges.remove(at);
        match self.go_on(&mut exchange, world) {
            Ok(()) => self.exchanges.insert(at, exchange),
            Err(error) => {
                assert_eq!(
                    error.kind(),
                    Kind::NoBackend,
                    "who was let into the queue is not refused any more"
                );
                assert!(self.is_hopeless(&exchange, world.now), "there is something to wait for");
            }
        }
    }

    /// One leaves: its client has, its time is over, or the exchange is done.
    fn end(&mut self, at: usize, world: &mut World) {
        let exchange = self.exchanges.remove(at);
        world.record(|| format!("exchange {} ends: {}", exchange.number, exchange.name()));
    }

    /// An attempt failed: another backend is tried.
    fn retry(&mut self, at: usize, world: &mut World) {
        let mut exchange = self.exchanges.remove(at);
        let Step::Holds(permit) = exchange.step else { unreachable!() };
        exchange.tried.push(permit.index());
        drop(permit);
        world.record(|| format!("exchange {} tries another than {:?}", exchange.number, exchange.tried));
        exchange.step = Step::Asks(Box::pin(pending()), None);
        if self.begin(&mut exchange, world) {
            self.exchanges.insert(at, exchange);
        }
    }

    fn change_health(&mut self, world: &mut World) {
        let index = world.rng.usize(0..self.upstream.backends.len());
        let probed = world.one_of(&[Probed::Up, Probed::Down]);
        world.record(|| format!("backend {index}: {probed:?}"));
        fleet::set_probed(&self.upstream.backends[index], probed);
        // As the control side does with what checks change.
        self.upstream.queue.call_if_free(world.now);
        self.is_to_settle |= probed == Probed::Down;
    }

    /// Lets everyone go on who can, in any order, until all sleep or have a place.
    fn come_to_rest(&mut self, world: &mut World) {
        if std::mem::take(&mut self.is_to_settle) {
            self.upstream.queue.call_if_free(world.now);
        }
        for steps in 0.. {
            assert!(steps < 1_000, "they keep each other awake");
            let Some(at) = self.choose(world, Exchange::can_go_on) else { break };
            self.step_one(at, world);
        }
        // For anyone: backups that only a retry may have are no reason to wake one who is first.
        for exchange in self.exchanges.iter().filter(|it| it.is_waiting()) {
            let (number, free) = (exchange.number, self.free(exchange, &[], world.now));
            assert!(free.is_empty(), "exchange {number} sleeps, and {free:?} are free");
            assert!(!self.is_hopeless(exchange, world.now), "exchange {number} sleeps, and all are down");
        }
    }

    fn hold(&self) {
        for (index, backend) in self.upstream.backends.iter().enumerate() {
            let is_here = |it: &&Exchange| matches!(&it.step, Step::Holds(permit) if permit.index() == index);
            let held = self.exchanges.iter().filter(is_here).count();
            assert_eq!(backend.in_flight() as usize, held, "places at backend {index}");
        }
        let waiting = self.exchanges.iter().filter(|it| it.is_waiting()).count();
        assert!(self.upstream.queue.len() <= waiting, "nobody stands in the queue who has left");
    }
}

const WORKERS: usize = 2;

/// An upstream of these backends, that so many workers see.
pub(super) fn upstream(
    conf: &UpstreamConf,
    queue: Arc<Queue>,
    backends: Vec<Arc<Backend>>,
    workers: usize,
) -> Arc<Upstream> {
    let counters = || backends.iter().map(|_| BackendCounters::default()).collect();
    Arc::new(Upstream {
        conf: conf.clone(),
        name: 0,
        generation: 1,
        tls: None,
        passive: Passive::new(NO_EJECTION, &backends, workers),
        queue,
        sessions: Arc::default(),
        balancer: Balancer::build(Policy::RoundRobin, 0.0, &backends, 0),
        own: (0..workers).map(|_| counters()).collect(),
        files: 0,
        backends,
    })
}

fn simulate(conf: &UpstreamConf, world: &mut World) {
    let mut stage = Stage::new(conf, world);
    for _ in 0..world.rng.usize(10..60) {
        match world.rng.u8(0..100) {
            0..30 => stage.arrive(world),
            30..65 => stage.with(world, Exchange::can_go_on, Stage::step_one),
            65..80 => stage.with(world, Exchange::holds, Stage::end),
            80..85 => stage.with(world, Exchange::can_leave, Stage::end),
            85..90 => stage.with(world, Exchange::holds, Stage::retry),
            90..94 => stage.change_health(world),
            94..96 => stage.wait(world),
            96..98 => stage.publish(conf, world),
            _ => stage.come_to_rest(world),
        }
        stage.hold();
    }
    // Everyone comes to his turn, with the backends that are up.
    stage.come_to_rest(world);
    while let Some(at) = stage.choose(world, Exchange::holds) {
        stage.end(at, world);
        stage.come_to_rest(world);
        stage.hold();
    }
    stage.exchanges.clear();
    stage.hold();
    assert!(stage.upstream.queue.is_empty());
}

/// An upstream's configuration with nothing in particular.
pub(super) fn conf() -> UpstreamConf {
    let text = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"all\"\nupstream = \"app\"\n\
                [[upstream]]\nname = \"app\"\n[[upstream.backend]]\naddress = \"127.0.0.1:1\"\n";
    let config = crate::config::parse(text, "test.toml".as_ref()).unwrap();
    config.upstream[0].clone()
}

#[test]
fn queue() {
    let conf = conf();
    run("queue", ONCE_FAILED, |world| simulate(&conf, world));
}

#[test]
fn queue_where_all_are_used_when_all_are_down() {
    let conf = UpstreamConf { when_all_down: WhenAllDown::UseAll, ..conf() };
    run("queue::queue_where_all_are_used_when_all_are_down", &[], |world| simulate(&conf, world));
}

/// Those who came before a reload wait for what was full then, whatever there is now.
#[test]
fn free_backend_is_had_though_others_wait_by_earlier_generation() {
    let (conf, now) = (conf(), Moment::now());
    let queue = Arc::new(Queue::new(100));
    let worker = |backend: Backend| {
        let upstream = upstream(&conf, queue.clone(), vec![Arc::new(backend)], 1);
        let place = WorkerIndex { worker: 0, workers: 1 };
        Rc::new(WorkerUpstream::new(upstream, Arc::default(), place, fastrand::Rng::with_seed(1), None))
    };
    let before = worker(Backend { max_connections: 1, ..fleet::backend(0) });
    let set_in_flight = |count| before.upstream.backends[0].shared.in_flight.0.store(count, Relaxed);
    set_in_flight(1);
    let ask = |worker: &Rc<WorkerUpstream>| pick(worker.clone(), Vec::new(), None, Rc::new(Cell::new(now)));
    let is_ready = |pick: &mut Pick| {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(with_pauses(|| pick.as_mut().poll(&mut cx)).0, Poll::Ready(Ok(_)))
    };
    let mut first = ask(&before);
    assert!(!is_ready(&mut first) && queue.len() == 1);
    for most in [0, 1] {
        queue.set_most(most);
        let after = worker(Backend { max_connections: 2, ..fleet::backend(1) });
        let held: Vec<_> = (0..2).map(|_| after.pick(0, &[], now).unwrap()).collect();
        let refused = with_pauses(|| ask(&after).as_mut().poll(&mut Context::from_waker(Waker::noop()))).0;
        assert_eq!(matches!(refused, Poll::Ready(Err(_))), most == 0, "it is full");
        drop(held);
        for _ in 0..2 {
            assert!(is_ready(&mut ask(&after)), "at most {most} wait");
            assert_eq!(queue.len(), 1, "nobody was called for what he does not know");
        }
    }
    // With a place for the one who waits too, who may not wait does not stand back for him.
    set_in_flight(0);
    queue.set_most(0);
    assert!(is_ready(&mut ask(&worker(fleet::backend(2)))));
}
