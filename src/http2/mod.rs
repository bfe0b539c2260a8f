//! HTTP/2 (RFC 9113): bytes in, requests and the state of streams out. Pure: no sockets, no clock.
//!
//! Previous stop: `http::h2` and `http2_transport`, which read and write the bytes of a connection. Frames
//! ([`frame`]), field compression ([`hpack`]), windows ([`flow`]) and settings ([`settings`]) know no role; what is of a
//! server is in [`head`], what is of a client in `answer` and `client`.
//!
//! Invariants: every parser is linear in what came; whatever a client can make us keep has a bound, and whatever it can
//! make us do without asking for anything costs it a part of a [`budget`]; what is wrong with one stream ends that
//! stream, and only what breaks frames, compression or the connection's window ends the connection (§5.4).

mod answer;
pub mod budget;
mod client;
mod closing;
pub mod connection;
mod control;
pub mod flow;
pub mod frame;
pub mod head;
pub mod hpack;
mod inbound;
mod output;
mod reading;
pub mod reason;
mod receive;
mod send;
pub mod settings;
pub mod spare;
mod state;
pub mod stream;

pub use answer::HEAD_TOO_LARGE;
pub use client::{RequestStart, RequestWriter};
pub use connection::Connection;
pub use reason::{ConnectionError, Reason};
pub use receive::TRAILERS_TOO_LARGE;
pub use send::Body;
pub use state::Opened;
pub use stream::Fault;

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod tests;
