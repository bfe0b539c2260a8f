//! Layer 4: connections that are passed on, byte for byte, and datagrams, whole, to a backend that is picked for them.
//!
//! Previous stop: `listen::connection`, which read the PROXY header and ended TLS where that is asked for. Next stop:
//! `upstream::acquire` and `net::tunnel`, which layer 7 uses too.

mod active;
mod client;
pub mod hello;
pub mod passing;
pub(crate) mod quic;
pub mod session;
mod sniff;
pub mod tcp;
pub mod udp;
