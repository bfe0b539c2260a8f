//! Which role a node has, as the node itself knows it: one machine for every engine, pure.
//!
//! Previous stop: an engine (VRRP, a store), which says how the election went, and the node itself, which says whether it
//! is fit. Next stop: `node`, which does what comes out: addresses first, then the engine, then who wants to know.
//!
//! What it holds: the addresses are taken after the election is won and never without; the kernel has removed them
//! ([`Event::Released`]) before the engine hears that the node gives up; and it was told to before an election that has
//! an end is over.

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
        /// Grows with every election, where a store counts them; it falls where that was restored from an older copy.
        fence: u64,
        /// When what was won was asked for: of two elections of a node the later one was asked for later.
        asked: BootTime,
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
    /// This node stood still, and its guard removed the addresses meanwhile: what the engine has won is given back.
    Interrupted,
    /// The kernel has done the last [`Effect::Release`], or could not.
    Released,
    /// An operator wants another node to be primary.
    StepDown,
    /// An operator takes that back.
    Resume,
    /// The program ends, or does not have this group any more. Why, for people.
    Leave(&'static str),
}

/// What is to be done, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Add the addresses, and announce them.
    Take,
    /// Announce the addresses again: another node had announced them.
    Announce,
    /// Remove the addresses, and say [`Event::Released`] then.
    Release,
    /// Tell the engine how much this node wants to be primary.
    Stand(Standing),
    /// Tell the engine to give up what it has, and how much this node wants to be primary from then on.
    Resign(Standing),
    /// Say that elections are counted from a lower number than this one, which this node had won before.
    FenceFell(u64),
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
    /// The role is given up, and the kernel removes the addresses.
    releasing: Option<Releasing>,
    /// The number of the last election that was won.
    fence: u64,
    /// When that was asked for.
    asked: Option<BootTime>,
    /// The addresses of the program before this one may be there, whose role this node is to go on with.
    may_be_left: bool,
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

#[derive(Clone, Debug)]
struct Releasing {
    /// Why, for people.
    reason: String,
    /// Whether the engine still has what it won, and is told to give it up then.
    resigns: bool,
}

impl RoleMachine {
    /// A standby; `margin` is what it takes to remove the addresses, and some.
    pub fn new(margin: Duration) -> Self {
        Self {
            held: None,
            releasing: None,
            fence: 0,
            asked: None,
            may_be_left: false,
            margin,
            unfit: None,
            weak: None,
            is_stepped_down: false,
            is_leaving: false,
            standing: Standing::Full,
        }
    }

    /// A standby whose engine is about to go on with what another program on this machine had won, by this number: the
    /// addresses of that are there.
    pub fn resuming(margin: Duration, fence: u64) -> Self {
        Self { fence, may_be_left: true, ..Self::new(margin) }
    }

    /// The role.
    pub fn role(&self) -> Role {
        if self.held.is_some() { Role::Primary } else { Role::Standby }
    }

    /// Whether the kernel is removing the addresses, and has not said yet that it did.
    pub fn is_releasing(&self) -> bool {
        self.releasing.is_some()
    }

    /// Whether the addresses may be there: what is to be undone where this node cannot.
    pub fn may_have_addresses(&self) -> bool {
        self.held.is_some() || self.is_releasing() || self.may_be_left
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
        let mut effects = Vec::new();
        if event == Event::Released {
            // Before the clock: it is of a release that was asked for before.
            self.released(&mut effects);
        }
        // What comes late, as after a sleep, must not find the role still there.
        effects.extend(self.tick(now));
        match event {
            Event::Elected { fence, asked, until, reason } => {
                self.elected((fence, asked), until, reason, now, &mut effects);
            }
            Event::Renewed { until } => {
                // A renewal that was overtaken by another, or that came after the end, extends nothing.
                if let Some(held) = &mut self.held {
                    held.until = held.until.map(|before| before.max(until));
                }
            }
            Event::Lost(reason) => self.lose(reason, &mut effects),
            Event::NotResumed => {
                self.release_left(NOT_RESUMED.into(), false, &mut effects);
            }
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
            Event::Interrupted => self.interrupted(&mut effects),
            Event::Released => {}
            Event::StepDown => {
                self.is_stepped_down = true;
                self.give_up("stepped down via the admin API", &mut effects);
            }
            Event::Resume => self.is_stepped_down = false,
            Event::Leave(reason) => {
                self.is_leaving = true;
                self.give_up(reason, &mut effects);
                self.release_left(reason.into(), true, &mut effects);
            }
        }
        self.tell_standing(&mut effects);
        effects
    }

    fn elected(
        &mut self,
        (fence, asked): (u64, BootTime),
        until: Option<BootTime>,
        reason: String,
        now: BootTime,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(held) = &mut self.held {
            // What is told again of the election that is held; an older one's answer was overtaken.
            if self.asked == Some(asked) {
                held.until = held.until.zip(until).map(|(before, until)| before.max(until));
            }
            return;
        }
        if self.releasing.as_ref().is_some_and(|releasing| releasing.resigns) {
            // The election that is given up as soon as the addresses are gone.
            return;
        }
        let is_over = until.is_some_and(|until| until.minus(self.margin) <= now);
        // An answer that was overtaken tells of an election that is over. Its number does not say so: a store that was
        // restored from an older copy counts on from there.
        let is_old = self.asked.is_some_and(|before| asked <= before);
        if is_over || is_old || self.is_barred() {
            self.resign_behind(effects);
            return;
        }
        if let Some(before) = self.releasing.take() {
            // Elected again before the kernel has done with it: what is asked of it keeps its order.
            effects.push(self.changed(Role::Standby, before.reason));
        }
        let before = std::mem::replace(&mut self.fence, fence);
        (self.asked, self.held, self.may_be_left) = (Some(asked), Some(Held { until }), false);
        effects.push(Effect::Take);
        if fence < before {
            effects.push(Effect::FenceFell(before));
        }
        effects.push(self.changed(Role::Primary, reason));
    }

    /// The engine took the role away.
    fn lose(&mut self, reason: String, effects: &mut Vec<Effect>) {
        if self.held.take().is_some() {
            self.releasing = Some(Releasing { reason, resigns: false });
            effects.push(Effect::Release);
        } else if let Some(releasing) = &mut self.releasing {
            releasing.resigns = false;
        } else {
            self.release_left(reason, false, effects);
        }
    }

    /// This node gives the role up: the addresses go before the engine hears of it.
    fn give_up(&mut self, reason: &str, effects: &mut Vec<Effect>) {
        if self.held.take().is_some() {
            self.releasing = Some(Releasing { reason: reason.to_owned(), resigns: true });
            effects.push(Effect::Release);
        }
    }

    /// Removes the addresses of the program before, where they may be there: nobody goes on with its role.
    fn release_left(&mut self, reason: String, resigns: bool, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.may_be_left) {
            self.releasing = Some(Releasing { reason, resigns });
            effects.push(Effect::Release);
        }
    }

    fn interrupted(&mut self, effects: &mut Vec<Effect>) {
        self.give_up("it was stalled, and its guard removed the addresses", effects);
        self.resign_behind(effects);
    }

    /// Has the engine give up what it has; where addresses are there, or are being removed, once they are gone.
    fn resign_behind(&mut self, effects: &mut Vec<Effect>) {
        self.release_left(NOT_RESUMED.into(), true, effects);
        match &mut self.releasing {
            Some(releasing) => releasing.resigns = true,
            None => self.resign(effects),
        }
    }

    /// The addresses are gone.
    fn released(&mut self, effects: &mut Vec<Effect>) {
        let Some(Releasing { reason, resigns }) = self.releasing.take() else { return };
        if resigns {
            self.resign(effects);
        }
        effects.push(self.changed(Role::Standby, reason));
    }

    fn resign(&mut self, effects: &mut Vec<Effect>) {
        self.standing = self.wanted();
        effects.push(Effect::Resign(self.standing));
    }

    fn tell_standing(&mut self, effects: &mut Vec<Effect>) {
        // A primary that says how little it wants to be one is followed at once: not while it has the addresses.
        let resigns = self.releasing.as_ref().is_some_and(|releasing| releasing.resigns);
        let wanted = self.wanted();
        if wanted != self.standing && !resigns {
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

/// Why the role of the program before is given up, for people.
const NOT_RESUMED: &str = "cannot continue what the previous program had won";

#[cfg(test)]
mod tests;
