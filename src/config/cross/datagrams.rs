//! Routes and upstreams of datagrams: what has no meaning for them.

use std::collections::HashSet;

use super::layer4_upstreams::{mirrored, upstreams as upstreams_of};
use crate::{
    backend::Address,
    config::{
        Config,
        listen::{ListenerConf, Protocol},
    },
    schema::{Node, Reader, Value},
    upstream::conf::{SendDatagramHeaders, UdpConf},
};

/// Keys of a route that are about connections.
pub(in crate::config) const OF_TUNNELS: [&str; 3] = ["tunnel_idle", "half_close_timeout", "timeout"];

/// Keys of an upstream that are about connections, and why datagrams have no use for them.
pub(in crate::config) const OF_CONNECTIONS: [(&str, &str); 6] = [
    ("sticky", "datagrams have no cookies; `balance = \"ip-hash\"` keeps a client on one backend"),
    ("queue", "datagrams are not queued: they are dropped, and the client retransmits; leave it out"),
    ("connect_timeout", "UDP does not connect; `response_timeout` limits the wait for the first answer"),
    ("body_timeout", "`udp = { idle = … }` sets how long a session may be idle"),
    ("idle_timeout", "`udp = { idle = … }` sets how long a session may be idle"),
    ("max_idle", "each session has its own socket; leave it out"),
];

/// The upstreams that datagrams are passed on to.
pub(super) fn upstreams(config: &Config) -> HashSet<&str> {
    led_to(config, ListenerConf::has_datagrams)
}

/// The upstreams to which a route of such a listener leads.
fn led_to(config: &Config, is_such: impl Fn(&ListenerConf) -> bool) -> HashSet<&str> {
    let such: HashSet<&str> =
        config.listener.iter().filter(|it| is_such(it)).map(|it| it.name.as_str()).collect();
    let routes = config.route.iter().filter(|route| route.listeners.iter().any(|it| such.contains(&**it)));
    routes.flat_map(|route| upstreams_of(route).into_iter().chain(mirrored(route))).collect()
}

/// Reports what a route says that has no meaning where all its listeners are of UDP.
pub(super) fn check_route(listeners: &[&ListenerConf], node: &Node, reader: &mut Reader<'_>) {
    if listeners.iter().any(|listener| listener.protocol != Protocol::Udp) {
        return;
    }
    for entry in OF_TUNNELS.iter().filter_map(|key| node.entry(key)) {
        let message = format!("`{}` does not apply to a `udp` listener", entry.key);
        let hint = "`udp = { idle = … }` of the upstream sets how long a session may be idle";
        reader.problem_with(entry.place, message, hint);
    }
}

/// Reports what upstreams say that has no meaning for datagrams, or for anything else. Every table of the file was
/// understood.
pub(super) fn check(config: &Config, root: &Node, reader: &mut Reader<'_>) {
    let tables = root.items_of("upstream");
    if tables.len() != config.upstream.len() {
        return;
    }
    let of_datagrams = upstreams(config);
    let of_others = led_to(config, |listener| listener.protocol != Protocol::Udp);
    for (upstream, node) in config.upstream.iter().zip(tables) {
        let name = upstream.name.as_str();
        if !of_datagrams.contains(name) {
            // At its defaults it does nothing anywhere.
            let is_set = UdpConf::absent().as_ref() != Some(&upstream.udp);
            let set = node.entry("udp").filter(|_| is_set);
            let announces = upstream.proxy_protocol_udp != SendDatagramHeaders::Off;
            for entry in set.into_iter().chain(node.entry("proxy_protocol_udp").filter(|_| announces)) {
                let key = &entry.key;
                let message = format!(
                    "`{key}` has no effect: no route of a `udp` listener, or of one with `quic`, leads to \
                     `{name}`"
                );
                let hint = "leave it out, or add a route for such a listener";
                reader.problem_with(entry.place, message, hint);
            }
            continue;
        }
        // Encrypted to others, and not here: nobody who reads `tls` expects that.
        if let Some(entry) = node.entry("tls") {
            let message = format!("datagrams to `{name}` are forwarded as they are, without TLS");
            reader.problem_with(entry.place, message, "use a separate upstream without `tls` for them");
        }
        let written = OF_CONNECTIONS.iter().filter(|_| !of_others.contains(name));
        for (entry, hint) in written.filter_map(|(key, hint)| Some((node.entry(key)?, hint))) {
            let message = format!("`{}` does not apply to datagrams", entry.key);
            reader.problem_with(entry.place, message, *hint);
        }
        let backends = node.items_of("backend");
        let is_unix = |address: &Address| matches!(address, Address::Unix(_));
        for (_, node) in upstream.backend.iter().zip(backends).filter(|(it, _)| is_unix(&it.address)) {
            let place = node.get("address").map_or(node.place, |address| address.place);
            let message = "datagrams can be forwarded over IP only, not to unix sockets";
            reader.problem_with(place, message, "use a host and a port");
        }
    }
}
