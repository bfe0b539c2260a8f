//! The room `health`.

pub mod conf;
