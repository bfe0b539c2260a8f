//! Children that tests begin, and tests that these would disturb.
//!
//! A child has a copy of every descriptor for the moment before it is another program. Until then nobody at the other end of
//! a socket is told that it was closed; and where time is paused, and goes on by itself while nothing happens, any timer may
//! be first.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

static BEGINNING: RwLock<()> = RwLock::new(());

/// While this is held, no child is begun by [`begin`].
#[derive(Debug)]
pub(crate) struct NoChildren {
    _held: RwLockReadGuard<'static, ()>,
}

/// Keeps children from being begun. For tests with paused time and sockets.
pub(crate) fn none() -> NoChildren {
    NoChildren { _held: BEGINNING.read().unwrap_or_else(PoisonError::into_inner) }
}

/// Begins a child while no test is under way that it would disturb. Not to be called by one that holds [`none`].
pub(crate) fn begin<T>(child: impl FnOnce() -> T) -> T {
    let _alone = BEGINNING.write().unwrap_or_else(PoisonError::into_inner);
    child()
}
