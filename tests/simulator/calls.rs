//! The queue of an upstream where threads meet: short programs of a few threads, each seed in an order of its own, with
//! a change of threads between any two steps on a lock or an atomic. What these have in too many orders to try them
//! all is tried here for many; the smallest have all of theirs tried in `upstream::queue`.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Waker},
};

use loom::thread::{self, yield_now};

use super::seeds::{World, run};
use crate::{
    sync::{self, AtomicUsize},
    upstream::queue::{Place, Queue},
};

/// With one that is called and leaves at once, and with a call that is lost with the one who leaves.
const ONCE_FAILED: &[u64] = &[1040, 1824];

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

/// A backend with a few places, counted as `Permit` does.
struct Backend {
    places: usize,
    in_flight: AtomicUsize,
    queue: Arc<Queue>,
    /// Somebody waited in vain.
    is_lost: Arc<AtomicBool>,
}

/// So often one who waits lets the others go on, who have long come to their ends then.
const PATIENCE: usize = 300;

impl Backend {
    fn do_all(&self, start: Start, place: Option<Place>, acts: &[Act]) {
        match (start, place) {
            (Start::Waits(act), Some(place)) => {
                if self.wait_at(place, act) {
                    self.give_back();
                }
            }
            (Start::Holds, _) => self.give_back(),
            (Start::Fresh | Start::Waits(_), _) => {}
        }
        for act in acts {
            if self.queue.is_empty() && self.try_take() || self.wait(*act) {
                self.give_back();
            }
        }
    }

    fn try_take(&self) -> bool {
        if self.in_flight.load(Relaxed) >= self.places {
            return false;
        }
        let is_taken = self.in_flight.fetch_add(1, Relaxed) < self.places;
        if !is_taken {
            self.give_back();
        }
        is_taken
    }

    fn give_back(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.queue.call_next();
    }

    fn call_next(&self) {
        if self.in_flight.load(Relaxed) < self.places {
            self.queue.call_next();
        }
    }

    /// As `Attempt::wait`; false when it has no place.
    fn wait(&self, act: Act) -> bool {
        let Some(place) = self.queue.join(false) else { return false };
        if place.is_first() && self.try_take() {
            drop(place);
            self.call_next();
            return true;
        }
        if !place.is_first() {
            self.call_next();
        }
        self.wait_at(place, act)
    }

    fn wait_at(&self, mut place: Place, act: Act) -> bool {
        loop {
            match act {
                Act::Leave => return false,
                Act::Exchange if !self.is_called(&place) => return false,
                Act::Exchange => place.served(),
            }
            if self.try_take() {
                self.call_next();
                return true;
            }
            let Some(again) = self.queue.join(true) else { return false };
            if self.try_take() {
                drop(again);
                self.call_next();
                return true;
            }
            place = again;
        }
    }

    fn is_called(&self, place: &Place) -> bool {
        for _ in 0..PATIENCE {
            if place.poll_called(&mut Context::from_waker(Waker::noop())).is_ready() {
                return true;
            }
            yield_now();
        }
        self.is_lost.store(true, SeqCst);
        false
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

/// Runs them at once, in the order that a seed says; whether one waited in vain, and whether something was left.
fn run_at_once(programs: Arc<[Program]>, places: usize, order: u64) -> (bool, bool) {
    let (is_lost, is_left) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (lost, left) = (is_lost.clone(), is_left.clone());
    sync::simulate(order, move || {
        let holding = programs.iter().filter(|(start, _)| matches!(start, Start::Holds)).count();
        let backend = Arc::new(Backend {
            places,
            in_flight: AtomicUsize::new(holding),
            queue: Arc::new(Queue::new(10)),
            is_lost: lost.clone(),
        });
        let joined =
            |(start, _): &Program| matches!(start, Start::Waits(_)).then(|| backend.queue.join(false));
        let joined: Vec<_> = programs.iter().map(joined).collect();
        let threads: Vec<_> = (0..)
            .zip(joined)
            .map(|(index, place)| {
                let (backend, programs) = (backend.clone(), programs.clone());
                thread::spawn(move || {
                    let (start, acts) = &programs[index];
                    backend.do_all(*start, place.flatten(), acts);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        left.store(backend.in_flight.load(SeqCst) > 0 || !backend.queue.is_empty(), SeqCst);
    });
    (is_lost.load(SeqCst), is_left.load(SeqCst))
}

fn simulate(world: &mut World) {
    let places = world.rng.usize(1..3);
    let programs = programs(world, places);
    let order = world.rng.u64(..);
    world.record(|| format!("{places} places, threads that do {programs:?}, in the order {order}"));
    let (is_lost, is_left) = run_at_once(programs, places, order);
    assert!(!is_lost, "a place was free, and one who waited was not called");
    assert!(!is_left, "every permit comes back, and nobody stands in the queue");
}

#[test]
fn calls() {
    run("calls", ONCE_FAILED, simulate);
}
