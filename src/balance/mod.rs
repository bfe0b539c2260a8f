//! The room `balance`.
