//! How the node follows a configuration: groups that stay, go and come.

use std::time::Duration;

use serde_json::Value;

use super::{
    before::Before,
    group::{Group, LEFT},
    run::Node,
};
use crate::cluster::{
    address::kernel::are_there,
    conf::ClusterConf,
    engine::Engine,
    on_change::OnChange,
    order::{Order, Outlet, Resumed},
    plan::{self, Plan},
    role::{Event, RoleMachine},
    status::GroupStatus,
};

/// Why a group is left that no configuration has as it was.
const NOT_CONFIGURED: &str = "the configuration does not have this election any more";
/// Why a role is told that the program before had, and could not tell.
const RESUMED: &str = "continues from the previous program";
/// What it takes to remove addresses, and some: an election that has an end is given up so long before.
const MARGIN: Duration = Duration::from_millis(100);

impl Node {
    /// Follows a configuration, once what groups have that are in it no more is released.
    pub(super) fn set(&mut self, conf: Option<Box<ClusterConf>>, before: Value) {
        let plans = conf.as_deref().map_or_else(Vec::new, plan::groups);
        let can_go_on = |group: &Group| {
            plans.iter().any(|plan| plan.name == group.plan.name && group.engine.can_be(&plan.engine))
        };
        let (kept, gone): (Vec<Group>, Vec<Group>) =
            std::mem::take(&mut self.groups).into_iter().partition(can_go_on);
        (self.groups, self.leaving) = (kept, gone);
        self.leaving.iter_mut().for_each(|group| group.on(Event::Leave(NOT_CONFIGURED), &mut self.common));
        self.next = Some((conf, before));
        self.follow();
    }

    /// Goes on with the configuration that waits, where it need not wait any more.
    pub(super) fn follow(&mut self) {
        if self.leaving.iter().any(|group| group.machine.is_releasing()) {
            self.arm();
            return;
        }
        for group in std::mem::take(&mut self.leaving) {
            group.engine.tell(Order::Leave);
        }
        if let Some((conf, before)) = self.next.take() {
            self.begin(conf.as_deref(), &Before::read(&before));
        }
    }

    /// Begins with a configuration.
    fn begin(&mut self, conf: Option<&ClusterConf>, before: &Before) {
        let plans = conf.map_or_else(Vec::new, plan::groups);
        let node = conf.map(ClusterConf::node_name).unwrap_or_default();
        let has_new_program = self.follow_on_change(conf);
        let mut inner = self.common.status.lock();
        inner.groups.retain(|group| plans.iter().any(|plan| plan.name == group.name));
        (inner.node, inner.election) = (node, conf.map_or("", |conf| conf.election.name()));
        drop(inner);
        if self.groups.is_empty() && before.is_stepped_down {
            self.is_stepped_down = true;
            self.common.status.lock().is_stepped_down = true;
        }
        self.left.extend(before.addresses());
        self.left.retain(|address| plans.iter().all(|plan| !plan.addresses.contains(address)));
        self.release_left();
        for plan in plans {
            match self.groups.iter_mut().find(|group| group.plan.name == plan.name) {
                Some(group) => {
                    group.configure(plan, &mut self.common);
                    if has_new_program {
                        group.tell_role("`on_change` is configured", &self.common);
                    }
                }
                None => self.add(plan, before),
            }
        }
        self.update_addresses();
        self.look_soon();
    }

    /// Goes on with the program of `on_change`, or begins with another: whether it does.
    fn follow_on_change(&mut self, conf: Option<&ClusterConf>) -> bool {
        let wanted = conf.and_then(|conf| conf.on_change.as_ref());
        match (&mut self.common.on_change, wanted) {
            (Some(on_change), wanted) => on_change.configure(wanted) && wanted.is_some(),
            (none @ None, Some(wanted)) => {
                *none = OnChange::start(wanted.clone(), self.common.status.clone());
                true
            }
            (None, None) => false,
        }
    }

    /// Removes what the program before had and no group has.
    pub(super) fn release_left(&mut self) {
        if !self.left.is_empty() {
            self.common.addresses.release(LEFT, &self.left);
        }
    }

    /// Adds a group: the primary that the program before this one was, or a standby.
    fn add(&mut self, plan: Plan, before: &Before) {
        self.last += 1;
        let addresses = plan.addresses.clone();
        let mut status = self.common.status.lock();
        if status.group(&plan.name).is_none() {
            status.groups.push(GroupStatus::new(plan.name.clone(), addresses));
        }
        drop(status);
        let resumed = Self::resumed(&plan, before);
        let is_primary = resumed.as_ref().is_some_and(|it| it.is_primary);
        let machine = match resumed.as_ref().filter(|it| it.is_primary) {
            Some(resumed) => RoleMachine::resuming(MARGIN, resumed.fence),
            None => RoleMachine::new(MARGIN),
        };
        let outlet = Outlet {
            group: self.last,
            name: plan.name.clone(),
            events: self.events.clone(),
            status: self.common.status.clone(),
            has_acted: self.watch.has_acted(),
            last_words: self.last_words.clone(),
        };
        let engine = Engine::start(plan.engine.clone(), outlet, resumed);
        let mut group = Group::new(self.last, plan, machine, engine);
        if !is_primary {
            // Left behind by a program that was killed: a standby has none.
            group.clear(&mut self.common);
        }
        for event in [
            self.unfit.clone().map(|why| Event::Unfit(Some(why))),
            self.weak.clone().map(|why| Event::Weak(Some(why))),
            self.is_stepped_down.then_some(Event::StepDown),
        ]
        .into_iter()
        .flatten()
        {
            group.on(event, &mut self.common);
        }
        let is_untold = before.groups.iter().any(|it| it.is_untold && *it.name == *group.plan.name);
        // A primary's change is told as one.
        if is_untold && !is_primary {
            group.tell_role(RESUMED, &self.common);
        }
        self.groups.push(group);
    }

    /// What a group was in the program before this one: its primary as long as the addresses are there, since that
    /// program removes them when it is not any more.
    fn resumed(plan: &Plan, before: &Before) -> Option<Resumed> {
        let group = before.groups.iter().find(|group| *group.name == *plan.name)?;
        // A version before they were told of has those of the plan.
        let addresses = group.addresses.as_ref().unwrap_or(&plan.addresses);
        Some(Resumed {
            is_primary: group.is_primary && are_there(addresses),
            fence: group.fence,
            state: group.state.clone(),
        })
    }

    fn update_addresses(&self) {
        let mut inner = self.common.status.lock();
        for group in &self.groups {
            inner
                .group(&group.plan.name)
                .into_iter()
                .for_each(|status| status.addresses.clone_from(&group.plan.addresses));
        }
    }
}
