//! The queue of an upstream where threads meet: short programs of a few threads, each seed in an order of its own, with
//! a change of threads between any two steps on a lock or an atomic. What these have in too many orders to try them
//! all is tried here for many; the smallest have all of theirs tried in `upstream::queue`. Each thread is a worker, whose
//! exchanges are real ones ([`Acquire`](crate::upstream::acquire::Acquire)).

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use loom::thread::{self, yield_now};

use super::{
    fleet,
    queue::{Pick, conf, pick, upstream},
    seeds::{World, run},
};
use crate::{
    backend::Backend,
    moment::Moment,
    sync,
    upstream::{Permit, WorkerUpstream, conf::UpstreamConf, queue::Queue, worker_upstream::WorkerIndex},
};

/// A time at which nothing in particular happens.
const NOW: Moment = Moment(86_400_123_457);

/// With one that is called and leaves at once, with a call that is lost with the one who leaves, and with one that is
/// refused since a place became free between two looks.
const ONCE_FAILED: &[u64] = &[62, 1200, 31];

/// What a thread does.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Takes a place at the backend, waits where there is none, and gives it back.
    Exchange,
    /// The same, but for one whose client leaves while it waits.
    Leave,
}

/// What a thread is at when all begin.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// It has one of the places.
    Holds,
    /// It was in the queue before the others began, and waits or leaves.
    Waits(Act),
    /// Neither.
    Fresh,
}

/// So often one who waits lets the others go on, who have long come to their ends then.
const PATIENCE: usize = 300;

/// What a thread begins with: a place, or one that it has asked for.
#[derive(Default)]
struct Begun {
    permit: Option<Permit>,
    pick: Option<Pick>,
}

/// What happened that may not.
#[derive(Default)]
struct Wrong {
    /// Somebody waited in vain.
    is_lost: AtomicBool,
    /// Somebody was refused, though the backend is up.
    is_refused: AtomicBool,
    /// Something was left.
    is_left: AtomicBool,
}

/// A worker with a thread of its own.
struct Thread {
    worker: Rc<WorkerUpstream>,
    now: Rc<Cell<Moment>>,
    wrong: Arc<Wrong>,
}

impl Thread {
    fn ask(&self) -> Pick {
        pick(self.worker.clone(), Vec::new(), None, self.now.clone())
    }

    /// What it begins with, before any other does something.
    fn begin(&self, start: Start) -> Begun {
        match start {
            Start::Holds => {
                let permit = self.worker.pick(0, &[], self.now.get());
                Begun { permit, ..Begun::default() }
            }
            Start::Waits(_) => {
                let mut pick = self.ask();
                let polled = pick.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_pending(), "every place is taken");
                Begun { pick: Some(pick), ..Begun::default() }
            }
            Start::Fresh => Begun::default(),
        }
    }

    fn do_all(&self, start: Start, begun: Begun, acts: &[Act]) {
        drop(begun.permit);
        if let (Start::Waits(act), Some(pick)) = (start, begun.pick) {
            self.go_on(pick, act);
        }
        acts.iter().for_each(|act| self.go_on(self.ask(), *act));
    }

    /// Has what it asked for, and gives it back; or leaves when it would have to wait.
    fn go_on(&self, mut pick: Pick, act: Act) {
        for _ in 0..PATIENCE {
            match pick.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(_permit)) => return,
                Poll::Ready(Err(_)) => return self.wrong.is_refused.store(true, SeqCst),
                Poll::Pending if matches!(act, Act::Leave) => return,
                Poll::Pending => yield_now(),
            }
        }
        self.wrong.is_lost.store(true, SeqCst);
    }
}

/// A thread: how it starts, and what it does then.
type Program = (Start, Vec<Act>);

fn programs(world: &mut World, places: usize) -> Arc<[Program]> {
    let act = |world: &mut World| world.one_of(&[Act::Exchange, Act::Leave]);
    let mut programs: Vec<Program> = Vec::new();
    for index in 0..world.rng.usize(2..5) {
        let is_full = index >= places;
        let start = match is_full {
            true => Start::Waits(act(world)),
            false => Start::Holds,
        };
        let start = if world.chance(20) { Start::Fresh } else { start };
        let acts = (0..world.rng.usize(0..3)).map(|_| act(world)).collect();
        programs.push((start, acts));
    }
    // Nobody waits where a place is free.
    if programs.iter().filter(|(start, _)| matches!(start, Start::Holds)).count() < places {
        programs.retain(|(start, _)| !matches!(start, Start::Waits(_)));
    }
    programs.into()
}

/// Runs them at once, in the order that a seed says.
fn run_at_once(conf: &UpstreamConf, programs: Arc<[Program]>, places: u32, order: u64) -> Arc<Wrong> {
    let (conf, wrong) = (conf.clone(), Arc::<Wrong>::default());
    let seen = wrong.clone();
    sync::simulate(order, move || {
        let backend = Arc::new(Backend { max_connections: places, ..fleet::backend(0) });
        let queue = Arc::new(Queue::new(10));
        let upstream = upstream(&conf, queue, vec![backend.clone()], programs.len());
        let thread = |worker| {
            let place = WorkerIndex { worker, workers: programs.len() };
            let rng = fastrand::Rng::with_seed(order);
            let worker = WorkerUpstream::new(upstream.clone(), Arc::default(), place, rng, None);
            Thread { worker: Rc::new(worker), now: Rc::new(Cell::new(NOW)), wrong: wrong.clone() }
        };
        let begun: Vec<_> = (0..)
            .zip(programs.iter())
            .map(|(index, (start, _))| {
                let thread = thread(index);
                let begun = thread.begin(*start);
                (thread, begun)
            })
            .collect();
        let threads: Vec<_> = (0..)
            .zip(begun)
            .map(|(index, (thread, begun))| {
                let programs = programs.clone();
                thread::spawn(move || {
                    let (start, acts) = &programs[index];
                    thread.do_all(*start, begun, acts);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        wrong.is_left.store(backend.in_flight() > 0 || !upstream.queue.is_empty(), SeqCst);
    });
    seen
}

fn simulate(conf: &UpstreamConf, world: &mut World) {
    let places = world.rng.usize(1..3);
    let programs = programs(world, places);
    let order = world.rng.u64(..);
    world.record(|| format!("{places} places, threads that do {programs:?}, in the order {order}"));
    let wrong = run_at_once(conf, programs, places.try_into().unwrap(), order);
    assert!(!wrong.is_lost.load(SeqCst), "a place was free, and one who waited was not called");
    assert!(!wrong.is_refused.load(SeqCst), "one was refused who could wait");
    assert!(!wrong.is_left.load(SeqCst), "every permit comes back, and nobody stands in the queue");
}

#[test]
fn calls() {
    let conf = conf();
    run("calls", ONCE_FAILED, |world| simulate(&conf, world));
}
