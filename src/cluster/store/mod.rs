//! Engines that ask a store which node is primary.

pub mod campaign;

#[cfg(test)]
mod simulation;
