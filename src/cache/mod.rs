//! The shared cache (RFC 9111). `http::cached` asks it on the path of a request.
//!
//! * What may be kept and served, and what is said about it: [`cache_control`], [`storable`], [`freshness`], [`vary`],
//!   [`validate`], [`range`], [`invalidate`], [`status`]. Pure: heads, configuration and a given `now` go in,
//!   decisions come out. `docs/rfc9111.md` says for each requirement of the standard which function and which test
//!   hold it.
//! * What is kept: [`stored_response`] in [`memory`]; who stays is for [`evict`] and [`admission`].
//! * One fetch for all who ask at the same time: [`fill`].
//! * More of it than memory holds, and over restarts: [`disk`].
//! * Writes: [`through`] for the policy of that name; for `back`, which acknowledges them before their origin has them,
//!   there is [`crate::writeback`].
//! * All of it together, by name: [`store`].
//!
//! The cache never asks a backend itself.

pub mod admission;
pub mod cache_control;
pub mod conf;
pub mod date;
pub mod directive;
pub mod disk;
pub mod disk_head;
pub mod disk_tier;
pub mod encodings;
pub mod evict;
pub mod fill;
pub mod freshness;
pub mod hit_for_miss;
pub mod inactive;
pub mod invalidate;
pub mod key;
pub mod memory;
pub mod normalized_field;
pub mod origin_id;
pub mod peer_counts;
mod pieces;
pub mod policy;
pub mod purge;
pub mod range;
mod shard;
pub mod status;
pub mod status_code;
pub mod storable;
pub mod store;
pub mod stored;
pub mod stored_head;
pub mod stored_response;
pub mod structured_fields;
pub mod through;
mod uri_keys;
pub mod validate;
pub mod vary;
