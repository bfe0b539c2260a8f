//! The shared cache (RFC 9111): what it may keep, what it may serve, and what it says about it.
//!
//! Everything here is pure: heads, configuration and a given `now` go in, decisions come out.
//! `docs/rfc9111.md` says for each requirement of the standard which function and which test hold it.

pub mod control;
pub mod date;
pub mod dictionary;
pub mod directive;
pub mod entry;
pub mod freshness;
pub mod invalidate;
pub mod key;
pub mod policy;
pub mod range;
pub mod status;
pub mod storable;
pub mod validate;
pub mod vary;
