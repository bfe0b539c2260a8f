//! What the kernel is still to be asked, and in which order. Pure.
//!
//! Previous stop: the node, which says what is to be so from now on. Next stop: [`super::worker`], which asks for one step
//! after another, since each may wait for a lock of the kernel.
//!
//! What it holds: what is given up comes before everything else, and ends what the same group was still to take; so of
//! whatever was asked the last wins, and a give-up waits for one step at most, the one that the kernel has already. It is
//! bounded by the configuration: a group has one entry of each kind.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    time::Duration,
};

use super::virtual_address::VirtualAddress;
use crate::cluster::boot_time::BootTime;

/// What was asked for whom: number of the group, and of what it asked; the greater number is the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Number of the group.
    pub group: u64,
    /// Number of what it asked.
    pub number: u64,
}

/// What is to be asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Remove this address.
    Remove(VirtualAddress),
    /// Add this one.
    Add(Ticket, VirtualAddress),
    /// What is the hardware address of this interface?
    Link(String),
}

/// What the kernel said to one step.
#[derive(Debug)]
pub enum Answer {
    /// Whether it was there, or was not.
    Changed(io::Result<bool>),
    /// Number of the interface, and its hardware address.
    Link(io::Result<Hardware>),
}

/// Number of an interface, and its hardware address; zeros where it has none of six bytes.
pub type Hardware = (u32, [u8; 6]);

/// What the node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The addresses are there.
    Taken {
        /// What it is of.
        of: Ticket,
        /// Those that were not there before.
        added: Vec<String>,
        /// What failed, for people.
        problem: Option<String>,
    },
    /// They are not there any more.
    Released {
        /// What it is of.
        of: Ticket,
        /// How long that took, from when it was asked for.
        took: Duration,
        /// What failed, for people.
        problem: Option<String>,
    },
    /// An interface has this number and hardware address.
    Link(String, Hardware),
}

/// What is still to be asked.
#[derive(Debug, Default)]
pub struct Agenda {
    releases: VecDeque<Entry>,
    takes: VecDeque<Entry>,
    links: BTreeSet<String>,
}

#[derive(Debug)]
struct Entry {
    of: Ticket,
    asked: BootTime,
    left: VecDeque<VirtualAddress>,
    changed: Vec<String>,
    failed: Vec<String>,
}

impl Agenda {
    /// These addresses are to be there; of the same group this takes the place of an earlier one.
    pub fn take(&mut self, of: Ticket, addresses: &[VirtualAddress], now: BootTime) {
        self.takes.retain(|entry| entry.of.group != of.group);
        self.takes.push_back(Entry::new(of, addresses, now));
        self.links.extend(addresses.iter().map(|it| it.interface.clone()));
    }

    /// These addresses are not to be there, before anything is taken.
    pub fn release(&mut self, of: Ticket, addresses: &[VirtualAddress], now: BootTime) {
        self.takes.iter_mut().filter(|entry| entry.of.group == of.group).for_each(|entry| {
            entry.left.retain(|address| !addresses.contains(address));
        });
        self.takes.retain(|entry| entry.of.group != of.group || !entry.left.is_empty());
        match self.releases.iter_mut().find(|entry| entry.of.group == of.group) {
            Some(entry) => {
                entry.of = of;
                let new = addresses.iter().filter(|address| !entry.left.contains(address)).cloned();
                let new: Vec<_> = new.collect();
                entry.left.extend(new);
            }
            None => self.releases.push_back(Entry::new(of, addresses, now)),
        }
        self.links.extend(addresses.iter().map(|it| it.interface.clone()));
    }

    /// What to ask next; it stays until [`Agenda::done`].
    pub fn next(&self) -> Option<Step> {
        if let Some(address) = self.releases.front().and_then(|entry| entry.left.front()) {
            return Some(Step::Remove(address.clone()));
        }
        if let Some((of, address)) = self.takes.front().and_then(|it| Some((it.of, it.left.front()?))) {
            return Some(Step::Add(of, address.clone()));
        }
        self.links.first().cloned().map(Step::Link)
    }

    /// What the kernel said to a step; gives what the node is to be told.
    pub fn done(&mut self, step: Step, answer: Answer, now: BootTime) -> Option<Report> {
        match (step, answer) {
            (Step::Remove(address), Answer::Changed(result)) => {
                let entry = self.releases.front_mut()?;
                entry.note(&address, result, "remove", "from");
                let is_done = entry.left.is_empty();
                let entry = if is_done { self.releases.pop_front() } else { None };
                entry.map(|entry| Report::Released {
                    of: entry.of,
                    took: now.since(entry.asked),
                    problem: entry.problem(),
                })
            }
            (Step::Add(of, address), Answer::Changed(result)) => {
                // Of what was given up meanwhile nothing is told: what was added for it is removed next.
                let entry = self.takes.front_mut().filter(|entry| entry.of == of)?;
                entry.note(&address, result, "add", "to");
                let is_done = entry.left.is_empty();
                let entry = if is_done { self.takes.pop_front() } else { None };
                entry.map(|entry| Report::Taken {
                    of: entry.of,
                    problem: entry.problem(),
                    added: entry.changed,
                })
            }
            (Step::Link(interface), Answer::Link(result)) => {
                self.links.remove(&interface);
                // One that is not there is said by what was to be added to it.
                result.ok().map(|link| Report::Link(interface, link))
            }
            (Step::Link(_), Answer::Changed(_)) | (Step::Remove(_) | Step::Add(..), Answer::Link(_)) => None,
        }
    }
}

impl Entry {
    fn new(of: Ticket, addresses: &[VirtualAddress], asked: BootTime) -> Self {
        let left = addresses.iter().cloned().collect();
        Self { of, asked, left, changed: Vec::new(), failed: Vec::new() }
    }

    fn note(&mut self, address: &VirtualAddress, result: io::Result<bool>, what: &str, where_to: &str) {
        self.left.retain(|it| it != address);
        match result {
            Ok(true) => self.changed.push(address.to_string()),
            Ok(false) => {}
            Err(error) => {
                self.failed
                    .push(format!("cannot {what} {address} {where_to} {}: {error}", address.interface));
            }
        }
    }

    fn problem(&self) -> Option<String> {
        (!self.failed.is_empty()).then(|| self.failed.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> VirtualAddress {
        VirtualAddress { address: format!("10.0.0.{host}/24").parse().unwrap(), interface: "eth0".into() }
    }

    fn of(group: u64, number: u64) -> Ticket {
        Ticket { group, number }
    }

    /// Does the next step, with this answer.
    fn step(agenda: &mut Agenda, is_new: bool) -> (Step, Option<Report>) {
        let step = agenda.next().unwrap();
        (step.clone(), agenda.done(step, Answer::Changed(Ok(is_new)), BootTime(900)))
    }

    #[test]
    fn give_up_waits_for_one_address_at_most() {
        let mut agenda = Agenda::default();
        let all = [address(1), address(2), address(3)];
        agenda.take(of(1, 1), &all, BootTime(0));
        let begun = agenda.next().unwrap();
        assert_eq!(begun, Step::Add(of(1, 1), address(1)));
        // While the kernel has that one, the role is given up.
        agenda.release(of(1, 2), &all, BootTime(100));
        assert_eq!(agenda.done(begun, Answer::Changed(Ok(true)), BootTime(200)), None);
        for host in 1..=3 {
            let (done, report) = step(&mut agenda, host == 1);
            assert_eq!(done, Step::Remove(address(host)));
            let released = Report::Released { of: of(1, 2), took: Duration::from_micros(800), problem: None };
            assert_eq!(report, (host == 3).then_some(released));
        }
        assert_eq!(agenda.next(), Some(Step::Link("eth0".into())));
    }

    #[test]
    fn give_up_of_another_group_comes_before_what_is_taken() {
        let mut agenda = Agenda::default();
        agenda.take(of(1, 1), &[address(1), address(2)], BootTime(0));
        agenda.release(of(2, 1), &[address(2)], BootTime(0));
        let steps: Vec<_> = (0..3).map(|_| step(&mut agenda, true).0).collect();
        let expected =
            [Step::Remove(address(2)), Step::Add(of(1, 1), address(1)), Step::Add(of(1, 1), address(2))];
        assert_eq!(steps, expected);
    }

    #[test]
    fn whatever_is_asked_for_again_the_last_wins() {
        let mut agenda = Agenda::default();
        let both = [address(1), address(2)];
        agenda.release(of(1, 1), &both, BootTime(0));
        agenda.take(of(1, 2), &both, BootTime(1));
        agenda.release(of(1, 3), &both, BootTime(2));
        agenda.take(of(1, 4), &both, BootTime(3));
        agenda.take(of(1, 5), &both, BootTime(4));
        let reports: Vec<_> = (0..4).filter_map(|_| step(&mut agenda, false).1).collect();
        assert!(matches!(&reports[0], Report::Released { of: ticket, .. } if *ticket == of(1, 3)));
        assert_eq!(reports[1], Report::Taken { of: of(1, 5), added: Vec::new(), problem: None });
        assert_eq!(agenda.next(), Some(Step::Link("eth0".into())));
    }

    #[test]
    fn address_that_leaves_the_configuration_leaves_what_is_taken() {
        let mut agenda = Agenda::default();
        agenda.take(of(1, 1), &[address(1), address(2)], BootTime(0));
        agenda.release(of(1, 2), &[address(2)], BootTime(0));
        assert_eq!(step(&mut agenda, false).0, Step::Remove(address(2)));
        let (done, report) = step(&mut agenda, true);
        assert_eq!(done, Step::Add(of(1, 1), address(1)));
        let taken = Report::Taken { of: of(1, 1), added: vec!["10.0.0.1/24".into()], problem: None };
        assert_eq!(report, Some(taken));
    }

    #[test]
    fn failure_is_told_with_what_it_was_about() {
        let mut agenda = Agenda::default();
        agenda.release(of(1, 1), &[address(1)], BootTime(0));
        let (step, refused) = (agenda.next().unwrap(), io::Error::from(io::ErrorKind::PermissionDenied));
        let report = agenda.done(step, Answer::Changed(Err(refused)), BootTime(0)).unwrap();
        let Report::Released { problem: Some(problem), .. } = report else { panic!("{report:?}") };
        assert!(problem.starts_with("cannot remove 10.0.0.1/24 from eth0: "), "{problem}");
    }
}
