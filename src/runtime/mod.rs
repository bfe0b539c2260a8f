//! What runs: the snapshot that was built from the configuration, what outlives it, and the workers.

pub mod build;
pub mod connections;
pub mod drain;
mod failure;
pub mod groups;
pub mod overrides;
pub mod permit;
pub mod registry;
pub mod snapshot;
mod traces;
pub mod worker;

pub use permit::Permit;
pub use registry::ListenerId;
pub use snapshot::{Action, Listener, Route, Serves, Snapshot};
pub use worker::{Worker, WorkerSnapshot};
