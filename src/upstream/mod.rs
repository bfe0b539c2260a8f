//! The room `upstream`.

pub mod conf;
