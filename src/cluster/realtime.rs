//! Before all else on its core: a primary that is late is one that is dead to the others.

use std::io;

/// Which threads come first: both before every program that is not real-time, and after the kernel's own threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Who asks the kernel for addresses. Who waits for a lock whose holder runs does so on its processor, again and
    /// again, and gives it up only to who comes before it.
    Asks,
    /// Who advertises, and who watches over that.
    Decides,
}

/// Has the calling thread run before all that is not real-time (`SCHED_FIFO`); programs that it starts do not.
#[expect(unsafe_code, reason = "there is no safe way to `sched_setscheduler`")]
pub fn enter(rank: Rank) -> io::Result<()> {
    let sched_priority = match rank {
        Rank::Asks => 1,
        Rank::Decides => 2,
    };
    let parameters = libc::sched_param { sched_priority };
    // SAFETY: the call reads one `sched_param`, which lives until it returns, and writes nothing; 0 is the calling thread.
    let result = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
