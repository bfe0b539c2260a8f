//! Health: passive ejection with its cap, and active checks, of one upstream over several workers and generations.

mod checks;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use self::checks::ExpectedChecks;
use super::{
    fleet,
    seeds::{World, run},
};
use crate::{
    backend::{Admin, Backend},
    health::{
        Condition,
        ejection::Ejection,
        passive::{FailureKind, Passive, Verdict},
    },
    moment::Moment,
};

const ONCE_FAILED: &[u64] = &[];

/// However often a backend was ejected.
const LONGEST: Duration = Duration::from_secs(300);

/// What must be true of a backend, by the rules and by what happened to it.
struct Expected {
    /// How often it fails, in percent; it changes its mood.
    fails: u32,
    in_a_row: u32,
    /// The part of the window and the outcome of each request; true is a failure.
    outcomes: Vec<(u64, bool)>,
    /// Parts of the window before this one have ejected it already.
    judged: u64,
    ejections: u32,
    ejected_until: Moment,
    /// How long the last ejection was, and whether its end has been logged.
    length: Duration,
    is_logged: bool,
    checks: Option<ExpectedChecks>,
    is_enabled: bool,
}

impl Expected {
    fn new(world: &mut World) -> Self {
        Self {
            fails: world.one_of(&[0, 30, 90, 100]),
            in_a_row: 0,
            outcomes: Vec::new(),
            judged: 0,
            ejections: 0,
            ejected_until: Moment(0),
            length: Duration::ZERO,
            is_logged: true,
            checks: None,
            is_enabled: true,
        }
    }

    fn is_ejected(&self, now: Moment) -> bool {
        self.ejected_until > now
    }

    fn is_up(&self) -> bool {
        self.checks.as_ref().is_none_or(|it| it.is_up)
    }
}

struct Upstream {
    backends: Vec<Arc<Backend>>,
    expected: Vec<Expected>,
    passive: Passive,
    rules: Ejection,
    workers: usize,
    backends_ever: usize,
}

fn rules(world: &mut World) -> Ejection {
    Ejection {
        consecutive_failures: world.one_of(&[0, 1, 3, 5]),
        failure_percent: world.one_of(&[0, 1, 50, 100]),
        minimum_requests: world.one_of(&[1, 5, 20]),
        window: Duration::from_secs(world.one_of(&[1, 10])),
        base_ejection: Duration::from_secs(world.one_of(&[1, 30, 200, 400])),
        max_ejected_percent: world.one_of(&[0, 10, 50, 100]),
    }
}

impl Upstream {
    fn new(world: &mut World) -> Self {
        let backends: Vec<_> = (0..world.rng.usize(1..=6)).map(|it| Arc::new(fleet::backend(it))).collect();
        let (rules, workers) = (rules(world), world.rng.usize(1..=3));
        world.record(|| format!("{} backends, {workers} workers, {rules:?}", backends.len()));
        Self {
            passive: Passive::new(rules, &backends, workers),
            expected: backends.iter().map(|_| Expected::new(world)).collect(),
            backends_ever: backends.len(),
            backends,
            rules,
            workers,
        }
    }

    fn part(&self, now: Moment) -> u64 {
        now.0 / (u64::try_from(self.rules.window.as_micros()).unwrap() / 10)
    }

    /// Most backends that may be ejected at a time: a share, and always one.
    fn most(&self) -> usize {
        (self.backends.len() * self.rules.max_ejected_percent as usize / 100).max(1)
    }

    /// An attempt ended.
    fn outcome(&mut self, world: &mut World) {
        let (worker, index) = (world.rng.usize(0..self.workers), world.rng.usize(0..self.backends.len()));
        let is_failure = world.chance(self.expected[index].fails);
        let verdict = match is_failure {
            true => Verdict::Failure(FailureKind::Reset),
            false => world.one_of(&[Verdict::Success, Verdict::Success, Verdict::Neutral]),
        };
        let now = world.now;
        let is_due = self.is_ejection_due(index, verdict, now);
        let change = self.passive.record(worker, index, verdict, now);
        world.record(|| format!("{index}: {verdict:?}: {change:?}"));
        assert_eq!(change.is_some(), is_due, "an ejection, by the rules");
        if let Some(change) = change {
            assert_eq!((change.index, change.condition), (index, Condition::Ejected));
            self.expect_ejection(index, now);
            let ejected = self.expected.iter().filter(|it| it.is_ejected(now)).count();
            assert!(ejected <= self.most(), "{ejected} are ejected, of at most {}", self.most());
        }
    }

    /// Counts an outcome; whether it ejects the backend.
    fn is_ejection_due(&mut self, index: usize, verdict: Verdict, now: Moment) -> bool {
        let (part, most, rules) = (self.part(now), self.most(), self.rules);
        let ejected = self.expected.iter().filter(|it| it.is_ejected(now)).count();
        let backend = &mut self.expected[index];
        match verdict {
            Verdict::Neutral => return false,
            Verdict::Success => {
                backend.outcomes.push((part, false));
                backend.in_a_row = 0;
                return false;
            }
            Verdict::Failure(_) => backend.outcomes.push((part, true)),
        }
        if backend.is_ejected(now) {
            return false;
        }
        backend.in_a_row += 1;
        let is_in_a_row = rules.consecutive_failures > 0 && backend.in_a_row >= rules.consecutive_failures;
        if is_in_a_row {
            backend.in_a_row = 0;
        }
        let first = (part - 9).max(backend.judged);
        let counted: Vec<_> = backend.outcomes.iter().filter(|(at, _)| *at >= first).collect();
        let failures = counted.iter().filter(|(_, is_failure)| *is_failure).count();
        let is_share = rules.failure_percent > 0
            && counted.len() >= rules.minimum_requests as usize
            && failures * 100 >= rules.failure_percent as usize * counted.len();
        (is_in_a_row || is_share) && ejected < most
    }

    fn expect_ejection(&mut self, index: usize, now: Moment) {
        let (rules, part) = (self.rules, self.part(now));
        let backend = &mut self.expected[index];
        let base = rules.base_ejection;
        // One is forgiven for each base time without another.
        let forgiven = now.since(backend.ejected_until).as_micros() / base.as_micros();
        backend.ejections = backend.ejections.saturating_sub(u32::try_from(forgiven).unwrap()) + 1;
        backend.length = (base * backend.ejections).min(LONGEST.max(base));
        backend.ejected_until = now.plus(backend.length);
        backend.is_logged = false;
        backend.in_a_row = 0;
        backend.judged = part + 1;
    }

    /// The turn of the clock that logs which ejections are over.
    fn report_ended(&mut self, world: &mut World) {
        let changes = self.passive.report_ended(world.now);
        world.record(|| format!("over: {changes:?}"));
        let logged: Vec<usize> = changes.iter().map(|change| change.index).collect();
        assert!(changes.iter().all(|change| change.condition == Condition::Up));
        let now = world.now;
        let is_over = |it: &&mut Expected| !it.is_logged && it.ejected_until <= now;
        let over = self.expected.iter_mut().enumerate().filter(|(_, it)| is_over(it));
        let expected: Vec<usize> = over
            .filter_map(|(index, it)| {
                it.is_logged = true;
                it.is_up().then_some(index)
            })
            .collect();
        assert_eq!(logged, expected, "each end is logged once");
    }

    /// Another generation: other rules, backends that go, come or are elsewhere.
    fn reload(&mut self, world: &mut World) {
        let before = self.rules;
        self.rules = rules(world);
        if world.chance(70) {
            self.rules.window = before.window;
        }
        let mut map: Vec<Option<usize>> = (0..self.backends.len()).map(Some).collect();
        world.rng.shuffle(&mut map);
        map.truncate(world.rng.usize(1..=map.len()));
        if world.chance(50) {
            map.push(None);
        }
        world.record(|| format!("a generation of {map:?}, {:?}", self.rules));
        let mut old: Vec<_> = std::mem::take(&mut self.expected).into_iter().map(Some).collect();
        let mut backends = Vec::new();
        for from in &map {
            let (backend, mut expected) = match from {
                Some(from) => (fleet::again(&self.backends[*from]), old[*from].take().unwrap()),
                None => {
                    self.backends_ever += 1;
                    (fleet::backend(self.backends_ever), Expected::new(world))
                }
            };
            if self.rules.window != before.window {
                (expected.outcomes, expected.judged) = (Vec::new(), 0);
            }
            backends.push(Arc::new(backend));
            self.expected.push(expected);
        }
        let passive = Passive::new(self.rules, &backends, self.workers);
        passive.carry_over(&self.passive, &map);
        (self.passive, self.backends) = (passive, backends);
    }

    /// What is true whatever happened.
    fn hold(&self, now: Moment) {
        for (index, (backend, expected)) in self.backends.iter().zip(&self.expected).enumerate() {
            let shared = &backend.shared;
            assert_eq!(
                shared.ejected_until.load(Relaxed),
                expected.ejected_until.0,
                "{index}: ejected until"
            );
            assert_eq!(shared.failures_in_a_row.load(Relaxed), expected.in_a_row, "{index}: in a row");
            // What checks say is never capped.
            assert_eq!(backend.is_probed_up(), expected.is_up(), "{index}: checks");
            let is_healthy = expected.is_up() && expected.is_enabled && !expected.is_ejected(now);
            assert_eq!(backend.is_healthy(now), is_healthy, "{index}: healthy");
            assert!(
                shared.up_since.load(Relaxed) >= expected.ejected_until.0,
                "{index}: ramps up after an ejection"
            );
        }
    }
}

fn simulate(world: &mut World) {
    let mut upstream = Upstream::new(world);
    for _ in 0..world.rng.usize(20..150) {
        match world.rng.u8(0..100) {
            0..60 => upstream.outcome(world),
            60..75 => upstream.check(world),
            75..85 => {
                let most = world.one_of(&[1, 10, 400]);
                world.wait(Duration::from_secs(most));
            }
            85..90 => upstream.report_ended(world),
            90..93 => {
                let index = world.rng.usize(0..upstream.backends.len());
                let admin = world.one_of(&[Admin::Enabled, Admin::Draining, Admin::Disabled]);
                world.record(|| format!("{index}: {admin:?}"));
                fleet::set_admin(&upstream.backends[index], admin);
                upstream.expected[index].is_enabled = admin == Admin::Enabled;
            }
            93..97 => {
                let index = world.rng.usize(0..upstream.backends.len());
                upstream.expected[index].fails = world.one_of(&[0, 30, 90, 100]);
            }
            _ => upstream.reload(world),
        }
        upstream.hold(world.now);
    }
}

#[test]
fn health() {
    run("health", ONCE_FAILED, simulate);
}
