//! What runs: the snapshot that was built from the configuration, what outlives it, and the workers.

mod access_line;
pub mod addresses;
pub mod admission;
pub mod build;
pub mod by_name;
pub mod cache_key;
pub mod changes;
mod connection_id;
pub mod connections;
pub mod drain;
mod failure;
pub mod flows;
pub mod mirror;
pub mod overrides;
pub mod parked;
mod passed;
pub mod permit;
pub mod registry;
pub mod request_ids;
pub mod snapshot;
mod traces;
pub mod tunnels;
pub mod worker;
pub mod worker_snapshot;
pub mod worker_upstreams;

pub use permit::Permit;
pub use registry::ListenerId;
pub use snapshot::{Action, Listener, Route, Serves, Snapshot};
pub use worker::Worker;
pub use worker_snapshot::WorkerSnapshot;
