//! How a node stands for election where a store decides: pure, one request at a time.
//!
//! A lease (etcd) or a session (ZooKeeper) is asked for, a key is created with it if there is none, and renewed until it is
//! given up. What counts is when a request was *sent* and what the store granted: from then on for as long as that, no
//! other node can have the key. Next stop: [`RoleMachine`](super::super::role::RoleMachine), by the events that come out.

mod complaint;

use std::time::Duration;

pub use self::complaint::Complaint;
use super::super::{
    boot_time::BootTime,
    role::{Event, Standing},
};

/// What is asked of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Who has the key; answered with [`Answer::Held`] or [`Answer::Free`].
    Look,
    /// The end of the key, which `Held` told of: answered when it is gone, or has changed. It may take for ever.
    Watch,
    /// A lease, or a session.
    Grant,
    /// To create the key with the lease, where there is none.
    Acquire {
        /// The lease.
        lease: i64,
    },
    /// To renew the lease, and to prove that the key is still the one that was created with it.
    Renew {
        /// The lease.
        lease: i64,
        /// The number of the key's creation.
        fence: u64,
    },
    /// To remove the key where it is of this lease, and to end the lease.
    Release {
        /// The lease.
        lease: i64,
    },
}

/// What the store says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is a lease.
    Granted {
        /// Its number.
        lease: i64,
        /// How long it lasts from when it was asked for: what the store granted, which may be more than was asked for.
        ttl: Duration,
    },
    /// The key is there, with the lease.
    Held {
        /// The node that has it.
        by: String,
        /// Its lease.
        lease: i64,
        /// The number of its creation.
        fence: u64,
    },
    /// There is no key.
    Free,
    /// The lease lasts longer, and the key is ours.
    Renewed {
        /// How long from when that was asked for.
        ttl: Duration,
    },
    /// The lease is over, or the key is not ours.
    Gone,
    /// What was to be removed is not there any more.
    Released,
    /// The store did not answer, or with an error; what was asked for may have been done.
    Failed(String),
}

/// How often a renewal is tried in the time that a lease lasts.
const RENEWALS: u32 = 3;
/// The shortest and the longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// What a request may take beside a renewal, whose bound is the lease's.
const PATIENCE: Duration = Duration::from_secs(2);

/// A node that stands for election.
#[derive(Debug)]
pub struct Campaign {
    step: Step,
    standing: Standing,
    /// How many servers are asked by turns, one more with each failure.
    servers: u32,
    /// How long the two requests took of which the last election or renewal consisted.
    took: Duration,
    /// What keeps this node from being primary, though the store answers.
    complaint: Option<Complaint>,
    /// The lease that was granted last, and may be in use.
    lease: Option<Lease>,
    /// Nothing is asked before then.
    not_before: Option<BootTime>,
    failures: u32,
    /// The key has been free for as long.
    free_since: Option<BootTime>,
    /// The node that has the key.
    holder: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    id: i64,
    ttl: Duration,
    /// When the request was sent that was granted last.
    sent: BootTime,
}

/// What was won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Won {
    /// The lease.
    pub lease: i64,
    /// The number of the key's creation.
    pub fence: u64,
    /// How long a renewal holds.
    pub ttl: Duration,
    /// When the last was sent.
    pub sent: BootTime,
}

impl Lease {
    fn until(&self) -> BootTime {
        self.sent.plus(self.ttl)
    }

    /// The key was created with it.
    fn elected(&self, fence: u64, reason: String) -> Event {
        Event::Elected { fence, asked: self.sent, until: Some(self.until()), reason }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Look,
    Watch,
    Grant,
    Acquire,
    Hold { fence: u64 },
    Release,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// To ask the store, and to take it for failed after a time.
    Ask(Request, Option<Duration>),
    /// To wait until then, or for an order.
    Wait(BootTime),
    /// To wait for an order.
    Rest,
}

impl Campaign {
    /// A node that has nothing yet.
    pub fn new(standing: Standing) -> Self {
        Self {
            step: Step::Look,
            standing,
            servers: 1,
            took: Duration::ZERO,
            complaint: None,
            lease: None,
            not_before: None,
            failures: 0,
            free_since: None,
            holder: None,
        }
    }

    /// A node that goes on with what another program has won, by a request that was sent then: it renews it at once, and as
    /// that program would have where a server does not answer.
    pub fn resume(lease: i64, fence: u64, sent: BootTime, ttl: Duration) -> (Self, Option<Event>) {
        let lease = Lease { id: lease, ttl, sent };
        let reason = "continues from the previous program".into();
        let event = lease.elected(fence, reason);
        let mut campaign = Self::new(Standing::Full);
        (campaign.lease, campaign.step) = (Some(lease), Step::Hold { fence });
        (campaign, Some(event))
    }

    /// So many servers are asked by turns.
    pub fn ask_by_turns(&mut self, servers: usize) {
        self.servers = u32::try_from(servers).unwrap_or(u32::MAX).max(1);
    }

    /// What was won.
    pub fn won(&self) -> Option<Won> {
        let Lease { id: lease, ttl, sent } = self.lease?;
        match self.step {
            Step::Hold { fence } => Some(Won { lease, fence, ttl, sent }),
            Step::Look | Step::Watch | Step::Grant | Step::Acquire | Step::Release => None,
        }
    }

    /// Something happened to the key, or may have: what was won is renewed at once.
    pub fn renew_now(&mut self) {
        if self.failures == 0 && matches!(self.step, Step::Hold { .. }) {
            self.not_before = None;
        }
    }

    /// What keeps this node from being primary, though the store answers.
    pub fn complaint(&self) -> Option<&Complaint> {
        self.complaint.as_ref()
    }

    /// The node that has the key, as far as is known.
    pub fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    /// Requests that failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How much the node wants to be primary from now on.
    pub fn stand(&mut self, standing: Standing) {
        self.standing = standing;
        if self.step == Step::Watch {
            return;
        }
        if standing == Standing::Out && !matches!(self.step, Step::Hold { .. }) && self.lease.is_some() {
            self.step = Step::Release;
        }
    }

    /// Gives up what the node has, or may have. What was asked is not waited for any more.
    pub fn resign(&mut self, standing: Standing) {
        self.standing = standing;
        self.not_before = None;
        self.free_since = None;
        self.step = if self.lease.is_some() { Step::Release } else { Step::Look };
    }

    /// What comes next at `now`.
    pub fn next(&mut self, now: BootTime) -> Next {
        if let Some(not_before) = self.not_before.filter(|not_before| *not_before > now) {
            return Next::Wait(not_before);
        }
        self.not_before = None;
        if let (Step::Hold { fence }, Some(lease)) = (self.step, self.lease) {
            return Next::Ask(Request::Renew { lease: lease.id, fence }, Some(self.patience(&lease, now)));
        }
        let lease = self.lease.map(|lease| (lease.id, lease.ttl));
        match (self.step, lease) {
            (Step::Release, Some((lease, ttl))) => {
                Next::Ask(Request::Release { lease }, Some(ttl.min(PATIENCE)))
            }
            (Step::Acquire, Some((lease, ttl))) => {
                Next::Ask(Request::Acquire { lease }, Some(ttl.min(PATIENCE)))
            }
            (Step::Watch, _) => Next::Ask(Request::Watch, None),
            (_, _) if self.standing == Standing::Out => Next::Rest,
            (Step::Grant, _) => Next::Ask(Request::Grant, Some(PATIENCE)),
            (..) => Next::Ask(Request::Look, Some(PATIENCE)),
        }
    }

    /// What a renewal may take. More than one must fit into what is left, so that one that is lost is not the end; and the
    /// servers that were not asked since the last answer have equal parts of that. A store that is slow as a whole gets the
    /// time that it needs.
    fn patience(&self, lease: &Lease, now: BootTime) -> Duration {
        let least = (lease.ttl / RENEWALS).max(self.took * 3 / 2);
        if self.failures == 0 {
            return least;
        }
        let left = lease.until().since(now);
        (left / (self.servers - self.failures % self.servers)).clamp(PAUSE.0, least.max(PAUSE.0))
    }

    /// What `answer` to the request that was sent at `sent` makes of it.
    pub fn on(&mut self, answer: Answer, sent: BootTime, now: BootTime, last: Duration) -> Option<Event> {
        if !matches!(answer, Answer::Failed(_)) {
            self.failures = 0;
        }
        match answer {
            Answer::Failed(_) => {
                self.failed(now);
                None
            }
            Answer::Granted { lease, ttl } => {
                self.lease = Some(Lease { id: lease, ttl, sent });
                self.step = Step::Acquire;
                None
            }
            Answer::Held { by, lease, fence } => self.held(by, lease, fence, now),
            Answer::Free => {
                self.free(now, last);
                None
            }
            Answer::Renewed { ttl } => self.renewed(sent, ttl, now),
            Answer::Gone => self.gone(),
            Answer::Released => {
                self.lease = None;
                self.step = Step::Look;
                None
            }
        }
    }

    fn held(&mut self, by: String, lease: i64, fence: u64, now: BootTime) -> Option<Event> {
        self.free_since = None;
        let own = self.lease.filter(|own| own.id == lease);
        self.complaint = (lease == 0).then(|| Complaint::Stray { by: by.clone() });
        self.holder = Some(by);
        let Some(own) = own else {
            // The lease has no use until the key is free, and would be over by then.
            let is_of_no_use = self.lease.is_some() && self.step == Step::Acquire;
            self.step = if is_of_no_use { Step::Release } else { Step::Watch };
            return None;
        };
        if self.step != Step::Acquire || self.standing == Standing::Out {
            // It was given up, and the store never heard of that.
            self.step = Step::Release;
            return None;
        }
        self.took = now.since(own.sent);
        if self.took * 20 > own.ttl * 9 {
            // It would be over before a renewal, which takes as long, has been answered: each would be for nothing.
            self.complaint = Some(Complaint::TooSlow { ttl: own.ttl });
            self.step = Step::Release;
            return None;
        }
        self.step = Step::Hold { fence };
        self.not_before = Some(own.sent.plus(own.ttl / RENEWALS));
        Some(own.elected(fence, "elected by the store".into()))
    }

    /// The key is free: a node that is to be primary only where no other is waits for the others.
    fn free(&mut self, now: BootTime, last: Duration) {
        self.holder = None;
        self.complaint.take_if(|it| matches!(it, Complaint::Stray { .. }));
        let since = *self.free_since.get_or_insert(now);
        let turn = if self.standing == Standing::Last { since.plus(last) } else { now };
        if turn > now {
            self.not_before = Some(turn);
            self.step = Step::Look;
        } else {
            self.step = Step::Grant;
        }
    }

    fn renewed(&mut self, sent: BootTime, ttl: Duration, now: BootTime) -> Option<Event> {
        let Step::Hold { .. } = self.step else { return None };
        self.took = now.since(sent);
        let lease = self.lease.as_mut()?;
        (lease.sent, lease.ttl) = (sent, ttl);
        self.not_before = Some(sent.plus(ttl / RENEWALS));
        Some(Event::Renewed { until: lease.until() })
    }

    fn gone(&mut self) -> Option<Event> {
        let was_held = matches!(self.step, Step::Hold { .. });
        self.lease = None;
        self.holder = None;
        self.step = Step::Look;
        was_held.then(|| Event::Lost("the store ended the lease".into()))
    }

    fn failed(&mut self, now: BootTime) {
        self.failures = self.failures.saturating_add(1);
        let (least, most) = PAUSE;
        let most = self.lease.map_or(most, |lease| most.min(lease.ttl / 10)).max(least);
        let pause = least.saturating_mul(1 << self.failures.min(6)).min(most);
        // Another server has not failed yet.
        let is_another =
            matches!(self.step, Step::Hold { .. }) && !self.failures.is_multiple_of(self.servers);
        self.not_before = Some(now.plus(if is_another { least } else { pause }));
        match self.step {
            // Nobody has the lease any more, so there is nothing to remove.
            Step::Release if self.lease.is_some_and(|lease| lease.until().plus(lease.ttl) < now) => {
                self.lease = None;
                self.step = Step::Look;
            }
            Step::Watch => self.step = Step::Look,
            Step::Look | Step::Grant | Step::Acquire | Step::Hold { .. } | Step::Release => {}
        }
    }
}

#[cfg(test)]
mod tests;
