//! A wheel whose clock the test turns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A wheel at tick 0 whose clock the test turns.
fn wheel() -> Wheel {
    Wheel { fired: 0, ..Wheel::new() }
}

#[test]
fn deadlines_elapse_never_early_and_at_most_a_tick_late() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut wheel = wheel();
    let mut live: Vec<(u32, u64)> = Vec::new();
    let waker = Waker::from(Arc::new(Count::default()));
    let mut now = 0;
    for _ in 0..20_000 {
        match random.u8(0..10) {
            0..3 => live.push((wheel.insert(), NEVER)),
            3..7 if !live.is_empty() => {
                let chosen = random.usize(0..live.len());
                // From at once to far beyond the wheel's horizon.
                live[chosen].1 = now + random.u64(0..30_000_000);
                wheel.set(live[chosen].0, live[chosen].1);
            }
            7 if !live.is_empty() => {
                let (index, _) = live.swap_remove(random.usize(0..live.len()));
                wheel.remove(index);
            }
            _ => {
                now += random.u64(0..60_000);
                wheel.fire(Moment(now));
                for (index, deadline) in &live {
                    let elapsed = wheel.poll(*index, &mut Context::from_waker(&waker)).is_ready();
                    assert!(!elapsed || *deadline <= now, "early");
                    assert!(elapsed || deadline.saturating_add(2 * TICK) > now, "late: {deadline} at {now}");
                }
            }
        }
    }
}

#[test]
fn a_deadline_that_is_moved_or_dropped_wakes_nobody() {
    let mut wheel = wheel();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count);
    let mut cx = Context::from_waker(&waker);
    let (moved, cleared, kept) = (wheel.insert(), wheel.insert(), wheel.insert());
    for index in [moved, cleared, kept] {
        wheel.set(index, 50_000);
        assert!(wheel.poll(index, &mut cx).is_pending());
    }
    wheel.set(moved, 500_000);
    wheel.set(cleared, NEVER);
    let wakers = wheel.fire(Moment(100_000));
    assert_eq!(wakers.len(), 1);
    assert!(wheel.poll(kept, &mut cx).is_ready());
    assert!(wheel.poll(moved, &mut cx).is_pending());
    assert_eq!(wheel.next, 51, "armed for the one that was moved");
    wheel.remove(moved);
    assert!(wheel.fire(Moment(600_000)).is_empty());
    assert_eq!(wheel.next, NEVER);
}
