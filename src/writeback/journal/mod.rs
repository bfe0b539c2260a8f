//! The journal of the write policy `back`: writes that were acknowledged before their origin has them.
//!
//! Previous stop: a route that asks for it. [`Journal::append`] makes a write durable, then the client gets its
//! 202; [`Journal::latest`] answers GETs of its URI meanwhile; [`Journal::next`] hands it out for delivery until
//! the origin took or refused it. `docs/decisions/016` says why it is as it is.
//!
//! Invariants:
//! - What was acknowledged is in a synced record. It leaves the journal only by [`Delivery::delivered`] or
//!   [`Delivery::set_aside`], and damage that takes it is reported, never passed over.
//! - Of each URI one write is under way at a time, the oldest.
//! - Only the thread in `writer` touches the disk; requests touch `index`, behind a short mutex, by `handle`.

mod append_error;
mod delivery;
mod ends;
mod entry;
mod files;
mod handle;
mod index;
mod options;
mod record;
mod refused;
mod replay;
mod segment;
mod shared;
mod stats;
#[cfg(test)]
pub(super) mod tests;
mod waiting;
mod writer;

pub use self::{
    append_error::AppendError,
    delivery::{Delivery, Next},
    ends::Ends,
    entry::{Entry, Id, Write},
    handle::Journal,
    options::Options,
    stats::Stats,
    waiting::Waiting,
};
