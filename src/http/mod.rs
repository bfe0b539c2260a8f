//! HTTP towards clients, and THE request path ([`handle`]).

mod active;
mod admission;
pub(crate) mod answer;
pub mod cache_key;
pub mod cached;
pub mod client_address;
pub(crate) mod context;
pub(crate) mod destination;
mod detached;
pub mod edit;
pub(crate) mod files;
mod for_peer;
pub mod h1;
pub mod h2;
pub mod handle;
mod interims;
pub(crate) mod max_forwards;
mod mirror;
mod misleading;
pub mod normalize;
pub mod own;
mod path;
mod peer_question;
mod peers;
pub(crate) mod proxy;
mod received;
mod relay;
pub mod respond;
pub(crate) mod routing;
mod tee;
#[cfg(test)]
mod tests;
mod trace;
pub mod upgrade;
pub(crate) mod upgrade_request;
mod whole_body;
pub mod writeback;
