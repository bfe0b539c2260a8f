//! UDP: datagrams that are passed on, whole, to a backend that is picked for each session.
//!
//! Previous stop: `listen::worker_sockets`, which has the sockets; next stop: `upstream::acquire` for a session's backend.
//! A session is a client's address and port at one socket ([`super::session`]). It has a socket of its own to its backend,
//! connected, so that nobody else's datagrams come in by it, and refusals (ICMP) come back; answers go out of the
//! listener's socket, from the address that was asked.
//!
//! Invariant: everything here belongs to one worker, to which the kernel gives all datagrams of a client
//! (`SO_REUSEPORT`); nothing waits, and nothing is allocated for a datagram of a session that there is. Why it is so:
//! `docs/decisions/025-udp-sessions.md`.

mod announced;
mod batch;
mod begin;
mod connect;
mod down;
mod hand_over;
mod headers;
mod lost;
mod quic;
mod quic_session;
mod relay;
mod send;
mod session;
mod socket;
mod up;

pub use hand_over::{Handed, HandedSessions};
pub use relay::{Listening, Relay};

#[cfg(test)]
mod tests;
