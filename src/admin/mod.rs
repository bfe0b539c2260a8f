//! The admin endpoint: health of the process, metrics, and the API, over HTTP/1.1.
//!
//! Previous stop: [`server`], which accepts and reads requests on the control loop; next stop: the file of
//! an endpoint, by `dispatch` and [`ENDPOINTS`]. Nothing here is on the path of proxied requests: it reads counters that
//! have one writer each, at any time, and changes go through [`crate::reload`].

pub mod access;
pub mod own_token;
pub mod params;
pub mod reply;
pub mod server;
pub mod spec;

mod backends;
mod caches;
mod certificates;
mod cluster;
mod config;
mod connections;
mod dashboard;
mod dispatch;
mod endpoint;
mod endpoints;
mod explain;
mod healthz;
mod index;
mod log_level;
mod metrics;
mod openapi;
mod places;
mod purge;
mod readyz;
mod shared;
mod state;
mod status;
mod totals;
pub mod traffic;
mod upgrade;
mod upstreams;

use self::params::Params;
pub use self::{
    endpoint::{Answer, Endpoint, Pending},
    endpoints::ENDPOINTS,
    state::Admin,
};

#[cfg(test)]
pub(crate) mod tests;
