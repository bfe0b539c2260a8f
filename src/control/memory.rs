//! Memory that goes back to the system.
//!
//! The allocator gives back what is free for a while, but looks for it only when something is asked of it: after a burst
//! nothing is.

use tokio::task::spawn_blocking;

/// Gives back what has been free for a while, on a thread of its own: of hundreds of megabytes that takes longer than a
/// loop may stand still.
pub(super) fn give_back() {
    drop(spawn_blocking(collect));
}

#[expect(unsafe_code, reason = "the allocator's crate has no safe name for it")]
fn collect() {
    // SAFETY: it takes no pointer and gives none, may be called on any thread at any time, and frees nothing that is in
    // use (mimalloc's documentation of `mi_collect`).
    unsafe { libmimalloc_sys::mi_collect(false) }
}
