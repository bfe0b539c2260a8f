//! Whom a connection to a backend is for: the PROXY header that it begins with.
//!
//! The client is the one that was settled, by a PROXY header or by a trusted proxy; what it connected to is this end of
//! its connection, or what its own PROXY header says: a header that came is passed on.

use std::net::SocketAddr;

use super::conf::{ProxyProtocolTlv as Tlv, SendDatagramHeaders, SendProxyProtocol, UpstreamConf};
use crate::{
    exchange::Facts,
    net::proxy_protocol::{
        Addresses,
        write::{self, Additions, Ssl},
    },
    tls::conf::Starttls,
};

/// What a connection to a backend begins with, before anything of its client, and before TLS.
#[derive(Debug)]
pub struct Opening {
    /// A PROXY header, or nothing.
    pub header: Vec<u8>,
    /// The question for TLS of a client that is passed on: its backend answers it before it goes on.
    pub starttls: Starttls,
    /// Whether HTTP/2 is offered by ALPN, where the upstream speaks it.
    pub offers_http2: bool,
}

/// The client that connections of this upstream are announced with; `None` where they are not, or it has no address.
pub fn client(conf: &UpstreamConf, facts: &Facts) -> Option<SocketAddr> {
    // Its port need not be: a journal does not keep it, and a PROXY header may say 0.
    let is_known = facts.client.is_some() || facts.peer.has_address();
    let is_on = conf.proxy_protocol != SendProxyProtocol::Off && is_known;
    is_on.then(|| SocketAddr::new(facts.client_address(), facts.client_port()))
}

/// The PROXY header of a connection for this client; empty where none is sent. `server_name` is what the client asked for
/// in a ClientHello that is passed on.
pub fn header(conf: &UpstreamConf, facts: &Facts, server_name: Option<&str>) -> Vec<u8> {
    let addresses = client(conf, facts).map(|source| {
        let unknown = || match source {
            SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
            SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
        };
        Addresses { source, destination: facts.peer.destination.unwrap_or_else(unknown) }
    });
    match conf.proxy_protocol {
        SendProxyProtocol::Off => Vec::new(),
        SendProxyProtocol::V1 => write::v1(addresses),
        SendProxyProtocol::V2 => write::v2(addresses, &additions(conf, facts, server_name)),
    }
}

/// Whether that header says who the client is, as that it has shown a certificate: a backend may answer by it, and nothing in
/// the request says so.
pub fn tells_client(conf: &UpstreamConf, facts: &Facts) -> bool {
    conf.proxy_protocol == SendProxyProtocol::V2
        && client(conf, facts).is_some()
        && additions(conf, facts, None).tell_client()
}

/// What a connection begins with that is no client's: a health check.
pub fn own_header(conf: &UpstreamConf) -> Vec<u8> {
    match conf.proxy_protocol {
        SendProxyProtocol::Off => Vec::new(),
        SendProxyProtocol::V1 => write::v1(None),
        SendProxyProtocol::V2 => write::v2(None, &Additions::default()),
    }
}

/// The PROXY header of a session of datagrams: its ends, what came with a header beside them, the name that its client
/// asked for, and its id.
pub fn datagram_header(
    conf: &UpstreamConf,
    ends: Addresses,
    passed: &[u8],
    (server_name, id): (Option<&str>, &str),
) -> Vec<u8> {
    let says = |tlv| conf.proxy_protocol_tlvs.contains(&tlv);
    let additions = Additions {
        authority: server_name.filter(|_| says(Tlv::Authority)),
        unique_id: says(Tlv::UniqueId).then_some(id.as_bytes()),
        passed,
        crc32c: says(Tlv::Crc32c),
        ..Additions::default()
    };
    write::v2_datagram(Some(ends), &additions)
}

/// What a datagram begins with that is no client's: a health check.
pub fn own_datagram_header(conf: &UpstreamConf) -> Vec<u8> {
    match conf.proxy_protocol_udp {
        SendDatagramHeaders::Off => Vec::new(),
        SendDatagramHeaders::First | SendDatagramHeaders::Every => {
            write::v2_datagram(None, &Additions::default())
        }
    }
}

fn additions<'a>(conf: &UpstreamConf, facts: &'a Facts, server_name: Option<&'a str>) -> Additions<'a> {
    let says = |tlv| conf.proxy_protocol_tlvs.contains(&tlv);
    let tls = facts.peer.tls.as_ref();
    let authority = server_name.or_else(|| tls?.server_name.as_deref());
    let ssl = tls.map(|tls| Ssl { version: tls.version, has_certificate: tls.has_certificate });
    Additions {
        alpn: tls.and_then(|tls| tls.alpn.as_deref()).filter(|_| says(Tlv::Alpn)),
        authority: authority.filter(|_| says(Tlv::Authority)),
        unique_id: says(Tlv::UniqueId).then_some(facts.id.as_bytes()),
        ssl: ssl.filter(|_| says(Tlv::Ssl)),
        passed: &facts.peer.proxy_tlvs,
        crc32c: says(Tlv::Crc32c),
    }
}
