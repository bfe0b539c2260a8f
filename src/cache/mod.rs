//! The shared cache (RFC 9111), so far: what it may keep, what it may serve and what it says about it; which
//! objects would stay in it ([`evict`], [`admission`]), and what a trace of requests says about that
//! ([`replay`], for `pointsman cache replay`). Nothing is stored yet.
//!
//! Everything is pure: heads, configuration and a given `now` go in, decisions come out; what is random comes
//! from a seed. Only the [`journal`] of the write policy `back` has a thread and files. `docs/rfc9111.md` says for
//! each requirement of the standard which function and which test hold it.

pub mod admission;
pub mod chance;
pub mod conf;
pub mod control;
pub mod date;
pub mod dictionary;
pub mod directive;
pub mod entry;
pub mod evict;
pub mod freshness;
pub mod invalidate;
pub mod journal;
pub mod key;
pub mod policy;
pub mod range;
pub mod replay;
pub mod status;
pub mod storable;
pub mod validate;
pub mod vary;
