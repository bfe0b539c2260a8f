//! The room `tls`.

pub mod conf;
pub mod demo;
