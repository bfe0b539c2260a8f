//! The queue of an upstream, with the real permits of its workers: exchanges that find every backend full wait, and
//! are called, leave, retry and end while backends come and go.
//!
//! What an exchange does here is what `Attempt::pick` does, cut into steps between which every other may come.

mod exchange;

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::Context,
    time::Duration,
};

use self::exchange::{Exchange, Step};
use super::{
    fleet,
    seeds::{World, run},
};
use crate::{
    backend::{Backend, Probed},
    balance::{Balancer, Policy},
    health::{ejection::Ejection, passive::Passive},
    upstream::{
        BackendCounters, Permit, Upstream, WorkerUpstream,
        conf::UpstreamConf,
        queue::{Place, Queue},
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
        let backends: Vec<_> = (0..world.rng.usize(1..4)).map(fleet::backend).map(Arc::new).collect();
        let mut stage = Self {
            upstream: upstream(conf, queue, backends),
            workers: Vec::new(),
            exchanges: Vec::new(),
            most,
            number: 0,
            is_to_settle: false,
        };
        stage.publish(conf, world);
        stage
    }

    /// Another generation: other limits for the same backends.
    fn publish(&mut self, conf: &UpstreamConf, world: &mut World) {
        let limited = |world: &mut World, backend: &Arc<Backend>| {
            Arc::new(Backend {
                max_connections: world.one_of(&[0, 1, 1, 2]),
                backup: world.chance(20),
                ..fleet::again(backend)
            })
        };
        let backends: Vec<_> = self.upstream.backends.iter().map(|it| limited(world, it)).collect();
        let limits: Vec<_> = backends.iter().map(|it| (it.max_connections, it.backup)).collect();
        world.record(|| format!("a generation: at most {} wait, limits and backups {limits:?}", self.most));
        self.upstream = upstream(conf, self.upstream.queue.clone(), backends);
        self.workers = (0..WORKERS)
            .map(|worker| {
                let place = WorkerIndex { worker, workers: WORKERS };
                let before = self.workers.get(worker).map(|it| &**it);
                Rc::new(WorkerUpstream::new(self.upstream.clone(), Arc::default(), place, before))
            })
            .collect();
    }

    fn try_pick(&self, exchange: &Exchange, world: &World) -> Option<Permit> {
        self.workers[exchange.worker].pick(0, &exchange.tried, world.now)
    }

    /// As `Attempt::call_next`.
    fn call_next(&self, world: &World) {
        self.upstream.queue.call_if_free(&self.upstream.backends, world.now);
    }

    /// As `Attempt::pick` begins; `None` when the exchange ends with an error at once.
    fn begin(&self, exchange: &Exchange, world: &mut World) -> Option<Step> {
        let queue = &self.upstream.queue;
        if queue.is_empty()
            && let Some(permit) = self.try_pick(exchange, world)
        {
            return Some(Step::Holds(permit));
        }
        let mut backends = self.upstream.backends.iter();
        let is_full = |it: &Arc<Backend>| it.is_healthy(world.now) && it.is_full();
        if !backends.clone().any(|it| it.is_healthy(world.now)) || queue.is_empty() && !backends.any(is_full)
        {
            return None;
        }
        let place = queue.join(false);
        assert!(place.is_some() || queue.len() >= self.most, "the queue was not full");
        place.map(Step::Joined)
    }

    /// Does the next step of an exchange; it sleeps, or has a permit, when there is none.
    fn step(&self, exchange: &mut Exchange, world: &mut World) {
        let (number, step) = (exchange.number, std::mem::replace(&mut exchange.step, Step::Called));
        exchange.step = match step {
            Step::Joined(place) => match self.try_pick(exchange, world).filter(|_| place.is_first()) {
                Some(permit) => {
                    drop(place);
                    self.call_next(world);
                    Step::Holds(permit)
                }
                None => {
                    if !place.is_first() {
                        self.call_next(world);
                    }
                    self.poll(exchange, place)
                }
            },
            Step::Asleep(place) => self.poll(exchange, place),
            Step::Called => match self.try_pick(exchange, world) {
                Some(permit) => {
                    self.call_next(world);
                    Step::Holds(permit)
                }
                None => Step::Again,
            },
            Step::Again => Step::Joined(self.upstream.queue.join(true).unwrap()),
            Step::Holds(permit) => Step::Holds(permit),
        };
        world.record(|| format!("exchange {number}: {}", exchange.step.name()));
    }

    fn poll(&self, exchange: &Exchange, place: Place) -> Step {
        let waker = exchange.woken.clone().into();
        exchange.woken.0.store(false, SeqCst);
        match place.poll_called(&mut Context::from_waker(&waker)).is_ready() {
            true => {
                place.served();
                Step::Called
            }
            false => Step::Asleep(place),
        }
    }

    fn arrive(&mut self, world: &mut World) {
        self.number += 1;
        let woken = Arc::default();
        let worker = world.rng.usize(0..WORKERS);
        let mut exchange =
            Exchange { number: self.number, worker, tried: Vec::new(), woken, step: Step::Called };
        let step = self.begin(&exchange, world);
        world.record(|| {
            format!("exchange {} begins: {}", self.number, step.as_ref().map_or("refused", Step::name))
        });
        if let Some(step) = step {
            exchange.step = step;
            self.exchanges.push(exchange);
        }
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
        self.step(&mut exchange, world);
        self.exchanges.insert(at, exchange);
    }

    /// One leaves: its client has, its time is over, or the exchange is done.
    fn end(&mut self, at: usize, world: &mut World) {
        let exchange = self.exchanges.remove(at);
        world.record(|| format!("exchange {} ends: {}", exchange.number, exchange.step.name()));
    }

    /// An attempt failed: another backend is tried.
    fn retry(&mut self, at: usize, world: &mut World) {
        let mut exchange = self.exchanges.remove(at);
        let Step::Holds(permit) = std::mem::replace(&mut exchange.step, Step::Called) else { unreachable!() };
        exchange.tried.push(permit.index());
        drop(permit);
        let step = self.begin(&exchange, world);
        let name = step.as_ref().map_or("refused", Step::name);
        world.record(|| {
            format!("exchange {} tries another than {:?}: {name}", exchange.number, exchange.tried)
        });
        if let Some(step) = step {
            exchange.step = step;
            self.exchanges.insert(at, exchange);
        }
    }

    fn change_health(&mut self, world: &mut World) {
        let index = world.rng.usize(0..self.upstream.backends.len());
        let probed = world.one_of(&[Probed::Up, Probed::Down]);
        world.record(|| format!("backend {index}: {probed:?}"));
        fleet::set_probed(&self.upstream.backends[index], probed);
        // As the control side does with what checks change.
        self.upstream.queue.call_if_free(&self.upstream.backends[index..=index], world.now);
        self.is_to_settle |= probed == Probed::Down;
    }

    /// Lets everyone go on who can, in any order, until all sleep or have a place.
    fn come_to_rest(&mut self, world: &mut World) {
        if std::mem::take(&mut self.is_to_settle) {
            self.call_next(world);
        }
        for steps in 0.. {
            assert!(steps < 1_000, "they keep each other awake");
            let Some(at) = self.choose(world, Exchange::can_go_on) else { break };
            self.step_one(at, world);
        }
        // For anyone: backups that only a retry may have are no reason to wake one who is first.
        let free = fleet::allowed(&self.upstream.backends, &[], world.now, false);
        if let Some(exchange) = self.exchanges.iter().find(|it| it.is_waiting()) {
            assert!(free.is_empty(), "exchange {} sleeps, and {free:?} are free", exchange.number);
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

fn upstream(conf: &UpstreamConf, queue: Arc<Queue>, backends: Vec<Arc<Backend>>) -> Arc<Upstream> {
    let counters = || backends.iter().map(|_| BackendCounters::default()).collect();
    Arc::new(Upstream {
        conf: conf.clone(),
        name: 0,
        generation: 1,
        tls: None,
        passive: Passive::new(NO_EJECTION, &backends, WORKERS),
        queue,
        balancer: Balancer::build(Policy::RoundRobin, 0.0, &backends, 0),
        own: (0..WORKERS).map(|_| counters()).collect(),
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
            90..95 => stage.change_health(world),
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

#[test]
fn queue() {
    let text = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[route]]\nname = \"all\"\nupstream = \"app\"\n\
                [[upstream]]\nname = \"app\"\n[[upstream.backend]]\naddress = \"127.0.0.1:1\"\n";
    let config = crate::config::parse(text, "test.toml".as_ref()).unwrap();
    run("queue", ONCE_FAILED, |world| simulate(&config.upstream[0], world));
}
