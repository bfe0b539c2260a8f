use proptest::prelude::*;

use super::*;

const LEAVE: Event = Event::Leave("the program is stopping");

fn elected(fence: u64, until: Option<u64>) -> Event {
    asked(BootTime(fence), fence, until)
}

fn asked(asked: BootTime, fence: u64, until: Option<u64>) -> Event {
    Event::Elected { fence, asked, until: until.map(BootTime), reason: "elected".into() }
}

fn machine() -> RoleMachine {
    RoleMachine::new(Duration::from_micros(100))
}

#[test]
fn addresses_are_released_before_the_engine_is_told() {
    let mut machine = machine();
    machine.on(elected(1, None), BootTime(0));
    assert_eq!(machine.on(Event::StepDown, BootTime(1)), [Effect::Release]);
    assert!(machine.role() == Role::Standby && machine.may_have_addresses());
    // Told again by an engine that does not know yet, and asked of a node that is about to do so.
    assert_eq!(machine.on(elected(1, None), BootTime(1)), []);
    assert_eq!(machine.on(Event::Unfit(Some("a worker hangs".into())), BootTime(1)), []);
    assert_eq!(machine.on(Event::Unfit(None), BootTime(1)), []);
    let effects = machine.on(Event::Released, BootTime(2));
    assert!(matches!(&effects[..], [Effect::Resign(Standing::Last), Effect::Changed(_)]), "{effects:?}");
    assert!(!machine.may_have_addresses());
    // Nothing more is said, and what was said is not said again.
    assert_eq!(machine.on(Event::StepDown, BootTime(2)), []);
    assert_eq!(machine.on(Event::Resume, BootTime(3)), [Effect::Stand(Standing::Full)]);
}

#[test]
fn election_that_comes_before_the_release_is_done_counts() {
    let mut machine = machine();
    machine.on(elected(1, None), BootTime(0));
    assert_eq!(machine.on(Event::Lost("gone".into()), BootTime(1)), [Effect::Release]);
    let effects = machine.on(elected(2, None), BootTime(2));
    assert!(matches!(&effects[..], [Effect::Changed(_), Effect::Take, Effect::Changed(_)]), "{effects:?}");
    assert_eq!(machine.on(Event::Released, BootTime(3)), []);
    assert_eq!(machine.role(), Role::Primary);
}

#[test]
fn engine_that_loses_what_is_given_up_hears_its_standing() {
    let mut machine = machine();
    machine.on(elected(1, None), BootTime(0));
    machine.on(Event::StepDown, BootTime(1));
    let effects = machine.on(Event::Lost("gone".into()), BootTime(2));
    assert_eq!(effects, [Effect::Stand(Standing::Last)]);
    let effects = machine.on(Event::Released, BootTime(3));
    assert!(matches!(&effects[..], [Effect::Changed(_)]), "{effects:?}");
}

#[test]
fn primary_that_stood_still_gives_back_its_election() {
    let mut machine = machine();
    machine.on(elected(1, Some(9000)), BootTime(0));
    // As the node has it: what the guard has done is lost, and then the engine hears of it.
    assert_eq!(machine.on(Event::Lost("late".into()), BootTime(1)), [Effect::Release]);
    assert_eq!(machine.on(Event::Interrupted, BootTime(2)), []);
    let effects = machine.on(Event::Released, BootTime(3));
    assert_eq!(effects[0], Effect::Resign(Standing::Full));
    // The kernel may be quicker.
    machine.on(elected(2, Some(9000)), BootTime(4));
    machine.on(Event::Lost("late".into()), BootTime(5));
    machine.on(Event::Released, BootTime(6));
    assert_eq!(machine.on(Event::Interrupted, BootTime(7)), [Effect::Resign(Standing::Full)]);
}

#[test]
fn role_ends_a_margin_before_the_election_does() {
    let mut machine = machine();
    machine.on(elected(1, Some(1000)), BootTime(0));
    assert_eq!(machine.deadline(), Some(BootTime(900)));
    assert_eq!(machine.tick(BootTime(899)), []);
    machine.on(Event::Renewed { until: BootTime(2000) }, BootTime(899));
    assert_eq!(machine.tick(BootTime(900)), []);
    // An older renewal shortens nothing.
    machine.on(Event::Renewed { until: BootTime(1500) }, BootTime(901));
    assert_eq!(machine.deadline(), Some(BootTime(1900)));
    assert_eq!(machine.tick(BootTime(1900))[0], Effect::Release);
    // What comes after the end changes nothing.
    machine.on(Event::Renewed { until: BootTime(5000) }, BootTime(1901));
    assert_eq!((machine.role(), machine.deadline()), (Role::Standby, None));
}

#[test]
fn renewal_after_a_sleep_finds_no_role() {
    let mut machine = machine();
    machine.on(elected(1, Some(1000)), BootTime(0));
    let effects = machine.on(Event::Renewed { until: BootTime(5000) }, BootTime(4000));
    assert_eq!(effects[0], Effect::Release);
    assert_eq!(machine.role(), Role::Standby);
}

#[test]
fn election_that_is_over_or_overtaken_is_given_back() {
    let mut machine = machine();
    assert_eq!(machine.on(elected(7, Some(1000)), BootTime(950)), [Effect::Resign(Standing::Full)]);
    machine.on(elected(7, Some(2000)), BootTime(1000));
    machine.on(Event::Lost("gone".into()), BootTime(1100));
    machine.on(Event::Released, BootTime(1100));
    assert_eq!(machine.on(elected(7, Some(9000)), BootTime(1200)), [Effect::Resign(Standing::Full)]);
    assert_eq!(machine.role(), Role::Standby);
}

#[test]
fn election_with_a_lower_number_counts_where_asked_for_later() {
    // The store was restored from an older copy, and counts on from there; the number may even be the same again.
    for fence in [3, 7] {
        let mut machine = machine();
        machine.on(asked(BootTime(10), 7, Some(1000)), BootTime(20));
        machine.on(Event::Lost("gone".into()), BootTime(30));
        machine.on(Event::Released, BootTime(30));
        // What was asked for before is still of an election that is over, whatever its number is.
        let resigns = [Effect::Resign(Standing::Full)];
        assert_eq!(machine.on(asked(BootTime(9), 8, Some(1000)), BootTime(40)), resigns);
        let effects = machine.on(asked(BootTime(40), fence, Some(1000)), BootTime(50));
        assert_eq!((effects[0].clone(), machine.fence()), (Effect::Take, fence));
        let is_said = effects.contains(&Effect::FenceFell(7));
        assert_eq!(is_said, fence < 7, "{effects:?}");
        // Once: the next number is a greater one.
        machine.on(Event::Lost("gone".into()), BootTime(60));
        machine.on(Event::Released, BootTime(60));
        let effects = machine.on(asked(BootTime(70), fence + 1, Some(1000)), BootTime(80));
        assert!(matches!(&effects[..], [Effect::Take, Effect::Changed(_)]), "{effects:?}");
    }
}

#[test]
fn primary_that_was_contested_announces_and_tells_again() {
    let mut machine = machine();
    machine.on(elected(1, None), BootTime(0));
    let effects = machine.on(Event::Contested("two".into()), BootTime(1));
    assert_eq!(effects[0], Effect::Announce);
    assert!(matches!(&effects[1], Effect::Changed(change) if change.role == Role::Primary));
    machine.on(Event::Lost("gone".into()), BootTime(2));
    assert_eq!(machine.on(Event::Contested("two".into()), BootTime(3)), []);
}

#[test]
fn addresses_that_another_program_left_are_released() {
    const FULL: Option<Standing> = Some(Standing::Full);
    let lost = || Event::Lost("its guard acted".into());
    // The election is over by the time that it is gone on with.
    let late = || elected(7, Some(0));
    let events = [(Event::NotResumed, None), (lost(), None), (LEAVE, Some(Standing::Out)), (late(), FULL)];
    for (event, resigns) in events {
        let mut machine = RoleMachine::resuming(Duration::ZERO, 7);
        assert!(machine.may_have_addresses() && machine.role() == Role::Standby);
        assert_eq!(machine.on(event, BootTime(0)), [Effect::Release]);
        assert!(machine.is_releasing());
        let mut effects = machine.on(Event::Released, BootTime(1));
        // Who was told that the program before is primary is told that it is not any more.
        let told = effects.pop();
        assert!(matches!(&told, Some(Effect::Changed(change)) if change.fence == 7), "{told:?}");
        assert_eq!(effects, resigns.map(Effect::Resign).into_iter().collect::<Vec<_>>());
        assert!(!machine.may_have_addresses());
        assert_eq!(machine.on(Event::NotResumed, BootTime(2)), []);
    }
    let mut machine = RoleMachine::resuming(Duration::ZERO, 7);
    // What it cannot do its work for does not end the role before it is there.
    assert_eq!(machine.on(Event::Weak(Some("weak".into())), BootTime(0)), [Effect::Stand(Standing::Last)]);
    let effects = machine.on(elected(7, None), BootTime(1));
    assert!(matches!(&effects[..], [Effect::Take, Effect::Changed(_)]), "{effects:?}");
    assert_eq!(machine.on(Event::NotResumed, BootTime(2)), []);
    // Where there was no program before, nothing is left.
    assert_eq!(self::machine().on(Event::NotResumed, BootTime(0)), []);
}

#[test]
fn node_that_is_unfit_still_stands_when_nobody_else_does() {
    let mut machine = machine();
    let unfit = Event::Unfit(Some("a worker hangs".into()));
    assert_eq!(machine.on(unfit, BootTime(0)), [Effect::Stand(Standing::Last)]);
    assert_eq!(machine.on(elected(1, None), BootTime(1))[0], Effect::Take);
    assert_eq!(machine.on(Event::Weak(Some("no backend".into())), BootTime(2)), []);
    assert_eq!(machine.role(), Role::Primary);
    assert_eq!(machine.on(LEAVE, BootTime(3)), [Effect::Release]);
    assert_eq!(machine.on(Event::Released, BootTime(3))[0], Effect::Resign(Standing::Out));
    assert_eq!(machine.on(elected(2, None), BootTime(4)), [Effect::Resign(Standing::Out)]);
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0_u64..6, proptest::option::of(0_u64..5000)).prop_map(|(fence, until)| elected(fence, until)),
        (0_u64..5000).prop_map(|until| Event::Renewed { until: BootTime(until) }),
        Just(Event::Lost("lost".into())),
        Just(Event::Contested("two".into())),
        proptest::option::of(Just("unfit".to_owned())).prop_map(Event::Unfit),
        proptest::option::of(Just("weak".to_owned())).prop_map(Event::Weak),
        Just(Event::NotResumed),
        Just(Event::Interrupted),
        Just(Event::Released),
        Just(Event::StepDown),
        Just(Event::Resume),
        Just(LEAVE),
    ]
}

proptest! {
    #[test]
    fn addresses_follow_the_role_in_whatever_order(
        is_resuming in any::<bool>(),
        events in proptest::collection::vec((event(), 0_u64..400), 1..60),
    ) {
        let margin = Duration::from_micros(100);
        let mut machine =
            if is_resuming { RoleMachine::resuming(margin, 3) } else { RoleMachine::new(margin) };
        let (mut now, mut is_left) = (0, is_resuming);
        let (mut has, mut is_out, mut is_removing) = (is_resuming, false, false);
        for (event, pause) in events {
            now += pause;
            is_out |= event == LEAVE;
            is_removing &= event != Event::Released;
            for effect in machine.on(event, BootTime(now)) {
                match effect {
                    Effect::Take => {
                        prop_assert!((!has || is_left) && !is_out, "taken twice, or after the end");
                        (has, is_removing, is_left) = (true, false, false);
                    }
                    Effect::Release => {
                        prop_assert!(has, "released what it does not have");
                        (has, is_removing, is_left) = (false, true, false);
                    }
                    Effect::Resign(_) => prop_assert!(!has && !is_removing, "the engine heard first"),
                    Effect::Announce | Effect::FenceFell(_) => prop_assert!(has),
                    Effect::Changed(change) => {
                        prop_assert!(change.role == Role::Standby || has, "told of too early");
                    }
                    Effect::Stand(_) => {}
                }
            }
            prop_assert_eq!(is_removing, machine.is_releasing());
            prop_assert_eq!(has && !is_left, machine.role() == Role::Primary);
            prop_assert_eq!(has || is_removing, machine.may_have_addresses());
            prop_assert!(machine.deadline().is_none_or(|deadline| deadline > BootTime(now)));
            prop_assert!(!(has && is_out));
        }
    }
}
