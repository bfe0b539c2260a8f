//! The state machine of a virtual router (RFC 9568 §6.4). Pure: it is given the time, and is never asked by a clock.
//!
//! Where no more than one other router was ever heard, the skew time, which puts backups in order, is a quarter of the
//! RFC's (docs/decisions/037-skew-of-a-pair.md).
//!
//! What holds besides the RFC: a primary that did not run for longer than the others wait starts again as a backup; a
//! backup that looks at the clock much too late has not listened, and listens for once more; a primary that hears of
//! another which has to give way says so, and once more after the last: a second later, and where that does not end
//! after twice as long each time.

use std::{net::IpAddr, time::Duration};

use super::{conf::Settings, others::Others};
use crate::cluster::{boot_time::BootTime, role::Standing};

/// What is to be done, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send an advertisement with this priority.
    Advertise(u8),
    /// This node is primary now.
    Elected(String),
    /// It is not any more.
    Lost(String),
    /// Another node was primary at the same time, and has to give way.
    Contested(String),
}

/// What was heard of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who says it.
    pub source: IpAddr,
    /// Its priority.
    pub priority: u8,
    /// Its interval.
    pub interval: Duration,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Router {
    settings: Settings,
    /// The address that this node sends from, which decides between equal priorities.
    address: IpAddr,
    standing: Standing,
    state: State,
    /// When the machine ran last.
    ran: BootTime,
    /// Who was primary last, for people.
    primary: Option<Heard>,
    /// Who was heard so far.
    others: Others,
    /// When a contest was told of last.
    told: Option<BootTime>,
    /// How long until it may be told of again.
    pause: Duration,
    /// Another was heard since.
    is_contested: bool,
}

/// RFC 9568 §6.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Initialize: it takes no part.
    Out,
    Backup {
        /// `Active_Adver_Interval`.
        interval: Duration,
        /// The end of `Active_Down_Timer`.
        down_at: BootTime,
        /// From when on a primary of a lower priority is not listened to; `None` while there is none.
        preempt_from: Option<BootTime>,
    },
    Active {
        /// The end of `Adver_Timer`.
        next: BootTime,
    },
}

/// By how much the skew time is shorter between two routers. Priorities that differ by one are 98 µs apart then at 100 ms,
/// which is more than a packet takes in one network.
const PAIR: u32 = 4;

/// Time between the first two tellings of a contest, and the longest.
const TELLINGS: Duration = Duration::from_secs(1);
const RARELY: Duration = Duration::from_secs(60);

impl Router {
    /// A backup from now on, which sends from `address`.
    pub fn new(settings: Settings, address: IpAddr, now: BootTime) -> Self {
        let mut router = Self {
            settings,
            address,
            standing: Standing::Full,
            state: State::Out,
            ran: now,
            primary: None,
            others: Others::default(),
            told: None,
            pause: TELLINGS,
            is_contested: false,
        };
        router.listen(settings.interval, now);
        router
    }

    /// Whether this node is primary.
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Active { .. })
    }

    /// Who is primary, where it is another and was heard.
    pub fn heard_primary(&self) -> Option<IpAddr> {
        self.primary.filter(|heard| !self.is_active() && heard.priority > 0).map(|heard| heard.source)
    }

    /// The priority that it has now; 0 when it takes no part.
    pub fn priority(&self) -> u8 {
        match self.standing {
            Standing::Full => self.settings.priority,
            Standing::Last => 1,
            Standing::Out => 0,
        }
    }

    /// How long this node waits for a primary with this interval (`Active_Down_Interval`).
    pub fn down_interval(&self, interval: Duration) -> Duration {
        interval * 3 + self.skew(interval)
    }

    /// `Skew_Time`: of a pair a part of it, since no third router is to be let before.
    fn skew(&self, interval: Duration) -> Duration {
        let skew = interval * (256 - u32::from(self.priority())) / 256;
        if self.settings.is_pair && self.others.is_one() { skew / PAIR } else { skew }
    }

    /// When [`Router::tick`] is to be called at the latest.
    pub fn deadline(&self) -> Option<BootTime> {
        match self.state {
            State::Out => None,
            State::Backup { down_at, .. } => Some(down_at),
            State::Active { next } => {
                let told = self.told.filter(|_| self.is_contested).map(|told| told.plus(self.pause));
                Some(told.map_or(next, |told| told.min(next)))
            }
        }
    }

    /// What the time makes of it. All that was received before must have been told.
    pub fn tick(&mut self, now: BootTime) -> Vec<Action> {
        let mut actions = self.after_pause(now);
        match self.state {
            State::Backup { interval, down_at, .. } if down_at <= now => {
                if now.since(down_at) > interval {
                    // It did not listen for a while: whoever is primary shall be heard first.
                    self.listen(interval, now);
                } else {
                    let reason = self.why_elected();
                    self.activate(now, reason, &mut actions);
                }
            }
            State::Active { next } => {
                if next <= now {
                    actions.push(Action::Advertise(self.priority()));
                    let following = next.plus(self.settings.interval);
                    let next = if following > now { following } else { now.plus(self.settings.interval) };
                    self.state = State::Active { next };
                }
                self.tell_contest(now, &mut actions);
            }
            State::Backup { .. } | State::Out => {}
        }
        actions
    }

    /// What an advertisement makes of it.
    pub fn on_advertisement(&mut self, heard: Heard, now: BootTime) -> Vec<Action> {
        let mut actions = self.after_pause(now);
        self.others.meet(heard.source);
        match self.state {
            State::Out => {}
            State::Backup { .. } => self.listened(heard, now),
            State::Active { .. } if heard.priority > 0 && self.is_before_us(heard) => {
                self.primary = Some(heard);
                self.listen(heard.interval, now);
                let Heard { source, priority, .. } = heard;
                let reason = match priority > self.priority() {
                    true => format!("{source} is primary with priority {priority}"),
                    false => format!("{source} is primary with the same priority and a greater address"),
                };
                actions.push(Action::Lost(reason));
            }
            State::Active { .. } => {
                self.primary = Some(heard);
                self.is_contested = true;
                self.tell_contest(now, &mut actions);
            }
        }
        actions
    }

    /// From now on this node wants to be primary that much.
    pub fn stand(&mut self, standing: Standing, now: BootTime) -> Vec<Action> {
        let before = std::mem::replace(&mut self.standing, standing);
        let mut actions = self.after_pause(now);
        match (self.state, standing) {
            (State::Active { .. }, Standing::Out) => {
                self.state = State::Out;
                actions.push(Action::Advertise(0));
            }
            (State::Active { .. }, _) if before != standing => {
                actions.push(Action::Advertise(self.priority()));
            }
            (_, Standing::Out) => self.state = State::Out,
            (State::Out, _) => self.listen(self.settings.interval, now),
            (State::Active { .. } | State::Backup { .. }, _) => {}
        }
        actions
    }

    /// Gives up what was won, and wants to be primary that much from now on.
    pub fn resign(&mut self, standing: Standing, now: BootTime) -> Vec<Action> {
        let was_active = self.is_active();
        if was_active {
            self.state = State::Out;
        }
        self.stand(standing, now);
        if was_active { vec![Action::Advertise(0)] } else { Vec::new() }
    }

    /// Begins again as a backup, and says nothing.
    pub fn restart(&mut self, now: BootTime) {
        self.ran = now;
        if self.state != State::Out {
            self.listen(self.settings.interval, now);
        }
    }

    /// Goes on as the primary that another program on this node was.
    pub fn adopt(&mut self, now: BootTime) -> Vec<Action> {
        let mut actions = Vec::new();
        self.activate(now, "taken over from the previous program".into(), &mut actions);
        actions
    }

    /// Behaves in another way from now on, and sends from another address.
    pub fn configure(&mut self, settings: Settings, address: IpAddr, now: BootTime) -> Vec<Action> {
        // The others still wait by the interval of before; by a shorter one it may not have run for too long.
        let mut actions = self.after_pause(now);
        let is_same = self.settings == settings;
        (self.settings, self.address) = (settings, address);
        if is_same || !self.is_active() {
            return actions;
        }
        self.state = State::Active { next: now.plus(settings.interval) };
        actions.push(Action::Advertise(self.priority()));
        actions
    }

    /// A primary that did not run for so long that another one may have its place, whatever its priority is.
    fn after_pause(&mut self, now: BootTime) -> Vec<Action> {
        let pause = now.since(self.ran);
        self.ran = now;
        if !self.is_active() || pause <= self.settings.interval * 3 {
            return Vec::new();
        }
        self.listen(self.settings.interval, now);
        vec![Action::Lost(format!("this node did not run for {} ms", pause.as_millis()))]
    }

    fn listen(&mut self, interval: Duration, now: BootTime) {
        self.is_contested = false;
        let down_at = now.plus(self.down_interval(interval));
        self.state = State::Backup { interval, down_at, preempt_from: None };
    }

    /// What a backup makes of an advertisement.
    fn listened(&mut self, heard: Heard, now: BootTime) {
        let (own, skew, down) =
            (self.priority(), self.skew(heard.interval), self.down_interval(heard.interval));
        let State::Backup { interval, down_at, preempt_from } = &mut self.state else { return };
        if heard.priority == 0 {
            *down_at = now.plus(skew);
            self.primary = Some(heard);
            return;
        }
        // Priority 1 asks for anybody else, whatever was configured.
        let may_preempt = heard.priority < own && (self.settings.preempt || heard.priority == 1);
        *preempt_from = may_preempt.then(|| match *preempt_from {
            Some(from) => from,
            None if heard.priority == 1 => now,
            None => now.plus(self.settings.preempt_delay),
        });
        if preempt_from.is_none_or(|from| now < from) {
            *interval = heard.interval;
            *down_at = now.plus(down);
        }
        self.primary = Some(heard);
    }

    fn is_before_us(&self, heard: Heard) -> bool {
        (heard.priority, heard.source) > (self.priority(), self.address)
    }

    fn activate(&mut self, now: BootTime, reason: String, actions: &mut Vec<Action>) {
        self.ran = now;
        self.state = State::Active { next: now.plus(self.settings.interval) };
        (self.told, self.is_contested) = (None, false);
        actions.push(Action::Advertise(self.priority()));
        actions.push(Action::Elected(reason));
    }

    fn why_elected(&self) -> String {
        match self.primary {
            None => "no other node was heard".into(),
            Some(Heard { source, priority: 0, .. }) => format!("{source} gave up"),
            Some(Heard { source, priority, .. }) if priority < self.priority() => {
                format!("{source} has the lower priority {priority}")
            }
            Some(Heard { source, .. }) => format!("{source} is no longer heard"),
        }
    }

    /// Asserts that this node is primary, where another one was heard and it is time (RFC 9568 §6.4.3).
    fn tell_contest(&mut self, now: BootTime, actions: &mut Vec<Action>) {
        let is_time = self.told.is_none_or(|told| told.plus(self.pause) <= now);
        if !self.is_contested || !is_time {
            return;
        }
        // A peer that refuses what this node says never gives way, and who is told shall not be told for ever.
        let goes_on = self.told.is_some_and(|told| now.since(told) <= self.pause * 2);
        self.pause = if goes_on { (self.pause * 2).min(RARELY) } else { TELLINGS };
        (self.told, self.is_contested) = (Some(now), false);
        actions.push(Action::Advertise(self.priority()));
        let who = self.primary.map_or_else(String::new, |heard| heard.source.to_string());
        actions.push(Action::Contested(format!("{who} was primary too, and has to give way")));
    }
}

#[cfg(test)]
mod tests;
