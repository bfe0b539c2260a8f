use std::time::Duration;

use super::*;
use crate::backend::{Address, Shared};

fn is_called(place: &Place) -> bool {
    place.poll_called(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// The backends of a generation that nobody asks about.
fn fleet() -> Fleet {
    Arc::new([])
}

fn backend(max_connections: u32, backup: bool) -> Arc<Backend> {
    let (address, shared) = (Address::Unix("a".into()), Arc::<Shared>::default());
    let (name, slow_start) = ("a".into(), Duration::ZERO);
    Arc::new(Backend { name, address, weight: 1, max_connections, backup, slow_start, shared })
}

fn set_in_flight(backend: &Backend, count: u32) {
    backend.shared.in_flight.0.store(count, SeqCst);
}

/// A queue, and so many who wait in it for the same.
fn waiting<const COUNT: usize>(most: usize, fleet: &Fleet) -> (Arc<Queue>, [Place; COUNT]) {
    let queue = Arc::new(Queue::new(most));
    let places = std::array::from_fn(|_| queue.join(fleet, None).unwrap());
    (queue, places)
}

#[test]
fn first_come_first_served_and_no_more_than_fit() {
    let fleet = fleet();
    let (queue, [first, second]) = waiting(2, &fleet);
    assert!(first.is_first() && !second.is_first());
    assert!(queue.join(&fleet, None).is_none());
    queue.call_next(&fleet);
    assert!(is_called(&first) && !is_called(&second));
    first.served();
    assert!(!is_called(&second));
    queue.call_next(&fleet);
    assert!(is_called(&second));
}

#[test]
fn a_call_to_one_that_leaves_goes_to_the_next() {
    let fleet = fleet();
    let (queue, [first, second, third]) = waiting(3, &fleet);
    drop(second);
    assert_eq!(queue.len(), 2);
    queue.call_next(&fleet);
    drop(first);
    assert!(is_called(&third));
    assert!(queue.is_empty());
    queue.call_next(&fleet);
}

#[test]
fn a_waiter_is_called_for_a_free_backend_nobody_approaches() {
    let now = Moment::now();
    let (one, two, backup) = (backend(1, false), backend(2, false), backend(0, true));
    [&one, &two].iter().for_each(|backend| set_in_flight(backend, backend.max_connections));
    let fleet: Fleet = Arc::new([one, two.clone(), backup]);
    let (queue, [first, second]) = waiting(3, &fleet);
    // A backup is not used while one that is none is merely full.
    queue.call_if_free(now);
    assert!(!is_called(&first));
    set_in_flight(&two, 1);
    queue.call_if_free(now);
    queue.call_if_free(now);
    assert!(is_called(&first) && !is_called(&second));
    first.served();
    queue.call_if_free(now);
    assert!(is_called(&second));
    drop(second);
    let third = queue.join(&fleet, None).unwrap();
    queue.call_if_free(now);
    assert!(is_called(&third), "the one who was on the way has left");
}

#[test]
fn who_has_nothing_to_wait_for_is_called() {
    let now = Moment::now();
    let only = backend(1, false);
    set_in_flight(&only, 1);
    let fleet: Fleet = Arc::new([only.clone()]);
    let (queue, [first, second]) = waiting(3, &fleet);
    only.shared.probed.store(crate::backend::Probed::Down as u8, SeqCst);
    // Its place is waited for all the same.
    queue.set_when_all_down(WhenAllDown::UseAll);
    queue.call_if_free(now);
    assert!(!is_called(&first));
    set_in_flight(&only, 0);
    queue.call_if_free(now);
    assert!(is_called(&first));
    set_in_flight(&only, 1);
    queue.set_when_all_down(WhenAllDown::Fail);
    first.served();
    queue.call_if_free(now);
    assert!(is_called(&second));
}

#[test]
fn call_goes_to_the_first_whose_backends_have_a_place() {
    let (one, other) = (backend(1, false), backend(1, false));
    set_in_flight(&one, 1);
    set_in_flight(&other, 1);
    // A generation later there is another backend.
    let (before, after): (Fleet, Fleet) = (Arc::new([one.clone()]), Arc::new([one.clone(), other.clone()]));
    let (queue, [first, second]) = waiting(2, &before);
    assert!(queue.join(&before, None).is_none());
    let later = queue.join(&after, None).expect("who waits for other backends takes nobody's room");
    queue.call_next(&after);
    assert!(![&first, &second, &later].iter().any(|place| is_called(place)), "there is a place for nobody");
    set_in_flight(&other, 0);
    queue.call_next(&after);
    assert!(is_called(&later) && !is_called(&first));
    // It is overtaken, and stands behind those before it again.
    set_in_flight(&other, 1);
    let later = queue.join(&after, Some(later.served())).unwrap();
    set_in_flight(&one, 0);
    for place in [first, second, later] {
        queue.call_if_free(Moment::now());
        assert!(is_called(&place), "in the order in which they came");
        place.served();
    }
    assert!(queue.is_empty());
}

#[test]
fn a_later_limit_holds_for_who_waits_already() {
    let before = backend(1, false);
    set_in_flight(&before, 1);
    let (queue, [first]) = waiting(1, &(Arc::new([before.clone()]) as Fleet));
    let shared = before.shared.clone();
    let after = Backend { max_connections: 2, shared, ..Arc::into_inner(backend(0, false)).unwrap() };
    after.set_limit();
    queue.call_if_free(Moment::now());
    assert!(is_called(&first) && !before.is_full());
    set_in_flight(&before, 2);
    assert!(before.is_full() && after.is_full());
}

/// Models: every order in which the threads could run, and every value that an atomic could have.
mod models {
    use std::{future::poll_fn, sync::atomic::Ordering::Relaxed};

    use loom::{future::block_on, thread};

    use super::*;
    use crate::sync::model;

    /// A backend with one place, whose count is not ordered with anything, as in `Permit`.
    struct Backend {
        in_flight: AtomicUsize,
        queue: Arc<Queue>,
        fleet: Fleet,
    }

    impl Backend {
        /// One whose place is taken.
        fn full() -> Arc<Self> {
            let queue = Arc::new(Queue::new(4));
            Arc::new(Self { in_flight: AtomicUsize::new(1), queue, fleet: fleet() })
        }

        /// As `Permit::take`, behind a look as that of the balancer.
        fn try_take(&self) -> bool {
            if self.in_flight.load(Relaxed) > 0 {
                return false;
            }
            let is_taken = self.in_flight.fetch_add(1, Relaxed) == 0;
            if !is_taken {
                self.give_back();
            }
            is_taken
        }

        /// As `Permit` is dropped.
        fn give_back(&self) {
            self.in_flight.fetch_sub(1, Relaxed);
            self.queue.call_next(&self.fleet);
        }

        /// As `Attempt::wait`.
        fn wait(&self) {
            let mut again = None;
            loop {
                let place = self.queue.join(&self.fleet, again).unwrap();
                if place.is_first() && self.try_take() {
                    drop(place);
                    return self.call_next();
                }
                if !place.is_first() || again.is_some() {
                    self.call_next();
                }
                block_on(poll_fn(|cx| place.poll_called(cx)));
                again = Some(place.served());
                if self.try_take() {
                    return self.call_next();
                }
            }
        }

        /// As [`Queue::call_if_free`].
        fn call_next(&self) {
            let is_nobody_called = self.queue.called.load(SeqCst) == 0;
            if !self.queue.is_empty() && is_nobody_called && self.in_flight.load(Relaxed) == 0 {
                self.queue.call_next(&self.fleet);
            }
        }
    }

    #[test]
    fn a_call_to_a_leaving_waiter_goes_to_the_next() {
        model(4, || {
            let fleet = fleet();
            let (queue, [first, second]) = waiting(2, &fleet);
            let caller = thread::spawn(move || queue.call_next(&fleet));
            drop(first);
            caller.join().unwrap();
            assert!(is_called(&second), "a place is free and the one who waits for it was not called");
        });
    }

    #[test]
    fn a_joining_waiter_does_not_miss_a_freed_place() {
        model(4, || {
            let backend = Backend::full();
            let other = backend.clone();
            let exchange = thread::spawn(move || other.give_back());
            backend.wait();
            exchange.join().unwrap();
        });
    }

    #[test]
    fn all_who_wait_come_to_their_turn() {
        model(3, || {
            let backend = Backend::full();
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let backend = backend.clone();
                    thread::spawn(move || {
                        backend.wait();
                        backend.give_back();
                    })
                })
                .collect();
            backend.give_back();
            others.into_iter().for_each(|other| other.join().unwrap());
        });
    }
}
