//! The room `tls`.

pub mod conf;
