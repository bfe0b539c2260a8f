//! The segments that the writer keeps: the one that is written to, and all that are not removed.

use super::completed::Completed;
use crate::writeback::journal::segment::Segment;

/// The segment that is written to, and what of it no sync has covered yet. A sync covers what was written to the file
/// before it, and nothing else: so what it makes durable is kept with the file, and nowhere else is anything let go of.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) segment: Segment,
    /// The length that is durable.
    pub(super) synced: u64,
    pub(super) unsynced: Vec<Completed>,
}

/// A segment that is kept.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) live: usize,
}
