//! Who is at the other end of a client connection.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
};

use super::{version::HttpVersion, via::Via};
use crate::{telemetry::trace::Handshake, tls::tickets::Context};

/// Who is at the other end of a client connection.
#[derive(Debug)]
pub struct Peer {
    /// The address at the other end: the connection's, or what a PROXY header from a listed network says.
    pub address: IpAddr,
    /// The port there; 0 over a unix socket, and where only the address is known.
    pub port: u16,
    /// What it connected to: this end of its connection, or what a PROXY header from a listed network says; `None` over
    /// a unix socket.
    pub destination: Option<SocketAddr>,
    /// What else a PROXY header of version 2 said, as it came.
    pub proxy_tlvs: Box<[u8]>,
    /// The address as text, formatted once.
    pub text: Box<str>,
    /// Whether its forwarding fields were believed when it was accepted (`trusted_proxies`); for a request ask the
    /// exchange's facts, since a reload may have changed that.
    pub is_trusted: bool,
    /// Facts of TLS, on an `https` listener.
    pub tls: Option<Box<TlsFacts>>,
    /// What its connection was accepted by.
    pub terms: Arc<Terms>,
    /// What the asking node said of its client's connection, where a peer asks in its place.
    pub seen: Option<SeenByPeer>,
}

/// What connections of a listener are accepted by: whom it lets in and believes (`allow`, `deny`, `trusted_proxies` and what
/// belongs to them), and what it says of Via. A listener for which a reload has changed any of it has others: these are
/// compared by where they are.
#[derive(Debug, Default)]
pub struct Terms {
    /// What the listener says of Via.
    pub via: Via,
}

/// What only the node that has a client's connection knows of it, beside the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenByPeer {
    /// What the client asked it by.
    pub version: HttpVersion,
    /// The port that the client connected to there; `None` over a unix socket.
    pub port: Option<NonZeroU16>,
}

impl Peer {
    /// What stands for the address of this program itself.
    pub const OWN: &str = "-";

    /// Whether it is this program itself, which asks whether it serves: there is no line and no count of that. A field of its
    /// own would make each connection's larger.
    pub fn is_own(&self) -> bool {
        *self.text == *Self::OWN
    }

    /// Whether its address is known. The other end of a unix socket has none, and nobody connects from the unspecified one.
    pub fn has_address(&self) -> bool {
        !self.address.is_unspecified()
    }

    /// The port that the client connected to, as its connection or a PROXY header has it; `None` over a unix socket.
    pub fn reached_port(&self) -> Option<u16> {
        match self.seen {
            Some(seen) => seen.port.map(NonZeroU16::get),
            None => self.destination.map(|destination| destination.port()),
        }
    }
}

impl Default for Peer {
    fn default() -> Self {
        let address = IpAddr::from([0, 0, 0, 0]);
        Self {
            address,
            port: 0,
            destination: None,
            proxy_tlvs: Box::default(),
            text: "".into(),
            is_trusted: false,
            tls: None,
            terms: Arc::default(),
            seen: None,
        }
    }
}

/// A client behind the other end of its connection, as a trusted proxy names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 where the proxy names none.
    pub port: u16,
    /// The address as text.
    pub text: Box<str>,
}

impl ClientAddress {
    /// A client at this address.
    pub fn new(address: IpAddr, port: u16) -> Self {
        Self { address, port, text: address.to_string().into() }
    }
}

/// What was agreed in the TLS handshake with a client.
#[derive(Debug, Default)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its registered name: `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The name that the client asked for (RFC 6066 §3), in lower case.
    pub server_name: Option<Box<str>>,
    /// The protocol that was agreed on (RFC 7301).
    pub alpn: Option<Box<[u8]>>,
    /// Whether the client showed a certificate; one that is shown is verified.
    pub has_certificate: bool,
    /// The certificate that the client showed, in DER.
    pub certificate: Option<Box<[u8]>>,
    /// What it was asked for (`client_auth`); a reload may ask for something else.
    pub client_auth: Option<Arc<Context>>,
    /// When it was, until the first request takes it for its trace; kept only while tracing is on.
    pub handshake: RefCell<Option<Box<Handshake>>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_at_the_other_end_is_small() {
        // Each connection has one as long as it is open. With the counts of `Rc` 128 bytes, which is a size that the
        // allocator has.
        assert!(size_of::<Peer>() <= 112, "{} bytes", size_of::<Peer>());
    }
}
