//! The cache, so far: which objects would stay in it ([`evict`], [`admission`]), and what a trace of requests says
//! about that ([`replay`], for `pointsman cache replay`). Nothing is stored yet.
//!
//! Everything here is pure: no locks, no input or output, no clock. What is random comes from a seed.

pub mod admission;
pub mod chance;
pub mod conf;
pub mod evict;
pub mod replay;
