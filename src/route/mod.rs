//! The room `route`.

pub mod conf;
