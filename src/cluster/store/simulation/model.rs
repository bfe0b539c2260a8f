//! The store and the nodes of a simulation.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;

use crate::cluster::{
    boot_time::BootTime,
    role::RoleMachine,
    store::campaign::{Answer, Campaign, Request},
};

/// Microseconds.
pub(super) type Time = u64;

pub(super) const SECOND: Time = 1_000_000;
/// What a lease lasts.
pub(super) const TTL: Time = 2 * SECOND;
/// How much faster or slower a clock may go: one part in so many.
pub(super) const DRIFT: i64 = 2000;

/// What happens to a node, or by it.
pub(super) enum What {
    Wake,
    /// A request reaches the store.
    Arrive {
        id: u64,
        request: Request,
        sent: BootTime,
    },
    /// An answer reaches the node.
    Answered {
        id: u64,
        answer: Answer,
        sent: BootTime,
    },
    /// The addresses of a node that does not move are removed.
    Guard {
        since: Time,
    },
    /// The kernel has removed the addresses of a node: the release of this number.
    Removed(u64),
    /// … and the node hears of it.
    Released(u64),
    /// It moves again, and hears from its guard.
    Interrupted,
    Trouble,
    /// The store goes on as the older copy.
    Restored,
}

/// The store: as the nodes must be able to rely on it, and no better.
#[derive(Default)]
pub(super) struct Store {
    pub(super) key: Option<(i64, u64, usize)>,
    /// When each lease ends.
    pub(super) leases: BTreeMap<i64, Time>,
    pub(super) revision: u64,
    /// What it is restored from.
    copy: Option<Box<Self>>,
    /// It does not run before.
    pub(super) down_until: Time,
}

impl Store {
    /// Makes a copy of itself, from when on others write, too.
    pub(super) fn back_up(&mut self, rng: &mut Rng) {
        let (key, leases, revision) = (self.key, self.leases.clone(), self.revision);
        self.copy = Some(Box::new(Self { key, leases, revision, copy: None, down_until: 0 }));
        self.revision += rng.u64(0..SECOND);
    }

    /// Begins again from its copy, or as it was: leases last as long as if they had been granted now.
    pub(super) fn restore(&mut self, now: Time) {
        *self = self.copy.take().map_or_else(|| std::mem::take(self), |copy| *copy);
        self.leases.values_mut().for_each(|end| *end = now + TTL);
    }

    fn advance(&mut self, now: Time) {
        self.leases.retain(|_, end| *end > now);
        if self.key.is_some_and(|(lease, ..)| !self.leases.contains_key(&lease)) {
            self.key = None;
        }
    }

    pub(super) fn answer(
        &mut self,
        node: usize,
        request: &Request,
        now: Time,
        rng: &mut Rng,
    ) -> Option<Answer> {
        self.advance(now);
        let held =
            |(lease, fence, node): (i64, u64, usize)| Answer::Held { by: node.to_string(), lease, fence };
        Some(match *request {
            Request::Look => self.key.map_or(Answer::Free, held),
            Request::Watch if self.key.is_none() => Answer::Free,
            Request::Watch => return None,
            Request::Grant => {
                let lease = rng.i64(1..i64::MAX);
                // A store may let it last longer than it says, never shorter.
                self.leases.insert(lease, now + TTL + rng.u64(0..SECOND));
                Answer::Granted { lease, ttl: Duration::from_micros(TTL) }
            }
            Request::Acquire { lease } if !self.leases.contains_key(&lease) => Answer::Gone,
            Request::Acquire { lease } => {
                if self.key.is_none() {
                    self.revision += 1;
                    self.key = Some((lease, self.revision, node));
                }
                self.key.map_or(Answer::Free, held)
            }
            Request::Renew { lease, fence } => {
                let is_ours = self.key.is_some_and(|(of, number, _)| (of, number) == (lease, fence));
                match self.leases.get_mut(&lease) {
                    Some(end) if is_ours => {
                        *end = now + TTL;
                        Answer::Renewed { ttl: Duration::from_micros(TTL) }
                    }
                    _ => Answer::Gone,
                }
            }
            Request::Release { lease } => {
                self.leases.remove(&lease);
                self.advance(now);
                Answer::Released
            }
        })
    }
}

pub(super) struct Node {
    pub(super) role: RoleMachine,
    pub(super) campaign: Campaign,
    /// The number of the request that is waited for.
    pub(super) waits: Option<(u64, Time)>,
    /// The next wake-up.
    pub(super) wakes: Time,
    pub(super) has_addresses: bool,
    /// How often they were taken and released.
    pub(super) changes: u64,
    pub(super) paused_until: Time,
    pub(super) cut_until: Time,
    pub(super) offset: u64,
    pub(super) drift: i64,
}

impl Node {
    pub(super) fn clock(&self, now: Time) -> BootTime {
        let now = i64::try_from(now).unwrap();
        let skewed = now + now / DRIFT * self.drift;
        BootTime(self.offset + u64::try_from(skewed).unwrap())
    }

    /// When this node's clock shows `time`, in the world's time; a little later is no fault.
    pub(super) fn world(&self, time: BootTime, now: Time) -> Time {
        let left = time.0.saturating_sub(self.clock(now).0);
        now + left + left / u64::try_from(DRIFT).unwrap() + 1
    }
}
