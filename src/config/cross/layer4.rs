//! Routes and listeners whose connections are passed on: what routes may say there, and that there is one.

use std::collections::HashMap;

use super::datagrams;
use crate::{
    config::{
        Config,
        listen::{ListenerConf, Protocol},
    },
    route::conf::{CONDITIONS, RouteConf},
    schema::{Node, Reader},
};

/// Keys of a route that say what becomes of requests.
const OF_WHAT_BECOMES: [&str; 21] = [
    "rewrite",
    "request_headers",
    "response_headers",
    "cache",
    "collapse",
    "upgrade",
    "limits",
    "timeouts",
    "max_in_flight",
    "buffer",
    "forwarded",
    "min_rate",
    "redirect",
    "error_pages",
    "intercept_errors",
    "compression",
    "compression_types",
    "compression_min",
    "compression_level",
    "mirror",
    "stream_idle",
];

/// Keys by which a route of connections is told apart from others.
const OF_CONNECTIONS: [&str; 3] = ["listeners", "server_names", "alpn"];

/// Keys of a route that are about requests: by which they are told apart, and what becomes of them.
pub(in crate::config) fn of_requests() -> impl Iterator<Item = &'static str> {
    CONDITIONS.into_iter().filter(|key| !OF_CONNECTIONS.contains(key)).chain(OF_WHAT_BECOMES)
}

/// Reports what routes say that has no meaning for the protocols of their listeners, and listeners whose connections
/// no route takes. Every table of the file was understood.
pub(super) fn check(config: &Config, root: &Node, reader: &mut Reader<'_>) {
    let listeners: HashMap<&str, &ListenerConf> =
        config.listener.iter().map(|listener| (listener.name.as_str(), listener)).collect();
    for (route, node) in config.route.iter().zip(root.items_of("route")) {
        let of_route = route.listeners.iter().filter_map(|name| listeners.get(name.as_str()).copied());
        let of_route: Vec<_> = of_route.collect();
        if of_route.is_empty() && listeners.is_empty() {
            // That there is none was said.
            continue;
        }
        check_route(route, &of_route, node, reader);
    }
    for (listener, node) in config.listener.iter().zip(root.items_of("listener")) {
        let is_served = config.route.iter().any(|route| route.listeners.contains(&listener.name));
        if !listener.protocol.is_http() && !is_served {
            let place = node.get("name").map_or(node.place, |name| name.place);
            let what = if listener.protocol == Protocol::Udp { "datagrams" } else { "connections" };
            let message = format!("no route handles the {what} of `{}`", listener.name);
            let hint =
                format!("add `[[route]]` with `listeners = [\"{}\"]` and an `upstream`", listener.name);
            reader.problem_with(place, message, hint);
        }
    }
}

fn check_route(route: &RouteConf, listeners: &[&ListenerConf], node: &Node, reader: &mut Reader<'_>) {
    let place = node.get("listeners").map_or(node.place, |listeners| listeners.place);
    let Some(first) = listeners.first() else {
        if node.get("listeners").is_none() {
            let message = format!("the route `{}` applies to no listener", route.name);
            let hint = "without `listeners` it applies to http and https only; list the listeners whose \
                 connections it handles";
            reader.problem_with(place, message, hint);
        }
        return;
    };
    if let Some(other) = listeners.iter().find(|it| it.protocol.is_http() != first.protocol.is_http()) {
        let message = format!(
            "`{}` is a `{}` listener and `{}` a `{}` one: one route cannot handle requests and connections",
            first.name,
            first.protocol.name(),
            other.name,
            other.protocol.name()
        );
        reader.problem_with(place, message, "use two routes; both may lead to the same upstream");
        return;
    }
    let protocol = first.protocol;
    let is_said = [("server_names", !route.server_names.is_empty()), ("alpn", !route.alpn.is_empty())];
    for (key, _) in is_said.into_iter().filter(|(_, is_said)| *is_said) {
        // Requests over TLS and others may have one route, which then takes the former alone.
        let means = |listener: &&&ListenerConf| match listener.protocol {
            Protocol::Tls => true,
            Protocol::Https => key == "server_names",
            Protocol::Http | Protocol::Tcp | Protocol::Udp => false,
        };
        let is_meant = protocol.is_http() && listeners.iter().any(|listener| means(&listener));
        let without = listeners.iter().find(|listener| !is_meant && !means(listener));
        if let (Some(value), Some(listener)) = (node.entry(key), without) {
            let kind = listener.protocol.name();
            let message = format!("`{key}` does not apply to a `{kind}` listener");
            let hint = match listener.protocol {
                Protocol::Http if key == "server_names" => "without TLS there is no SNI; use `hosts`",
                Protocol::Https if key == "alpn" => "match what clients speak with `protocol`",
                Protocol::Http | Protocol::Https => "match requests by `hosts` and `paths`",
                Protocol::Tcp => "set `protocol = \"tls\"` to route TLS by SNI; plain TCP has none",
                Protocol::Udp => "datagrams can be matched by their listener only",
                Protocol::Tls => "leave it out",
            };
            reader.problem_with(value.place, message, hint);
        }
    }
    if protocol.is_http() {
        return;
    }
    let written = of_requests().chain(["respond", "files"]).filter_map(|key| node.entry(key));
    for entry in written {
        let message = format!("`{}` does not apply to a `{}` listener", entry.key, protocol.name());
        let hint = match entry.key.as_str() {
            "hosts" if protocol == Protocol::Tls => "match TLS server names (SNI) with `server_names`",
            "redirect" | "respond" | "files" if protocol == Protocol::Udp => {
                "datagrams can only go to an `upstream` or a `split`"
            }
            "redirect" | "respond" | "files" => "connections can only go to an `upstream` or a `split`",
            _ => "this listener forwards traffic without reading requests; leave it out",
        };
        reader.problem_with(entry.place, message, hint);
    }
    datagrams::check_route(listeners, node, reader);
}
