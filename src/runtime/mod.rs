//! What runs: the snapshot that was built from the configuration, what outlives it, and the workers.

pub mod drain;
mod failure;
pub mod permit;
pub mod registry;
pub mod snapshot;
pub mod worker;

pub use permit::Permit;
pub use snapshot::{Action, Listener, Route, Snapshot};
pub use worker::{Worker, WorkerSnapshot};
