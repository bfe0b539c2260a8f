//! What asks peers, and needs some.

use crate::{
    config::Config,
    schema::{Node, Reader},
};

/// Reports caches and upstreams that are to ask peers where there are none, and caches that fetch for one request each.
pub(super) fn check(config: &Config, root: &Node, reader: &mut Reader<'_>) {
    let has_peers = root.get("cluster").is_some_and(|cluster| cluster.get("peers").is_some());
    let (caches, upstreams) = (root.items_of("cache"), root.items_of("upstream"));
    // With a table left out for its own problem, places could not be told apart.
    for (cache, node) in config.cache.iter().zip(caches).filter(|_| config.cache.len() == caches.len()) {
        let Some(entry) = node.entry("peers").filter(|_| cache.peers) else { continue };
        if !has_peers {
            let message = format!("the cache `{}` uses peers, but none are configured", cache.name);
            reader.problem_with(entry.place, message, "add `[cluster.peers]`, or leave `peers` out");
        } else if !cache.collapse.enabled {
            let message =
                format!("the cache `{}` uses `peers`, which needs `collapse.enabled = true`", cache.name);
            reader.problem_with(entry.place, message, "leave `collapse.enabled` out, or `peers`");
        }
    }
    let pairs = config.upstream.iter().zip(upstreams);
    for (upstream, node) in pairs.filter(|_| config.upstream.len() == upstreams.len()) {
        let is_alone = upstream.relay && !has_peers;
        if let Some(entry) = node.entry("relay").filter(|_| is_alone) {
            let message =
                format!("requests to `{}` are relayed through peers, but none are configured", upstream.name);
            reader.problem_with(entry.place, message, "add `[cluster.peers]`, or leave `relay` out");
        }
    }
}
