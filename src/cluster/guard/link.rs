//! The program's side of its guard.

use std::{
    cell::Cell,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
    task::{Context, Poll},
    time::Duration,
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use tokio::io::unix::AsyncFd;

use super::{
    process::{ACTED, BEAT, END},
    will::Will,
};
use crate::{cluster::boot_time::BootTime, net::descriptors::register};

/// The verb by which the guard is started; no user types it.
pub const VERB: &str = "guard";

/// Time between two signs of life.
pub const BEATS: Duration = Duration::from_millis(10);

/// A guard at work.
#[derive(Debug)]
pub struct Link {
    connection: AsyncFd<OwnedFd>,
    child: Child,
    told: Will,
    /// When the next sign of life is due.
    beat_at: BootTime,
    is_gone: Cell<bool>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // One that has ended leaves nothing behind; one that has not does when the program ends.
        let _ = self.child.try_wait();
    }
}

impl Link {
    /// Starts a guard.
    pub fn start() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // In a group of its own: ^C in a terminal goes to the program alone.
        let child = Command::new("/proc/self/exe")
            .arg0("pointsman")
            .arg(VERB)
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let connection = register(ours)?;
        let (told, beat_at) = (Will::default(), BootTime::now());
        Ok(Self { connection, child, told, beat_at, is_gone: Cell::new(false) })
    }

    /// Tells what is to be undone from now on.
    pub fn tell(&mut self, will: Will) -> io::Result<()> {
        if self.told == will {
            return Ok(());
        }
        self.say(will.to_json().to_string().as_bytes())?;
        self.told = will;
        self.beat_at = BootTime::now().plus(BEATS);
        Ok(())
    }

    /// When [`Link::beat`] is to be called at the latest; never where there is nothing to undo.
    pub fn deadline(&self) -> Option<BootTime> {
        (!self.told.is_empty()).then_some(self.beat_at)
    }

    /// Gives a sign of life, where one is due.
    pub fn beat(&mut self, now: BootTime) -> io::Result<()> {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return Ok(());
        }
        self.beat_at = now.plus(BEATS);
        self.say(BEAT)
    }

    /// Waits until the guard says something, or is gone.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error is that of the next reading.
        self.connection.poll_read_ready(cx).map(|ready| ready.into_iter().for_each(|mut it| it.clear_ready()))
    }

    /// Whether the guard has acted in this program's place, as far as was not taken note of. What it said stays where it is:
    /// what is read here before the event loop asks the kernel would wake nobody who waits for it.
    pub fn has_acted(&self) -> bool {
        self.read(RecvFlags::DONTWAIT | RecvFlags::PEEK)
    }

    fn read(&self, flags: RecvFlags) -> bool {
        let mut byte = [0];
        match recv(self.connection.as_fd(), &mut byte, flags) {
            Ok((1, _)) => byte == *ACTED,
            // The end of a connection is to be read again and again.
            Ok((0, _)) => {
                self.is_gone.set(true);
                false
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Whether it was seen that the guard is gone.
    pub fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    /// Whether it has acted; to be asked once for each time, since then it has nothing to undo any more.
    pub fn take_acted(&mut self) -> bool {
        let has_acted = self.read(RecvFlags::DONTWAIT);
        if has_acted {
            self.told = Will::default();
        }
        has_acted
    }

    /// Ends the guard, which undoes nothing.
    pub fn end(&mut self) {
        // One that is gone is at its end.
        let _ = self.say(END);
    }

    fn say(&self, message: &[u8]) -> io::Result<()> {
        match send(self.connection.as_fd(), message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            // It reads slowly, and has signs of life enough.
            Err(rustix::io::Errno::AGAIN) if message == BEAT => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{runtime::LocalRuntime, time::timeout};

    use super::*;

    #[test]
    fn who_only_asks_leaves_the_node_to_be_woken() {
        LocalRuntime::new().unwrap().block_on(async {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
            let child = crate::sync::children::begin(|| Command::new("true").spawn()).unwrap();
            let (told, beat_at) = (Will::default(), BootTime::now());
            let connection = register(ours).unwrap();
            let mut link = Link { connection, child, told, beat_at, is_gone: Cell::new(false) };
            // An engine comes first, before the event loop has asked the kernel.
            send(&theirs, ACTED, SendFlags::DONTWAIT).unwrap();
            assert!(link.has_acted() && link.has_acted());
            let woken = std::future::poll_fn(|cx| link.poll_readable(cx));
            timeout(Duration::from_secs(10), woken).await.expect("the node hears of it");
            assert!(link.take_acted());
            assert!(!link.take_acted() && !link.has_acted() && !link.is_gone());
            // Not closed: a program that another test is just starting may have a copy until it runs.
            rustix::net::shutdown(&theirs, rustix::net::Shutdown::Both).unwrap();
            assert!(!link.take_acted() && link.is_gone());
        });
    }
}
