//! Who is at the other end of a client connection.

use std::{cell::RefCell, net::IpAddr};

use crate::telemetry::trace::Handshake;

/// Who is at the other end of a client connection.
#[derive(Debug)]
pub struct Peer {
    /// The client's address: the connection's, or what a PROXY header from a listed network says.
    pub address: IpAddr,
    /// The client's port; 0 over a unix socket.
    pub port: u16,
    /// The address as text, formatted once.
    pub text: Box<str>,
    /// Whether its forwarding fields are believed (`trusted_proxies`).
    pub is_trusted: bool,
    /// Facts of TLS, on an `https` listener.
    pub tls: Option<TlsFacts>,
}

impl Default for Peer {
    fn default() -> Self {
        let address = IpAddr::from([0, 0, 0, 0]);
        Self { address, port: 0, text: "".into(), is_trusted: false, tls: None }
    }
}

/// What was agreed in the TLS handshake with a client.
#[derive(Debug)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name that the client asked for (RFC 6066 §3), in lower case.
    pub server_name: Option<Box<str>>,
    /// When it was, until the first request takes it for its trace; kept only while tracing is on.
    pub handshake: RefCell<Option<Box<Handshake>>>,
}
