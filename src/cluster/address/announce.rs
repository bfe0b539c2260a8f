//! Announcing addresses: gratuitous ARP and unsolicited neighbour advertisements, again and again for some seconds, since
//! they may be lost and nobody answers them.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::IpAddr,
    time::Duration,
};

use super::virtual_address::VirtualAddress;
use crate::cluster::{
    boot_time::BootTime,
    wire::{
        ip::{ALL_NODES, neighbour_advertisement},
        link::ArpSender,
        raw::RawSender,
    },
};

/// When an address is announced, counted from when it was taken. keepalived announces five times at once and five times
/// after 5 s; what is lost at once is lost together, so these are spread.
const TIMES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// Announcements that are sent at once; as many again after [`BREATH`].
const AT_ONCE: usize = 100;
/// Time between two such.
const BREATH: Duration = Duration::from_millis(5);

/// What is still to be announced.
#[derive(Debug, Default)]
pub struct Announcer {
    /// Addresses, when they were taken, and how often they were announced; first what is due first.
    due: VecDeque<(BootTime, VirtualAddress, BootTime, usize)>,
    senders: HashMap<String, Sender>,
    /// When some were sent last, and some were left for later.
    held: Option<BootTime>,
}

#[derive(Debug)]
struct Sender {
    interface: u32,
    hardware: [u8; 6],
    arp: ArpSender,
    neighbours: RawSender,
}

impl Announcer {
    /// Announces these addresses from now on.
    pub fn begin(&mut self, addresses: &[VirtualAddress], now: BootTime) {
        self.forget(addresses);
        for address in addresses.iter().rev() {
            self.due.push_front((now, address.clone(), now, 0));
        }
    }

    /// Announces these addresses no more.
    pub fn forget(&mut self, addresses: &[VirtualAddress]) {
        self.due.retain(|(_, address, _, _)| !addresses.contains(address));
    }

    /// An interface has this number and hardware address from now on: where it had others, or was not known, what is
    /// being announced over it is announced anew.
    pub fn know(&mut self, name: &str, interface: u32, hardware: [u8; 6], now: BootTime) -> io::Result<()> {
        let known = self.senders.get(name).map(|it| (it.interface, it.hardware));
        if known == Some((interface, hardware)) {
            return Ok(());
        }
        self.senders.remove(name);
        self.senders.insert(name.to_owned(), Sender::open(name, interface, hardware)?);
        let over = self.due.iter().filter(|(_, address, _, _)| address.interface == name);
        let over: Vec<_> = over.map(|(_, address, _, _)| address.clone()).collect();
        self.begin(&over, now);
        Ok(())
    }

    /// When [`Announcer::tick`] is to be called at the latest.
    pub fn deadline(&self) -> Option<BootTime> {
        let first = self.due.front()?.0;
        Some(self.held.map_or(first, |held| first.max(held.plus(BREATH))))
    }

    /// Announces what is due. Gives how many announcements were sent, and what failed.
    pub fn tick(&mut self, now: BootTime) -> (usize, Vec<String>) {
        if self.held.is_some_and(|held| held.plus(BREATH) > now) {
            return (0, Vec::new());
        }
        self.held = None;
        let (mut sent, mut failed) = (0, Vec::new());
        while self.due.front().is_some_and(|(due, ..)| *due <= now) {
            if sent + failed.len() >= AT_ONCE {
                self.held = Some(now);
                break;
            }
            let Some((_, address, taken, times)) = self.due.pop_front() else { break };
            match self.announce(&address) {
                Ok(()) => sent += 1,
                Err(error) => failed.push(format!("cannot announce {address}: {error}")),
            }
            if let Some(after) = TIMES.get(times + 1) {
                let due = taken.plus(*after);
                let place = self.due.partition_point(|(other, ..)| *other <= due);
                self.due.insert(place, (due, address, taken, times + 1));
            }
        }
        (sent, failed)
    }

    fn announce(&self, address: &VirtualAddress) -> io::Result<()> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "its interface is not known yet");
        let sender = self.senders.get(&address.interface).ok_or_else(unknown)?;
        match address.address.addr() {
            IpAddr::V4(address) => sender.arp.announce(address, sender.hardware),
            IpAddr::V6(address) => {
                let packet = neighbour_advertisement(address, sender.hardware);
                sender.neighbours.send(&packet, ALL_NODES.into())
            }
        }
    }
}

impl Sender {
    fn open(name: &str, interface: u32, hardware: [u8; 6]) -> io::Result<Self> {
        let (arp, neighbours) = (ArpSender::open(interface)?, RawSender::open(name, interface, true)?);
        Ok(Self { interface, hardware, arp, neighbours })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> VirtualAddress {
        let address = format!("10.0.{host}.1/24").parse().unwrap();
        // Nothing is sent: there is no such interface.
        VirtualAddress { address, interface: "no-such-one".into() }
    }

    #[test]
    fn announcements_are_repeated_and_end() {
        let (mut announcer, mut times) = (Announcer::default(), Vec::new());
        announcer.begin(&[address(1)], BootTime(1000));
        while let Some(due) = announcer.deadline() {
            times.push(due.since(BootTime(1000)));
            assert_eq!(announcer.tick(due).1.len(), 1);
        }
        assert_eq!(times, TIMES);
    }

    #[test]
    fn announcements_of_many_addresses_take_turns() {
        let mut announcer = Announcer::default();
        let all: Vec<_> = (0..=255).map(address).collect();
        announcer.begin(&all, BootTime(0));
        let mut counts = Vec::new();
        for _ in 0..3 {
            let due = announcer.deadline().unwrap();
            counts.push((due.0, announcer.tick(due).1.len()));
        }
        assert_eq!(counts, [(0, 100), (5000, 100), (10_000, 56)]);
        announcer.forget(&all);
        assert_eq!(announcer.deadline(), None);
    }
}
