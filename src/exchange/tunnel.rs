//! A connection that is passed on, with what is known of it beside the facts of every exchange.

use super::Exchange;

/// What is known of a connection that is passed on.
#[derive(Debug)]
pub struct TunnelFacts {
    /// What its listener serves: `tcp` or `tls`.
    pub protocol: &'static str,
    /// The name that the client asked for in its ClientHello.
    pub server_name: Option<Box<str>>,
    /// Whether some of it went from socket to socket within the kernel (splice(2)).
    pub is_spliced: bool,
}

/// What facts are about.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A request and its response.
    Http(&'a Exchange),
    /// A connection that is passed on.
    Tunnel(&'a TunnelFacts),
}
