//! What a shared key has a meaning for. One that a table says itself is checked where tables are.

use std::collections::{HashMap, HashSet};

use crate::{
    config::{
        cross::{datagrams, layer4, layer4_upstreams},
        listen,
    },
    route::conf::has_meaning,
    schema::{Data, Node},
};

/// Whether a listener has a use for a key.
pub(super) fn of_listener(key: &str, table: &Node) -> bool {
    let protocol = text(table, "protocol").unwrap_or("http");
    let is_http = matches!(protocol, "http" | "https");
    let has_certificate = ["certificate", "certificates"].iter().any(|key| table.get(key).is_some());
    let ends_tls = protocol == "https" || (protocol == "tcp" && has_certificate);
    let has_unix = addresses(table).any(|address| address.starts_with("unix:"));
    let has_quic = protocol == "tls" && is_true(table, "quic") && !has_unix;
    match key {
        _ if !is_http && listen::OF_REQUESTS.contains(&key) => false,
        _ if protocol == "udp" && listen::OF_CONNECTIONS.iter().any(|(of, _)| *of == key) => false,
        "certificate" | "certificates" => matches!(protocol, "https" | "tcp"),
        "client_auth" | "tls" | "alpn" => ends_tls,
        "alt_svc" | "http3" => protocol == "https",
        "starttls" => protocol == "tls" || (protocol == "tcp" && has_certificate),
        "quic" => protocol == "tls" && !has_unix,
        "proxy_protocol_udp" => {
            (protocol == "udp" || has_quic) && !table.items_of("proxy_protocol_from").is_empty()
        }
        "mode" | "owner" | "group" => has_unix,
        _ => true,
    }
}

/// Where a listener accepts, as it is written.
fn addresses(table: &Node) -> impl Iterator<Item = &str> {
    let several = table.items_of("address").iter().filter_map(Node::text);
    text(table, "address").into_iter().chain(several)
}

/// The protocols of the listeners, by name.
pub(super) fn protocols(root: &Node) -> HashMap<String, String> {
    let listeners = root.items_of("listener").iter();
    let named = listeners.filter_map(|table| {
        let protocol = text(table, "protocol").unwrap_or("http");
        Some((text(table, "name")?.to_owned(), protocol.to_owned()))
    });
    named.collect()
}

/// The protocols of the listeners that a route holds for.
fn of_its_listeners<'p>(route: &Node, protocols: &'p HashMap<String, String>) -> HashSet<&'p str> {
    let listeners = route.items_of("listeners");
    if listeners.is_empty() {
        // It holds for those of requests.
        let all = protocols.values().map(String::as_str);
        return all.filter(|it| matches!(*it, "http" | "https")).collect();
    }
    listeners.iter().filter_map(|it| protocols.get(it.text()?).map(String::as_str)).collect()
}

/// Whether a route has a use for a key.
pub(super) fn of_route(key: &str, table: &Node, protocols: &HashMap<String, String>) -> bool {
    let of_listeners = of_its_listeners(table, protocols);
    let is_http = of_listeners.iter().any(|it| matches!(*it, "http" | "https"));
    let is_proxied = table.get("upstream").is_some() || table.get("split").is_some();
    match key {
        _ if !is_http && !of_listeners.is_empty() && layer4::of_requests().any(|of| of == key) => false,
        // A condition that means something on one of them is kept for all: without it the route would take more.
        "alpn" => of_listeners.contains("tls"),
        "server_names" => of_listeners.iter().any(|it| matches!(*it, "tls" | "https")),
        _ if datagrams::OF_TUNNELS.contains(&key) => {
            of_listeners.is_empty() || of_listeners.iter().any(|it| *it != "udp")
        }
        "collapse" => is_proxied && table.get("cache").is_none(),
        _ => has_meaning(key, is_proxied, table.get("files").is_some()),
    }
}

/// Upstreams by what routes bring them.
pub(super) struct Reached {
    requests: HashSet<String>,
    connections: HashSet<String>,
    datagrams: HashSet<String>,
}

/// What routes bring the upstreams.
pub(super) fn reached(root: &Node, protocols: &HashMap<String, String>) -> Reached {
    let mut reached =
        Reached { requests: HashSet::new(), connections: HashSet::new(), datagrams: HashSet::new() };
    let quic: HashSet<&str> = (root.items_of("listener").iter())
        .filter(|table| is_true(table, "quic"))
        .filter_map(|table| text(table, "name"))
        .collect();
    for route in root.items_of("route") {
        let parts = route.items_of("split").iter().filter_map(|part| text(part, "upstream"));
        let mirrored = route.get("mirror").and_then(|mirror| text(mirror, "upstream"));
        let upstreams: Vec<&str> = parts.chain(text(route, "upstream")).chain(mirrored).collect();
        let of_listeners = of_its_listeners(route, protocols);
        let has_quic =
            route.items_of("listeners").iter().any(|it| it.text().is_some_and(|it| quic.contains(it)));
        let add = |is: bool, to: &mut HashSet<String>| {
            if is {
                to.extend(upstreams.iter().map(|it| (*it).to_owned()));
            }
        };
        add(of_listeners.iter().any(|it| matches!(*it, "http" | "https")), &mut reached.requests);
        add(of_listeners.iter().any(|it| matches!(*it, "tcp" | "tls")), &mut reached.connections);
        add(of_listeners.contains("udp") || has_quic, &mut reached.datagrams);
    }
    reached
}

/// Whether an upstream has a use for a key.
pub(super) fn of_upstream(key: &str, table: &Node, reached: &Reached) -> bool {
    let name = text(table, "name").unwrap_or_default();
    let [requests, connections, datagrams] =
        [&reached.requests, &reached.connections, &reached.datagrams].map(|names| names.contains(name));
    let is_known = requests || connections || datagrams;
    let hashes = matches!(text(table, "balance"), Some("consistent-hash" | "maglev"));
    let is_of_requests = layer4_upstreams::OF_REQUESTS.contains(&key);
    match key {
        "hash_on" => hashes && (requests || !is_known || text(table, "hash_on") == Some("client-ip")),
        "response_timeout" => requests || datagrams || !is_known,
        "udp" | "proxy_protocol_udp" => datagrams,
        "proxy_protocol_tlvs" => {
            text(table, "proxy_protocol") == Some("v2")
                || (datagrams && text(table, "proxy_protocol_udp").is_some_and(|it| it != "off"))
        }
        "starttls" => table.get("tls").is_some(),
        _ if is_known && !requests && is_of_requests => false,
        _ if datagrams && !requests && !connections => {
            !datagrams::OF_CONNECTIONS.iter().any(|(of, _)| *of == key)
        }
        _ => true,
    }
}

fn text<'n>(table: &'n Node, key: &str) -> Option<&'n str> {
    table.get(key).and_then(Node::text)
}

fn is_true(table: &Node, key: &str) -> bool {
    table.get(key).is_some_and(|node| matches!(node.data, Data::Boolean(true)))
}
