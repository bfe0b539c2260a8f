//! A case: lives of a journal, one after the other, by chance.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::{
    super::{
        life::Life,
        simulated::{SimulatedDisk, Tear},
        *,
    },
    model::{Model, State, number_of, numbered},
};
use crate::{rng::Rng, writeback::journal::refused};

pub(super) struct Case {
    pub(super) chance: Rng,
    pub(super) disk: SimulatedDisk,
    segment: u64,
    model: Model,
    /// Deliveries of this URI fail, but for a few.
    stuck: Option<Box<[u8]>>,
    /// Writes that were copied to a newer segment.
    pub(super) copied: u64,
    trace: bool,
}

type Appended = oneshot::Receiver<Result<Id, AppendError>>;

/// A life, and what is under way in it.
struct Running {
    life: Life,
    waiting: Vec<(u64, Appended)>,
    held: Vec<Delivery>,
}

impl Case {
    pub(super) fn new(number: u64) -> Self {
        let mut chance = Rng::new(number);
        let tear = if chance.below(2) == 0 { Tear::InOrder } else { Tear::InPieces };
        let disk = SimulatedDisk::new(chance.next_number(), tear);
        let segment = [1, 300, 1000, 3000][chance.below(4) as usize];
        let trace = std::env::var_os("POINTSMAN_CASE").is_some();
        if trace {
            let _once = tracing_subscriber::fmt().without_time().with_ansi(false).try_init();
        }
        Self { chance, disk, segment, model: Model::default(), stuck: None, copied: 0, trace }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>5}: {}", self.disk.operations(), what());
        }
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.chance.below(100) < percent
    }

    /// Has operations from now on fail, and the machine stop at one.
    pub(super) fn prepare_faults(&mut self) {
        let mut at = self.disk.operations();
        if self.percent(50) {
            self.disk.stop_at(at + 1 + self.chance.below(60));
        }
        if self.percent(10) {
            self.disk.close(refused::NAME);
        }
        if self.percent(40) {
            // A few here and there, or all for a while.
            let (count, apart) = if self.percent(70) { (3, 15) } else { (12, 1) };
            at += self.chance.below(40);
            let faults = (0..=self.chance.below(count)).map(|_| {
                at += 1 + self.chance.below(apart);
                at
            });
            self.disk.fail_at(faults.collect());
        }
    }

    /// A life from its beginning to its end, whatever that is.
    pub(super) fn live(&mut self, steps: u64) {
        let uri = numbered(self.chance.below(7)).uri;
        self.stuck = self.percent(70).then_some(uri);
        let Some(mut running) = self.open() else { return self.die() };
        for _ in 0..steps {
            if self.disk.is_stopped() {
                break;
            }
            self.step(&mut running);
        }
        self.copied += running.life.journal.stats().moved;
        if self.disk.is_stopped() || self.percent(50) {
            drop(running);
            self.die();
        } else {
            self.stop(running);
        }
    }

    /// Opens the journal, and sees what it finds. Nothing where the disk does not let it.
    fn open(&mut self) -> Option<Running> {
        let life = match Life::open(&self.disk, self.segment) {
            Ok(life) => life,
            Err(error) => {
                self.say(|| format!("not opened: {error}"));
                return None;
            }
        };
        *life.journal.chance() = Rng::new(self.chance.next_number());
        if self.disk.tear() == Tear::InOrder {
            assert_eq!(life.journal.stats().damaged, 0, "a crash is no damage");
        }
        let found: Vec<_> = life.journal.shared.index().entries().cloned().collect();
        self.say(|| format!("opened: {:?}", found.iter().map(|it| number_of(&it.write)).collect::<Vec<_>>()));
        let file = self.disk.contents(refused::NAME).unwrap_or_default();
        self.model.begins_with(&found, lines(&file));
        Some(Running { life, waiting: Vec::new(), held: Vec::new() })
    }

    fn step(&mut self, running: &mut Running) {
        match self.chance.below(21) {
            0..5 => (0..=self.chance.below(3)).for_each(|_| self.append(running)),
            5..11 => self.take(running),
            11..18 => self.end_delivery(running),
            18 => running.life.reclaim_oldest(),
            19 => self.deliver_all(running),
            _ => self.model.taken(lines(&self.disk.take(refused::NAME).unwrap_or_default())),
        }
        if self.percent(60) {
            let is_overdue = self.percent(30);
            self.turn(running, is_overdue);
        }
    }

    /// The origin is quick.
    fn deliver_all(&mut self, running: &mut Running) {
        loop {
            self.take(running);
            let Some(delivery) = running.held.pop() else { return };
            self.model.note(number_of(delivery.write()), State::Completed);
            delivery.delivered();
        }
    }

    fn append(&mut self, running: &mut Running) {
        let mut number = self.model.next();
        // One that is stuck and alone keeps much that is needless.
        while self.stuck.as_ref() == Some(&numbered(number).uri) && self.percent(80) {
            number = self.model.next();
        }
        // Until it is acknowledged, nobody knows.
        self.model.note(number, State::InDoubt);
        running.waiting.push((number, running.life.journal.begin(numbered(number)).unwrap()));
    }

    fn take(&mut self, running: &mut Running) {
        let held = running.held.iter().map(|delivery| number_of(delivery.write()));
        let due = self.model.due(&held.collect());
        match take(&running.life.journal) {
            Some(delivery) => {
                let number = number_of(delivery.write());
                assert!(due.contains(&number), "{number} may not be delivered now: {due:?}");
                running.held.push(delivery);
            }
            None => assert_eq!(due, BTreeSet::new(), "nothing is delivered"),
        }
    }

    /// One of those that are under way ends, in one of the ways.
    fn end_delivery(&mut self, running: &mut Running) {
        let Some(at) = self.chance.below(running.held.len() as u64 + 1).checked_sub(1) else { return };
        let delivery = running.held.swap_remove(at as usize);
        let number = number_of(delivery.write());
        let is_stuck = self.stuck.as_ref() == Some(&delivery.write().uri);
        let more = if is_stuck && self.percent(90) { 8 } else { 0 };
        match more + self.chance.below(10) {
            0..6 => {
                self.say(|| format!("delivered {number}"));
                self.model.note(number, State::Completed);
                delivery.delivered();
            }
            6..8 => {
                self.say(|| format!("refused {number}"));
                self.model.refused(number);
                delivery.set_aside("no");
            }
            _ => delivery.failed(Moment(0)),
        }
    }

    fn turn(&mut self, running: &mut Running, is_overdue: bool) {
        let faults = self.disk.faults();
        let is_due = is_overdue || !running.waiting.is_empty();
        running.life.turn(is_overdue);
        let faults = self.disk.faults() - faults;
        if is_due && faults == 0 && !self.disk.is_stopped() {
            self.model.synced();
        }
        self.hear(&mut running.waiting, faults);
        self.model.agrees(&running.life.journal);
    }

    /// What became of appends in a turn of so many faults.
    fn hear(&mut self, waiting: &mut Vec<(u64, Appended)>, faults: u64) {
        for (number, mut appended) in waiting.drain(..) {
            let appended = appended.try_recv().unwrap();
            self.say(|| format!("append {number}: {appended:?}"));
            match appended {
                Ok(id) => self.model.note(number, State::Waiting(id)),
                Err(error) => {
                    assert!(faults > 0 || self.disk.is_stopped(), "{error}");
                    self.model.note(number, State::InDoubt);
                }
            }
        }
        self.say(|| format!("turn: {faults} faults"));
    }

    /// The process is killed, or the power goes.
    fn die(&mut self) {
        let is_killed = self.percent(50);
        self.say(|| if is_killed { "killed" } else { "without power" }.to_owned());
        if is_killed { self.disk.kill() } else { self.disk.lose_power() }
    }

    /// The journal is stopped; afterwards the power may go.
    fn stop(&mut self, running: Running) {
        let Running { life, mut waiting, held } = running;
        drop(held);
        let faults = self.disk.faults();
        life.stop();
        let faults = self.disk.faults() - faults;
        // It tries twice.
        let is_clean = faults < 2 && !self.disk.is_stopped();
        if is_clean {
            self.model.synced();
        }
        self.hear(&mut waiting, faults);
        self.say(|| format!("stopped, clean: {is_clean}"));
        self.die();
    }

    /// Without faults everything is delivered, and nothing comes back.
    pub(super) fn end(&mut self) {
        let mut running = self.open().expect("a journal without faults is opened");
        loop {
            self.take(&mut running);
            let Some(delivery) = running.held.pop() else { break };
            self.model.note(number_of(delivery.write()), State::Completed);
            delivery.delivered();
            if self.percent(50) {
                self.turn(&mut running, false);
            }
        }
        self.stop(running);
        let running = self.open().expect("a journal without faults is opened");
        assert!(running.life.journal.waiting().is_empty() && !running.life.journal.is_owing());
        self.stop(running);
        let segments = self.disk.names().into_iter().filter(|name| name.ends_with(".journal"));
        assert!(segments.count() <= 2, "{:?}", self.disk.names());
    }
}

/// The numbers of refused writes in a file of them, but for lines that are not whole.
fn lines(file: &[u8]) -> impl Iterator<Item = u64> {
    let lines = file.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    lines.map(|line: serde_json::Value| line["idempotency"].as_str().unwrap().parse().unwrap())
}
