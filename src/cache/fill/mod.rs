//! Collapsed forwarding: one fetch, many who wait for it, on any worker.
//!
//! Who asks for something that is not stored either takes the lead, and gets a [`Source`] to bring the answer by, or
//! waits as a [`Reader`] of the one that is under way. When the head comes, all readers stream from the same bytes as
//! they come; when it may not be shared, all are released at once. Nobody polls: readers are woken by event, once per
//! worker and batch (`hub`).
//!
//! Invariants: a fill is in the table as long as somebody may join it, or it may be stored; the order of locks is
//! table, fill, store; a fill that began before a purge is not stored after it (the purge leaves its rule with the
//! fill, under the lock under which the fill looks at its rules and is stored), and nobody who asks after the purge
//! joins it.

mod answer;
mod fills;
mod hub;
mod join;
mod reader;
mod recent;
mod source;
mod state;
#[cfg(test)]
mod tests;

pub use self::{
    answer::{Answer, Failure, Origin},
    fills::{Bounds, Fill, Fills, Mark, Stats},
    hub::drive,
    join::{Joined, Want},
    reader::{FillOutcome, ReadError, Reader},
    source::Source,
};
