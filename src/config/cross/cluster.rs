//! `[cluster]`: addresses, routers and peers that do not fit together.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use crate::{
    cluster::conf::{ClusterConf, Election, VirtualIpConf},
    config::Config,
    schema::{Node, Place, Reader},
};

/// RFC 9568 §5.2.5: the number of addresses is a byte.
const MOST: usize = 255;

/// Reports what is wrong with the cluster as a whole.
pub(super) fn check(config: &Config, root: &Node, reader: &mut Reader<'_>) {
    let (Some(conf), Some(node)) = (&config.cluster, root.get("cluster")) else { return };
    let addresses = node.items_of("virtual_ip");
    // With a table left out for its own problem, places could not be told apart.
    if conf.virtual_ip.len() != addresses.len() {
        return;
    }
    unique(conf, addresses, reader);
    match conf.election {
        Election::Vrrp => {
            routers(conf, addresses, reader);
            peers(conf, node, reader);
            interface(conf, node, reader);
        }
        Election::Etcd | Election::ZooKeeper => of_routers(conf, addresses, reader),
    }
}

/// Reports what only virtual routers have.
fn of_routers(conf: &ClusterConf, nodes: &[Node], reader: &mut Reader<'_>) {
    for node in nodes {
        for entry in ["router_id", "priority"].into_iter().filter_map(|key| node.entry(key)) {
            let (key, election) = (&entry.key, conf.election.name());
            let message = format!("`{key}` has no effect with `election = \"{election}\"`");
            let hint = "leave it out: all addresses move together and stay with the node that has them";
            reader.problem_with(entry.place, message, hint);
        }
    }
}

fn place_of(node: &Node, key: &str) -> Place {
    node.get(key).map_or(node.place, |it| it.place)
}

fn unique(conf: &ClusterConf, nodes: &[Node], reader: &mut Reader<'_>) {
    let mut seen: HashMap<IpAddr, Place> = HashMap::new();
    for (address, node) in conf.virtual_ip.iter().zip(nodes) {
        let (ip, place) = (address.address.0.addr(), place_of(node, "address"));
        if let Some(first) = seen.insert(ip, place) {
            let line = reader.source().line_seen_from(first.start, place.start);
            let message = format!("the virtual address {ip} is already defined on {line}");
            reader.problem_with(place, message, "an address belongs to one interface and one virtual router");
        }
    }
}

/// Addresses of one router have one priority, and are not too many.
fn routers(conf: &ClusterConf, nodes: &[Node], reader: &mut Reader<'_>) {
    let mut seen: HashMap<_, (u8, usize, Place)> = HashMap::new();
    for (address, node) in conf.virtual_ip.iter().zip(nodes) {
        let router_id = address.router_id.unwrap_or(conf.vrrp.router_id);
        let interface = conf.vrrp.interface.as_ref().unwrap_or(&address.interface);
        let key = (interface, router_id, address.address.0.addr().is_ipv6());
        let priority = address.priority.unwrap_or(conf.priority);
        let first = seen.entry(key).or_insert((priority, 0, node.place));
        first.1 += 1;
        let (of_first, count, place) = *first;
        if of_first != priority {
            let line = reader.source().line_seen_from(place.start, node.place.start);
            let message = format!(
                "{} has priority {priority}, but virtual router {router_id} has {of_first} on {line}",
                address.address.0.addr()
            );
            let hint = "addresses of one router move together; give one of them another `router_id`";
            let at = if node.get("priority").is_some() { "priority" } else { "address" };
            reader.problem_with(place_of(node, at), message, hint);
        }
        if count == MOST + 1 {
            let message = format!("virtual router {router_id} has more than {MOST} addresses");
            reader.problem_with(node.place, message, "give the rest another `router_id`");
        }
    }
}

/// Peers are no virtual addresses, and there are some for each family that addresses have.
fn peers(conf: &ClusterConf, node: &Node, reader: &mut Reader<'_>) {
    let peers = &conf.vrrp.unicast_peers;
    let Some(list) = node.get("vrrp").and_then(|vrrp| vrrp.get("unicast_peers")) else { return };
    let is_virtual = |it: &&VirtualIpConf, peer: &IpAddr| it.address.0.addr() == *peer;
    for (peer, item) in peers.iter().zip(list.items()) {
        if conf.virtual_ip.iter().any(|it| is_virtual(&it, peer)) {
            let message = format!("the peer {peer} is a virtual address");
            reader.problem_with(item.place, message, "use an address that always stays on the other node");
        }
    }
    if peers.is_empty() {
        return;
    }
    let has = |is_v6: bool| peers.iter().any(|peer| peer.is_ipv6() == is_v6);
    let missing: BTreeSet<bool> =
        conf.virtual_ip.iter().map(|it| it.address.0.addr().is_ipv6()).filter(|is_v6| !has(*is_v6)).collect();
    for is_v6 in missing {
        let family = if is_v6 { "IPv6" } else { "IPv4" };
        let message = format!("there are {family} virtual addresses, but no {family} peer");
        let hint = "each address family has its own election: list the other node's addresses of both";
        reader.problem_with(list.place, message, hint);
    }
}

/// Without addresses an interface must be named.
fn interface(conf: &ClusterConf, node: &Node, reader: &mut Reader<'_>) {
    if conf.virtual_ip.is_empty() && conf.on_change.is_some() && conf.vrrp.interface.is_none() {
        let message = "without virtual addresses, no interface is known to send advertisements on";
        reader.problem_with(node.place, message, "add `interface` to `[cluster.vrrp]`");
    }
}
