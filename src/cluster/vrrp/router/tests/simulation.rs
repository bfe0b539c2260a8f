//! Two to four routers in a network that delays, loses, repeats, reorders and is cut, on machines that pause. A seed
//! gives it all again: `POINTSMAN_SEED=7 cargo test --lib vrrp::router -- --nocapture`; `POINTSMAN_SEEDS` says how many.

use std::{collections::BTreeMap, env, time::Duration};

use crate::{
    cluster::{
        boot_time::BootTime,
        role::Standing,
        vrrp::{
            conf::Settings,
            router::{Action, Heard, Router},
        },
    },
    rng::Rng,
};

/// Microseconds between two advertisements.
const INTERVAL: u64 = 100_000;
/// What befalls the routers of a world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Course {
    /// Nothing.
    Quiet,
    /// The primary gives up, and others stand again; the network is whole.
    HandOvers,
    /// That, and all that the network and pauses can do.
    Faults,
}

/// When faults end, and when all is judged.
const HEALED: u64 = 5_000_000;
const END: u64 = 8_000_000;

struct Machine {
    router: Router,
    /// What waits to be read.
    inbox: Vec<Heard>,
    /// Until then nothing runs on it.
    paused_until: u64,
    /// What the node knows of the role.
    is_primary: bool,
}

struct World {
    rng: Rng,
    now: u64,
    machines: Vec<Machine>,
    /// By time and number: who receives what.
    wire: BTreeMap<(u64, u64), (usize, Heard)>,
    sent: u64,
    course: Course,
    /// When the next fault is; `None` when there are no more.
    next_fault: Option<u64>,
    /// Machines on the other side of a cut.
    cut: Vec<bool>,
    events: Vec<String>,
    /// How long two were primary, and since when they are.
    both: (u64, Option<u64>),
}

impl World {
    fn new(seed: u64, course: Course) -> Self {
        let mut rng = Rng::new(seed);
        let are_equal = course == Course::Faults && rng.below(4) == 0;
        let preempt = rng.below(3) > 0;
        // Three and four routers whose configuration does not know of each other too.
        let is_pair = rng.below(3) > 0;
        let machines = (0..2 + rng.below(3)).map(|index| {
            let priority = if are_equal { 100 } else { [200, 150, 100, 50][index as usize] };
            let preempt_delay = Duration::from_millis(if rng.below(4) == 0 { 700 } else { 0 });
            let interval = Duration::from_micros(INTERVAL);
            let settings = Settings { priority, interval, preempt, preempt_delay, is_pair };
            let router = Router::new(settings, [10, 0, 0, 1 + index as u8].into(), BootTime(0));
            Machine { router, inbox: Vec::new(), paused_until: 0, is_primary: false }
        });
        let machines: Vec<Machine> = machines.collect();
        let cut = vec![false; machines.len()];
        let (wire, events, next_fault) =
            (BTreeMap::new(), Vec::new(), (course != Course::Quiet).then_some(300_000));
        Self { rng, now: 0, machines, wire, sent: 0, course, next_fault, cut, events, both: (0, None) }
    }

    /// Whether a fault of one in so many strikes.
    fn strikes(&mut self, one_in: u64) -> bool {
        self.course == Course::Faults && self.next_fault.is_some() && self.rng.below(one_in) == 0
    }

    fn send(&mut self, from: usize, priority: u8) {
        let source = [10, 0, 0, 1 + from as u8].into();
        let heard = Heard { source, priority, interval: Duration::from_micros(INTERVAL) };
        for to in (0..self.machines.len()).filter(|to| *to != from) {
            if self.cut[from] != self.cut[to] || self.strikes(10) {
                continue;
            }
            let copies = if self.strikes(20) { 2 } else { 1 };
            for _ in 0..copies {
                let most = if self.strikes(10) { 150_000 } else { 300 };
                let at = self.now + 50 + self.rng.below(most);
                self.sent += 1;
                self.wire.insert((at, self.sent), (to, heard));
            }
        }
    }

    /// One machine reads all that waits, and looks at the clock.
    fn run(&mut self, index: usize) {
        let now = BootTime(self.now);
        for heard in std::mem::take(&mut self.machines[index].inbox) {
            let actions = self.machines[index].router.on_advertisement(heard, now);
            self.perform(index, actions);
        }
        let actions = self.machines[index].router.tick(now);
        self.perform(index, actions);
    }

    fn perform(&mut self, index: usize, actions: Vec<Action>) {
        for action in actions {
            self.events.push(format!("{:>8} {index} {action:?}", self.now));
            let is_primary = self.machines[index].is_primary;
            match action {
                Action::Advertise(priority) => self.send(index, priority),
                Action::Elected(_) => {
                    assert!(!is_primary, "elected twice");
                    self.machines[index].is_primary = true;
                }
                Action::Lost(_) => {
                    assert!(is_primary, "lost what it did not have");
                    self.machines[index].is_primary = false;
                }
                Action::Contested(_) => assert!(is_primary),
            }
        }
        assert_eq!(self.machines[index].is_primary, self.machines[index].router.is_active());
    }

    /// What happens besides.
    fn fault(&mut self) {
        let any = self.rng.below(self.machines.len() as u64) as usize;
        let primary = self.machines.iter().position(|machine| machine.is_primary);
        let (index, what) = match self.course {
            Course::Faults => (any, self.rng.below(5)),
            Course::Quiet | Course::HandOvers if self.rng.below(2) == 0 => (primary.unwrap_or(any), 2),
            Course::Quiet | Course::HandOvers => (any, 3),
        };
        let now = BootTime(self.now);
        match what {
            0 => {
                let pause = [30_000, 200_000, 900_000][self.rng.below(3) as usize];
                self.machines[index].paused_until = self.now + pause;
                self.events.push(format!("{:>8} {index} paused for {pause}", self.now));
            }
            1 => {
                self.cut[index] = !self.cut[index];
                self.events.push(format!("{:>8} {index} cut: {}", self.now, self.cut[index]));
            }
            _ if self.machines[index].paused_until > self.now => {}
            2 => {
                let was_primary = std::mem::replace(&mut self.machines[index].is_primary, false);
                let actions = self.machines[index].router.resign(Standing::Last, now);
                assert_eq!(actions.len(), usize::from(was_primary));
                self.perform(index, actions);
            }
            _ => {
                let actions = self.machines[index].router.stand(Standing::Full, now);
                self.perform(index, actions);
            }
        }
    }

    fn heal(&mut self) {
        self.cut.fill(false);
        for index in 0..self.machines.len() {
            self.machines[index].paused_until = self.now;
            let actions = self.machines[index].router.stand(Standing::Full, BootTime(self.now));
            self.perform(index, actions);
        }
    }

    /// Goes to the next time at which something happens, and lets it.
    fn step(&mut self) {
        let of_machine = |machine: &Machine| {
            let due = machine.router.deadline().map(|at| at.0);
            let due = if machine.inbox.is_empty() { due } else { Some(0) };
            due.map(|due| due.max(machine.paused_until))
        };
        let machines = self.machines.iter().filter_map(of_machine).min();
        let wire = self.wire.keys().next().map(|(at, _)| *at);
        let times = [wire, machines, self.next_fault, Some(END)];
        self.now = times.into_iter().flatten().min().unwrap().max(self.now);
        if self.next_fault.is_some_and(|at| at <= self.now) {
            let next = self.now + 20_000 + self.rng.below(600_000);
            self.next_fault = (next < HEALED).then_some(next);
            if self.next_fault.is_some() { self.fault() } else { self.heal() }
        }
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to, heard) = entry.remove();
            self.machines[to].inbox.push(heard);
        }
        for index in 0..self.machines.len() {
            let machine = &self.machines[index];
            let is_due = machine.router.deadline().is_some_and(|at| at.0 <= self.now);
            if machine.paused_until <= self.now && (is_due || !machine.inbox.is_empty()) {
                self.run(index);
            }
        }
        let primaries = self.machines.iter().filter(|machine| machine.is_primary).count();
        match (primaries > 1, self.both.1) {
            (true, None) => self.both.1 = Some(self.now),
            (false, Some(since)) => self.both = (self.both.0.max(self.now - since), None),
            (true, Some(_)) | (false, None) => {}
        }
    }
}

fn run(seed: u64, course: Course) -> Result<(), String> {
    let mut world = World::new(seed, course);
    while world.now < END {
        world.step();
    }
    let machines = world.machines.iter().enumerate();
    let primaries: Vec<usize> =
        machines.filter(|(_, machine)| machine.is_primary).map(|(index, _)| index).collect();
    let two = world.both.1.map_or(world.both.0, |since| world.both.0.max(END - since));
    let most = match course {
        // While one preempts, both are for as long as a packet takes.
        Course::Quiet => 350,
        // Those that gave up are equal, and a few may follow at once: for as long as a packet of each takes.
        Course::HandOvers => 1050,
        Course::Faults => u64::MAX,
    };
    let wrong = match primaries.len() {
        1 if two <= most => return Ok(()),
        1 => format!("two were primary for {two} µs"),
        _ => format!("primary at the end: {primaries:?}"),
    };
    Err(format!("seed {seed}, {course:?}: {wrong}\n{}", world.events.join("\n")))
}

fn seeds(of: fn(u64) -> Result<(), String>) {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("POINTSMAN_SEED") {
        return of(seed).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    for seed in 0..number("POINTSMAN_SEEDS").unwrap_or(10_000) {
        if let Err(wrong) = of(seed) {
            panic!("{wrong}\nagain: POINTSMAN_SEED={seed} cargo test --lib vrrp::router -- --nocapture");
        }
    }
}

#[test]
fn one_is_primary_after_all_faults_are_over() {
    seeds(|seed| run(seed, Course::Faults));
}

#[test]
fn never_two_are_primary_without_faults() {
    seeds(|seed| run(seed, Course::Quiet));
}

#[test]
fn never_two_are_primary_while_one_hands_over() {
    seeds(|seed| run(seed, Course::HandOvers));
}
