//! What the body of a response goes through, block by block.

use std::fmt::Debug;

use super::coding::Coding;
use crate::net::Buffer;

/// A stage of a body: takes blocks as they come, and may hold, change and add.
///
/// A call does a bounded amount of work: it takes at most [`SLICE`] bytes of a block and leaves the rest for the next, so
/// that others on the same event loop have their turn. An error, which says what went wrong, breaks the body off: whoever
/// reads it learns that the rest is missing.
pub trait Stage: Debug {
    /// The encoding that comes out of it, where that is what it does.
    fn coding(&self) -> Option<Coding> {
        None
    }

    /// Takes from the beginning of a block what it can at once; gives what goes on for it, which may be nothing yet.
    fn take(&mut self, block: &mut Buffer) -> Result<Option<Buffer>, &'static str>;

    /// Nothing comes at the moment: gives what is held, so that whoever waits for it has it. Called again until there is
    /// nothing.
    fn flush(&mut self) -> Result<Option<Buffer>, &'static str>;

    /// The body has ended: gives what is left. Called again until there is nothing.
    fn finish(&mut self) -> Result<Option<Buffer>, &'static str>;
}

/// Most bytes that a stage takes in one call.
pub const SLICE: usize = 32 * 1024;
