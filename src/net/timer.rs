//! Deadlines: one timer per worker, however many connections wait.
//!
//! A wheel of lists holds every deadline. Moving a deadline later costs a store: the list it is in
//! is looked at when its time comes, and the deadline is moved on then. Only an earlier deadline is
//! relinked. [`drive`] sleeps until the next list that is not empty.

use std::{
    cell::RefCell,
    future::poll_fn,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::moment::Moment;

/// Precision of deadlines: they elapse up to this much late, never early.
const TICK: u64 = 10_000;
const SLOTS: u64 = 1024;
const NONE: u32 = u32::MAX;
const NEVER: u64 = u64::MAX;

thread_local! {
    static WHEEL: RefCell<Wheel> = RefCell::new(Wheel::new());
}

/// A deadline that can be moved; belongs to one task at a time.
#[derive(Debug)]
pub struct Deadline(u32);

impl Deadline {
    /// A deadline that never comes.
    #[expect(
        clippy::new_without_default,
        reason = "takes a place in the worker's timer; a default hides that"
    )]
    pub fn new() -> Self {
        Self(WHEEL.with_borrow_mut(Wheel::insert))
    }

    /// Moves it to `after` from now; zero is never.
    pub fn after(&self, after: Duration) {
        self.after_moment(Moment::now(), after);
    }

    /// Moves it to `after` from [`Moment::recent`], where the clock was read for something else a moment ago; zero is
    /// never.
    pub fn after_recent(&self, after: Duration) {
        self.after_moment(Moment::recent(), after);
    }

    fn after_moment(&self, moment: Moment, after: Duration) {
        if after.is_zero() {
            self.clear();
        } else {
            self.at(moment.plus(after));
        }
    }

    /// Moves it to a moment.
    pub fn at(&self, at: Moment) {
        WHEEL.with_borrow_mut(|wheel| wheel.set(self.0, at.0));
    }

    /// Moves it to never.
    pub fn clear(&self) {
        WHEEL.with_borrow_mut(|wheel| wheel.set(self.0, NEVER));
    }

    /// Says whether what waits for it is idle, and may be hurried by [`hurry_idle`]: it is when it is given
    /// the number that it belongs to.
    pub fn set_idle(&self, of: Option<usize>) {
        WHEEL.with_borrow_mut(|wheel| wheel.set_idle(self.0, of));
    }

    /// Ready once its moment has come; else the task is woken then.
    pub fn poll_elapsed(&self, cx: &mut Context<'_>) -> Poll<()> {
        WHEEL.with_borrow_mut(|wheel| wheel.poll(self.0, cx))
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // While the thread ends the wheel may be gone already.
        let _ = WHEEL.try_with(|wheel| wheel.borrow_mut().remove(self.0));
    }
}

/// Moves every idle deadline of this worker whose number `is_meant`, and that is later than `at`, to it.
pub fn hurry_idle(at: Moment, is_meant: impl Fn(usize) -> bool) {
    WHEEL.with_borrow_mut(|wheel| wheel.hurry_idle(at.0, is_meant));
}

/// Runs this worker's timer; every deadline of the thread depends on it.
pub async fn drive() {
    loop {
        let next = poll_fn(|cx| WHEEL.with_borrow_mut(|wheel| wheel.poll_armed(cx))).await;
        let sleep = tokio::time::sleep(Moment(next * TICK).since(Moment::now()));
        tokio::pin!(sleep);
        // An earlier deadline ends the sleep, and the loop takes that one.
        poll_fn(|cx| {
            if WHEEL.with_borrow_mut(|wheel| wheel.is_armed_before(next, cx)) {
                return Poll::Ready(());
            }
            sleep.as_mut().poll(cx)
        })
        .await;
        for waker in WHEEL.with_borrow_mut(|wheel| wheel.fire(Moment::now())) {
            waker.wake();
        }
    }
}

struct Wheel {
    nodes: Vec<Node>,
    free: Vec<u32>,
    slots: Vec<u32>,
    /// Every tick up to this one has been fired.
    fired: u64,
    /// No list before this tick has a deadline.
    next: u64,
    driver: Option<Waker>,
}

struct Node {
    deadline: u64,
    elapsed: bool,
    /// What it belongs to while it is idle; [`NONE`] while it is not.
    idle: u32,
    /// The tick under which it is linked; [`NEVER`] when it is not.
    tick: u64,
    before: u32,
    after: u32,
    waker: Option<Waker>,
}

#[expect(clippy::indexing_slicing, reason = "links are indices that this type made itself")]
impl Wheel {
    fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            slots: vec![NONE; usize::try_from(SLOTS).unwrap_or_default()],
            fired: Moment::now().0 / TICK,
            next: NEVER,
            driver: None,
        }
    }

    fn insert(&mut self) -> u32 {
        let node = Node {
            deadline: NEVER,
            elapsed: false,
            idle: NONE,
            tick: NEVER,
            before: NONE,
            after: NONE,
            waker: None,
        };
        if let Some(index) = self.free.pop() {
            self.nodes[index as usize] = node;
            return index;
        }
        self.nodes.push(node);
        #[expect(clippy::cast_possible_truncation, reason = "no worker has memory for so many deadlines")]
        let index = (self.nodes.len() - 1) as u32;
        index
    }

    fn remove(&mut self, index: u32) {
        self.unlink(index);
        let node = &mut self.nodes[index as usize];
        (node.waker, node.idle) = (None, NONE);
        self.free.push(index);
    }

    fn set(&mut self, index: u32, deadline: u64) {
        let node = &mut self.nodes[index as usize];
        node.deadline = deadline;
        node.elapsed = false;
        if deadline == NEVER {
            return;
        }
        let tick = (deadline / TICK + 1).clamp(self.fired + 1, self.fired + SLOTS - 1);
        if tick < node.tick {
            self.unlink(index);
            self.link(index, tick);
            if tick < self.next {
                self.next = tick;
                if let Some(driver) = self.driver.take() {
                    driver.wake();
                }
            }
        }
    }

    fn set_idle(&mut self, index: u32, of: Option<usize>) {
        self.nodes[index as usize].idle = of.and_then(|of| u32::try_from(of).ok()).unwrap_or(NONE);
    }

    fn hurry_idle(&mut self, at: u64, is_meant: impl Fn(usize) -> bool) {
        // Indices are 32 bits.
        for (index, at_most) in (0_u32..).zip(0..self.nodes.len()) {
            let node = &self.nodes[at_most];
            if node.idle != NONE && node.deadline > at && is_meant(node.idle as usize) {
                self.set(index, at);
            }
        }
    }

    fn poll(&mut self, index: u32, cx: &mut Context<'_>) -> Poll<()> {
        let node = &mut self.nodes[index as usize];
        if node.elapsed {
            return Poll::Ready(());
        }
        match &mut node.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn link(&mut self, index: u32, tick: u64) {
        let slot = &mut self.slots[(tick % SLOTS) as usize];
        let first = std::mem::replace(slot, index);
        let node = &mut self.nodes[index as usize];
        (node.tick, node.before, node.after) = (tick, NONE, first);
        if first != NONE {
            self.nodes[first as usize].before = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Node { tick, before, after, .. } = self.nodes[index as usize];
        if tick == NEVER {
            return;
        }
        match before {
            NONE => self.slots[(tick % SLOTS) as usize] = after,
            before => self.nodes[before as usize].after = after,
        }
        if after != NONE {
            self.nodes[after as usize].before = before;
        }
        self.nodes[index as usize].tick = NEVER;
    }

    /// The next tick that has a list.
    fn poll_armed(&mut self, cx: &mut Context<'_>) -> Poll<u64> {
        if self.next == NEVER {
            self.driver = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(self.next)
    }

    fn is_armed_before(&mut self, tick: u64, cx: &mut Context<'_>) -> bool {
        self.driver = Some(cx.waker().clone());
        self.next < tick
    }

    /// The tasks whose deadlines have come; deadlines that were moved later are linked anew.
    fn fire(&mut self, now: Moment) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let current = now.0 / TICK;
        // After a long stall each list is looked at once.
        for tick in (self.fired + 1).max(current.saturating_sub(SLOTS - 1))..=current {
            self.fired = tick;
            let mut index = std::mem::replace(&mut self.slots[(tick % SLOTS) as usize], NONE);
            while index != NONE {
                let node = &mut self.nodes[index as usize];
                let after = node.after;
                node.tick = NEVER;
                if node.deadline <= now.0 {
                    node.elapsed = true;
                    wakers.extend(node.waker.take());
                } else if node.deadline != NEVER {
                    let tick = (node.deadline / TICK + 1).clamp(tick + 1, tick + SLOTS - 1);
                    self.link(index, tick);
                }
                index = after;
            }
        }
        let upcoming = self.fired + 1..self.fired + SLOTS;
        self.next =
            upcoming.into_iter().find(|tick| self.slots[(tick % SLOTS) as usize] != NONE).unwrap_or(NEVER);
        wakers
    }
}

#[cfg(test)]
mod tests {
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
                        assert!(
                            elapsed || deadline.saturating_add(2 * TICK) > now,
                            "late: {deadline} at {now}"
                        );
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
}
