//! The shared cache (RFC 9111). `http::cached` asks it on the path of a request.
//!
//! * What may be kept and served, and what is said about it: [`control`], [`storable`], [`freshness`], [`vary`],
//!   [`validate`], [`range`], [`invalidate`], [`status`]. Pure: heads, configuration and a given `now` go in,
//!   decisions come out. `docs/rfc9111.md` says for each requirement of the standard which function and which test
//!   hold it.
//! * What is kept: [`object`] in [`memory`]; who stays is for [`evict`] and [`admission`], and what a trace of
//!   requests says about that for [`replay`].
//! * One fetch for all who ask at the same time: [`fill`].
//! * More of it than memory holds, and over restarts: [`disk`].
//! * Writes that were acknowledged before their origin has them: [`journal`], for the write policy `back`.
//! * All of it together, by name: [`store`].
//!
//! The cache never asks a backend itself.

pub mod admission;
pub mod chance;
pub mod conf;
pub mod control;
pub mod date;
pub mod dictionary;
pub mod directive;
pub mod disk;
pub mod entry;
pub mod evict;
pub mod fill;
pub mod freshness;
pub mod invalidate;
pub mod journal;
pub mod key;
pub mod marks;
pub mod memory;
pub mod object;
pub mod policy;
pub mod purge;
pub mod range;
pub mod record;
pub mod replay;
mod shard;
pub mod shelf;
pub mod status;
pub mod storable;
pub mod store;
pub mod validate;
pub mod vary;
