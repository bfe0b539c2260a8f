//! A new configuration while traffic runs: what it would change, and changes written into the file.
//!
//! Previous stop: [`crate::config`] and [`crate::runtime::overrides`]. [`mod@edit`] and [`mod@plan`] are pure;
//! [`mod@write`] replaces the file.

pub mod edit;
pub mod plan;
pub mod write;
