//! What a write leaves stored: the write policy `through`.
//!
//! [`representation`] says what of an exchange may be stored for its URI, [`overlap`] whether something came meanwhile
//! that forbids it. Previous stop: `http::cached`, which writes and stores.

pub mod overlap;
pub mod representation;
