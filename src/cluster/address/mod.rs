//! Virtual addresses on this machine: added, removed, and announced to their networks.

pub mod announce;
pub mod kernel;
pub mod virtual_address;
