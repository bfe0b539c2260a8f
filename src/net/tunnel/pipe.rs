//! Pipes through which the kernel moves bytes from socket to socket (splice(2)), without a copy in this program.

use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::{AsFd, OwnedFd},
    task::{Context, Poll, ready},
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};
use tokio::io::Interest;

use crate::net::{Plain, descriptors};

/// How much is moved at once, where the kernel lets a pipe be so large; else what a pipe holds by itself.
const SIZE: usize = 256 * 1024;
/// What pipes hold that could not be enlarged (pipe(7)).
const DEFAULT_SIZE: usize = 64 * 1024;
/// Pipes that a worker has in use at once: what they hold is the kernel's memory, and in no account.
const MOST: usize = 256;
/// Empty pipes that a worker keeps.
const MOST_SPARE: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    static IN_USE: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

/// A pipe, and how much is in it. Dropped empty, it is kept for the next.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Option<Ends>,
    holds: usize,
}

impl Pipe {
    /// An empty pipe; `None` where there are enough, or no descriptors are left for one.
    pub(super) fn take() -> Option<Self> {
        if IN_USE.get() >= MOST {
            return None;
        }
        let ends = SPARE.with_borrow_mut(Vec::pop).or_else(Ends::new)?;
        IN_USE.set(IN_USE.get() + 1);
        Some(Self { ends: Some(ends), holds: 0 })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holds == 0
    }

    /// Moves what has come into the pipe, which is empty: how much; 0 where there is nothing that can be moved, for which
    /// there are three reasons: nothing has come, the source has ended, or urgent data of TCP are next, which splice(2)
    /// stops before as if it were one of the others. A read tells which it is, and goes past those data, so the event
    /// loop takes the source for ready until that has been tried.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, source: &Plain) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Poll::Ready(Ok(0)) };
        ready!(source.poll_ready(cx, Interest::READABLE))?;
        self.holds = match splice(source.as_fd(), None, &ends.write, None, ends.size, FLAGS) {
            Ok(moved) => moved,
            Err(Errno::AGAIN) => 0,
            Err(error) => return Poll::Ready(Err(error.into())),
        };
        Poll::Ready(Ok(self.holds))
    }

    /// Moves what is in the pipe on: how much.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, sink: &Plain) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Poll::Ready(Ok(0)) };
        let moved = loop {
            ready!(sink.poll_ready(cx, Interest::WRITABLE))?;
            let step = || splice(&ends.read, None, sink.as_fd(), None, self.holds, FLAGS);
            match sink.try_io(Interest::WRITABLE, || step().map_err(io::Error::from)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => break moved?,
            }
        };
        if moved == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.holds -= moved;
        Poll::Ready(Ok(moved))
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

impl Ends {
    fn new() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        if descriptors::is_reserved(&write) {
            return None;
        }
        let size = fcntl_setpipe_size(&write, SIZE).unwrap_or(DEFAULT_SIZE);
        Some(Self { read, write, size })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // While the thread ends these may be gone already.
        let _ = IN_USE.try_with(|in_use| in_use.set(in_use.get().saturating_sub(1)));
        // What is still in a pipe belongs to nobody else.
        if let Some(ends) = self.ends.take().filter(|_| self.holds == 0) {
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < MOST_SPARE {
                    spare.push(ends);
                }
            });
        }
    }
}
