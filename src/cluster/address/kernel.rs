//! Addresses as the kernel has them, for the node: they follow the role.

use std::io;

use tokio::sync::mpsc::UnboundedReceiver;

use super::{
    agenda::{Report, Ticket},
    announce::Announcer,
    virtual_address::VirtualAddress,
    worker::{Kernel, Worker},
};
use crate::cluster::{
    boot_time::BootTime,
    netlink::socket::{Netlink, index_of},
};

/// The addresses of this machine. What is asked for is done by a thread of its own, which says later what became of it:
/// nothing here waits for the kernel's lock.
#[derive(Debug)]
pub struct Addresses {
    worker: Worker,
    announcer: Announcer,
}

impl Addresses {
    /// Of this process's network, with what the kernel says.
    pub fn open() -> io::Result<(Self, UnboundedReceiver<Report>)> {
        Self::over(Netlink::open()?)
    }

    /// Those that this kernel has.
    pub(in crate::cluster) fn over(
        kernel: impl Kernel + 'static,
    ) -> io::Result<(Self, UnboundedReceiver<Report>)> {
        let (worker, reports) = Worker::start(kernel)?;
        Ok((Self { worker, announcer: Announcer::default() }, reports))
    }

    /// Adds those that are not there; a [`Report::Taken`] comes.
    pub fn take(&self, of: Ticket, addresses: &[VirtualAddress]) {
        self.worker.take(of, addresses);
    }

    /// Removes those that are there, before anything is taken; a [`Report::Released`] comes.
    pub fn release(&mut self, of: Ticket, addresses: &[VirtualAddress]) {
        self.announcer.forget(addresses);
        self.worker.release(of, addresses);
    }

    /// Announces them from now on.
    pub fn announce(&mut self, addresses: &[VirtualAddress], now: BootTime) {
        self.announcer.begin(addresses, now);
        // The first announcements go out at once.
        self.tick(now);
    }

    /// Takes note of the number and hardware address of an interface.
    pub fn know(&mut self, interface: &str, (index, hardware): (u32, [u8; 6]), now: BootTime) {
        if let Err(error) = self.announcer.know(interface, index, hardware, now) {
            tracing::debug!("cannot announce over {interface}: {error}");
        }
        self.tick(now);
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
}

/// Whether all of these are there. For the start of a program that goes on as another one: it waits for the kernel.
pub fn are_there(addresses: &[VirtualAddress]) -> bool {
    let there = Netlink::open().and_then(|mut netlink| netlink.addresses()).unwrap_or_default();
    addresses.iter().all(|address| {
        let interface = index_of(&address.interface).ok();
        there.iter().any(|it| Some(it.interface) == interface && it.address == address.address)
    })
}
