//! rtnetlink (rtnetlink(7)): addresses of interfaces, and news of them.
//!
//! Three requests and what they answer, in [`message`], over a socket of rustix, in [`socket`]; why not by a crate is in
//! [decision 029](../../../docs/decisions/029-cluster.md).

pub mod message;
pub mod socket;
