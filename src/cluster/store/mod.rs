//! Engines that ask a store which node is primary.
//!
//! [`campaign`] decides what is asked, [`etcd`] and [`zookeeper`] ask it.

pub mod campaign;
pub mod etcd;
pub mod zookeeper;

#[cfg(test)]
mod simulation;
