//! The seeds of a simulation: which ones run, and what is said of one that fails.

use std::{
    env,
    fmt::{Debug, Display},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    str::FromStr,
    time::Duration,
};

use crate::moment::Moment;

/// Seeds that each simulation runs, unless `POINTSMAN_SEEDS` says another number.
const SEEDS: u64 = 10_000;

/// Runs a simulation for the seeds that once failed, and then for many others; with `POINTSMAN_SEED`, for that one,
/// and shows its events.
pub(super) fn run(name: &str, once_failed: &[u64], simulate: impl Fn(&mut World)) {
    if let Some(seed) = variable("POINTSMAN_SEED") {
        return simulate(&mut World::new(seed, true));
    }
    let seeds = variable("POINTSMAN_SEEDS").unwrap_or(SEEDS);
    for seed in once_failed.iter().copied().chain(0..seeds) {
        let once = |is_shown| catch_unwind(AssertUnwindSafe(|| simulate(&mut World::new(seed, is_shown))));
        let Err(panic) = once(false) else { continue };
        println!("\nseed {seed} of `{name}` failed. Its events:");
        let _ = once(true);
        println!(
            "Again: POINTSMAN_SEED={seed} cargo test --lib simulator::{name} -- --nocapture\n\
             It belongs into `ONCE_FAILED` of tests/simulator/{name}.\n"
        );
        resume_unwind(panic);
    }
}

fn variable<T: FromStr<Err: Debug>>(name: &str) -> Option<T> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

/// What a simulation is driven by: chance, and the time.
pub(super) struct World {
    pub(super) rng: fastrand::Rng,
    pub(super) now: Moment,
    is_shown: bool,
    events: usize,
}

impl World {
    fn new(seed: u64, is_shown: bool) -> Self {
        // At a time that is no round number of anything.
        let now = Moment(86_400_123_457);
        Self { rng: fastrand::Rng::with_seed(seed), now, is_shown, events: 0 }
    }

    /// One for what is made once for all seeds.
    pub(super) fn of_chance(seed: u64) -> Self {
        Self::new(seed, false)
    }

    /// Notes an event; said only of a seed that failed.
    pub(super) fn record<T: Display>(&mut self, event: impl FnOnce() -> T) {
        self.events += 1;
        if self.is_shown {
            println!("{:>4} at {}: {}", self.events, self.now.0, event());
        }
    }

    /// True `percent` of the times.
    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    /// One of these.
    pub(super) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.usize(0..of.len())]
    }

    /// Lets time pass: a little mostly, sometimes up to `most`.
    pub(super) fn wait(&mut self, most: Duration) {
        let micros = u64::try_from(most.as_micros()).unwrap();
        let most = self.one_of(&[1_000, 100_000, micros / 10, micros]).clamp(1, micros);
        self.now = self.now.plus(Duration::from_micros(self.rng.u64(0..=most)));
    }
}

/// Not a simulation of its own: that a seed that fails is named, and runs again alike.
#[test]
fn a_seed_that_fails_is_run_again_with_its_events() {
    let runs = std::cell::RefCell::new(Vec::new());
    let result = catch_unwind(AssertUnwindSafe(|| {
        run("seeds", &[7], |world| {
            let number = world.rng.u8(..);
            runs.borrow_mut().push((number, world.is_shown));
            assert!(runs.borrow().len() != 3 && !world.is_shown, "planted");
        });
    }));
    assert!(result.is_err());
    let runs = runs.into_inner();
    assert_eq!(runs.len(), 4, "one that once failed, two others, and the second of these again");
    assert_eq!((runs[3].0, runs[3].1), (runs[2].0, true));
    assert_eq!(runs[0].0, fastrand::Rng::with_seed(7).u8(..));
}
