//! Listening sockets, and connections up to the protocol that they speak.

pub mod accept;
pub mod accepting;
pub mod activation;
pub mod connection;
pub mod handover;
pub mod mailbox;
pub mod socket;
pub mod sockets;
