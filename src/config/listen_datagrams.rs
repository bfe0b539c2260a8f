//! What a listener says of datagrams: QUIC beside TLS, and their PROXY headers.

use super::{
    datagram_headers::DatagramHeaders,
    listen::{ListenAddress, ListenerConf, Protocol},
};
use crate::schema::Table;

impl ListenerConf {
    pub(super) fn check_headers(&self, table: &mut Table<'_, '_, '_>) {
        let is_read = self.has_datagrams() && !self.proxy_protocol_from.is_empty();
        // At its default it does nothing anywhere.
        let is_set = self.proxy_protocol_udp != DatagramHeaders::First;
        if let Some(entry) = table.entry("proxy_protocol_udp").filter(|_| is_set && !is_read) {
            let message = "`proxy_protocol_udp` has no effect here: no datagram carries a PROXY header";
            let hint = "use it with `udp` or `quic` and `proxy_protocol_from`, or leave it out";
            table.reader.problem_with(entry.place, message, hint);
        }
    }

    pub(super) fn check_quic(&self, table: &mut Table<'_, '_, '_>) {
        let Some(entry) = table.entry("quic").filter(|_| self.quic) else { return };
        let (place, name) = (entry.place, self.protocol.name());
        if self.protocol != Protocol::Tls {
            let message =
                format!("`quic` does not apply to a `{name}` listener: QUIC, like TLS, is routed by SNI");
            let hint = match self.protocol {
                Protocol::Udp => "a `udp` listener forwards QUIC like any other datagram; leave it out",
                _ => "set `protocol = \"tls\"`, which needs no certificate here; or leave it out",
            };
            table.reader.problem_with(place, message, hint);
        } else if self.address.iter().any(|it| matches!(it, ListenAddress::Unix(_))) {
            let message = "QUIC needs UDP, which a unix socket does not provide";
            table.reader.problem_with(
                place,
                message,
                "set `address` to an IP address and a port, or leave it out",
            );
        }
    }

    /// The addresses that are bound for it; for QUIC that of UDP comes after each of TCP.
    pub fn addresses(&self) -> impl Iterator<Item = ListenAddress> {
        self.address.iter().flat_map(|address| {
            let quic = match address {
                ListenAddress::Tcp(address) if self.quic => Some(ListenAddress::Udp(*address)),
                ListenAddress::Tcp(_) | ListenAddress::Udp(_) | ListenAddress::Unix(_) => None,
            };
            std::iter::once(address.clone()).chain(quic)
        })
    }

    /// Whether datagrams come to it.
    pub fn has_datagrams(&self) -> bool {
        self.protocol == Protocol::Udp || self.quic
    }
}
