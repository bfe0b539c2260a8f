//! Descriptors that connections of clients and to backends leave alone, so that the admin endpoint, a reload, an upgrade
//! and files of caches and logs have some however many connections there are.
//!
//! The kernel gives the lowest number that is free (open(2)), so a high number says how many are in use.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::OnceLock,
};

use rustix::{
    io::{Errno, fcntl_dupfd_cloexec},
    process::{Resource, getrlimit},
};
use tokio::io::unix::AsyncFd;

/// Descriptors that are left alone, where the limit is not so low that an eighth of it is less.
const RESERVE: u64 = 32;

/// Whether a descriptor is of those that connections leave alone.
pub fn is_reserved(descriptor: &impl AsFd) -> bool {
    u64::try_from(descriptor.as_fd().as_raw_fd()).is_ok_and(|number| number >= first_reserved())
}

/// Whether the next descriptor would be for a connection. Fails with [`Errno::MFILE`] where it would not, or there is none.
/// `any` is some descriptor that is open.
pub fn next_is_free(any: &impl AsFd) -> Result<(), Errno> {
    let next = fcntl_dupfd_cloexec(any, 0)?;
    if is_reserved(&next) { Err(Errno::MFILE) } else { Ok(()) }
}

/// Registers a descriptor with this thread's event loop.
#[expect(unsafe_code, reason = "an `OwnedFd` is open, stays the same, and is closed by the `AsyncFd` alone")]
pub fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the `AsyncFd` from here to its end, and `as_raw_fd` of an
    // `OwnedFd` never changes, which is what `register` asks for.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}

/// The number from which on they are. The limit is raised once, at the start.
fn first_reserved() -> u64 {
    static FIRST: OnceLock<u64> = OnceLock::new();
    *FIRST.get_or_init(|| first_below(getrlimit(Resource::Nofile).current))
}

fn first_below(limit: Option<u64>) -> u64 {
    limit.map_or(u64::MAX, |limit| limit - RESERVE.min(limit / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_descriptors_is_left_alone() {
        let firsts = [Some(1_048_576), Some(1024), Some(96), Some(4), None].map(first_below);
        assert_eq!(firsts, [1_048_544, 992, 84, 4, u64::MAX]);
    }
}
