//! What no table alone can say: names that clash, references that lead nowhere, routes never reached.
//!
//! Names and references are taken from the tree and not from the values, so that a table with a
//! problem of its own is still known by name; so are addresses, each of which is read for itself.

mod caches;
mod cluster;
pub(super) mod datagrams;
pub(super) mod layer4;
pub(super) mod layer4_upstreams;
mod loops;
mod own_files;
mod peers;

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use super::{Config, listen::ListenAddress};
use crate::{
    backend::Address,
    route::conf::{MatchConf, RouteConf},
    schema::{Data, Node, Place, Reader, Value, suggest},
};

/// Checks `config` as a whole, and fills in defaults that depend on other tables.
pub(super) fn check(config: &mut Config, root: &Node, reader: &mut Reader<'_>) {
    for kind in ["listener", "route", "upstream", "cache", "matcher", "policy"] {
        unique(kind, root.items_of(kind), reader);
    }
    for upstream in root.items_of("upstream") {
        unique_backends(upstream, reader);
    }
    unique_addresses(root, reader);
    if root.items_of("listener").is_empty() && root.get("listener").is_none() {
        let hint = "add `[[listener]]` with a `name` and an `address`";
        reader.missing(Place::default(), "no listener is defined", hint);
    }
    loops::backends_that_are_listeners(config, root, reader);
    cluster::check(config, root, reader);
    peers::check(config, root, reader);
    own_files::check(config, root, reader);
    references(root, reader);
    // With a table left out for its own problem, places could not be told apart.
    if config.cache.len() == root.items_of("cache").len() {
        caches::unique_paths(&config.cache, root, reader);
    }
    default_listeners(config);
    // With a route left out for its own problem, places could not be told apart.
    if config.route.len() == root.items_of("route").len() {
        if config.listener.len() == root.items_of("listener").len() && !reader.recovered {
            layer4::check(config, root, reader);
            datagrams::check(config, root, reader);
            if config.upstream.len() == root.items_of("upstream").len() {
                layer4_upstreams::check(config, root, reader);
            }
        }
        unreachable_routes(config, root, reader);
    }
    // After all that compares tables with what is written.
    super::peers::add(config);
}

/// A route without `listeners` holds for every http and https listener.
fn default_listeners(config: &mut Config) {
    let listeners = config.listener.iter();
    let names: Vec<String> = listeners
        .filter(|listener| listener.protocol.is_http())
        .map(|listener| listener.name.clone())
        .collect();
    for route in &mut config.route {
        if route.listeners.is_empty() {
            route.listeners.clone_from(&names);
        }
    }
}

/// Reports a name that another table of the kind has already.
fn unique(kind: &str, tables: &[Node], reader: &mut Reader<'_>) {
    let named = tables.iter().filter_map(|table| table.get("name"));
    let message = |name: &str, line: String| format!("the {kind} `{name}` is already defined on {line}");
    repeated(texts(named), reader, message, UNIQUE_NAMES);
}

const UNIQUE_NAMES: &str = "names must be unique; rename one";

/// Reports backends of one upstream with the same name or the same address.
fn unique_backends(upstream: &Node, reader: &mut Reader<'_>) {
    let backends = upstream.items_of("backend");
    unique("backend", backends, reader);
    let read = |backend: &Node| value::<Address>(backend.get("address")?, reader);
    let addresses: Vec<(Address, &Node)> =
        backends.iter().filter_map(|backend| Some((read(backend)?, backend.get("address")?))).collect();
    let is_named =
        |backend: &&Node| backend.get("name").and_then(Node::text).is_some_and(|it| !it.is_empty());
    let unnamed = backends.iter().filter(|backend| !is_named(backend));
    // One without a name has its address for one.
    let names_of_unnamed: HashMap<String, Place> =
        unnamed.filter_map(|it| Some((read(it)?.to_string(), it.get("address")?.place))).collect();
    let message = |address: &str, line: String| format!("the backend {address} is already defined on {line}");
    repeated(addresses.into_iter(), reader, message, "raise the `weight` of one backend instead");
    for name in backends.iter().filter_map(|backend| backend.get("name")) {
        let Some(text) = name.text() else { continue };
        if let Some(other) = names_of_unnamed.get(text) {
            let line = reader.source().line_seen_from(other.start, name.place.start);
            let message = format!("the backend on {line} is called `{text}` too: it has no other name");
            reader.problem_with(name.place, message, UNIQUE_NAMES);
        }
    }
}

/// The value at a node, where it is good; what is wrong with it is reported by who reads all.
fn value<T: Value>(node: &Node, reader: &Reader<'_>) -> Option<T> {
    T::read(node, &mut Reader::new(reader.source()))
}

/// An address to listen at, and where the file has it.
type Spot<'n> = (ListenAddress, &'n Node);

/// Reports listeners, of peers too, the admin endpoint and metrics, that want the same address, or cannot have theirs.
fn unique_addresses(root: &Node, reader: &mut Reader<'_>) {
    let is_udp = |listener: &&Node| listener.get("protocol").and_then(Node::text) == Some("udp");
    // A port of UDP is another than that of TCP; QUIC has both.
    let (of_udp, listeners): (Vec<&Node>, Vec<&Node>) = root.items_of("listener").iter().partition(is_udp);
    let is_quic =
        |listener: &&&Node| listener.get("quic").is_some_and(|quic| matches!(quic.data, Data::Boolean(true)));
    let of_udp = of_udp.into_iter().chain(listeners.iter().filter(is_quic).copied());
    unique_places(spots(of_udp.filter_map(|table| table.get("address")), reader), reader);
    let peers = root.get("cluster").and_then(|cluster| cluster.get("peers"));
    let peers = peers.and_then(|peers| peers.get("listen"));
    let shared = listeners.into_iter().filter_map(|table| table.get("address")).chain(peers);
    let shared = spots(shared, reader);
    let admin = root.get("admin");
    let own = [admin, admin.and_then(|admin| admin.get("metrics"))].into_iter().flatten();
    let own = spots(own.filter_map(|table| table.get("address")), reader);
    unique_places(shared.iter().chain(&own).cloned().collect(), reader);
    overlapping(&shared, &own, reader);
}

/// The addresses that are good, but for those whose port is any.
fn spots<'n>(nodes: impl Iterator<Item = &'n Node>, reader: &Reader<'_>) -> Vec<Spot<'n>> {
    nodes
        .flat_map(|node| if node.text().is_some() { std::slice::from_ref(node) } else { node.items() })
        .filter_map(|node| Some((value::<ListenAddress>(node, reader)?, node)))
        .filter(|(address, _)| !address.has_any_port())
        .collect()
}

fn unique_places(mut spots: Vec<Spot<'_>>, reader: &mut Reader<'_>) {
    spots.sort_by_key(|(_, node)| node.place);
    let message = |address: &str, line: String| format!("{address} is already used on {line}");
    repeated(spots.into_iter(), reader, message, "use a different address for each listener");
}

/// Reports addresses of `[admin]` that take in another one of the file, or are taken in: their ports are shared with nobody,
/// as those of listeners are with each other.
fn overlapping(shared: &[Spot<'_>], own: &[Spot<'_>], reader: &mut Reader<'_>) {
    for (index, (address, node)) in own.iter().enumerate() {
        let mut others = shared.iter().chain(own.iter().take(index));
        // Of two that are the same it is said already.
        let overlaps = |other: &ListenAddress| address.overlaps(other) && address != other;
        let Some((other, at)) = others.find(|(other, _)| overlaps(other)) else { continue };
        let line = reader.source().line_seen_from(at.place.start, node.place.start);
        let message = format!("{address} cannot be used: {other} on {line} has the same port");
        let hint = "one of the two is every address of this machine; use another port";
        reader.problem_with(node.place, message, hint);
    }
}

/// Nodes by their texts, where they have one.
fn texts<'n>(nodes: impl Iterator<Item = &'n Node>) -> impl Iterator<Item = (&'n str, &'n Node)> {
    nodes.filter_map(|node| Some((node.text().filter(|text| !text.is_empty())?, node)))
}

/// Reports each value among `nodes` that an earlier one has.
fn repeated<'n, T: Eq + Hash>(
    nodes: impl Iterator<Item = (T, &'n Node)>,
    reader: &mut Reader<'_>,
    message: impl Fn(&str, String) -> String,
    hint: &str,
) {
    let mut seen: HashMap<T, Place> = HashMap::new();
    for (value, node) in nodes {
        match seen.get(&value) {
            Some(first) => {
                let line = reader.source().line_seen_from(first.start, node.place.start);
                reader.problem_with(node.place, message(node.text().unwrap_or_default(), line), hint);
            }
            None => {
                seen.insert(value, node.place);
            }
        }
    }
}

/// Reports what routes name and nobody is called.
fn references(root: &Node, reader: &mut Reader<'_>) {
    if reader.recovered {
        // The table that is named may be one that was not understood.
        return;
    }
    let listeners = names(root, "listener");
    let upstreams = names(root, "upstream");
    let caches = names(root, "cache");
    let matchers = names(root, "matcher");
    let policies = names(root, "policy");
    for route in root.items_of("route") {
        for listener in route.items_of("listeners") {
            refer("listener", listener, &listeners, reader);
        }
        for matcher in route.items_of("matchers") {
            refer("matcher", matcher, &matchers, reader);
        }
        for policy in route.items_of("policies") {
            refer("policy", policy, &policies, reader);
        }
        if let Some(cache) = route.get("cache") {
            refer("cache", cache, &caches, reader);
        }
        if let Some(upstream) = route.get("upstream") {
            refer("upstream", upstream, &upstreams, reader);
        }
        if let Some(upstream) = route.get("mirror").and_then(|mirror| mirror.get("upstream")) {
            refer("upstream", upstream, &upstreams, reader);
        }
        for part in route.items_of("split") {
            if let Some(upstream) = part.get("upstream") {
                refer("upstream", upstream, &upstreams, reader);
            }
        }
        let split = route.items_of("split").iter();
        let parts = split.filter_map(|part| part.get("upstream"));
        let message = |name: &str, line: String| format!("the upstream `{name}` is already listed on {line}");
        repeated(texts(parts), reader, message, "list it once, with the sum of the weights");
    }
}

fn refer(kind: &str, node: &Node, known: &HashSet<&str>, reader: &mut Reader<'_>) {
    let Some(name) = node.text().filter(|name| !known.contains(name)) else {
        return;
    };
    let mut known: Vec<&str> = known.iter().copied().collect();
    known.sort_unstable();
    let hint = match suggest::nearest(name, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("add `[[{kind}]]` with `name = \"{name}\"`"),
        None => suggest::did_you_mean(name, known),
    };
    reader.problem_with(node.place, format!("there is no {kind} `{name}`"), hint);
}

fn names<'n>(root: &'n Node, kind: &str) -> HashSet<&'n str> {
    let tables = root.items_of(kind).iter();
    tables.filter_map(|table| table.get("name")?.text()).collect()
}

/// Reports routes that match what an earlier route matches, no more and no less.
fn unreachable_routes(config: &Config, root: &Node, reader: &mut Reader<'_>) {
    let mut seen: HashMap<String, (&str, Place)> = HashMap::new();
    for (route, node) in config.route.iter().zip(root.items_of("route")) {
        let place = node.get("name").map_or(node.place, |name| name.place);
        let matched = matches(route);
        let matched: Vec<_> =
            sorted(&route.listeners).into_iter().map(|listener| format!("{listener}\n{matched}")).collect();
        // On a listener that the first one is not on, it is reached.
        let is_reached = matched.iter().any(|one| !seen.contains_key(one));
        let first = matched.iter().find_map(|one| seen.get(one)).copied().filter(|_| !is_reached);
        for one in matched {
            seen.entry(one).or_insert((&route.name, place));
        }
        if let Some((first, at)) = first {
            let line = reader.source().line_seen_from(at.start, place.start);
            let message = format!("`{}` is never reached: `{first}` on {line} matches the same", route.name);
            let hint = "the first route in the file wins; remove one, or make the first more specific";
            reader.problem_with(place, message, hint);
        }
    }
}

/// What a route matches, in a form in which order does not count.
fn matches(route: &RouteConf) -> String {
    let paths = route.paths.iter().map(|path| format!("{path:?}")).collect::<Vec<_>>();
    let mut own = route.conditions();
    let MatchConf { hosts, methods, headers, query, cookies, clients, server_names, ports, .. } = &mut own;
    [hosts, server_names].into_iter().for_each(unordered);
    methods.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    methods.dedup();
    [headers, query, cookies]
        .into_iter()
        .for_each(|values| values.0.sort_by_key(|value| format!("{value:?}")));
    unordered(clients);
    unordered(ports);
    format!(
        "{own:?}\n{:?}\n{:?}\n{:?}",
        sorted(&route.alpn),
        sorted(&paths),
        (&route.any, &route.not, sorted(&route.matchers))
    )
}

fn unordered<T: Ord>(items: &mut Vec<T>) {
    items.sort();
    items.dedup();
}

fn sorted<T: Ord>(items: &[T]) -> Vec<&T> {
    let mut items: Vec<&T> = items.iter().collect();
    items.sort();
    items.dedup();
    items
}

#[cfg(test)]
mod tests;
