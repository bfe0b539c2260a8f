//! HTTP towards clients, and THE request path ([`handle`]).

pub mod body;
pub mod cached;
pub mod edit;
pub mod h1;
pub mod h2;
pub mod handle;
pub mod headers;
pub mod normalize;
pub(crate) mod proxy;
pub mod respond;
mod trace;
pub mod upgrade;
