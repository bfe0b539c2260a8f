//! Addresses as the kernel has them, for the node: they follow the role.

use std::{collections::HashMap, io};

use super::{announce::Announcer, virtual_address::VirtualAddress};
use crate::cluster::{
    boot_time::BootTime,
    netlink::socket::{Netlink, index_of},
};

/// The addresses of this machine.
#[derive(Debug)]
pub struct Addresses {
    netlink: Netlink,
    announcer: Announcer,
}

impl Addresses {
    /// Of this process's network.
    pub fn open() -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open()?, announcer: Announcer::default() })
    }

    /// Adds those that are not there, and announces all. What failed, for people.
    pub fn take(&mut self, addresses: &[VirtualAddress], now: BootTime) -> Result<(), String> {
        let failed = self.add(addresses).1;
        self.announcer.begin(addresses, now);
        // The first announcements go out at once.
        self.tick(now);
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    /// Announces them again.
    pub fn announce(&mut self, addresses: &[VirtualAddress], now: BootTime) {
        self.announcer.begin(addresses, now);
        self.tick(now);
    }

    /// Removes those that are there. What failed, for people; that an interface is gone is no failure.
    pub fn release(&mut self, addresses: &[VirtualAddress]) -> Result<(), String> {
        self.announcer.forget(addresses);
        let mut failed = Vec::new();
        for address in addresses {
            let Ok(interface) = index_of(&address.interface) else { continue };
            if let Err(error) = self.netlink.remove(address.address, interface) {
                failed.push(format!("cannot remove {address} from {}: {error}", address.interface));
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    /// Adds those that somebody else removed. Gives which those were, and what failed.
    pub fn restore(&mut self, addresses: &[VirtualAddress], now: BootTime) -> (Vec<String>, Option<String>) {
        let (added, failed) = self.add(addresses);
        if !added.is_empty() {
            self.announce(addresses, now);
        }
        (added, (!failed.is_empty()).then(|| failed.join("; ")))
    }

    /// Whether all of them are there.
    pub fn are_there(&mut self, addresses: &[VirtualAddress]) -> bool {
        let there = self.netlink.addresses().unwrap_or_default();
        addresses.iter().all(|address| {
            let interface = index_of(&address.interface).ok();
            there.iter().any(|it| Some(it.interface) == interface && it.address == address.address)
        })
    }

    /// When [`Addresses::tick`] is to be called at the latest.
    pub fn deadline(&self) -> Option<BootTime> {
        self.announcer.deadline()
    }

    /// Sends the announcements that are due; gives how many.
    pub fn tick(&mut self, now: BootTime) -> usize {
        let (sent, failed) = self.announcer.tick(now);
        failed.iter().for_each(|failed| tracing::debug!("{failed}"));
        sent
    }

    /// Adds what is not there. Gives what was added, and what failed.
    fn add(&mut self, addresses: &[VirtualAddress]) -> (Vec<String>, Vec<String>) {
        let (mut added, mut failed, mut known) = (Vec::new(), Vec::new(), HashMap::new());
        for address in addresses {
            let name = address.interface.as_str();
            let interface =
                *known.entry(name).or_insert_with(|| index_of(name).map_err(|it| it.to_string()).ok());
            let result = match interface {
                Some(interface) => self.netlink.add(address.address, interface),
                None => Err(io::Error::new(io::ErrorKind::NotFound, "there is no such interface")),
            };
            match result {
                Ok(true) => added.push(address.to_string()),
                Ok(false) => {}
                Err(error) => failed.push(format!("cannot add {address} to {name}: {error}")),
            }
        }
        (added, failed)
    }
}
