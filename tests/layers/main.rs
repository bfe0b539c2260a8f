//! The shape of the program, held by tests: which room uses which ([`rooms`]), that siblings inside a room do not use
//! each other in circles ([`circles`]), how long files and functions are ([`sizes`]), and their names ([`names`]);
//! what events of the log are called ([`events`]); and how unit tests begin children ([`children`]).
//!
//! Rust allows cycles between modules; people who look for the place where something happens do not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers may stop as a test does")]

mod children;
mod circles;
mod code;
mod events;
mod modules;
mod names;
mod paths;
mod rooms;
mod sizes;
mod source;
