//! TLS on both sides: certificates chosen by name, client certificates, ticket keys, trust in backends.
//!
//! Everything here is built once per snapshot and shared by all workers. What outlives a reload is
//! [`tickets::Tickets`] alone.

pub mod client;
pub mod conf;
pub mod crypto;
pub mod demo;
pub mod facts;
pub mod files;
pub mod folder;
pub mod server;
mod session;
pub mod tickets;

#[cfg(test)]
mod tests;
