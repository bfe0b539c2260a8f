//! One case of RFC 9568 §6.4 each, and what this machine does besides.

use std::time::Duration;

use crate::cluster::{
    boot_time::BootTime,
    role::Standing,
    vrrp::{
        conf::Settings,
        router::{Action, Heard, Router},
    },
};

const INTERVAL: Duration = Duration::from_millis(100);

fn settings(priority: u8) -> Settings {
    Settings { priority, interval: INTERVAL, preempt: true, preempt_delay: Duration::ZERO, is_pair: false }
}

/// A router of this priority at 10.0.0.1 whose configuration knows of one other at most.
fn of_a_pair(priority: u8) -> Router {
    Router::new(Settings { is_pair: true, ..settings(priority) }, [10, 0, 0, 1].into(), BootTime(0))
}

/// A router of this priority at 10.0.0.1 that begins at zero.
fn router(priority: u8) -> Router {
    Router::new(settings(priority), [10, 0, 0, 1].into(), BootTime(0))
}

/// One that is primary since the time that is given too.
fn active(priority: u8) -> (Router, BootTime) {
    let mut router = router(priority);
    let now = router.deadline().unwrap();
    assert!(matches!(router.tick(now)[..], [Action::Advertise(_), Action::Elected(_)]));
    (router, now)
}

fn heard(host: u8, priority: u8) -> Heard {
    Heard { source: [10, 0, 0, host].into(), priority, interval: INTERVAL }
}

fn ms(now: BootTime, by: u64) -> BootTime {
    now.plus(Duration::from_millis(by))
}

#[test]
fn timers_are_computed_in_microseconds() {
    // Skew_Time = (256 - 100) * 100 ms / 256, and three intervals besides.
    assert_eq!(router(100).deadline(), Some(BootTime(360_937)));
    assert_eq!(router(101).deadline(), Some(BootTime(360_546)));
}

#[test]
fn interval_of_the_primary_holds_for_its_backups() {
    let mut router = router(100);
    let slow = Heard { interval: Duration::from_secs(1), ..heard(2, 200) };
    router.on_advertisement(slow, BootTime(1000));
    assert_eq!(router.deadline(), Some(BootTime(1000 + 3_609_375)));
}

#[test]
fn priority_zero_is_followed_after_the_skew() {
    let mut router = router(100);
    router.on_advertisement(heard(2, 200), BootTime(0));
    router.on_advertisement(heard(2, 0), BootTime(5000));
    assert_eq!(router.deadline(), Some(BootTime(5000 + 60_937)));
    let actions = router.tick(BootTime(65_937));
    assert_eq!(actions[1], Action::Elected("10.0.0.2 gave up".into()));
}

#[test]
fn only_other_of_a_pair_follows_after_a_quarter() {
    let mut router = of_a_pair(100);
    // Who was not heard may be several.
    assert_eq!(router.deadline(), Some(BootTime(360_937)));
    router.on_advertisement(heard(2, 200), BootTime(0));
    assert_eq!(router.deadline(), Some(BootTime(315_234)));
    router.on_advertisement(heard(2, 0), BootTime(5000));
    assert_eq!(router.deadline(), Some(BootTime(5000 + 15_234)));
    assert!(matches!(router.tick(BootTime(20_234))[..], [Action::Advertise(100), Action::Elected(_)]));
}

#[test]
fn third_router_that_was_heard_restores_the_skew() {
    let mut router = of_a_pair(100);
    router.on_advertisement(heard(2, 200), BootTime(0));
    router.on_advertisement(heard(3, 150), BootTime(1000));
    assert_eq!(router.deadline(), Some(BootTime(361_937)));
    router.on_advertisement(heard(2, 0), BootTime(5000));
    assert_eq!(router.deadline(), Some(BootTime(65_937)));
    // One that nobody heard as primary gives up: it is a third as well.
    let mut router = of_a_pair(100);
    router.on_advertisement(heard(2, 200), BootTime(0));
    router.on_advertisement(heard(3, 0), BootTime(5000));
    assert_eq!(router.deadline(), Some(BootTime(65_937)));
}

#[test]
fn greater_priority_preempts_unless_it_may_not() {
    let mut one = router(100);
    let down_at = one.deadline();
    one.on_advertisement(heard(2, 50), BootTime(1000));
    assert_eq!(one.deadline(), down_at);
    let quiet = Settings { preempt: false, ..settings(100) };
    let mut router = Router::new(quiet, [10, 0, 0, 1].into(), BootTime(0));
    router.on_advertisement(heard(2, 50), BootTime(1000));
    assert_eq!(router.deadline(), Some(BootTime(361_937)));
    // Priority 1 asks for anybody else.
    router.on_advertisement(heard(2, 1), BootTime(2000));
    assert_eq!(router.deadline(), Some(BootTime(361_937)));
}

#[test]
fn preemption_waits_for_its_delay() {
    let late = Settings { preempt_delay: Duration::from_secs(1), ..settings(100) };
    let mut router = Router::new(late, [10, 0, 0, 1].into(), BootTime(0));
    let mut now = BootTime(0);
    for _ in 0..=10 {
        router.on_advertisement(heard(2, 50), now);
        now = ms(now, 100);
    }
    // The one after a second is not listened to any more.
    assert_eq!(router.deadline(), Some(BootTime(900_000 + 360_937)));
}

#[test]
fn two_primaries_are_one_at_the_first_word() {
    let (mut one, now) = active(100);
    assert!(matches!(one.on_advertisement(heard(2, 101), ms(now, 1))[..], [Action::Lost(_)]));
    // Equal priorities: the greater address wins.
    let (mut one, now) = active(100);
    assert!(matches!(one.on_advertisement(heard(2, 100), ms(now, 1))[..], [Action::Lost(_)]));
    let (mut one, now) = active(100);
    let contested = one.on_advertisement(heard(0, 100), ms(now, 1));
    assert!(matches!(contested[..], [Action::Advertise(100), Action::Contested(_)]));
}

#[test]
fn contests_are_told_once_a_second_and_once_more() {
    let (mut router, begun) = active(100);
    let (mut told, mut now) = (Vec::new(), begun);
    for _ in 0..15 {
        now = ms(now, 10);
        let heard = router.on_advertisement(heard(0, 50), now);
        told.extend(heard.into_iter().filter(|it| matches!(it, Action::Contested(_))).map(|_| now));
    }
    while now < ms(begun, 3000) {
        now = router.deadline().unwrap();
        let ticked = router.tick(now);
        told.extend(ticked.into_iter().filter(|it| matches!(it, Action::Contested(_))).map(|_| now));
    }
    assert_eq!(told, [ms(begun, 10), ms(begun, 1010)]);
}

#[test]
fn contest_that_does_not_end_is_told_of_rarely() {
    let (mut router, begun) = active(100);
    let (mut told, mut now) = (0, begun);
    while now < ms(begun, 100_000) {
        now = ms(now, 100);
        let heard = router.on_advertisement(heard(0, 50), now);
        let ticked = router.tick(now);
        told += heard.into_iter().chain(ticked).filter(|it| matches!(it, Action::Contested(_))).count();
    }
    // At 0, 1, 3, 7, 15, 31, 63 s.
    assert_eq!(told, 7);
}

#[test]
fn primary_that_was_paused_begins_as_backup() {
    let by_clock = |router: &mut Router, now| router.tick(now);
    let by_word = |router: &mut Router, now| router.on_advertisement(heard(2, 50), now);
    let by_order = |router: &mut Router, now| router.stand(Standing::Full, now);
    for wakes in [by_clock, by_word, by_order] {
        let (mut router, now) = active(100);
        let later = ms(now, 400);
        let actions = wakes(&mut router, later);
        assert!(matches!(actions[..], [Action::Lost(_)]), "{actions:?}");
        assert!(!router.is_active());
        // And it says nothing until it has listened.
        assert_eq!(router.deadline(), Some(later.plus(Duration::from_micros(360_937))));
    }
    let (mut router, now) = active(100);
    assert_eq!(router.tick(ms(now, 300)), [Action::Advertise(100)]);
}

#[test]
fn primary_whose_interval_becomes_shorter_keeps_the_role() {
    let address = [10, 0, 0, 1].into();
    let slow = Settings { interval: Duration::from_secs(1), ..settings(100) };
    let mut router = Router::new(slow, address, BootTime(0));
    let begun = router.deadline().unwrap();
    router.tick(begun);
    assert_eq!(router.configure(settings(100), address, ms(begun, 900)), [Action::Advertise(100)]);
    assert_eq!(router.tick(ms(begun, 1000)), [Action::Advertise(100)]);
    assert_eq!(router.tick(ms(begun, 1100)), [Action::Advertise(100)]);
    // One that did not run is found out by the interval of before.
    let late = router.configure(
        Settings { interval: Duration::from_millis(50), ..settings(100) },
        address,
        ms(begun, 1401),
    );
    assert!(matches!(late[..], [Action::Lost(_)]), "{late:?}");
    assert!(!router.is_active());
}

#[test]
fn primary_pauses_no_longer_than_any_backup_waits() {
    // Its own skew is 78 ms; that of a backup of priority 254 is 0.2 ms, in a pair.
    let (mut router, now) = active(56);
    assert!(matches!(router.tick(ms(now, 301))[..], [Action::Lost(_)]));
}

#[test]
fn backup_that_was_late_listens_first() {
    let mut router = router(100);
    let late = ms(router.deadline().unwrap(), 101);
    assert_eq!(router.tick(late), []);
    assert_eq!(router.deadline(), Some(late.plus(Duration::from_micros(360_937))));
}

#[test]
fn node_that_gives_up_says_priority_zero_once() {
    let (mut router, now) = active(100);
    assert_eq!(router.resign(Standing::Last, now), [Action::Advertise(0)]);
    assert_eq!(router.priority(), 1);
    assert_eq!(router.resign(Standing::Out, now), []);
    assert_eq!(router.deadline(), None);
    assert_eq!(router.stand(Standing::Full, now), []);
    assert!(router.deadline().is_some());
}

#[test]
fn weak_primary_says_its_priority_at_once() {
    let (mut router, now) = active(100);
    assert_eq!(router.stand(Standing::Last, now), [Action::Advertise(1)]);
    assert_eq!(router.stand(Standing::Last, now), []);
    assert!(router.is_active());
}

#[test]
fn program_that_follows_goes_on_as_primary() {
    let mut router = router(100);
    let actions = router.adopt(BootTime(10));
    assert!(matches!(actions[..], [Action::Advertise(100), Action::Elected(_)]));
    assert_eq!(router.deadline(), Some(BootTime(100_010)));
}
