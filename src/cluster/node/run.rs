//! The node's event loop.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::timeout,
};

use super::{
    group::{Common, Group},
    watch::Watch,
};
use crate::cluster::{
    address::kernel::Addresses,
    alarm::Alarm,
    boot_time::BootTime,
    conf::ClusterConf,
    engine::Engine,
    netlink::{message::Message, socket::News},
    on_change::OnChange,
    order::{LastWords, Order, Outlet, Resumed},
    plan::{self, Plan},
    realtime,
    role::{Event, Role, RoleMachine},
    status::{GroupStatus, Status},
};

/// What the node is told.
#[derive(Debug)]
pub(super) enum Command {
    /// A configuration, and what the program before this one was.
    Set(Option<Box<ClusterConf>>, Value),
    Unfit(Option<String>),
    Weak(Option<String>),
    StepDown,
    Resume,
    Leave {
        keep_addresses: bool,
        done: oneshot::Sender<()>,
    },
}

/// What it takes to remove addresses, and some: an election that has an end is given up so long before.
const MARGIN: Duration = Duration::from_millis(100);
/// How long an engine may take to end.
const ENDING: Duration = Duration::from_millis(500);
/// How often addresses that could not be added are tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The life of the cluster's thread.
pub(super) fn run(commands: UnboundedReceiver<Command>, status: Arc<Status>) {
    let realtime = realtime::enter();
    if let Err(error) = &realtime {
        tracing::info!("the cluster runs among other programs, not before them (CAP_SYS_NICE): {error}");
    }
    let runtime =
        Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
    let result =
        runtime.and_then(|runtime| runtime.block_on(serve(commands, status, Watch::new(realtime.is_ok()))));
    if let Err(error) = result {
        tracing::error!("no cluster: {error}");
    }
}

async fn serve(
    mut commands: UnboundedReceiver<Command>,
    status: Arc<Status>,
    watch: Watch,
) -> std::io::Result<()> {
    let (alarm, news) = (Alarm::new()?, News::open()?);
    let (sender, mut events) = unbounded_channel();
    let common = Common { status, addresses: Addresses::open()?, on_change: None };
    let mut node = Node {
        common,
        groups: Vec::new(),
        events: sender,
        last: 0,
        unfit: None,
        weak: None,
        is_stepped_down: false,
        watch,
        last_words: LastWords::default(),
        again: None,
    };
    loop {
        let deadline = node.deadline();
        tokio::select! {
            biased;
            Some((number, event)) = events.recv() => node.on_event(number, event),
            command = commands.recv() => match command {
                Some(Command::Leave { keep_addresses, done }) => {
                    node.leave(keep_addresses).await;
                    let _ = done.send(());
                    return Ok(());
                }
                Some(command) => node.obey(command),
                // The program ended without a word.
                None => {
                    node.leave(false).await;
                    return Ok(());
                }
            },
            () = node.watch.readable() => node.guarded(),
            () = news.readable() => node.hear(&news),
            () = alarm.until(deadline) => node.tick(),
        }
    }
}

struct Node {
    common: Common,
    groups: Vec<Group>,
    events: UnboundedSender<(u64, Event)>,
    /// The number of the last group that was made.
    last: u64,
    unfit: Option<String>,
    weak: Option<String>,
    is_stepped_down: bool,
    watch: Watch,
    last_words: LastWords,
    /// When to look whether all addresses are there.
    again: Option<BootTime>,
}

impl Node {
    fn obey(&mut self, command: Command) {
        match command {
            Command::Set(conf, before) => self.set(conf.as_deref(), &before),
            Command::Unfit(why) => {
                if self.unfit != why {
                    self.unfit.clone_from(&why);
                    self.write_unfit();
                    self.tell_all(&Event::Unfit(why));
                }
            }
            Command::Weak(why) => {
                if self.weak != why {
                    self.weak.clone_from(&why);
                    self.write_unfit();
                    self.tell_all(&Event::Weak(why));
                }
            }
            Command::StepDown => self.step_down(true),
            Command::Resume => self.step_down(false),
            // Seen by the loop.
            Command::Leave { .. } => {}
        }
    }

    fn write_unfit(&self) {
        let why = self.unfit.as_ref().or(self.weak.as_ref());
        if let Some(why) = why {
            tracing::warn!("another node should be primary: {why}");
        }
        self.common.status.lock().unfit = why.cloned();
    }

    fn step_down(&mut self, is_down: bool) {
        self.is_stepped_down = is_down;
        self.common.status.lock().is_stepped_down = is_down;
        self.tell_all(if is_down { &Event::StepDown } else { &Event::Resume });
    }

    fn tell_all(&mut self, event: &Event) {
        for group in &mut self.groups {
            group.on(event.clone(), &mut self.common);
        }
        self.look_soon();
    }

    fn on_event(&mut self, number: u64, event: Event) {
        // A group that is gone may still have said something.
        if let Some(group) = self.groups.iter_mut().find(|group| group.number == number) {
            group.on(event, &mut self.common);
        }
        self.look_soon();
    }

    /// Follows a configuration.
    fn set(&mut self, conf: Option<&ClusterConf>, before: &Value) {
        let plans = conf.map_or_else(Vec::new, plan::groups);
        let can_go_on = |group: &Group| {
            plans.iter().any(|plan| plan.name == group.plan.name && group.engine.can_be(&plan.engine))
        };
        let (kept, gone): (Vec<Group>, Vec<Group>) =
            std::mem::take(&mut self.groups).into_iter().partition(can_go_on);
        self.groups = kept;
        for mut group in gone {
            // What it had is released before another group may take it.
            group.on(Event::Leave, &mut self.common);
            group.engine.tell(Order::Leave);
        }
        let node = conf.map(ClusterConf::node_name).unwrap_or_default();
        self.common.on_change = conf.and_then(|conf| {
            let wanted = conf.on_change.as_ref()?;
            let before = self.common.on_change.take();
            before
                .filter(|it| it.is(wanted))
                .or_else(|| OnChange::start(wanted.clone(), self.common.status.clone()))
        });
        let mut inner = self.common.status.lock();
        inner.groups.retain(|group| plans.iter().any(|plan| plan.name == group.name));
        (inner.node, inner.election) = (node, conf.map_or("", |conf| conf.election.name()));
        drop(inner);
        if self.groups.is_empty() && at(before, "is_stepped_down") == true {
            self.is_stepped_down = true;
            self.common.status.lock().is_stepped_down = true;
        }
        for plan in plans {
            match self.groups.iter_mut().find(|group| group.plan.name == plan.name) {
                Some(group) => group.configure(plan, &mut self.common),
                None => self.add(plan, before),
            }
        }
        self.update_addresses();
        self.look_soon();
    }

    /// Adds a group: the primary that the program before this one was, or a standby.
    fn add(&mut self, plan: Plan, before: &Value) {
        self.last += 1;
        let addresses = plan.addresses.iter().map(|it| it.address.addr().to_string()).collect();
        let mut status = self.common.status.lock();
        if status.group(&plan.name).is_none() {
            status.groups.push(GroupStatus::new(plan.name.clone(), addresses));
        }
        drop(status);
        let resumed = self.resumed(&plan, before);
        if !resumed.as_ref().is_some_and(|it| it.is_primary) {
            // Left behind by a program that was killed: a standby has none.
            if let Err(error) = self.common.addresses.release(&plan.addresses) {
                tracing::error!(group = %plan.name, "{error}");
            }
        }
        let outlet = Outlet {
            group: self.last,
            name: plan.name.clone(),
            events: self.events.clone(),
            status: self.common.status.clone(),
            has_acted: self.watch.has_acted(),
            last_words: self.last_words.clone(),
        };
        let engine = Engine::start(plan.engine.clone(), outlet, resumed);
        let mut group = Group { number: self.last, plan, machine: RoleMachine::new(MARGIN), engine };
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
        self.groups.push(group);
    }

    /// What a group was in the program before this one: its primary as long as the addresses are there, since that
    /// program removes them when it is not any more.
    fn resumed(&mut self, plan: &Plan, before: &Value) -> Option<Resumed> {
        let groups = at(before, "groups").as_array()?;
        let group = groups.iter().find(|group| at(group, "name") == &*plan.name)?;
        let was_primary = at(group, "is_primary") == true;
        Some(Resumed {
            is_primary: was_primary && self.common.addresses.are_there(&plan.addresses),
            fence: at(group, "fence").as_u64().unwrap_or(0),
            state: at(group, "state").clone(),
        })
    }

    fn update_addresses(&self) {
        let mut inner = self.common.status.lock();
        for group in &self.groups {
            let addresses = group.plan.addresses.iter().map(|it| it.address.addr().to_string()).collect();
            inner
                .group(&group.plan.name)
                .into_iter()
                .for_each(|status| status.addresses.clone_from(&addresses));
        }
    }

    /// News of addresses: where some are gone, they are put back.
    fn hear(&mut self, news: &News) {
        let mut is_gone = false;
        while let Some(messages) = news.read() {
            // Where news were lost, anything may have happened.
            is_gone |= messages.is_empty();
            is_gone |= messages.iter().any(|message| match message {
                Message::Gone(gone) => self
                    .groups
                    .iter()
                    .filter(|group| group.machine.role() == Role::Primary)
                    .any(|group| group.plan.addresses.iter().any(|it| it.address == gone.address)),
                Message::Link(link) => link.is_running,
                Message::Address(_) | Message::Answer { .. } | Message::Done | Message::Other => false,
            });
        }
        if is_gone {
            self.restore();
        }
    }

    fn restore(&mut self) {
        let now = BootTime::now();
        self.groups.iter().for_each(|group| group.restore(&mut self.common, now));
        self.again = None;
        self.look_soon();
    }

    /// Looks again in a while whether all addresses are there, where something is wrong; and has the guard know what is.
    fn look_soon(&mut self) {
        self.arm();
        let is_wrong = |group: &GroupStatus| group.role == Role::Primary && group.problem.is_some();
        if self.again.is_none() && self.common.status.lock().groups.iter().any(is_wrong) {
            self.again = Some(BootTime::now().plus(AGAIN));
        }
    }

    fn deadline(&self) -> Option<BootTime> {
        let groups = self.groups.iter().filter_map(|group| group.machine.deadline());
        groups.chain(self.again).chain(self.common.addresses.deadline()).chain(self.watch.deadline()).min()
    }

    fn tick(&mut self) {
        let now = BootTime::now();
        for group in &mut self.groups {
            group.tick(&mut self.common, now);
        }
        self.common.addresses.tick(now);
        self.watch.tick(now);
        if self.again.is_some_and(|again| again <= now) {
            self.restore();
        }
    }

    /// The guard said something: it may have acted in this node's place.
    fn guarded(&mut self) {
        if self.watch.take_acted() {
            let reason = "this node did not run in time, and its guard gave the role up";
            for group in &mut self.groups {
                if group.machine.role() == Role::Primary {
                    group.on(Event::Lost(reason.into()), &mut self.common);
                    group.engine.tell(Order::Restart);
                }
            }
            self.arm();
        }
    }

    /// Tells the guard what is to be undone.
    fn arm(&mut self) {
        let primaries = self.groups.iter().filter(|group| group.machine.role() == Role::Primary);
        let words = self.last_words.borrow();
        let (mut addresses, mut last_words) = (Vec::new(), Vec::new());
        for group in primaries {
            addresses.extend(group.plan.addresses.iter().cloned());
            last_words.extend(words.get(&group.number).into_iter().flatten().cloned());
        }
        drop(words);
        self.watch.arm(addresses, last_words);
    }

    /// Gives up all roles, or leaves them to the next program; waits for the engines, for a bounded time.
    async fn leave(&mut self, keep_addresses: bool) {
        for group in &mut self.groups {
            if keep_addresses && group.engine.can_hand_over() {
                group.engine.tell(Order::HandOver);
            } else {
                group.on(Event::Leave, &mut self.common);
                group.engine.tell(Order::Leave);
            }
        }
        for group in self.groups.drain(..) {
            if timeout(ENDING, group.engine.ended()).await.is_err() {
                tracing::error!(group = %group.plan.name, "its engine did not end within {ENDING:?}");
            }
        }
        self.watch.end();
        if let Some(on_change) = self.common.on_change.take() {
            on_change.finish(keep_addresses);
        }
    }
}

/// What is at a key; nothing (`null`) where there is none.
fn at<'v>(value: &'v Value, key: &str) -> &'v Value {
    value.get(key).unwrap_or(&Value::Null)
}
