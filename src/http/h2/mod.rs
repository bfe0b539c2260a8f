//! HTTP/2 connections with clients (RFC 9113), over the codec of `http2`.
//!
//! Previous stop: `listen::connection`, or `http::h1` with prior knowledge. Next stop: `http::handle`, once per stream.
//! The connection's task ([`serve`]) is the only one that reads and writes; each stream is a task of its own that takes
//! its request's body from the codec and puts its response there, with back-pressure of its own. All are on one thread.

mod client;
mod connection;
mod notice;

pub use connection::serve;
