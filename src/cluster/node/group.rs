//! Addresses that move together: their role, their engine, and what is done when the role changes.

use std::sync::Arc;

use crate::cluster::{
    address::kernel::Addresses,
    boot_time::BootTime,
    engine::Engine,
    on_change::{OnChange, Report},
    order::Order,
    plan::Plan,
    role::{Change, Effect, Event, Role, RoleMachine},
    status::Status,
};

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    /// Its number, which no other group had.
    pub(super) number: u64,
    /// What it is of.
    pub(super) plan: Plan,
    /// Its role.
    pub(super) machine: RoleMachine,
    pub(super) engine: Engine,
}

/// What all groups have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) status: Arc<Status>,
    pub(super) addresses: Addresses,
    pub(super) on_change: Option<OnChange>,
}

impl Group {
    /// Does what an event brings.
    pub(super) fn on(&mut self, event: Event, common: &mut Common) {
        let now = BootTime::now();
        let effects = self.machine.on(event, now);
        self.perform(effects, common, now);
    }

    /// Does what the time brings.
    pub(super) fn tick(&mut self, common: &mut Common, now: BootTime) {
        let effects = self.machine.tick(now);
        self.perform(effects, common, now);
    }

    /// Takes another plan of the same name; its addresses follow while it is primary.
    pub(super) fn configure(&mut self, plan: Plan, common: &mut Common) {
        if self.plan == plan {
            return;
        }
        let before = std::mem::replace(&mut self.plan, plan);
        let gone: Vec<_> =
            before.addresses.iter().filter(|it| !self.plan.addresses.contains(it)).cloned().collect();
        let released = common.addresses.release(&gone);
        self.note(released.err(), common);
        if self.machine.role() == Role::Primary && before.addresses != self.plan.addresses {
            let taken = common.addresses.take(&self.plan.addresses, BootTime::now());
            self.note(taken.err(), common);
        }
        self.engine.tell(Order::Conf(self.plan.engine.clone()));
    }

    /// Puts back addresses that somebody else removed while this node is primary; adds those that could not be added.
    pub(super) fn restore(&self, common: &mut Common, now: BootTime) {
        if self.machine.role() != Role::Primary || self.plan.addresses.is_empty() {
            return;
        }
        let (added, failed) = common.addresses.restore(&self.plan.addresses, now);
        if !added.is_empty() {
            let (group, addresses) = (&self.plan.name, added.join(", "));
            tracing::warn!(%group, %addresses, "put back what somebody else removed");
            common.status.lock().count("addresses_restored", "");
        }
        self.note(failed, common);
    }

    fn perform(&mut self, effects: Vec<Effect>, common: &mut Common, now: BootTime) {
        let addresses = &self.plan.addresses;
        for effect in effects {
            match effect {
                Effect::Take => {
                    let taken = common.addresses.take(addresses, now);
                    self.note(taken.err(), common);
                }
                Effect::Announce => common.addresses.announce(addresses, now),
                Effect::Release => {
                    let released = common.addresses.release(addresses);
                    self.note(released.err(), common);
                }
                Effect::Stand(standing) => self.engine.tell(Order::Stand(standing)),
                Effect::Resign(standing) => self.engine.tell(Order::Resign(standing)),
                Effect::Changed(change) => self.changed(&change, common),
            }
        }
    }

    fn changed(&self, change: &Change, common: &Common) {
        let (group, role, fence) = (&self.plan.name, change.role.name(), change.fence);
        tracing::info!(%group, role, fence, reason = %change.reason, "role changed");
        let mut inner = common.status.lock();
        inner.group(group).into_iter().for_each(|group| group.changed(change));
        let node = inner.node.clone();
        drop(inner);
        if let Some(on_change) = &common.on_change {
            on_change.tell(Report {
                role: change.role,
                fence,
                node,
                router: group.to_string(),
                addresses: self.plan.addresses.iter().map(|it| it.address.addr().to_string()).collect(),
                reason: change.reason.clone(),
            });
        }
    }

    /// Says what is wrong, or (`None`) that nothing is any more.
    fn note(&self, problem: Option<String>, common: &Common) {
        let mut inner = common.status.lock();
        let Some(group) = inner.group(&self.plan.name) else { return };
        if let Some(problem) = problem.as_ref().filter(|problem| group.problem.as_ref() != Some(*problem)) {
            tracing::error!(group = %self.plan.name, "{problem}");
        }
        group.problem = problem;
    }
}
