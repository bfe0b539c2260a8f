//! Which node owns a key: the same one wherever that is asked, among the nodes that are there.
//!
//! Rendezvous hashing (Thaler, Ravishankar, 1998), the consistent hashing for few nodes: each node has a place for each
//! key, and the highest owns it. One that leaves gives its keys to all others, and no other key moves.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::moment::Moment;

/// The nodes that are there, this one among them.
#[derive(Debug)]
pub struct Ring {
    own: Arc<str>,
    nodes: Vec<Node>,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is called.
    pub name: Arc<str>,
    /// Where it hears its peers.
    pub address: SocketAddr,
    /// Until when it counts as there, if nothing is heard of it.
    pub until: Moment,
    /// Upstreams with `relay` to a backend of which it has a way.
    pub ways: Arc<BTreeSet<String>>,
}

impl Ring {
    /// The ring of a node with this name and of others.
    pub fn new(own: &str, nodes: Vec<Node>) -> Self {
        Self { own: own.into(), nodes }
    }

    /// What this node is called.
    pub fn own(&self) -> &Arc<str> {
        &self.own
    }

    /// The other nodes that have a way to a backend of this upstream.
    pub fn with_way_to<'r>(&'r self, upstream: &'r str, now: Moment) -> impl Iterator<Item = &'r Node> {
        self.present(now).filter(move |node| node.ways.contains(upstream))
    }

    fn present(&self, now: Moment) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| now < node.until)
    }

    /// The other node that owns a key; `None` where this one does.
    pub fn owner(&self, key: u64, now: Moment) -> Option<&Node> {
        let present = self.present(now);
        let (place, node) =
            present.map(|node| (place(&node.name, key), node)).max_by_key(|(place, _)| *place)?;
        (place > self::place(&self.own, key)).then_some(node)
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new("", Vec::new())
    }
}

fn place(node: &str, key: u64) -> u64 {
    xxh3_64_with_seed(node.as_bytes(), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    /// The ring as this node has it, of which the others were heard until then.
    fn ring(own: &str, until: impl Fn(&str) -> u64) -> Ring {
        let others = NAMES.iter().filter(|name| **name != own);
        let node = |name: &&str| Node {
            name: (*name).into(),
            address: "10.0.0.1:1".parse().unwrap(),
            until: Moment(until(name)),
            ways: Arc::default(),
        };
        Ring::new(own, others.map(node).collect())
    }

    fn owner(ring: &Ring, key: u64) -> &str {
        ring.owner(key, Moment(5)).map_or(ring.own(), |node| &node.name)
    }

    #[test]
    fn all_nodes_name_the_same_owner() {
        let rings = NAMES.map(|own| ring(own, |_| 10));
        let mut shares = [0; 4];
        for key in 0..10_000_u64 {
            let owners = rings.each_ref().map(|ring| owner(ring, key));
            assert!(owners.iter().all(|other| *other == owners[0]), "{key}: {owners:?}");
            shares[NAMES.iter().position(|name| *name == owners[0]).unwrap()] += 1;
        }
        assert!(shares.iter().all(|share| (2_200..2_800).contains(share)), "{shares:?}");
    }

    #[test]
    fn node_that_is_gone_owns_nothing_and_no_others_move() {
        let (whole, without) = (ring("a", |_| 10), ring("a", |name| if name == "c" { 5 } else { 10 }));
        for key in 0..1_000 {
            let (before, after) = (owner(&whole, key), owner(&without, key));
            assert!(after != "c" && (before == after || before == "c"), "{key}: {before} {after}");
        }
        // Alone, it owns everything.
        assert!((0..1_000).all(|key| ring("a", |_| 0).owner(key, Moment(5)).is_none()));
    }
}
