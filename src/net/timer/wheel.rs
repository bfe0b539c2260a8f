//! A wheel of lists of deadlines, turned by whoever says the time.

use std::task::{Context, Poll, Waker};

use crate::moment::Moment;

/// Precision of deadlines: they elapse up to this much late, never early.
pub(super) const TICK: u64 = 10_000;
const SLOTS: u64 = 1024;
const NONE: u32 = u32::MAX;
pub(super) const NEVER: u64 = u64::MAX;

/// The deadlines of a worker, by the tick at which they are looked at.
pub(super) struct Wheel {
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
    pub(super) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            slots: vec![NONE; usize::try_from(SLOTS).unwrap_or_default()],
            fired: Moment::now().0 / TICK,
            next: NEVER,
            driver: None,
        }
    }

    pub(super) fn insert(&mut self) -> u32 {
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

    pub(super) fn remove(&mut self, index: u32) {
        self.unlink(index);
        let node = &mut self.nodes[index as usize];
        (node.waker, node.idle) = (None, NONE);
        self.free.push(index);
    }

    pub(super) fn set(&mut self, index: u32, deadline: u64) {
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

    pub(super) fn set_idle(&mut self, index: u32, of: Option<usize>) {
        self.nodes[index as usize].idle = of.and_then(|of| u32::try_from(of).ok()).unwrap_or(NONE);
    }

    pub(super) fn hurry_idle(&mut self, at: u64, is_meant: impl Fn(usize) -> bool) {
        // Indices are 32 bits.
        for (index, at_most) in (0_u32..).zip(0..self.nodes.len()) {
            let node = &self.nodes[at_most];
            if node.idle != NONE && node.deadline > at && is_meant(node.idle as usize) {
                self.set(index, at);
            }
        }
    }

    pub(super) fn poll(&mut self, index: u32, cx: &mut Context<'_>) -> Poll<()> {
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

    pub(super) fn link(&mut self, index: u32, tick: u64) {
        let slot = &mut self.slots[(tick % SLOTS) as usize];
        let first = std::mem::replace(slot, index);
        let node = &mut self.nodes[index as usize];
        (node.tick, node.before, node.after) = (tick, NONE, first);
        if first != NONE {
            self.nodes[first as usize].before = index;
        }
    }

    pub(super) fn unlink(&mut self, index: u32) {
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
    pub(super) fn poll_armed(&mut self, cx: &mut Context<'_>) -> Poll<u64> {
        if self.next == NEVER {
            self.driver = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(self.next)
    }

    pub(super) fn is_armed_before(&mut self, tick: u64, cx: &mut Context<'_>) -> bool {
        self.driver = Some(cx.waker().clone());
        self.next < tick
    }

    /// The tasks whose deadlines have come; deadlines that were moved later are linked anew.
    pub(super) fn fire(&mut self, now: Moment) -> Vec<Waker> {
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
mod tests;
