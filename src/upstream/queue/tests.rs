use std::time::Duration;

use super::*;
use crate::backend::{Address, Shared};

fn is_called(place: &Place) -> bool {
    place.poll_called(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn first_come_first_served_and_no_more_than_fit() {
    let queue = Arc::new(Queue::new(2));
    let (first, second) = (queue.join(false).unwrap(), queue.join(false).unwrap());
    assert!(first.is_first() && !second.is_first());
    assert!(queue.join(false).is_none());
    queue.call_next();
    assert!(is_called(&first) && !is_called(&second));
    first.served();
    assert!(!is_called(&second));
    queue.call_next();
    assert!(is_called(&second));
}

#[test]
fn a_call_to_one_that_leaves_goes_to_the_next() {
    let queue = Arc::new(Queue::new(3));
    let (first, second, third) =
        (queue.join(false).unwrap(), queue.join(false).unwrap(), queue.join(false).unwrap());
    drop(second);
    assert_eq!(queue.len(), 2);
    queue.call_next();
    drop(first);
    assert!(is_called(&third));
    assert!(queue.is_empty());
    queue.call_next();
}

#[test]
fn a_waiter_is_called_for_a_free_backend_nobody_approaches() {
    let backend = |max_connections, backup| {
        let address = Address::Unix("a".into());
        let shared = Arc::<Shared>::default();
        shared.in_flight.0.store(1, SeqCst);
        let (name, slow_start) = ("a".into(), Duration::ZERO);
        Arc::new(Backend { name, address, weight: 1, max_connections, backup, slow_start, shared })
    };
    let now = Moment::now();
    let queue = Arc::new(Queue::new(3));
    let (first, second) = (queue.join(false).unwrap(), queue.join(false).unwrap());
    // A backup is not used while one that is none is merely full.
    queue.call_if_free(&[backend(1, false), backend(0, true)], now);
    assert!(!is_called(&first));
    let free = [backend(1, false), backend(2, false)];
    queue.call_if_free(&free, now);
    queue.call_if_free(&free, now);
    assert!(is_called(&first) && !is_called(&second));
    first.served();
    queue.call_if_free(&free, now);
    assert!(is_called(&second));
    drop(second);
    let third = queue.join(false).unwrap();
    queue.call_if_free(&free, now);
    assert!(is_called(&third), "the one who was on the way has left");
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
    }

    impl Backend {
        /// One whose place is taken.
        fn full() -> Arc<Self> {
            Arc::new(Self { in_flight: AtomicUsize::new(1), queue: Arc::new(Queue::new(4)) })
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
            self.queue.call_next();
        }

        /// As `Attempt::wait`.
        fn wait(&self) {
            let mut again = false;
            loop {
                let place = self.queue.join(again).unwrap();
                if place.is_first() && self.try_take() {
                    drop(place);
                    return self.call_next();
                }
                if !place.is_first() {
                    self.call_next();
                }
                block_on(poll_fn(|cx| place.poll_called(cx)));
                place.served();
                if self.try_take() {
                    return self.call_next();
                }
                again = true;
            }
        }

        /// As [`Queue::call_if_free`].
        fn call_next(&self) {
            let is_nobody_called = self.queue.called.load(SeqCst) == 0;
            if !self.queue.is_empty() && is_nobody_called && self.in_flight.load(Relaxed) == 0 {
                self.queue.call_next();
            }
        }
    }

    #[test]
    fn a_call_to_a_leaving_waiter_goes_to_the_next() {
        model(4, || {
            let queue = Arc::new(Queue::new(2));
            let (first, second) = (queue.join(false).unwrap(), queue.join(false).unwrap());
            let caller = thread::spawn(move || queue.call_next());
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
