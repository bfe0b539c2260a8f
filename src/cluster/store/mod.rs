//! Engines that ask a store which node is primary.
//!
//! [`campaign`] decides what is asked, [`etcd`] and [`zookeeper`] ask it, and [`engine`] is between them
//! and the node. A [`document`] is what many nodes read there, and [`kept`] writes what they keep
//! of it.

pub mod campaign;
pub mod document;
pub mod engine;
pub mod etcd;
pub mod kept;
pub mod stopped;
pub mod zookeeper;

#[cfg(test)]
mod simulation;
