//! Thresholds, windows, the cap, and how ejections grow, end and are forgiven.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    backend::{Address, Probed, Shared},
    health::Condition,
};

fn fleet(count: usize) -> Vec<Arc<Backend>> {
    let backend = |index: usize| Backend {
        name: format!("b{index}").into(),
        address: Address::Host { host: format!("10.0.0.{index}").into(), port: 80 },
        weight: 1,
        max_connections: 0,
        backup: false,
        slow_start: Duration::ZERO,
        shared: Arc::new(Shared::default()),
    };
    (0..count).map(|index| Arc::new(backend(index))).collect()
}

const RULES: Ejection = Ejection {
    consecutive_failures: 5,
    failure_percent: 50,
    minimum_requests: 20,
    window: Duration::from_secs(10),
    base_ejection: Duration::from_secs(30),
    max_ejected_percent: 50,
};
const BAD: Verdict = Verdict::Failure(FailureKind::Status(502));

fn at(seconds: u64) -> Moment {
    Moment(1_000_000 + seconds * 1_000_000)
}

/// `count` outcomes of backend 0 by turns of the workers, until one changes something.
fn repeat(passive: &Passive, verdict: Verdict, count: usize, now: Moment) -> Option<Change> {
    let workers = passive.windows.len();
    (0..count).find_map(|number| passive.record(number % workers, 0, verdict, now))
}

#[test]
fn five_failures_in_a_row_over_all_workers_eject() {
    let fleet = fleet(4);
    let passive = Passive::new(RULES, &fleet, 3);
    assert_eq!(repeat(&passive, BAD, 4, at(0)), None);
    assert_eq!(repeat(&passive, Verdict::Success, 1, at(0)), None);
    assert_eq!(repeat(&passive, Verdict::Neutral, 9, at(0)), None);
    assert_eq!(repeat(&passive, BAD, 4, at(0)), None);
    let change = repeat(&passive, BAD, 1, at(1)).unwrap();
    assert_eq!((change.index, change.condition), (0, Condition::Ejected));
    assert_eq!(&*change.reason, "5 failures in a row: status 502; ejected for 30s");
    assert!(!fleet[0].is_healthy(at(30)));
    assert!(fleet[1].is_healthy(at(1)));
    // What was still under way changes nothing.
    assert_eq!(repeat(&passive, BAD, 50, at(2)), None);
    assert_eq!(passive.report_ended(at(30)), []);
    assert!(fleet[0].is_healthy(at(31)));
    let changes = passive.report_ended(at(31));
    assert_eq!(changes[0].condition, Condition::Up);
    assert_eq!(&*changes[0].reason, "ejection of 30s is over");
    assert_eq!(passive.report_ended(at(32)), []);
    assert_eq!(fleet[0].shared.up_since.load(Relaxed), at(31).0);
}

#[test]
fn ejection_of_another_node_is_told_and_moves_the_end() {
    let fleet = fleet(4);
    let passive = Passive::new(RULES, &fleet, 1);
    assert!(repeat(&passive, BAD, 5, at(0)).is_some());
    assert_eq!(passive.learn_ejection(0, at(20), at(5)), None, "it is ejected for longer");
    assert_eq!(passive.learn_ejection(0, at(60), at(10)), None, "it is ejected already");
    assert_eq!(passive.report_ended(at(31)), [], "its end is another now");
    assert!(!fleet[0].is_healthy(at(59)));
    let changes = passive.report_ended(at(60));
    assert_eq!((changes.len(), &*changes[0].reason), (1, "ejection of 60s is over"));
    // One that this node knows nothing of.
    let change = passive.learn_ejection(1, at(100), at(70)).unwrap();
    assert_eq!((change.index, change.condition), (1, Condition::Ejected));
    assert_eq!(&*change.reason, "another node has ejected it, for 30s");
    assert_eq!(fleet[1].shared.why(), change.reason);
    // It is told of again and again.
    let again = at(100).plus(Duration::from_millis(3));
    assert_eq!(passive.learn_ejection(1, again, at(71)), None);
    assert_eq!(passive.report_ended(at(99)), []);
    let changes = passive.report_ended(at(101));
    assert_eq!((changes[0].index, &*changes[0].reason), (1, "ejection of 30s is over"));
    assert_eq!(passive.report_ended(at(102)), []);
}

#[test]
fn half_of_twenty_recent_requests_eject_not_of_fewer() {
    let fleet = fleet(2);
    let passive = Passive::new(RULES, &fleet, 2);
    let alternate = |count: usize, now| {
        (0..count).find_map(|number| {
            let verdict = if number % 2 == 0 { Verdict::Success } else { BAD };
            passive.record(number % 2, 0, verdict, now)
        })
    };
    assert_eq!(alternate(18, at(0)), None);
    // 11 s later the first 18 are forgotten.
    assert_eq!(alternate(18, at(11)), None);
    let change = alternate(2, at(12)).unwrap();
    assert_eq!(&*change.reason, "50% of 20 requests in 10s failed, last: status 502; ejected for 30s");
}

#[test]
fn a_backend_is_not_ejected_twice_for_the_same_failures() {
    let rules = Ejection { window: Duration::from_secs(100), consecutive_failures: 0, ..RULES };
    let fleet = fleet(2);
    let passive = Passive::new(rules, &fleet, 1);
    assert!(repeat(&passive, BAD, 20, at(0)).is_some());
    // The window still reaches back; what is in it was judged.
    assert_eq!(repeat(&passive, BAD, 19, at(50)), None);
    assert!(repeat(&passive, BAD, 1, at(50)).is_some());
}

#[test]
fn ejections_grow_are_capped_and_are_forgiven() {
    let fleet = fleet(2);
    let passive = Passive::new(RULES, &fleet, 1);
    let mut now = at(0);
    let mut eject = |pause: u64| {
        now = now.plus(Duration::from_secs(pause));
        repeat(&passive, BAD, 5, now).unwrap();
        let until = Moment(fleet[0].shared.ejected_until.load(Relaxed));
        let length = until.since(now).as_secs();
        now = until;
        length
    };
    assert_eq!([eject(0), eject(0), eject(0)], [30, 60, 90]);
    (0..20).for_each(|_| assert!(eject(0) <= 300));
    assert_eq!(eject(0), 300);
    // One is forgiven for each 30 s without an ejection.
    assert_eq!(eject(24 * 30), 30);
    assert_eq!(eject(29), 60);
    assert_eq!(eject(30), 60);
}

#[test]
fn at_most_half_is_ejected_and_one_always_may_be() {
    for (count, most) in [(1, 1), (2, 1), (3, 1), (4, 2), (9, 4)] {
        let fleet = fleet(count);
        let passive = Passive::new(RULES, &fleet, 1);
        for index in (0..count).rev() {
            (0..200).for_each(|_| drop(passive.record(0, index, BAD, at(0))));
        }
        let ejected = fleet.iter().filter(|backend| !backend.is_healthy(at(0))).count();
        assert_eq!(ejected, most, "{count}");
    }
}

#[test]
fn what_checks_took_out_neither_uses_nor_feels_the_cap() {
    let fleet = fleet(2);
    let passive = Passive::new(RULES, &fleet, 1);
    fleet[1].shared.probed.store(Probed::Down as u8, Relaxed);
    assert!(repeat(&passive, BAD, 5, at(0)).is_some());
    assert!(!fleet[0].is_healthy(at(0)) && !fleet[1].is_healthy(at(0)));
    // Down by checks when its ejection ends: that is not "up".
    fleet[0].shared.probed.store(Probed::Down as u8, Relaxed);
    assert_eq!(passive.report_ended(at(40)), []);
}

#[test]
fn what_is_off_is_off() {
    let rules = Ejection { consecutive_failures: 0, failure_percent: 0, ..RULES };
    let passive = Passive::new(rules, &fleet(2), 1);
    assert_eq!(repeat(&passive, BAD, 1_000, at(0)), None);
}

#[test]
fn counts_are_carried_over_and_unknown_indices_do_no_harm() {
    let fleet = fleet(3);
    let old = Passive::new(RULES, &fleet, 2);
    let mut outcomes = [Verdict::Success, BAD].into_iter().cycle();
    for number in 0..18 {
        assert_eq!(old.record(number % 2, 2, outcomes.next().unwrap(), at(0)), None);
    }
    let new = Passive::new(RULES, &fleet[2..], 3);
    new.carry_over(&old, &[Some(2)]);
    assert_eq!(new.counts(0, at(1)), (9, 18));
    assert_eq!(new.record(0, 0, Verdict::Success, at(1)), None);
    assert!(new.record(2, 0, BAD, at(1)).is_some());
    assert_eq!(new.record(0, 7, BAD, at(1)), None);
    assert_eq!(new.record(7, 0, BAD, at(1)), None);
}

#[test]
fn statuses_speak_for_themselves() {
    for status in [200, 304, 404, 429, 500, 501, 505] {
        assert_eq!(Verdict::of_status(status), Verdict::Success);
    }
    for status in [502, 503, 504] {
        assert_eq!(Verdict::of_status(status), Verdict::Failure(FailureKind::Status(status)));
    }
}

const BROKEN: FailureKind = FailureKind::Reset;

/// Heads of `overlap` responses, whose bodies then break off, until one changes something: how many it took.
fn break_all(passive: &Passive, overlap: usize, now: Moment) -> Option<usize> {
    let mut open = std::collections::VecDeque::new();
    (0..200).position(|number| {
        open.push_back(passive.say(number % passive.windows.len(), 0, now).unwrap());
        // The oldest breaks off while the others are under way.
        let at = (open.len() >= overlap).then(|| open.pop_front().unwrap());
        at.is_some_and(|said| {
            passive.take_back(number % passive.windows.len(), 0, (said, BROKEN), now).is_some()
        })
    })
}

#[test]
fn bodies_that_all_break_off_eject() {
    for overlap in 1..5 {
        // By either of the rules.
        for rules in [Ejection { failure_percent: 0, ..RULES }, Ejection { consecutive_failures: 0, ..RULES }]
        {
            let fleet = fleet(2);
            let passive = Passive::new(rules, &fleet, 1);
            let took = break_all(&passive, overlap, at(0)).unwrap_or(usize::MAX);
            assert!(took < 40, "{took} of {overlap} at a time");
            assert!(!fleet[0].is_healthy(at(0)));
        }
        // One after the other, it takes as many as failures of other kinds.
        let passive = Passive::new(RULES, &fleet(2), 1);
        assert!(overlap > 1 || break_all(&passive, overlap, at(0)) == Some(4));
    }
}

#[test]
fn what_a_body_takes_back_is_counted_once() {
    let fleet = fleet(2);
    let passive = Passive::new(RULES, &fleet, 1);
    assert_eq!(repeat(&passive, Verdict::Success, 5, at(0)), None);
    let said = passive.say(0, 0, at(0)).unwrap();
    assert_eq!(passive.take_back(0, 0, (said, BROKEN), at(1)), None);
    assert_eq!(passive.counts(0, at(1)), (1, 6));
    // Longer ago than the window there is nothing to take back, nor a row to go on with.
    assert_eq!(repeat(&passive, BAD, 3, at(2)), None);
    let said = passive.say(0, 0, at(2)).unwrap();
    assert_eq!(passive.take_back(0, 0, (said, BROKEN), at(20)), None);
    assert_eq!(fleet[0].shared.failures_in_a_row.load(Relaxed), 1);
    assert_eq!(passive.counts(0, at(20)), (1, 1));
    // A success ends a row, and one whose body comes whole ends it for good.
    assert!(passive.say(0, 0, at(20)).is_some());
    assert_eq!(fleet[0].shared.failures_in_a_row.load(Relaxed), 0);
    assert_eq!(repeat(&passive, BAD, 4, at(30)), None);
    let [first, second] = [(); 2].map(|()| passive.say(0, 0, at(30)).unwrap());
    passive.came_whole(0, at(31));
    assert_eq!(passive.take_back(0, 0, (first, BROKEN), at(32)), None);
    assert_eq!(fleet[0].shared.failures_in_a_row.load(Relaxed), 1);
    // Only one of two carries what failed before.
    assert_eq!(passive.take_back(0, 0, (second, BROKEN), at(32)), None);
    assert_eq!(fleet[0].shared.failures_in_a_row.load(Relaxed), 2);
}

/// What fails in a row, and what ended it, outlives a generation; so does what came whole meanwhile, in whichever.
#[test]
fn what_came_whole_is_known_over_a_reload() {
    let shorter = Ejection { window: Duration::from_secs(5), ..RULES };
    for (rules, is_by_new) in [(RULES, true), (RULES, false), (shorter, true), (shorter, false)] {
        let fleet = fleet(2);
        let old = Passive::new(RULES, &fleet, 2);
        assert_eq!(repeat(&old, BAD, 4, at(0)), None);
        let said = old.say(0, 0, at(1)).unwrap();
        let new = Passive::new(rules, &fleet, 2);
        if !is_by_new {
            // By an exchange of the old one, which it may outlive as well.
            old.came_whole(0, at(2));
        }
        new.carry_over(&old, &[Some(0), Some(1)]);
        if is_by_new {
            new.came_whole(0, at(2));
        }
        assert_eq!(new.take_back(1, 0, (said, BROKEN), at(3)), None);
        assert_eq!(old.take_back(1, 0, (said, BROKEN), at(3)), None);
        assert_eq!(fleet[0].shared.failures_in_a_row.load(Relaxed), 2);
    }
}

/// Nothing is written for those that come behind it.
#[test]
fn first_that_comes_whole_behind_a_row_is_noted() {
    let fleet = fleet(2);
    let passive = Passive::new(RULES, &fleet, 1);
    let noted = |now| {
        passive.came_whole(0, now);
        fleet[0].shared.came_whole_at.load(Relaxed)
    };
    assert_eq!([noted(at(1)), noted(at(2))], [at(1).0; 2]);
    assert_eq!(repeat(&passive, BAD, 1, at(3)), None);
    assert_eq!(noted(at(4)), at(1).0, "the row goes on");
    assert!(passive.say(0, 0, at(5)).is_some());
    assert_eq!([noted(at(6)), noted(at(7))], [at(6).0; 2]);
}

proptest! {
    /// The window never counts what is older than it, and never misses what is younger than nine
    /// tenths of it; the cap holds whatever happens.
    #[test]
    fn windows_slide_and_the_cap_holds(
        events in prop::collection::vec((0_usize..3, 0_usize..5, any::<bool>(), 0_u64..4_000), 1..300),
    ) {
        let fleet = fleet(5);
        let passive = Passive::new(RULES, &fleet, 3);
        let mut now = at(0);
        let mut log = Vec::new();
        for (worker, index, fails, pause) in events {
            now = now.plus(Duration::from_millis(pause / 10));
            let verdict = if fails { BAD } else { Verdict::Success };
            let change = passive.record(worker, index, verdict, now);
            log.push((index, now));
            let ejected = fleet.iter().filter(|backend| !backend.is_healthy(now)).count();
            prop_assert!(ejected <= 2);
            if change.is_some() {
                prop_assert!(!fleet[index].is_healthy(now));
                log.retain(|(other, _)| *other != index);
                continue;
            }
            if passive.judged[index].load(Relaxed) > 0 {
                continue;
            }
            let within = |age: u64| {
                let young = log.iter().filter(|(other, at)| *other == index && now.since(*at).as_millis() < age.into());
                young.count() as u64
            };
            let (_, total) = passive.counts(index, now);
            prop_assert!(within(9_000) <= total && total <= within(10_001), "{total}");
        }
    }
}

#[test]
fn workers_count_at_the_same_time_without_losing_any() {
    let rules = Ejection { consecutive_failures: 0, failure_percent: 0, ..RULES };
    let fleet = fleet(1);
    let passive = Passive::new(rules, &fleet, 4);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let passive = &passive;
            scope.spawn(move || {
                for number in 0..10_000 {
                    let verdict = if number % 4 == 0 { BAD } else { Verdict::Success };
                    assert_eq!(passive.record(worker, 0, verdict, at(number / 2_000)), None);
                }
            });
        }
    });
    assert_eq!(passive.counts(0, at(4)), (10_000, 40_000));
}
