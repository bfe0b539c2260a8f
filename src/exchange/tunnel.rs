//! A connection that is passed on, with what is known of it beside the facts of every exchange.

use super::Exchange;

/// What is known of a connection that is passed on, or a session of datagrams.
#[derive(Debug)]
pub struct TunnelFacts {
    /// What its listener serves: `tcp`, `tls`, `quic` or `udp`.
    pub protocol: &'static str,
    /// The name that the client asked for in its ClientHello.
    pub server_name: Option<Box<str>>,
    /// The protocols that it offers there, for people.
    pub alpn: Option<Box<str>>,
    /// Of a connection of QUIC: its version.
    pub quic_version: Option<u32>,
    /// Whether some of it went from socket to socket within the kernel (splice(2)).
    pub is_spliced: bool,
    /// Of a session of datagrams: how many there were.
    pub datagrams: Option<Datagrams>,
}

/// What is known of a session of datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Datagrams {
    /// How many of the client's were passed on.
    pub received: u64,
    /// How many the client was sent.
    pub sent: u64,
    /// What ended it: `idle`, `responses`, `max_sessions` or `closing`.
    pub ended_by: &'static str,
}

/// What facts are about.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A request and its response.
    Http(&'a Exchange),
    /// A connection that is passed on.
    Tunnel(&'a TunnelFacts),
}
