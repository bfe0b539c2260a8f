//! The room `upstream`: attempts on backends, and when another one is worth it.

pub mod retry;
