//! VRRP version 3 (RFC 9568): an election between nodes of one network.
//!
//! [`packet`] is the wire and [`router`] the state machine, both pure; [`socket`] has the sockets, and [`engine`] joins
//! them: it reads all that waits before it lets the machine look at the clock. What waits for the kernel is in `interface`.

pub mod conf;
pub mod engine;
mod heard;
mod interface;
mod others;
pub mod packet;
pub mod router;
pub mod socket;
