//! Packets that this node makes whole, IP header included, and the sockets that they go out by.

pub mod ip;
pub mod link;
pub mod raw;
