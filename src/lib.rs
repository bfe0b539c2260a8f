//! Pointsman: a load-balancing reverse proxy for layers 4 and 7.
//!
//! This page is the map of the building (filled in as the rooms are).

pub mod backend;
pub mod balance;
pub mod config;
pub mod health;
pub mod moment;
pub mod route;
pub mod settings;
pub mod tls;
pub mod upstream;
