//! The guard's life.

use std::{io, os::fd::AsFd, process::ExitCode};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::{
    io::unix::AsyncFd,
    runtime::{Builder, LocalOptions},
    signal::unix::{SignalKind, signal},
};

use super::will::Will;
use crate::{
    cluster::{
        alarm::Alarm,
        boot_time::BootTime,
        netlink::socket::{Netlink, index_of},
        realtime::{self, Rank},
        wire::raw::RawSender,
    },
    net::descriptors::register,
};

/// A sign of life.
pub const BEAT: &[u8] = b".";
/// The program ends, and has nothing that is to be undone.
pub const END: &[u8] = b"!";
/// What the guard says when it has acted.
pub const ACTED: &[u8] = b"u";

/// The largest message that is read.
const LARGEST: usize = 256 * 1024;

/// Runs the guard over standard input, which must be the connection that [`super::link`] made.
pub fn run() -> ExitCode {
    let runtime = Builder::new_current_thread().enable_io().build_local(LocalOptions::default());
    match runtime.and_then(|runtime| runtime.block_on(watch())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn watch() -> io::Result<()> {
    let connection = register(io::stdin().as_fd().try_clone_to_owned()?)?;
    rustix::io::ioctl_fionbio(connection.get_ref(), true)?;
    // It ends with the program, and not before: a service manager's signals go to all processes of a service.
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let more = [SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::quit()];
    let _caught = kinds.into_iter().chain(more).map(signal).collect::<io::Result<Vec<_>>>()?;
    // Where it may not, it is as late as any other program.
    let _ = realtime::enter(Rank::Decides);
    let mut guard = Guard { armed: None, undone: None, alive: BootTime::now(), buffer: vec![0; LARGEST] };
    let alarm = Alarm::new()?;
    loop {
        let deadline = guard.deadline();
        tokio::select! {
            biased;
            ready = connection.readable() => ready?.clear_ready(),
            () = alarm.until(deadline) => {}
        }
        // Whoever woke it: what waits was there before the clock is asked.
        if guard.read(&connection) {
            return Ok(());
        }
        if guard.deadline().is_some_and(|deadline| deadline <= BootTime::now()) {
            guard.judge(&connection);
        }
    }
}

struct Guard {
    armed: Option<Armed>,
    /// What was undone while the program hung: addresses that it was just adding may come behind that.
    undone: Option<Armed>,
    /// When the last sign of life was.
    alive: BootTime,
    buffer: Vec<u8>,
}

/// What is to be undone, with all that it takes opened.
struct Armed {
    will: Will,
    netlink: Netlink,
    senders: Vec<(String, bool, RawSender)>,
}

impl Guard {
    fn deadline(&self) -> Option<BootTime> {
        Some(self.alive.plus(self.armed.as_ref()?.will.limit))
    }

    /// Reads all that waits; gives whether that was the end.
    fn read(&mut self, connection: &AsyncFd<std::os::fd::OwnedFd>) -> bool {
        loop {
            let read = match recv(connection.get_ref(), &mut *self.buffer, RecvFlags::DONTWAIT) {
                Err(rustix::io::Errno::AGAIN) => return false,
                Err(rustix::io::Errno::INTR) => continue,
                // The program is gone.
                Err(_) | Ok((0, _)) => {
                    self.undo();
                    // No thread of it is left, and what the kernel had of it is done.
                    self.undone.iter_mut().for_each(Armed::remove);
                    return true;
                }
                Ok((read, _)) => read,
            };
            let message = self.buffer.get(..read).unwrap_or(&[]);
            if message == END {
                return true;
            }
            if message != BEAT {
                self.undone = None;
                let will = serde_json::from_slice(message).ok().and_then(|json| Will::from_json(&json));
                self.armed = will.filter(|will| !will.is_empty()).and_then(|will| Armed::new(will).ok());
            }
            self.alive = BootTime::now();
        }
    }

    /// No sign of life came in time: acts, unless the guard itself was late.
    fn judge(&mut self, connection: &AsyncFd<std::os::fd::OwnedFd>) {
        let (now, limit) =
            (BootTime::now(), self.armed.as_ref().map_or_else(Default::default, |it| it.will.limit));
        if now.since(self.alive) > limit * 2 {
            // The whole machine stood still.
            self.alive = now;
            return;
        }
        self.undo();
        // The program reads it when it goes on.
        let _ = send(connection.get_ref(), ACTED, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    fn undo(&mut self) {
        if let Some(mut armed) = self.armed.take() {
            armed.undo();
            self.undone = Some(armed);
        }
    }
}

impl Armed {
    fn new(will: Will) -> io::Result<Self> {
        let mut senders: Vec<(String, bool, RawSender)> = Vec::new();
        for word in &will.last_words {
            let is_v6 = word.destination.is_ipv6();
            if !senders.iter().any(|(name, of_v6, _)| (name, *of_v6) == (&word.interface, is_v6)) {
                let sender = RawSender::open(&word.interface, index_of(&word.interface)?, is_v6)?;
                if let (false, Some(source)) =
                    (is_v6, word.packet.get(12..).and_then(|it| it.first_chunk::<4>()))
                {
                    sender.set_source((*source).into())?;
                }
                senders.push((word.interface.clone(), is_v6, sender));
            }
        }
        Ok(Self { will, netlink: Netlink::open()?, senders })
    }

    /// Removes the addresses, then says the last words, twice since one may be lost.
    fn undo(&mut self) {
        self.remove();
        for word in self.will.last_words.iter().chain(&self.will.last_words) {
            let is_v6 = word.destination.is_ipv6();
            let sender =
                self.senders.iter().find(|(name, of_v6, _)| (name, *of_v6) == (&word.interface, is_v6));
            if let Some((_, _, sender)) = sender {
                let _ = sender.send(&word.packet, word.destination);
            }
        }
    }

    fn remove(&mut self) {
        for address in &self.will.addresses {
            if let Ok(interface) = index_of(&address.interface) {
                let _ = self.netlink.remove(address.address, interface);
            }
        }
    }
}
