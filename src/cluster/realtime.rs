//! Before all else on its core: a primary that is late is one that is dead to the others.

use std::io;

/// The lowest of the real-time priorities: before every program that has none, and after the kernel's own threads.
const PRIORITY: i32 = 1;

/// Has the calling thread run before all that is not real-time (`SCHED_FIFO`); programs that it starts do not.
#[expect(unsafe_code, reason = "there is no safe way to `sched_setscheduler`")]
pub fn enter() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the call reads one `sched_param`, which lives until it returns, and writes nothing; 0 is the calling thread.
    let result = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
