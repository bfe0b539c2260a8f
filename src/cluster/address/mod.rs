//! Virtual addresses on this machine: added, removed, and announced to their networks.
//!
//! [`kernel`] is what the node has; [`worker`] is the thread that asks the kernel, in the order of [`agenda`].

pub mod agenda;
pub mod announce;
pub mod kernel;
pub mod virtual_address;
pub mod worker;
