//! Upstreams that only connections are passed on to: what they may say there.

use std::collections::HashSet;

use crate::{
    balance::conf::HashOn,
    config::Config,
    route::conf::{Action, RouteConf},
    schema::{Node, Reader},
    tls::conf::Starttls,
    upstream::conf::UpstreamConf,
};

/// Keys of an upstream that are about requests.
pub(in crate::config) const OF_REQUESTS: [&str; 7] =
    ["sticky", "protocol", RESPONSE_TIMEOUT, "body_timeout", "idle_timeout", "max_idle", "relay"];

/// It is about datagrams too: how long a session waits for its first answer.
const RESPONSE_TIMEOUT: &str = "response_timeout";

/// Reports what upstreams say that has no meaning for what their routes bring. Every table of the file was understood.
pub(super) fn check(config: &Config, root: &Node, reader: &mut Reader<'_>) {
    let http: HashSet<&str> = (config.listener.iter())
        .filter(|listener| listener.protocol.is_http())
        .map(|listener| listener.name.as_str())
        .collect();
    let is_http = |route: &&RouteConf| route.listeners.iter().any(|name| http.contains(name.as_str()));
    // Copies are requests too.
    let of_requests: HashSet<&str> = (config.route.iter().filter(is_http))
        .flat_map(|route| upstreams(route).into_iter().chain(mirrored(route)))
        .collect();
    let of_connections: HashSet<&str> =
        config.route.iter().filter(|route| !is_http(route)).flat_map(upstreams).collect();
    let datagrams: HashSet<&str> = (config.listener.iter())
        .filter(|listener| listener.has_datagrams())
        .map(|listener| listener.name.as_str())
        .collect();
    let is_udp = |route: &&RouteConf| route.listeners.iter().any(|name| datagrams.contains(name.as_str()));
    let of_datagrams: HashSet<&str> = config.route.iter().filter(is_udp).flat_map(upstreams).collect();
    for (upstream, node) in config.upstream.iter().zip(root.items_of("upstream")) {
        let name = upstream.name.as_str();
        if of_requests.contains(name) {
            if let Some(entry) = node.entry("starttls").filter(|_| upstream.starttls != Starttls::Off) {
                let message = format!("HTTP requests go to `{name}`, but `starttls` is for other protocols");
                let hint = "leave it out, or use a separate upstream for the connections";
                reader.problem_with(entry.place, message, hint);
            }
        } else if of_connections.contains(name) {
            check_keys(upstream, of_datagrams.contains(name), node, reader);
        }
    }
}

/// The upstream that a route sends copies to.
pub(super) fn mirrored(route: &RouteConf) -> Option<&str> {
    route.mirror.as_ref().map(|mirror| mirror.upstream.as_str())
}

/// The upstreams that a route leads to.
pub(in crate::config) fn upstreams(route: &RouteConf) -> Vec<&str> {
    match &route.action {
        Action::Upstream(name) => vec![name],
        Action::Split(choices) => choices.iter().map(|(name, _)| name.as_str()).collect(),
        Action::Redirect(_) | Action::Respond(_) | Action::Files(_) => Vec::new(),
    }
}

fn check_keys(upstream: &UpstreamConf, has_datagrams: bool, node: &Node, reader: &mut Reader<'_>) {
    let keys = OF_REQUESTS.iter().filter(|key| !has_datagrams || **key != RESPONSE_TIMEOUT);
    for entry in keys.filter_map(|key| node.entry(key)) {
        let message = format!("`{}` does not apply to an upstream that only layer 4 routes use", entry.key);
        let hint = match entry.key.as_str() {
            "sticky" => "only HTTP has cookies; `balance = \"ip-hash\"` keeps a client on one backend",
            "protocol" => "client and backend choose the protocol themselves; leave it out",
            _ => {
                "the route's `tunnel_idle`, `half_close_timeout` and `timeout` limit connections; leave it out"
            }
        };
        reader.problem_with(entry.place, message, hint);
    }
    if let Some(entry) = node.entry("hash_on").filter(|_| upstream.hash_on != HashOn::ClientIp) {
        let message = "a layer 4 connection can be hashed on the client's address only";
        reader.problem_with(entry.place, message, "set `hash_on = \"client-ip\"`, or leave it out");
    }
}
