//! A peer that takes over: which node has the virtual addresses.
//!
//! [`role`] is the one machine that decides it on this node; an engine says how the election goes.

pub mod boot_time;
pub mod conf;
pub mod role;
pub mod status;
pub mod store;
