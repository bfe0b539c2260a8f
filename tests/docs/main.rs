//! The documentation holds: what is written in it ([`pages`]), where it says that things are added ([`places`]), the
//! modules that it names ([`maps`]), and the table of the standard of caching ([`cache_table`]).
#![allow(clippy::unwrap_used, reason = "a test's helpers may stop as a test does")]

mod cache_table;
mod files;
mod maps;
mod monitoring;
mod pages;
mod places;
