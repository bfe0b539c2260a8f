//! Backends that lead back to this program: a request would come round again, and get 508.

use std::net::{IpAddr, SocketAddr};

use super::{
    super::{
        Config,
        listen::{ListenAddress, Protocol},
    },
    datagrams,
};
use crate::{
    backend::Address,
    schema::{Node, Reader},
};

/// Reports backends whose address a listener of the same file has.
pub(super) fn backends_that_are_listeners(config: &Config, root: &Node, reader: &mut Reader<'_>) {
    let of_datagrams = datagrams::upstreams(config);
    // With a table left out for its own problem, places could not be told apart.
    let upstreams = root.items_of("upstream");
    for (upstream, node) in
        config.upstream.iter().zip(upstreams).filter(|_| config.upstream.len() == upstreams.len())
    {
        let backends = node.items_of("backend");
        for (backend, node) in
            upstream.backend.iter().zip(backends).filter(|_| upstream.backend.len() == backends.len())
        {
            let Some(listener) = config.listener.iter().find(|listener| {
                let is_met = listener.protocol != Protocol::Udp || of_datagrams.contains(&*upstream.name);
                is_met && listener.address.iter().any(|it| leads_to(&backend.address, it))
            }) else {
                continue;
            };
            let place = node.get("address").map_or(node.place, |address| address.place);
            let message = format!("this backend is Pointsman's own listener `{}`", listener.name);
            let hint = match listener.protocol {
                Protocol::Udp => "datagrams would loop forever; use the address of the real server",
                Protocol::Http | Protocol::Https | Protocol::Tcp | Protocol::Tls => {
                    "requests that loop are refused with 508; use the address of the real server"
                }
            };
            reader.problem_with(place, message, hint);
        }
    }
}

/// Whether whoever connects to a backend's address is accepted by a listener at another.
fn leads_to(backend: &Address, listener: &ListenAddress) -> bool {
    match (backend, listener) {
        (Address::Host { host, port }, ListenAddress::Tcp(listener) | ListenAddress::Udp(listener)) => {
            *port == listener.port() && *port != 0 && is_of(host, *listener)
        }
        (Address::Unix(backend), ListenAddress::Unix(listener)) => backend == listener,
        (Address::Host { .. } | Address::OfName { .. } | Address::Unix(_) | Address::Srv(_), _) => false,
    }
}

fn is_of(host: &str, listener: SocketAddr) -> bool {
    let address: Option<IpAddr> = match host {
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        host => host.parse().ok(),
    };
    // What other addresses this machine has, the file does not say.
    address.is_some_and(|address| {
        let is_here = address.is_loopback() || address.is_unspecified();
        address == listener.ip() || (is_here && listener.ip().is_unspecified())
    })
}
