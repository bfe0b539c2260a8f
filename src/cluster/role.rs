//! Which role a node has, as the node itself knows it: one machine for every engine, pure.
//!
//! Previous stop: an engine (VRRP, a store), which says how the election went, and the node itself, which says whether it
//! is fit. Next stop: `node`, which does what comes out: addresses first, then the engine, then who wants to know.
//!
//! What it holds: the addresses are taken after the election is won and never without; they are released before the
//! engine hears that the node gives up, and before an election that has an end is over.

use std::time::Duration;

use super::boot_time::BootTime;

/// What a node is to its virtual addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It has them.
    Primary,
    /// Another node has them, or none.
    #[default]
    Standby,
}

impl Role {
    /// Its name, in status and for who is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
        }
    }
}

/// How much a node wants to be primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As configured.
    Full,
    /// Only where no other node is there.
    Last,
    /// Not at all: it ends.
    Out,
}

/// What happens to the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The engine says: this node was elected, until it says otherwise or until a point in time.
    Elected {
        /// Grows with every election, where a store counts them.
        fence: u64,
        /// Another node may be elected from then on.
        until: Option<BootTime>,
        /// For people.
        reason: String,
    },
    /// The engine says: the election holds longer.
    Renewed {
        /// Another node may be elected from then on.
        until: BootTime,
    },
    /// The engine says: this node is not elected any more.
    Lost(String),
    /// The engine says: what another program on this machine had won is lost, and its addresses may be there still.
    NotResumed,
    /// The engine says: another node had the role at the same time, and has given way.
    Contested(String),
    /// This node cannot do its work, or (`None`) can again.
    Unfit(Option<String>),
    /// This node has no backend that is up, or (`None`) has one again.
    Weak(Option<String>),
    /// This node stood still, and its guard removed the addresses meanwhile.
    Interrupted,
    /// An operator wants another node to be primary.
    StepDown,
    /// An operator takes that back.
    Resume,
    /// The program ends.
    Leave,
}

/// What is to be done, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Add the addresses, and announce them.
    Take,
    /// Announce the addresses again: another node had announced them.
    Announce,
    /// Remove the addresses.
    Release,
    /// Tell the engine how much this node wants to be primary.
    Stand(Standing),
    /// Tell the engine to give up what it has, and how much this node wants to be primary from then on.
    Resign(Standing),
    /// Tell who wants to know.
    Changed(Change),
}

/// A change of the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The role from now on; the one before too, when another node was primary in between.
    pub role: Role,
    /// The number of the election.
    pub fence: u64,
    /// Why, for people.
    pub reason: String,
}

/// The machine.
#[derive(Debug)]
pub struct RoleMachine {
    held: Option<Held>,
    /// The greatest number of an election that was seen.
    fence: u64,
    /// How long before its end an election is given up.
    margin: Duration,
    unfit: Option<String>,
    weak: Option<String>,
    is_stepped_down: bool,
    is_leaving: bool,
    /// What the engine was told last.
    standing: Standing,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    until: Option<BootTime>,
}

impl RoleMachine {
    /// A standby; `margin` is what it takes to remove the addresses, and some.
    pub fn new(margin: Duration) -> Self {
        Self {
            held: None,
            fence: 0,
            margin,
            unfit: None,
            weak: None,
            is_stepped_down: false,
            is_leaving: false,
            standing: Standing::Full,
        }
    }

    /// The role.
    pub fn role(&self) -> Role {
        if self.held.is_some() { Role::Primary } else { Role::Standby }
    }

    /// The number of the last election that this node won.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether an operator wants another node to be primary.
    pub fn is_stepped_down(&self) -> bool {
        self.is_stepped_down
    }

    /// When [`RoleMachine::tick`] is to be called at the latest.
    pub fn deadline(&self) -> Option<BootTime> {
        Some(self.held?.until?.minus(self.margin))
    }

    /// Gives the role up where the election is about to end.
    pub fn tick(&mut self, now: BootTime) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.give_up("the election could not be renewed in time", &mut effects);
        }
        effects
    }

    /// What `event` makes of the role, and what is to be done.
    pub fn on(&mut self, event: Event, now: BootTime) -> Vec<Effect> {
        // What comes late, as after a sleep, must not find the role still there.
        let mut effects = self.tick(now);
        match event {
            Event::Elected { fence, until, reason } => self.elected(fence, until, reason, now, &mut effects),
            Event::Renewed { until } => {
                // A renewal that was overtaken by another, or that came after the end, extends nothing.
                if let Some(held) = &mut self.held {
                    held.until = held.until.map(|before| before.max(until));
                }
            }
            Event::Lost(reason) => self.lose(reason, &mut effects),
            Event::NotResumed if self.held.is_none() => effects.push(Effect::Release),
            Event::NotResumed => {}
            Event::Contested(reason) if self.held.is_some() => {
                effects.push(Effect::Announce);
                effects.push(self.changed(Role::Primary, reason));
            }
            Event::Contested(_) => {}
            Event::Unfit(why) => {
                self.unfit = why;
                if let Some(reason) = self.unfit.clone() {
                    self.give_up(&reason, &mut effects);
                }
            }
            Event::Weak(why) => self.weak = why,
            Event::Interrupted => {
                self.give_up("it stood still, and its guard removed the addresses", &mut effects)
            }
            Event::StepDown => {
                self.is_stepped_down = true;
                self.give_up("stepped down by admin API", &mut effects);
            }
            Event::Resume => self.is_stepped_down = false,
            Event::Leave => {
                self.is_leaving = true;
                self.give_up("the program ends", &mut effects);
            }
        }
        self.tell_standing(&mut effects);
        effects
    }

    fn elected(
        &mut self,
        fence: u64,
        until: Option<BootTime>,
        reason: String,
        now: BootTime,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(held) = &mut self.held {
            // What is told again of the election that is held; an older one's answer was overtaken.
            if fence == self.fence {
                held.until = held.until.zip(until).map(|(before, until)| before.max(until));
            }
            return;
        }
        let is_over = until.is_some_and(|until| until.minus(self.margin) <= now);
        // An answer that was overtaken tells of an election that is over.
        let is_old = fence <= self.fence && self.fence > 0;
        if is_over || is_old || self.is_barred() {
            self.standing = self.wanted();
            effects.push(Effect::Resign(self.standing));
            return;
        }
        self.fence = fence;
        self.held = Some(Held { until });
        effects.push(Effect::Take);
        effects.push(self.changed(Role::Primary, reason));
    }

    /// The engine took the role away.
    fn lose(&mut self, reason: String, effects: &mut Vec<Effect>) {
        if self.held.take().is_some() {
            effects.push(Effect::Release);
            effects.push(self.changed(Role::Standby, reason));
        }
    }

    /// This node gives the role up: the addresses go before the engine hears of it.
    fn give_up(&mut self, reason: &str, effects: &mut Vec<Effect>) {
        if self.held.take().is_some() {
            self.standing = self.wanted();
            effects.push(Effect::Release);
            effects.push(Effect::Resign(self.standing));
            effects.push(self.changed(Role::Standby, reason.to_owned()));
        }
    }

    fn tell_standing(&mut self, effects: &mut Vec<Effect>) {
        let wanted = self.wanted();
        if wanted != self.standing {
            self.standing = wanted;
            effects.push(Effect::Stand(wanted));
        }
    }

    /// Whether an election that is won now is given back: nobody asked for it any more.
    fn is_barred(&self) -> bool {
        self.wanted() == Standing::Out
    }

    fn wanted(&self) -> Standing {
        let is_last = self.unfit.is_some() || self.weak.is_some() || self.is_stepped_down;
        match (self.is_leaving, is_last) {
            (true, _) => Standing::Out,
            (false, true) => Standing::Last,
            (false, false) => Standing::Full,
        }
    }

    fn changed(&self, role: Role, reason: String) -> Effect {
        Effect::Changed(Change { role, fence: self.fence, reason })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn elected(fence: u64, until: Option<u64>) -> Event {
        Event::Elected { fence, until: until.map(BootTime), reason: "elected".into() }
    }

    fn machine() -> RoleMachine {
        RoleMachine::new(Duration::from_micros(100))
    }

    #[test]
    fn addresses_are_released_before_the_engine_is_told() {
        let mut machine = machine();
        machine.on(elected(1, None), BootTime(0));
        let effects = machine.on(Event::StepDown, BootTime(1));
        assert_eq!(effects[..2], [Effect::Release, Effect::Resign(Standing::Last)]);
        assert_eq!(machine.role(), Role::Standby);
        // Nothing more is said, and what was said is not said again.
        assert_eq!(machine.on(Event::StepDown, BootTime(2)), []);
        assert_eq!(machine.on(Event::Resume, BootTime(3)), [Effect::Stand(Standing::Full)]);
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
        assert_eq!(machine.on(elected(7, Some(9000)), BootTime(1200)), [Effect::Resign(Standing::Full)]);
        assert_eq!(machine.role(), Role::Standby);
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
        let mut machine = machine();
        assert_eq!(machine.on(Event::NotResumed, BootTime(0)), [Effect::Release]);
        machine.on(elected(1, None), BootTime(1));
        assert_eq!(machine.on(Event::NotResumed, BootTime(2)), []);
    }

    #[test]
    fn node_that_is_unfit_still_stands_when_nobody_else_does() {
        let mut machine = machine();
        let unfit = Event::Unfit(Some("a worker hangs".into()));
        assert_eq!(machine.on(unfit, BootTime(0)), [Effect::Stand(Standing::Last)]);
        assert_eq!(machine.on(elected(1, None), BootTime(1))[0], Effect::Take);
        assert_eq!(machine.on(Event::Weak(Some("no backend".into())), BootTime(2)), []);
        assert_eq!(machine.role(), Role::Primary);
        let effects = machine.on(Event::Leave, BootTime(3));
        assert_eq!(effects[..2], [Effect::Release, Effect::Resign(Standing::Out)]);
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
            Just(Event::Interrupted),
            Just(Event::StepDown),
            Just(Event::Resume),
            Just(Event::Leave),
        ]
    }

    proptest! {
        #[test]
        fn addresses_follow_the_role_in_whatever_order(
            events in proptest::collection::vec((event(), 0_u64..400), 1..60),
        ) {
            let (mut machine, mut now) = (machine(), 0);
            let (mut has, mut is_out) = (false, false);
            for (event, pause) in events {
                now += pause;
                is_out |= event == Event::Leave;
                for effect in machine.on(event, BootTime(now)) {
                    match effect {
                        Effect::Take => {
                            prop_assert!(!has && !is_out, "taken twice, or after the end");
                            has = true;
                        }
                        Effect::Release => {
                            prop_assert!(has, "released what it does not have");
                            has = false;
                        }
                        Effect::Resign(_) => prop_assert!(!has, "the engine heard first"),
                        Effect::Announce => prop_assert!(has),
                        Effect::Changed(change) => prop_assert_eq!(change.role == Role::Primary, has),
                        Effect::Stand(_) => {}
                    }
                }
                prop_assert_eq!(has, machine.role() == Role::Primary);
                prop_assert!(machine.deadline().is_none_or(|deadline| deadline > BootTime(now)));
                prop_assert!(!(has && is_out));
            }
        }
    }
}
