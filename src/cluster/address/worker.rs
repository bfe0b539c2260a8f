//! The thread that asks the kernel for addresses, so that nobody else waits for the kernel's lock (RTNL): while network
//! namespaces come and go another program may hold it for half a second.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    agenda::{Agenda, Answer, Hardware, Report, Step, Ticket},
    virtual_address::VirtualAddress,
};
use crate::cluster::{
    boot_time::BootTime,
    netlink::socket::{Netlink, index_of},
    realtime::{self, Rank},
};

/// What the kernel is asked; each may take as long as another program holds its lock.
pub trait Kernel: Send {
    /// Adds an address; gives whether it was not there.
    fn add(&mut self, address: &VirtualAddress) -> io::Result<bool>;
    /// Removes one; gives whether it was there. That its interface is gone is no failure.
    fn remove(&mut self, address: &VirtualAddress) -> io::Result<bool>;
    /// Number and hardware address of an interface.
    fn link(&mut self, interface: &str) -> io::Result<Hardware>;
}

impl Kernel for Netlink {
    fn add(&mut self, address: &VirtualAddress) -> io::Result<bool> {
        let none = |_| io::Error::new(io::ErrorKind::NotFound, "there is no such interface");
        Self::add(self, address.address, index_of(&address.interface).map_err(none)?)
    }

    fn remove(&mut self, address: &VirtualAddress) -> io::Result<bool> {
        index_of(&address.interface).map_or(Ok(false), |it| Self::remove(self, address.address, it))
    }

    fn link(&mut self, interface: &str) -> io::Result<Hardware> {
        let interface = index_of(interface)?;
        let link = Self::link(self, interface)?;
        // Over a link without such addresses nobody need learn one.
        Ok((interface, link.hardware.first_chunk().copied().unwrap_or_default()))
    }
}

/// The way to the thread, which ends with it. Nothing here waits for the kernel.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    work: Mutex<Work>,
    wakes: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    agenda: Agenda,
    is_over: bool,
}

impl Worker {
    /// Starts it. What comes back is one report for each thing that was asked and not overtaken, and some of interfaces.
    pub fn start(kernel: impl Kernel + 'static) -> io::Result<(Self, UnboundedReceiver<Report>)> {
        let (reports, receiver) = unbounded_channel();
        let shared = Arc::<Shared>::default();
        let works = shared.clone();
        let thread = std::thread::Builder::new().name("cluster-kernel".into());
        thread.spawn(move || works.work(kernel, &reports))?;
        Ok((Self { shared }, receiver))
    }

    /// These addresses are to be there.
    pub fn take(&self, of: Ticket, addresses: &[VirtualAddress]) {
        self.shared.lock().agenda.take(of, addresses, BootTime::now());
        self.shared.wakes.notify_one();
    }

    /// These are not to be there, before anything is taken.
    pub fn release(&self, of: Ticket, addresses: &[VirtualAddress]) {
        self.shared.lock().agenda.release(of, addresses, BootTime::now());
        self.shared.wakes.notify_one();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.wakes.notify_one();
    }
}

impl Shared {
    /// Held for as long as it takes to put something down; never while the kernel is asked.
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the thread.
    fn work(&self, mut kernel: impl Kernel, reports: &UnboundedSender<Report>) {
        // Where it may not, it is as late as any other program.
        let _ = realtime::enter(Rank::Asks);
        while let Some(step) = self.next() {
            let answer = match &step {
                Step::Remove(address) => Answer::Changed(kernel.remove(address)),
                Step::Add(_, address) => Answer::Changed(kernel.add(address)),
                Step::Link(interface) => Answer::Link(kernel.link(interface)),
            };
            let report = self.lock().agenda.done(step, answer, BootTime::now());
            // The node may have ended.
            let _ = report.map(|report| reports.send(report));
        }
    }

    /// Waits for what is next; `None` at the end.
    fn next(&self) -> Option<Step> {
        let mut work = self.lock();
        loop {
            match work.agenda.next() {
                _ if work.is_over => return None,
                Some(step) => return Some(step),
                None => work = self.wakes.wait(work).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
