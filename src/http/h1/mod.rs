//! HTTP/1.1 with clients: the connection, and the client's side of each request on it.

mod client;
mod connection;

pub use connection::{Become, Connection};
