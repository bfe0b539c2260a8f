//! Connections that are accepted when something has come over them.
//!
//! Where a client speaks first, a connection that is accepted before costs a turn of the event loop more, and a
//! registration, for nothing. Where the server may (`tcp` without TLS), this is off.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

/// Has the kernel keep new connections of a listening TCP socket for so long until something comes (tcp(7),
/// `TCP_DEFER_ACCEPT`); zero turns it off. Those that it keeps already are kept for as long as was said last.
#[expect(unsafe_code, reason = "no crate in use wraps this socket option; `rustix` and `socket2` do not")]
pub(super) fn set(socket: &impl AsFd, within: Duration) -> io::Result<()> {
    let seconds = i32::try_from(within.as_secs() + u64::from(within.subsec_nanos() > 0)).unwrap_or(i32::MAX);
    // SAFETY: the descriptor is open while it is borrowed; the pointer is to an `i32` that lives through the call, and
    // its size is what is said.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            SIZE,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[expect(clippy::cast_possible_truncation, reason = "four bytes")]
const SIZE: libc::socklen_t = size_of::<i32>() as libc::socklen_t;

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
        time::Instant,
    };

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    /// Whether a connection can be accepted within so long.
    fn has_one(listener: &TcpListener, within: Duration) -> bool {
        let mut watched = [PollFd::new(listener, PollFlags::IN)];
        let within = Timespec::try_from(within).unwrap();
        poll(&mut watched, Some(&within)).unwrap() == 1
    }

    #[test]
    fn a_silent_connection_is_accepted_after_its_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set(&listener, Duration::from_millis(900)).unwrap();
        let begun = Instant::now();
        let _silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // A busy machine may have stopped for that long meanwhile.
        let is_early = has_one(&listener, Duration::from_millis(100));
        assert!(!is_early || begun.elapsed() >= Duration::from_millis(900));
        // The kernel rounds up to its retransmissions: one second, and then the next.
        assert!(has_one(&listener, Duration::from_secs(10)));
        drop(listener.accept().unwrap());
        let mut speaking = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        speaking.write_all(b"GET").unwrap();
        assert!(has_one(&listener, Duration::from_secs(10)));
        drop(listener.accept().unwrap());
        set(&listener, Duration::ZERO).unwrap();
        let _silent_too = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(has_one(&listener, Duration::from_secs(10)));
    }
}
