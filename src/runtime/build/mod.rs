//! Builds a [`super::snapshot::Snapshot`] from a checked configuration: fallible, and without effect outside. What the
//! generation before has already, and did not change, is shared with it.
//!
//! Runs on a thread of its own at a reload: ten thousand routes take longer than an event loop may be blocked.

mod builder;
mod files;
mod filters;
mod listener;
mod routes;
mod upstream;
mod whole;

pub use builder::Builder;
pub use whole::{build, build_apart};
