//! Pointsman: a load-balancing reverse proxy for layers 4 and 7.
//!
//! This page is the map of the building (filled in as the rooms are).

pub mod app;
pub mod backend;
pub mod balance;
pub mod cli;
pub mod config;
pub mod control;
pub mod error;
pub mod exchange;
pub mod explain;
pub mod fields;
pub mod h1;
pub mod health;
pub mod http;
pub mod listen;
pub mod moment;
pub mod net;
pub mod route;
pub mod runtime;
pub mod settings;
pub mod telemetry;
pub mod tls;
pub mod upstream;
