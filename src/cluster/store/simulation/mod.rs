//! Nodes that stand for election at one store, with everything between them that can go wrong, by a seed.
//!
//! What must hold: never two nodes with the addresses, whatever is lost, late, doubled, overtaken or paused; and one, and
//! always the same, once nothing goes wrong any more. Now and then the store is restored from an older copy of itself, after
//! all leases that it had granted since are over.

mod model;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use fastrand::Rng;

use self::model::{Node, SECOND, Store, TTL, Time, What};
use super::campaign::{Answer, Campaign, Next, Request, Won};
use crate::cluster::{
    boot_time::BootTime,
    role::{Effect, Event, Role, RoleMachine, Standing},
};

/// How long things go wrong, and how long nothing does after that.
const ROUGH: Time = 40 * SECOND;
const CALM: Time = 20 * SECOND;
/// After so long without a sign of life the guard removes the addresses.
const GUARD: Time = 30_000;
/// An election is given up so long before its end.
const MARGIN: Duration = Duration::from_micros(TTL / 10);
/// How long the kernel may make an address wait, in this world.
const KERNEL: Time = 80_000;
struct World {
    rng: Rng,
    now: Time,
    queue: BinaryHeap<Reverse<(Time, u64, usize)>>,
    what: BTreeMap<u64, What>,
    store: Store,
    nodes: Vec<Node>,
    next: u64,
    outage_until: Time,
    most: usize,
    log: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(2..5);
        let node = |rng: &mut Rng| Node {
            role: RoleMachine::new(MARGIN),
            campaign: Campaign::new(Standing::Full),
            waits: None,
            wakes: Time::MAX,
            has_addresses: false,
            changes: 0,
            paused_until: 0,
            cut_until: 0,
            offset: rng.u64(0..1000 * SECOND),
            drift: rng.i64(-1..=1),
        };
        let mut nodes: Vec<_> = (0..count).map(|_| node(&mut rng)).collect();
        nodes.iter_mut().for_each(|node| node.campaign.ask_by_turns(rng.usize(1..6)));
        let mut world = Self {
            rng,
            now: 0,
            queue: BinaryHeap::new(),
            what: BTreeMap::new(),
            store: Store::default(),
            nodes,
            next: 0,
            outage_until: 0,
            most: 0,
            log: Vec::new(),
        };
        for index in 0..count {
            world.wake_at(index, 0);
            world.at(0, index, What::Trouble);
        }
        world
    }

    fn at(&mut self, time: Time, node: usize, what: What) -> u64 {
        self.next += 1;
        self.what.insert(self.next, what);
        self.queue.push(Reverse((time, self.next, node)));
        self.next
    }

    /// Has a node woken at `time`, where it is not woken before.
    fn wake_at(&mut self, node: usize, time: Time) {
        let time = time.max(self.now + 1);
        if time < self.nodes[node].wakes {
            self.nodes[node].wakes = time;
            self.at(time, node, What::Wake);
        }
    }

    fn run(&mut self) {
        while let Some(Reverse((time, number, node))) = self.queue.pop() {
            if time > ROUGH + CALM {
                break;
            }
            self.now = time;
            let Some(what) = self.what.remove(&number) else { continue };
            self.step(node, what);
            let primaries = self.nodes.iter().filter(|node| node.has_addresses).count();
            self.most = self.most.max(primaries);
        }
    }

    fn step(&mut self, index: usize, what: What) {
        // What a node that is paused would do, it does afterwards.
        let paused_until = self.nodes[index].paused_until;
        let is_of_node = matches!(what, What::Wake | What::Answered { .. } | What::Released(_));
        if is_of_node && paused_until > self.now {
            self.at(paused_until, index, what);
            return;
        }
        match what {
            // One that was overtaken by an earlier one is of no use.
            What::Wake if self.nodes[index].wakes > self.now => {}
            What::Wake => {
                self.nodes[index].wakes = Time::MAX;
                self.wake(index);
            }
            What::Answered { id, answer, sent } => {
                if self.nodes[index].waits.is_some_and(|(waits, _)| waits == id) {
                    self.answered(index, answer, sent);
                }
            }
            What::Arrive { id, request, sent } if self.store.down_until > self.now => {
                // Nothing is answered; a connection that is watched breaks.
                if request == Request::Watch {
                    let answer = Answer::Failed("broken".into());
                    self.at(self.now + 100_000, index, What::Answered { id, answer, sent });
                }
            }
            What::Arrive { id, request, sent } => {
                if let Some(answer) = self.store.answer(index, &request, self.now, &mut self.rng) {
                    self.deliver(index, id, answer, sent);
                } else {
                    // Who watches hears of the end, now and then late.
                    let again = self.now + self.rng.u64(10_000..200_000);
                    if self.nodes[index].waits.is_some_and(|(waits, _)| waits == id) {
                        self.at(again, index, What::Arrive { id, request, sent });
                    }
                }
            }
            What::Guard { since } => {
                let paused_until = self.nodes[index].paused_until;
                if paused_until > since + GUARD {
                    self.nodes[index].has_addresses = false;
                    self.at(paused_until, index, What::Interrupted);
                }
            }
            // Addresses that were taken since are those of another election.
            What::Removed(change) if self.nodes[index].changes == change => {
                self.nodes[index].has_addresses = false;
                self.step(index, What::Released(change));
            }
            What::Released(change) if self.nodes[index].changes == change => {
                self.happens(index, Event::Released);
            }
            What::Removed(_) | What::Released(_) => {}
            What::Interrupted => self.happens(index, Event::Interrupted),
            What::Trouble => self.trouble(index),
            What::Restored => {
                self.store.restore(self.now);
                self.log.push(format!("{} restored with {}", self.now, self.store.revision));
            }
        }
    }

    fn deliver(&mut self, node: usize, id: u64, answer: Answer, sent: BootTime) {
        if let Some(delay) = self.delay(node) {
            self.at(self.now + delay, node, What::Answered { id, answer, sent });
        }
    }

    /// What a message takes; none where it is lost.
    fn delay(&mut self, node: usize) -> Option<Time> {
        if self.nodes[node].cut_until > self.now || self.outage_until > self.now {
            return None;
        }
        let is_rough = self.now < ROUGH;
        match self.rng.u32(0..100) {
            0..5 if is_rough => None,
            5..15 if is_rough => Some(self.rng.u64(0..4 * SECOND)),
            _ => Some(self.rng.u64(100..5_000)),
        }
    }

    fn trouble(&mut self, index: usize) {
        if self.now >= ROUGH {
            return;
        }
        let long = self.rng.u64(1..6 * SECOND).min(ROUGH - self.now);
        match self.rng.u32(0..12) {
            0 => self.nodes[index].cut_until = self.now + long,
            1 => self.outage_until = self.now + long,
            2 => {
                self.nodes[index].paused_until = self.now + long;
                self.at(self.now + GUARD, index, What::Guard { since: self.now });
            }
            3 => self.happens(index, Event::StepDown),
            4 => self.happens(index, Event::Unfit(Some("unfit".into()))),
            5 => self.happens(index, Event::Unfit(None)),
            // The store has another leader, with which leases begin anew.
            6 => self.store.leases.values_mut().for_each(|end| *end = (*end).max(self.now + TTL)),
            7 => self.happens(index, Event::Weak(Some("weak".into()))),
            8 => self.store.back_up(&mut self.rng),
            10 => self.hand_over(index),
            9 if self.store.down_until <= self.now => {
                self.store.down_until = self.now + TTL + SECOND;
                self.at(self.store.down_until, index, What::Restored);
            }
            _ => {
                self.happens(index, Event::Weak(None));
                self.happens(index, Event::Resume);
            }
        }
        let pause = self.rng.u64(SECOND / 10..6 * SECOND);
        if self.now + pause >= ROUGH {
            for event in [Event::Resume, Event::Unfit(None), Event::Weak(None)] {
                self.happens(index, event);
            }
            self.nodes[index].cut_until = 0;
            self.outage_until = 0;
        }
        self.at(self.now + pause, index, What::Trouble);
    }

    /// Another program goes on with what a node has won: what it had asked is answered to nobody.
    fn hand_over(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let won = node.campaign.won().filter(|_| node.role.role() == Role::Primary);
        let Some(Won { lease, fence, ttl, sent }) = won.filter(|_| node.paused_until <= self.now) else {
            return;
        };
        let (campaign, event) = Campaign::resume(lease, fence, sent, ttl);
        (node.role, node.campaign, node.waits) = (RoleMachine::resuming(MARGIN, fence), campaign, None);
        event.into_iter().for_each(|event| self.happens(index, event));
    }

    fn happens(&mut self, index: usize, event: Event) {
        if self.nodes[index].paused_until > self.now {
            return;
        }
        let clock = self.nodes[index].clock(self.now);
        let effects = self.nodes[index].role.on(event, clock);
        self.perform(index, effects);
        self.ask(index);
    }

    fn perform(&mut self, index: usize, effects: Vec<Effect>) {
        for effect in effects {
            let node = &mut self.nodes[index];
            self.log.push(format!("{} node {index}: {effect:?}", self.now));
            match effect {
                Effect::Take => {
                    node.has_addresses = true;
                    node.changes += 1;
                }
                Effect::Release => {
                    node.changes += 1;
                    let change = node.changes;
                    // Now and then another program holds the kernel's lock.
                    let held = if self.rng.u32(0..4) == 0 { self.rng.u64(1000..KERNEL) } else { 20 };
                    self.at(self.now + held, index, What::Removed(change));
                }
                Effect::Stand(standing) => {
                    node.campaign.stand(standing);
                    node.waits = None;
                }
                Effect::Resign(standing) => {
                    node.campaign.resign(standing);
                    node.waits = None;
                }
                Effect::Announce | Effect::FenceFell(_) | Effect::Changed(_) => {}
            }
        }
    }

    fn answered(&mut self, index: usize, answer: Answer, sent: BootTime) {
        let node = &mut self.nodes[index];
        node.waits = None;
        let clock = node.clock(self.now);
        let event = node.campaign.on(answer, sent, clock, Duration::from_micros(TTL));
        let effects = match event {
            Some(event) => node.role.on(event, clock),
            None => node.role.tick(clock),
        };
        self.perform(index, effects);
        self.ask(index);
    }

    fn wake(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let clock = node.clock(self.now);
        if let Some((_, end)) = node.waits.filter(|(_, end)| *end <= self.now) {
            self.log.push(format!("{} node {index}: too late at {end}", self.now));
            self.answered(index, Answer::Failed("too late".into()), clock);
            return;
        }
        let effects = self.nodes[index].role.tick(clock);
        self.perform(index, effects);
        self.ask(index);
    }

    /// What a node does next.
    fn ask(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let clock = node.clock(now);
        if let Some(deadline) = node.role.deadline() {
            let wake = node.world(deadline, now);
            self.wake_at(index, wake);
        }
        let node = &mut self.nodes[index];
        if let Some((_, end)) = node.waits {
            self.wake_at(index, end);
            return;
        }
        match node.campaign.next(clock) {
            Next::Ask(request, patience) => {
                let patience = patience.map_or(Time::MAX / 2, |it| u64::try_from(it.as_micros()).unwrap());
                self.send(index, request, clock, now.saturating_add(patience));
            }
            Next::Wait(until) => {
                let wake = node.world(until, now);
                self.wake_at(index, wake);
            }
            Next::Rest => {}
        }
    }

    fn send(&mut self, index: usize, request: Request, sent: BootTime, end: Time) {
        self.next += 1;
        let id = self.next;
        self.nodes[index].waits = Some((id, end));
        self.wake_at(index, end);
        // What is watched is a connection: it breaks, and that is noticed.
        let watch_breaks = request == Request::Watch && self.delay(index).is_none();
        let copies = if self.now < ROUGH && self.rng.u32(0..20) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            if let Some(delay) = self.delay(index) {
                self.at(self.now + delay, index, What::Arrive { id, request: request.clone(), sent });
            } else if request == Request::Watch || watch_breaks {
                let answer = Answer::Failed("broken".into());
                let later = self.now + 100_000;
                self.at(later, index, What::Answered { id, answer, sent });
            }
        }
    }
}

/// What is wrong after a run with `seed`, if anything is.
fn wrong(seed: u64) -> Option<String> {
    let mut world = World::new(seed);
    world.run();
    let primaries = world.nodes.iter().filter(|node| node.has_addresses).count();
    let roles = world.nodes.iter().filter(|node| node.role.role() == Role::Primary).count();
    let why = match (world.most, primaries, roles) {
        (0..=1, 1, 1) => return None,
        (0..=1, ..) => format!("{primaries} nodes have the addresses at the end, {roles} are primary"),
        (most, ..) => format!("{most} nodes had the addresses at the same time"),
    };
    let last = world.log.split_off(world.log.len().saturating_sub(40));
    Some(format!("seed {seed}: {why}\n{}", last.join("\n")))
}

/// As many seeds as `POINTSMAN_SEEDS` says, from `POINTSMAN_SEED` on, or as many as go by in a few seconds.
#[test]
fn never_two_nodes_have_addresses_and_one_does_at_last() {
    let number = |name: &str, or: u64| std::env::var(name).map_or(or, |text| text.parse().unwrap());
    let (first, count) = (number("POINTSMAN_SEED", 1), number("POINTSMAN_SEEDS", 10_000));
    for seed in first..first + count {
        if let Some(wrong) = wrong(seed) {
            panic!("{wrong}\nrun it again with POINTSMAN_SEED={seed} POINTSMAN_SEEDS=1");
        }
    }
}
