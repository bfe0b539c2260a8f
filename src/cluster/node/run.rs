//! The node's event loop.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

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
    group::{Common, Group, LEFT},
    watch::Watch,
};
use crate::cluster::{
    address::{agenda::Report, kernel::Addresses, virtual_address::VirtualAddress},
    alarm::Alarm,
    boot_time::BootTime,
    conf::ClusterConf,
    netlink::{message::Message, socket::News},
    order::{LastWords, Order},
    realtime::{self, Rank},
    role::{Event, Role},
    status::Status,
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

/// How long an engine may take to end.
const ENDING: Duration = Duration::from_millis(500);
/// How long the kernel may take to remove the addresses of a node that ends: less than the node may take to leave.
const REMOVING: Duration = Duration::from_secs(1);
/// Threads that may wait for the kernel at the same time: for sockets that are opened and closed.
const WAITING: usize = 16;
/// How often addresses that could not be added, or removed, are tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The life of the cluster's thread.
pub(super) fn run(commands: UnboundedReceiver<Command>, status: Arc<Status>) {
    let realtime = realtime::enter(Rank::Decides);
    if let Err(error) = &realtime {
        tracing::info!("the cluster's thread has no real-time priority (CAP_SYS_NICE): {error}");
    }
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .thread_name("cluster-waits")
        .max_blocking_threads(WAITING)
        .build_local(LocalOptions::default());
    let result = runtime.and_then(|runtime| {
        let result = runtime.block_on(serve(commands, status, Watch::new(realtime.is_ok())));
        // Sockets that are being opened or closed wait for the kernel, and nobody waits for them.
        runtime.shutdown_background();
        result
    });
    match result {
        // It has a limit of its own.
        Ok(telling) => drop(telling.map(JoinHandle::join)),
        Err(error) => tracing::error!("the cluster is not running: {error}"),
    }
}

async fn serve(
    mut commands: UnboundedReceiver<Command>,
    status: Arc<Status>,
    watch: Watch,
) -> std::io::Result<Option<JoinHandle<()>>> {
    let (alarm, news) = (Alarm::new()?, News::open()?);
    let (sender, mut events) = unbounded_channel();
    let (addresses, mut reports) = Addresses::open()?;
    let common = Common { status, addresses, on_change: None };
    let mut node = Node {
        common,
        groups: Vec::new(),
        leaving: Vec::new(),
        left: Vec::new(),
        next: None,
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
            // After the events that there are: a role is not given up that another was won of.
            Some(report) = reports.recv() => node.done(report),
            command = commands.recv(), if node.next.is_none() => match command {
                Some(Command::Leave { keep_addresses, done }) => {
                    let telling = node.leave(keep_addresses, &mut reports, &alarm).await;
                    let _ = done.send(());
                    return Ok(telling);
                }
                Some(command) => node.obey(command),
                // The program ended without a word.
                None => return Ok(node.leave(false, &mut reports, &alarm).await),
            },
            () = node.watch.readable() => node.guarded(),
            () = news.readable() => node.hear(&news),
            () = alarm.until(deadline) => node.tick(),
        }
    }
}

/// The node.
pub(super) struct Node {
    pub(super) common: Common,
    pub(super) groups: Vec<Group>,
    /// Groups that are not configured any more, until their addresses are gone.
    pub(super) leaving: Vec<Group>,
    /// Addresses that the program before had and no group has, until they are gone.
    pub(super) left: Vec<VirtualAddress>,
    /// What is followed then: a configuration, and what the program before this one was.
    pub(super) next: Option<(Option<Box<ClusterConf>>, Value)>,
    pub(super) events: UnboundedSender<(u64, Event)>,
    /// The number of the last group that was made.
    pub(super) last: u64,
    pub(super) unfit: Option<String>,
    pub(super) weak: Option<String>,
    pub(super) is_stepped_down: bool,
    pub(super) watch: Watch,
    pub(super) last_words: LastWords,
    /// When to look whether all addresses are as they should be.
    pub(super) again: Option<BootTime>,
}

impl Node {
    fn obey(&mut self, command: Command) {
        match command {
            Command::Set(conf, before) => self.set(conf, before),
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

    /// The kernel has done something.
    fn done(&mut self, report: Report) {
        let group = match &report {
            // Where it could not be done it is tried again.
            Report::Released { of: LEFT, problem, .. } => {
                match problem {
                    Some(problem) => tracing::error!("{problem}"),
                    None => self.left.clear(),
                }
                return self.look_soon();
            }
            Report::Taken { of, .. } | Report::Released { of, .. } => of.group,
            Report::Link(interface, link) => {
                return self.common.addresses.know(interface, *link, BootTime::now());
            }
        };
        // One that has left may have asked for it.
        let mut groups = self.groups.iter_mut().chain(&mut self.leaving);
        if let Some(group) = groups.find(|it| it.number == group) {
            group.done(report, &mut self.common);
        }
        if !self.leaving.is_empty() {
            self.follow();
        }
        self.look_soon();
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
        self.groups.iter_mut().for_each(|group| group.restore(&mut self.common));
        self.release_left();
        self.again = None;
        self.look_soon();
    }

    /// Looks again in a while whether all addresses are as they should be, where something is wrong; and has the guard know
    /// what is.
    pub(super) fn look_soon(&mut self) {
        self.arm();
        let is_wrong = self.common.status.read().groups.iter().any(|group| group.problem.is_some());
        if self.again.is_none() && (is_wrong || !self.left.is_empty()) {
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
            let reason = "this node did not run in time, and its guard gave up the role";
            for group in self.groups.iter_mut().chain(&mut self.leaving) {
                if group.machine.may_have_addresses() {
                    group.on(Event::Lost(reason.into()), &mut self.common);
                    group.engine.tell(Order::Restart);
                }
            }
            self.arm();
        }
    }

    /// Tells the guard what is to be undone.
    pub(super) fn arm(&mut self) {
        let all = self.groups.iter().chain(&self.leaving);
        let primaries = all.filter(|group| group.machine.may_have_addresses());
        let words = self.last_words.borrow();
        let (mut addresses, mut last_words) = (self.left.clone(), Vec::new());
        for group in primaries {
            addresses.extend(group.plan.addresses.iter().cloned());
            last_words.extend(words.get(&group.number).into_iter().flatten().cloned());
        }
        drop(words);
        self.watch.arm(addresses, last_words);
    }

    /// Gives up all roles, or leaves them to the next program; waits for the kernel and the engines, for a bounded time.
    /// Gives the thread that tells of it, where there is one.
    async fn leave(
        &mut self,
        keep_addresses: bool,
        reports: &mut UnboundedReceiver<Report>,
        alarm: &Alarm,
    ) -> Option<JoinHandle<()>> {
        // A standby has nothing that another program could go on with, and may be about to win.
        let keeps = |group: &Group| {
            keep_addresses && group.engine.can_hand_over() && group.machine.role() == Role::Primary
        };
        for group in self.groups.iter_mut().filter(|group| !keeps(group)) {
            group.on(Event::Leave("the program is stopping"), &mut self.common);
        }
        self.arm();
        let are_gone = timeout(REMOVING, self.removed(reports, alarm)).await.is_ok();
        for group in self.groups.drain(..) {
            // Nobody may follow while the addresses are there: what is left to do is the guard's.
            let is_kept = keeps(&group) || group.machine.is_releasing();
            group.engine.tell(if is_kept { Order::HandOver } else { Order::Leave });
            let name = group.plan.name;
            match timeout(ENDING, group.engine.ended()).await {
                Ok(state) => {
                    self.common.status.lock().group(&name).into_iter().for_each(|it| it.state = state.clone())
                }
                Err(_) => tracing::error!(group = %name, "its engine did not end within {ENDING:?}"),
            }
        }
        if are_gone {
            self.watch.end();
        } else {
            tracing::error!(
                "the kernel did not remove the addresses within {REMOVING:?}, and the guard continues"
            );
        }
        let on_change = self.common.on_change.take()?;
        if !keep_addresses {
            return on_change.finish();
        }
        // Before the next program runs its own.
        let untold = on_change.stop().await;
        let mut inner = self.common.status.lock();
        inner.groups.iter_mut().for_each(|group| group.is_untold = untold.contains(&*group.name));
        None
    }

    /// Waits until no addresses are being removed any more.
    async fn removed(&mut self, reports: &mut UnboundedReceiver<Report>, alarm: &Alarm) {
        while !self.left.is_empty() || self.groups.iter().any(|group| group.machine.is_releasing()) {
            let deadline = self.watch.deadline();
            tokio::select! {
                biased;
                Some(report) = reports.recv() => self.done(report),
                () = alarm.until(deadline) => self.watch.tick(BootTime::now()),
            }
        }
    }
}
