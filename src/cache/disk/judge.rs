//! What becomes of an object by what its `meta` says: when it is visited, and when it comes to disk while others were.

use std::fmt;

/// What becomes of an object that was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visit {
    /// It stays.
    Keep,
    /// It goes, and its file with it before the next is shown.
    Remove,
    /// It has another `meta`, which is in force on disk before the next is shown.
    Update(Vec<u8>),
}

/// One who knows what came while an object was on its way to disk: who visited all objects meanwhile has not seen it.
pub trait Judge: fmt::Debug + Send + Sync {
    /// What becomes of an object that is about to be in its place, or just came there, and was finished at `finished`.
    fn judge(&self, meta: &[u8], finished: Finished) -> Visit;
}

/// When an object was finished, as its judge counts: so many purges and so many writes had come by then. Times would
/// not do, since clocks are set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Purges.
    pub purges: u64,
    /// Writes.
    pub writes: u64,
}
