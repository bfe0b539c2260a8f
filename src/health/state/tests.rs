//! Rise and fall, jitter, and that no check is doubled.

use proptest::prelude::*;

use super::*;
use crate::backend::{Address, Shared};

fn backend() -> Backend {
    Backend {
        name: "a".into(),
        address: Address::Host { host: "10.0.0.1".into(), port: 80 },
        weight: 1,
        max_connections: 0,
        backup: false,
        slow_start: Duration::ZERO,
        shared: Arc::new(Shared::default()),
    }
}

const THRESHOLDS: Thresholds = Thresholds { rise: 2, fall: 3 };
const INTERVAL: Duration = Duration::from_secs(2);
const START: Moment = Moment(1_000_000);

fn checks(initial_up: bool, backend: &Backend) -> Checks {
    let rng = &mut fastrand::Rng::with_seed(1);
    Checks::new(THRESHOLDS, INTERVAL, initial_up, backend, START, rng)
}

#[test]
fn three_failures_take_it_down_two_passes_bring_it_up() {
    let backend = backend();
    let mut checks = checks(true, &backend);
    let refused = Err("connection refused");
    let mut answer = |result, at: u64| checks.on_result(4, &backend, result, Moment(at));
    assert_eq!(answer(Ok(()), 2), None);
    assert_eq!(&*backend.shared.why(), "passed its first check");
    assert_eq!((answer(refused, 3), answer(refused, 4)), (None, None));
    // A pass in between: not in a row.
    assert_eq!(answer(Ok(()), 5), None);
    assert_eq!((answer(refused, 6), answer(refused, 7)), (None, None));
    assert!(backend.is_probed_up());
    let change = answer(refused, 8).unwrap();
    assert_eq!((change.index, change.condition), (4, Condition::Down));
    assert_eq!(&*change.reason, "3 checks in a row failed: connection refused");
    assert_eq!(backend.shared.why(), change.reason);
    assert!(!backend.is_probed_up());
    assert_eq!((answer(refused, 9), answer(Ok(()), 10)), (None, None));
    let change = answer(Ok(()), 2_000_000).unwrap();
    assert_eq!(change.condition, Condition::Up);
    assert_eq!(&*change.reason, "passed 2 checks in a row");
    assert!(backend.is_probed_up());
    assert_eq!(backend.shared.up_since.load(Relaxed), 2_000_000);
}

#[test]
fn a_new_backend_is_checked_at_once_and_needs_rise() {
    let backend = backend();
    let mut checks = checks(false, &backend);
    assert!(!backend.is_healthy(START));
    assert_eq!(&*backend.shared.why(), "waiting for its first checks");
    assert!(checks.is_due(START));
    assert_eq!(checks.on_result(0, &backend, Ok(()), START), None);
    assert!(checks.on_result(0, &backend, Ok(()), START).is_some());
    assert!(backend.is_healthy(START));
}

#[test]
fn what_is_no_longer_checked_is_up() {
    let backend = backend();
    checks(false, &backend).retire(&backend, START);
    assert!(backend.is_healthy(START));
    assert_eq!(backend.shared.up_since.load(Relaxed), START.0);
}

#[test]
fn a_new_generation_keeps_the_streak_and_shortens_the_wait() {
    let backend = backend();
    let mut checks = checks(true, &backend);
    let rng = &mut fastrand::Rng::with_seed(1);
    checks.on_sent(START, rng);
    checks.on_result(0, &backend, Err("x"), START);
    checks.on_result(0, &backend, Err("x"), START);
    let second = Duration::from_secs(1);
    checks.set(THRESHOLDS, second, START);
    assert!(checks.next().unwrap() <= START.plus(second));
    assert!(checks.on_result(0, &backend, Err("x"), START).is_some());
}

proptest! {
    /// However late answers come, no check is sent while one is pending, the pace is kept within a
    /// tenth, and the state is what the last answers say.
    #[test]
    fn checks_keep_their_pace_and_the_state_follows_the_answers(
        answers in prop::collection::vec((any::<bool>(), 0_u64..3_000), 1..80),
        seed: u64,
    ) {
        let backend = backend();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut checks = Checks::new(THRESHOLDS, INTERVAL, true, &backend, START, &mut rng);
        prop_assert!(checks.next().unwrap() <= START.plus(INTERVAL));
        let mut sent = START;
        let mut is_up = true;
        let mut history = Vec::new();
        for (number, (passes, latency)) in answers.into_iter().enumerate() {
            let due = checks.next().unwrap();
            let gap = due.since(sent);
            prop_assert!(number == 0 || gap >= INTERVAL.mul_f64(0.9) && gap <= INTERVAL.mul_f64(1.1));
            sent = sent.max(due);
            prop_assert!(checks.is_due(sent));
            checks.on_sent(sent, &mut rng);
            prop_assert!(!checks.is_due(Moment(u64::MAX)) && checks.next().is_none());
            let answered = sent.plus(Duration::from_millis(latency));
            let result = if passes { Ok(()) } else { Err("no") };
            let change = checks.on_result(0, &backend, result, answered);
            history.push(passes);
            let expected = match history.as_slice() {
                [.., false, false, false] => false,
                [.., true, true] => true,
                _ => is_up,
            };
            prop_assert_eq!(change.is_some(), expected != is_up);
            is_up = expected;
            prop_assert_eq!(backend.is_probed_up(), is_up);
        }
    }
}

#[test]
fn one_that_never_comes_up_says_why_once() {
    let backend = backend();
    let mut checks = checks(false, &backend);
    let unknown = Err("unknown authority");
    let change = checks.on_result(4, &backend, unknown, Moment(2)).unwrap();
    assert_eq!(change.condition, Condition::Down);
    assert_eq!(&*backend.shared.why(), "its first check failed: unknown authority");
    assert_eq!(checks.on_result(4, &backend, unknown, Moment(3)), None, "and the log is not filled");
    assert!(!backend.is_probed_up());
}
