//! Addresses that move together: their role, their engine, and what is done when the role changes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::cluster::{
    address::{
        agenda::{Report as Kernel, Ticket},
        kernel::Addresses,
    },
    boot_time::BootTime,
    engine::Engine,
    on_change::{OnChange, Report},
    order::Order,
    plan::Plan,
    role::{Change, Effect, Event, Role, RoleMachine},
    status::Status,
};

/// The kernel is late where it takes longer to remove addresses.
const LATE: Duration = Duration::from_millis(10);
/// What removes addresses that are of no group: groups count from one.
pub(super) const LEFT: Ticket = Ticket { group: 0, number: 0 };

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
    /// Number of what the kernel was asked last.
    asked: u64,
    /// Number of what removes the addresses of a role that is given up.
    release: u64,
    /// The kernel has said that the addresses are there.
    are_there: bool,
    /// It could not remove them, and no role has them.
    are_left: bool,
}

/// What all groups have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) status: Arc<Status>,
    pub(super) addresses: Addresses,
    pub(super) on_change: Option<OnChange>,
}

impl Group {
    /// A standby, with the engine of what it is of.
    pub(super) fn new(number: u64, plan: Plan, machine: RoleMachine, engine: Engine) -> Self {
        Self { number, plan, machine, engine, asked: 0, release: 0, are_there: false, are_left: false }
    }

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
        if !gone.is_empty() {
            let of = self.ask();
            common.addresses.release(of, &gone);
        }
        if self.machine.role() == Role::Primary && before.addresses != self.plan.addresses {
            self.take(common);
        }
        self.engine.tell(Order::Conf(self.plan.engine.clone()));
    }

    /// Removes the addresses, which no role has: a program that was killed may have left them behind.
    pub(super) fn clear(&mut self, common: &mut Common) {
        if !self.plan.addresses.is_empty() {
            let of = self.ask();
            common.addresses.release(of, &self.plan.addresses);
        }
    }

    /// Puts back addresses that somebody else removed while this node is primary; adds those that could not be added, and
    /// removes those that could not be removed.
    pub(super) fn restore(&mut self, common: &mut Common) {
        if self.machine.role() == Role::Primary && !self.plan.addresses.is_empty() {
            let of = self.ask();
            common.addresses.take(of, &self.plan.addresses);
        } else if self.are_left && !self.machine.may_have_addresses() {
            self.clear(common);
        }
    }

    /// The kernel has done what was asked, or could not.
    pub(super) fn done(&mut self, report: Kernel, common: &mut Common) {
        match report {
            Kernel::Taken { of, added, problem } if of.number == self.asked => {
                self.taken(&added, problem, common);
            }
            Kernel::Released { of, took, problem } => {
                if took > LATE {
                    let (group, ms) = (&self.plan.name, took.as_millis());
                    tracing::warn!(%group, ms, "the kernel was late to remove addresses");
                    common.status.lock().count("addresses_released", "late");
                }
                self.are_left = problem.is_some();
                self.note(problem, common);
                if of.number >= self.release {
                    self.on(Event::Released, common);
                }
            }
            // What was overtaken, and what is of no group.
            Kernel::Taken { .. } | Kernel::Link(..) => {}
        }
    }

    fn taken(&mut self, added: &[String], problem: Option<String>, common: &mut Common) {
        if self.machine.role() != Role::Primary {
            return;
        }
        let were_there = std::mem::replace(&mut self.are_there, true);
        if were_there && !added.is_empty() {
            let (group, addresses) = (&self.plan.name, added.join(", "));
            tracing::warn!(%group, %addresses, "restored what something else removed");
            common.status.lock().count("addresses_restored", "");
        }
        if !were_there || !added.is_empty() {
            common.addresses.announce(&self.plan.addresses, BootTime::now());
        }
        self.note(problem, common);
    }

    fn ask(&mut self) -> Ticket {
        self.asked += 1;
        Ticket { group: self.number, number: self.asked }
    }

    fn take(&mut self, common: &Common) {
        self.are_there = false;
        if !self.plan.addresses.is_empty() {
            let of = self.ask();
            common.addresses.take(of, &self.plan.addresses);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>, common: &mut Common, now: BootTime) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Take => self.take(common),
                // Otherwise it is announced as soon as it is there.
                Effect::Announce if self.are_there => common.addresses.announce(&self.plan.addresses, now),
                Effect::Announce => {}
                Effect::Release if self.plan.addresses.is_empty() => {
                    effects.extend(self.machine.on(Event::Released, now));
                }
                Effect::Release => {
                    self.are_there = false;
                    self.clear(common);
                    self.release = self.asked;
                }
                Effect::Stand(standing) => self.engine.tell(Order::Stand(standing)),
                Effect::Resign(standing) => self.engine.tell(Order::Resign(standing)),
                Effect::FenceFell(before) => self.fence_fell(before, common),
                Effect::Changed(change) => self.changed(&change, common),
            }
        }
    }

    fn fence_fell(&self, before: u64, common: &Common) {
        let (group, fence) = (&self.plan.name, self.machine.fence());
        tracing::warn!(
            %group, fence, before,
            "this election has a smaller number than one before, as if the store was restored from an older copy: systems \
             that compare fences refuse this node until theirs are reset; restore etcd with --bump-revision"
        );
        common.status.lock().count("elections", "smaller_fence");
    }

    fn changed(&self, change: &Change, common: &Common) {
        let (group, role, fence) = (&self.plan.name, change.role.name(), change.fence);
        tracing::info!(%group, role, fence, reason = %change.reason, "role changed");
        common.status.lock().group(group).into_iter().for_each(|group| group.changed(change));
        self.tell(change.role, fence, &change.reason, common);
    }

    /// Tells the program of `on_change` the role that the group has now.
    pub(super) fn tell_role(&self, reason: &str, common: &Common) {
        self.tell(self.machine.role(), self.machine.fence(), reason, common);
    }

    fn tell(&self, role: Role, fence: u64, reason: &str, common: &Common) {
        if let Some(on_change) = &common.on_change {
            on_change.tell(Report {
                role,
                fence,
                node: common.status.lock().node.clone(),
                router: self.plan.name.to_string(),
                addresses: self.plan.addresses.iter().map(|it| it.address.addr().to_string()).collect(),
                reason: reason.to_owned(),
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

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Mutex, mpsc},
    };

    use tokio::runtime::LocalRuntime;

    use super::*;
    use crate::cluster::{
        address::{agenda::Hardware, virtual_address::VirtualAddress, worker},
        plan::{self, tests::conf},
        role::Standing,
    };

    fn elected(fence: u64) -> Event {
        Event::Elected { fence, asked: BootTime(fence), until: None, reason: "elected".into() }
    }

    /// A kernel that refuses to remove, so many times.
    struct Refusing(usize);

    impl worker::Kernel for Refusing {
        fn add(&mut self, _: &VirtualAddress) -> io::Result<bool> {
            Ok(true)
        }

        fn remove(&mut self, _: &VirtualAddress) -> io::Result<bool> {
            let is_refused = self.0 > 0;
            self.0 = self.0.saturating_sub(1);
            if is_refused { Err(io::ErrorKind::ResourceBusy.into()) } else { Ok(true) }
        }

        fn link(&mut self, _: &str) -> io::Result<Hardware> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    #[test]
    fn addresses_that_a_standby_could_not_remove_are_removed_later() {
        LocalRuntime::new().unwrap().block_on(async {
            let address = "[[virtual_ip]]\naddress = \"10.0.0.1/24\"\ninterface = \"lo\"\n";
            let plan = plan::groups(&conf(address)).remove(0);
            let (addresses, mut reports) = Addresses::over(Refusing(2)).unwrap();
            let mut common = Common { status: Arc::default(), addresses, on_change: None };
            let mut group = Group::new(1, plan, RoleMachine::new(Duration::ZERO), Engine::idle().0);
            group.on(elected(1), &mut common);
            group.on(Event::Lost("another is primary".into()), &mut common);
            let mut refused = Vec::new();
            while refused.last() != Some(&false) {
                match reports.recv().await.unwrap() {
                    report @ Kernel::Released { .. } => group.done(report, &mut common),
                    Kernel::Taken { .. } | Kernel::Link(..) => continue,
                }
                refused.push(group.are_left);
                assert!(!group.machine.may_have_addresses());
                group.restore(&mut common);
            }
            assert_eq!(refused, [true, true, false]);
            // Nothing is left to remove: nothing more is asked for.
            let asked = group.asked;
            group.restore(&mut common);
            assert_eq!(group.asked, asked);
        });
    }

    /// A kernel whose lock another program holds, until it is let go for one call.
    struct Held {
        gate: mpsc::Receiver<()>,
        calls: Arc<Mutex<Vec<String>>>,
    }

    impl Held {
        fn call(&self, what: &str, about: &dyn std::fmt::Display) {
            self.gate.recv().unwrap();
            self.calls.lock().unwrap().push(format!("{what} {about}"));
        }
    }

    impl worker::Kernel for Held {
        fn add(&mut self, address: &VirtualAddress) -> io::Result<bool> {
            self.call("add", address);
            Ok(true)
        }

        fn remove(&mut self, address: &VirtualAddress) -> io::Result<bool> {
            self.call("remove", address);
            Ok(true)
        }

        fn link(&mut self, interface: &str) -> io::Result<Hardware> {
            self.call("link", &interface);
            Err(io::ErrorKind::NotFound.into())
        }
    }

    #[test]
    fn role_changes_without_waiting_for_the_kernels_lock() {
        LocalRuntime::new().unwrap().block_on(async {
            let address =
                |host: u8| format!("[[virtual_ip]]\naddress = \"10.0.0.{host}/24\"\ninterface = \"lo\"\n");
            let plan = plan::groups(&conf(&(address(1) + &address(2)))).remove(0);
            let ((let_go, gate), calls) = (mpsc::channel(), Arc::<Mutex<Vec<String>>>::default());
            let held = Held { gate, calls: calls.clone() };
            let (addresses, mut reports) = Addresses::over(held).unwrap();
            let mut common = Common { status: Arc::default(), addresses, on_change: None };
            let (engine, mut orders) = Engine::idle();
            let mut group = Group::new(1, plan, RoleMachine::new(Duration::ZERO), engine);
            // All of this returns, or the test does not end.
            group.on(elected(1), &mut common);
            group.on(Event::Lost("another is primary".into()), &mut common);
            group.on(elected(2), &mut common);
            assert_eq!(group.machine.role(), Role::Primary);
            group.on(Event::StepDown, &mut common);
            assert!(orders.try_recv().is_err() && group.machine.may_have_addresses());
            // One address may have been on its way; both go, before the engine hears of it.
            (0..3).for_each(|_| let_go.send(()).unwrap());
            while group.machine.is_releasing() {
                let report = reports.recv().await.unwrap();
                group.done(report, &mut common);
            }
            let calls = calls.lock().unwrap().clone();
            let (of_addresses, removed) =
                (calls.len(), calls.iter().filter(|it| it.starts_with("remove")).count());
            assert!((2..=3).contains(&of_addresses) && removed == 2, "{calls:?}");
            assert!(matches!(orders.try_recv(), Ok(Order::Resign(Standing::Last))));
        });
    }
}
