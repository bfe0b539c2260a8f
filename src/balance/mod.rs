//! The room `balance`.

pub mod conf;
