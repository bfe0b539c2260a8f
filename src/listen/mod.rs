//! Listening sockets, and connections up to the protocol that they speak.

pub mod accept;
pub mod activation;
pub mod admin_sockets;
mod admission;
pub mod bind;
pub mod connection;
mod defer;
pub mod handover;
pub mod listener_sockets;
pub mod mailbox;
pub mod parking;
mod plain_http;
mod probe;
pub mod socket_files;
pub mod unbound;
pub mod worker_sockets;
pub mod yielding;
