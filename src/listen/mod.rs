//! Listening sockets, and connections up to the protocol that they speak.

pub mod accept;
pub mod connection;
pub mod socket;
